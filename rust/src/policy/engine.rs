//! The decision: Cedar judges the static policies with one grant at a time in the request's context.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use parking_lot::{Mutex, RwLock};

use super::grants::{Grant, GrantBook, Scope, Subject};
use super::principal::{Action, Principal, PrincipalKind, Resource};
use super::rules::{Judgement, Rules};
use crate::error::Result;

/// Decisions kept; the least recently asked goes first.
const MAX_DECISIONS: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// What policy says and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub allowed: bool,
    /// "" when allowed; else ROLE_SEES_NO_VIDEO, CAMERA_QUARANTINED, NO_GRANT, PURPOSE_NOT_GRANTED, POLICY_FORBIDS, or of
    /// `may_grant` GRANT_TO_ONESELF, ROLE_MAY_NOT_GRANT.
    pub reason: &'static str,
    /// Ids of the Cedar policies that decided; none when nothing permitted it.
    pub rules: Vec<String>,
    /// The grant that carried it, or "".
    pub grant_id: String,
    /// Seconds since 1970; infinite when only a change of grants, policies or the camera ends it.
    pub valid_until: f64,
}

/// Where a principal may look for cameras at all; each row is still judged by `decide` with LIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    All,
    /// The union of the scopes; none reaches nothing.
    Scopes(Vec<Scope>),
}

/// A decision with what it rests on.
struct Kept {
    decision: Decision,
    decided_at: f64,
    generation: u64,
    camera: (u64, bool),
}

/// The policies and grants of one hub.
pub struct Policy {
    rules: Rules,
    grants: RwLock<GrantBook>,
    /// Counts changes of grants: what was decided before one is not used after it.
    generation: AtomicU64,
    kept: Mutex<LruCache<Box<str>, Kept>>,
}

impl Policy {
    /// `hub_id` is this hub's own. Errors: POLICY_INVALID (Internal) when a built-in policy does not validate.
    pub fn new(hub_id: &str) -> Result<Self> {
        Ok(Self {
            rules: Rules::new(hub_id, cfg!(test))?,
            grants: RwLock::default(),
            generation: AtomicU64::new(0),
            kept: Mutex::new(LruCache::new(MAX_DECISIONS)),
        })
    }

    /// This hub's own id.
    pub fn here(&self) -> &str {
        self.rules.here()
    }

    /// Replaces all grants.
    pub fn load_grants(&self, grants: Vec<Grant>) {
        let mut book = GrantBook::default();
        grants.into_iter().for_each(|grant| book.apply(grant));
        *self.grants.write() = book;
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Adds a grant, or replaces the one with its id.
    pub fn apply_grant(&self, grant: Grant) {
        self.grants.write().apply(grant);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub fn remove_grant(&self, id: &str) -> Option<Arc<Grant>> {
        let removed = self.grants.write().remove(id);
        self.generation.fetch_add(1, Ordering::Release);
        removed
    }

    pub fn grant(&self, id: &str) -> Option<Arc<Grant>> {
        self.grants.read().get(id)
    }

    /// Where to look for cameras that the principal may know of: never less than `decide` with LIST allows.
    pub fn reach(&self, principal: &Principal, now: f64) -> Reach {
        let here = self.rules.here();
        let own_hub = principal.hub_id.is_empty() || principal.hub_id == here;
        let mut scopes = Vec::new();
        let unit = match principal.kind {
            PrincipalKind::System => return Reach::All,
            PrincipalKind::User => {
                let runs = ["administrator", "supervisor", "approver", "auditor"];
                if own_hub && runs.into_iter().any(|role| principal.has_role(role)) {
                    return Reach::All;
                }
                if principal.has_role("operator") {
                    scopes = self.grants.read().scopes(principal, here, now);
                }
                if principal.has_role("unit") { principal.unit_id.as_str() } else { "" }
            }
            PrincipalKind::Unit => principal.own_unit(),
            PrincipalKind::Hub => {
                scopes = self.grants.read().scopes(principal, here, now);
                ""
            }
        };
        if !unit.is_empty() {
            scopes.push(Scope { unit_ids: vec![unit.to_owned()], ..Scope::default() });
        }
        Reach::Scopes(scopes)
    }

    /// May the principal do this with this camera, now, for this purpose ("" where none is needed)?
    pub fn decide(
        &self,
        principal: &Principal,
        action: Action,
        camera: &Resource<'_>,
        purpose: &str,
        now: f64,
    ) -> Decision {
        let key = key(principal, action, camera, purpose);
        let generation = self.generation.load(Ordering::Acquire);
        if let Some(kept) = self.kept.lock().get(key.as_str()) {
            let holds = kept.generation == generation
                && kept.camera == (camera.revision, camera.quarantined)
                && kept.decided_at <= now
                && now < kept.decision.valid_until;
            if holds {
                return kept.decision.clone();
            }
        }
        let decision = self.decide_uncached(principal, action, camera, purpose, now);
        let camera = (camera.revision, camera.quarantined);
        let kept = Kept { decision: decision.clone(), decided_at: now, generation, camera };
        self.kept.lock().put(key.into_boxed_str(), kept);
        decision
    }

    /// The same, always from the policies.
    pub fn decide_uncached(
        &self,
        principal: &Principal,
        action: Action,
        camera: &Resource<'_>,
        purpose: &str,
        now: f64,
    ) -> Decision {
        self.judge(principal, action, camera, purpose, now).unwrap_or_else(|error| {
            tracing::error!(%error, "a decision failed and counts as a refusal");
            refusal("POLICY_FORBIDS", Vec::new(), f64::NEG_INFINITY)
        })
    }

    /// Whether this grant alone permits it, whichever others do.
    pub fn is_carried(
        &self,
        grant: &str,
        principal: &Principal,
        action: Action,
        camera: &Resource<'_>,
        purpose: &str,
        now: f64,
    ) -> bool {
        let candidates = self.grants.read().candidates(principal, self.rules.here(), action, camera, purpose, now);
        let Some(held) = candidates.held.iter().find(|held| held.grant.id == grant) else { return false };
        let judged = || {
            let asked = self.rules.entities(self.rules.principal(principal)?, self.rules.camera(camera)?)?;
            self.rules.judge(&asked, action, purpose, Some(held))
        };
        judged().is_ok_and(|judgement| judgement.allowed)
    }

    fn judge(
        &self,
        principal: &Principal,
        action: Action,
        camera: &Resource<'_>,
        purpose: &str,
        now: f64,
    ) -> Result<Decision> {
        let candidates = self.grants.read().candidates(principal, self.rules.here(), action, camera, purpose, now);
        let asked = self.rules.entities(self.rules.principal(principal)?, self.rules.camera(camera)?)?;
        for held in &candidates.held {
            let judgement = self.rules.judge(&asked, action, purpose, Some(held))?;
            if judgement.allowed {
                // Where a role permits it as well, the grant's end changes nothing.
                return Ok(if judgement.by_grant {
                    permission(judgement, &held.grant.id, held.grant.not_after)
                } else {
                    permission(judgement, "", f64::INFINITY)
                });
            }
            if judgement.reason.is_some() {
                return Ok(forbidden(judgement));
            }
            // Those that name the purpose come first; past them no other grant can carry it.
            if action != Action::List && !held.has_purpose(purpose) {
                break;
            }
        }
        if candidates.held.is_empty() {
            let judgement = self.rules.judge(&asked, action, purpose, None)?;
            if judgement.allowed {
                return Ok(permission(judgement, "", f64::INFINITY));
            }
            if judgement.reason.is_some() {
                return Ok(forbidden(judgement));
            }
        }
        let granted = candidates.held.first().is_some_and(|held| held.has_purpose(purpose));
        let reason = match action {
            Action::Publish if purpose != "publish" => "PURPOSE_NOT_GRANTED",
            Action::Publish => "POLICY_FORBIDS",
            _ if candidates.held.is_empty() => "NO_GRANT",
            Action::List => "POLICY_FORBIDS",
            _ if granted => "POLICY_FORBIDS",
            _ => "PURPOSE_NOT_GRANTED",
        };
        // A grant that ends makes the reason another one, never the refusal.
        Ok(refusal(reason, Vec::new(), candidates.next_begin))
    }

    /// May the principal give a grant to this person or this department (one of the two is "")?
    pub fn may_grant(&self, principal: &Principal, subject_user: &str, subject_department: &str) -> Decision {
        let user = (!subject_user.is_empty()).then(|| Subject::User(subject_user.to_owned()));
        let department = (!subject_department.is_empty()).then(|| Subject::Department(subject_department.to_owned()));
        let nobody = (user.is_none() && department.is_none()).then(|| Subject::User(String::new()));
        let mut decision = refusal("ROLE_MAY_NOT_GRANT", Vec::new(), f64::INFINITY);
        // Both would be a mistake of the caller's; then both must be allowed.
        for subject in [user, department, nobody].into_iter().flatten() {
            decision = self.judge_grant(principal, &subject);
            if !decision.allowed {
                break;
            }
        }
        decision
    }

    fn judge_grant(&self, principal: &Principal, subject: &Subject) -> Decision {
        match self.rules.judge_grant(principal, subject) {
            Ok(judgement) if judgement.allowed => permission(judgement, "", f64::INFINITY),
            Ok(Judgement { rules, reason, .. }) => {
                refusal(reason.unwrap_or("ROLE_MAY_NOT_GRANT"), rules, f64::INFINITY)
            }
            Err(error) => {
                tracing::error!(%error, "a decision failed and counts as a refusal");
                refusal("POLICY_FORBIDS", Vec::new(), f64::NEG_INFINITY)
            }
        }
    }
}

fn permission(judgement: Judgement, grant_id: &str, valid_until: f64) -> Decision {
    Decision { allowed: true, reason: "", rules: judgement.rules, grant_id: grant_id.to_owned(), valid_until }
}

fn refusal(reason: &'static str, rules: Vec<String>, valid_until: f64) -> Decision {
    Decision { allowed: false, reason, rules, grant_id: String::new(), valid_until }
}

/// Refused whatever is granted.
fn forbidden(judgement: Judgement) -> Decision {
    refusal(judgement.reason.unwrap_or("POLICY_FORBIDS"), judgement.rules, f64::INFINITY)
}

/// What a decision is kept under: everything about the question but the time and what is counted in `Kept`. Lengths stand
/// before the texts, so that no two questions share a key.
fn key(principal: &Principal, action: Action, camera: &Resource<'_>, purpose: &str) -> String {
    let mut key = String::with_capacity(128);
    key.push_str(principal.kind.word());
    key.push(' ');
    key.push_str(action.word());
    let fixed = [&principal.id, &principal.hub_id, &principal.unit_id, &principal.department];
    let texts = fixed.into_iter().chain(&principal.roles).map(String::as_str);
    for text in [camera.id, purpose].into_iter().chain(texts) {
        // Writing to a string can't fail.
        let _ = write!(key, " {}:{text}", text.len());
    }
    key
}
