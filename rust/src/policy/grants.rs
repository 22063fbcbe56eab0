//! Grants are data: who may do what with which cameras, for which purposes, until when.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{Context, RestrictedExpression};
use parking_lot::Mutex;

use super::principal::{Action, Principal, PrincipalKind, Resource};
use crate::error::Result;

/// Whom a grant is given to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A person of this hub, by name.
    User(String),
    /// Everybody of a department of this hub.
    Department(String),
    /// A linked hub and its people, by id.
    Hub(String),
}

impl Subject {
    /// `kind`: "user", "department" or "hub".
    pub fn new(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "user" => Some(Self::User(name.to_owned())),
            "department" => Some(Self::Department(name.to_owned())),
            "hub" => Some(Self::Hub(name.to_owned())),
            _ => None,
        }
    }

    /// The subjects that a principal is. `here`: the hub that decides.
    pub(super) fn of(principal: &Principal, here: &str) -> impl Iterator<Item = Subject> {
        let foreign = !principal.hub_id.is_empty() && principal.hub_id != here;
        let (first, second) = match principal.kind {
            // Names of another hub mean nothing here.
            PrincipalKind::User if foreign => (Some(Self::Hub(principal.hub_id.clone())), None),
            PrincipalKind::User => {
                let department = Some(&principal.department).filter(|department| !department.is_empty());
                (Some(Self::User(principal.id.clone())), department.cloned().map(Self::Department))
            }
            PrincipalKind::Hub if principal.id != here => (Some(Self::Hub(principal.id.clone())), None),
            PrincipalKind::Hub | PrincipalKind::Unit | PrincipalKind::System => (None, None),
        };
        first.into_iter().chain(second)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{name}"),
            Self::Department(name) => write!(f, "department:{name}"),
            Self::Hub(id) => write!(f, "hub:{id}"),
        }
    }
}

/// Within a list any entry will do; lists given together narrow each other; no list covers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub camera_ids: Vec<String>,
    pub unit_ids: Vec<String>,
    pub region_prefixes: Vec<String>,
    pub industries: Vec<String>,
}

/// One grant. Its actions are words of the API in lower case; every one of them includes "list".
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub id: String,
    pub subject: Subject,
    pub scope: Scope,
    pub actions: Vec<String>,
    pub purposes: Vec<String>,
    /// Seconds since 1970: from `not_before`, and before `not_after`.
    pub not_before: f64,
    pub not_after: f64,
}

/// A grant in the book, with what Cedar reads of it.
pub struct Held {
    pub grant: Arc<Grant>,
    pub record: Option<RestrictedExpression>,
    /// Contexts of late questions: a list asks the same one for each row.
    contexts: Mutex<Vec<(Action, Box<str>, Context)>>,
}

const MAX_CONTEXTS: usize = 8;

impl Held {
    fn new(grant: Grant) -> Self {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let set = |words: &[String]| RestrictedExpression::new_set(words.iter().map(|word| text(word)));
        let record = RestrictedExpression::new_record([
            ("to".to_owned(), text(&grant.subject.to_string())),
            ("actions".to_owned(), set(&grant.actions)),
            ("purposes".to_owned(), set(&grant.purposes)),
        ]);
        // The keys differ, so there is a record; without one the grant carries nothing.
        Self { record: record.ok(), grant: Arc::new(grant), contexts: Mutex::default() }
    }

    /// The context for a question about this grant, made only once.
    pub fn context(&self, action: Action, purpose: &str, make: impl FnOnce() -> Result<Context>) -> Result<Context> {
        let mut contexts = self.contexts.lock();
        if let Some((.., context)) = contexts.iter().find(|(of, stated, _)| *of == action && **stated == *purpose) {
            return Ok(context.clone());
        }
        let context = make()?;
        if contexts.len() >= MAX_CONTEXTS {
            contexts.remove(0);
        }
        contexts.push((action, purpose.into(), context.clone()));
        Ok(context)
    }

    pub fn has_purpose(&self, purpose: &str) -> bool {
        self.grant.purposes.iter().any(|granted| granted == purpose)
    }

    fn gives(&self, action: Action) -> bool {
        let actions = &self.grant.actions;
        match action {
            Action::List => !actions.is_empty(),
            action => actions.iter().any(|granted| granted == action.word()),
        }
    }
}

/// Grants of one subject, each filed under the narrowest list of its scope.
#[derive(Default)]
struct Drawer {
    all: Vec<Arc<Held>>,
    by_camera: HashMap<String, Vec<Arc<Held>>>,
    by_unit: HashMap<String, Vec<Arc<Held>>>,
    by_region: HashMap<String, Vec<Arc<Held>>>,
    by_industry: HashMap<String, Vec<Arc<Held>>>,
}

impl Drawer {
    fn shelf<'a>(&mut self, scope: &'a Scope) -> (&mut HashMap<String, Vec<Arc<Held>>>, &'a [String]) {
        if !scope.camera_ids.is_empty() {
            (&mut self.by_camera, &scope.camera_ids)
        } else if !scope.unit_ids.is_empty() {
            (&mut self.by_unit, &scope.unit_ids)
        } else if !scope.region_prefixes.is_empty() {
            (&mut self.by_region, &scope.region_prefixes)
        } else {
            (&mut self.by_industry, &scope.industries)
        }
    }

    fn file(&mut self, held: &Arc<Held>) {
        self.all.push(held.clone());
        let (shelf, keys) = self.shelf(&held.grant.scope);
        for key in keys {
            let filed = shelf.entry(key.clone()).or_default();
            // A list may name the same thing twice.
            if !filed.iter().any(|other| Arc::ptr_eq(other, held)) {
                filed.push(held.clone());
            }
        }
    }

    fn take_out(&mut self, held: &Arc<Held>) {
        self.all.retain(|other| !Arc::ptr_eq(other, held));
        let (shelf, keys) = self.shelf(&held.grant.scope);
        for key in keys {
            if let Some(filed) = shelf.get_mut(key) {
                filed.retain(|other| !Arc::ptr_eq(other, held));
                if filed.is_empty() {
                    shelf.remove(key);
                }
            }
        }
    }

    /// Every grant whose scope covers the camera, with how wide it is.
    fn covering<'a>(&'a self, camera: &'a Resource<'_>) -> impl Iterator<Item = (usize, &'a Arc<Held>)> {
        let region = camera.region_code;
        let prefixes = (0..=region.len().min(MAX_PREFIX)).filter_map(|end| region.get(..end));
        let regions = prefixes
            .filter_map(|prefix| Some((2 + MAX_PREFIX.saturating_sub(prefix.len()), self.by_region.get(prefix)?)));
        let shelves = [
            (0, self.by_camera.get(camera.id)),
            (1, self.by_unit.get(camera.unit_id)),
            (3 + MAX_PREFIX, self.by_industry.get(camera.industry)),
        ];
        let filed = shelves.into_iter().filter_map(|(width, filed)| Some((width, filed?))).chain(regions);
        filed
            .flat_map(|(width, filed)| filed.iter().map(move |held| (width, held)))
            .filter(|(_, held)| also_covers(&held.grant.scope, camera))
    }
}

/// Longest region prefix that is looked up.
const MAX_PREFIX: usize = 32;

/// Do the lists beside the one that the grant is filed under hold for the camera?
fn also_covers(scope: &Scope, camera: &Resource<'_>) -> bool {
    let any = |list: &[String], value: &str| list.is_empty() || list.iter().any(|entry| entry == value);
    any(&scope.unit_ids, camera.unit_id)
        && any(&scope.industries, camera.industry)
        && (scope.region_prefixes.is_empty()
            || scope.region_prefixes.iter().any(|prefix| camera.region_code.starts_with(prefix.as_str())))
}

/// Grants that Cedar is asked about, at most.
pub const MAX_CANDIDATES: usize = 32;

/// What the book knows for one question.
pub struct Candidates {
    /// The likeliest first: those that name the purpose, and of these the narrowest.
    pub held: Vec<Arc<Held>>,
    /// When a grant that would count begins: until then a refusal stands.
    pub next_begin: f64,
}

/// Every grant of the hub.
#[derive(Default)]
pub struct GrantBook {
    grants: HashMap<String, Arc<Held>>,
    drawers: HashMap<Subject, Drawer>,
}

impl GrantBook {
    pub fn apply(&mut self, grant: Grant) {
        self.remove(&grant.id);
        let held = Arc::new(Held::new(grant));
        self.drawers.entry(held.grant.subject.clone()).or_default().file(&held);
        self.grants.insert(held.grant.id.clone(), held);
    }

    pub fn remove(&mut self, id: &str) -> Option<Arc<Grant>> {
        let held = self.grants.remove(id)?;
        if let Some(drawer) = self.drawers.get_mut(&held.grant.subject) {
            drawer.take_out(&held);
            if drawer.all.is_empty() {
                self.drawers.remove(&held.grant.subject);
            }
        }
        Some(held.grant.clone())
    }

    pub fn get(&self, id: &str) -> Option<Arc<Grant>> {
        self.grants.get(id).map(|held| held.grant.clone())
    }

    /// The open grants that may carry this.
    pub fn candidates(
        &self,
        principal: &Principal,
        here: &str,
        action: Action,
        camera: &Resource<'_>,
        purpose: &str,
        now: f64,
    ) -> Candidates {
        let mut next_begin = f64::INFINITY;
        let mut open: Vec<(bool, usize, &Arc<Held>)> = Vec::new();
        for drawer in Subject::of(principal, here).filter_map(|subject| self.drawers.get(&subject)) {
            for (width, held) in drawer.covering(camera).filter(|(_, held)| held.gives(action)) {
                if now < held.grant.not_before {
                    next_begin = next_begin.min(held.grant.not_before);
                } else if now < held.grant.not_after {
                    open.push((action != Action::List && !held.has_purpose(purpose), width, held));
                }
            }
        }
        open.sort_by(|one, other| {
            let key = |entry: &(bool, usize, &Arc<Held>)| (entry.0, entry.1);
            let later = other.2.grant.not_after.total_cmp(&one.2.grant.not_after);
            key(one).cmp(&key(other)).then(later).then_with(|| one.2.grant.id.cmp(&other.2.grant.id))
        });
        // One grant may be found by several prefixes; it stands beside itself only where the width is the same, and twice
        // is harmless where it is not.
        open.dedup_by(|one, other| Arc::ptr_eq(one.2, other.2));
        Candidates { held: open.into_iter().take(MAX_CANDIDATES).map(|(.., held)| held.clone()).collect(), next_begin }
    }

    /// The scopes of a principal's open grants.
    pub fn scopes(&self, principal: &Principal, here: &str, now: f64) -> Vec<Scope> {
        let drawers = Subject::of(principal, here).filter_map(|subject| self.drawers.get(&subject));
        drawers
            .flat_map(|drawer| &drawer.all)
            .filter(|held| held.gives(Action::List) && held.grant.not_before <= now && now < held.grant.not_after)
            .map(|held| held.grant.scope.clone())
            .collect()
    }
}
