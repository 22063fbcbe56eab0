//! The static policies: read from their files, validated strictly, judged by Cedar.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::str::FromStr;

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet,
    Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use lru::LruCache;
use parking_lot::Mutex;

use super::grants::{Held, Subject};
use super::principal::{Action, Principal, PrincipalKind, Resource};
use crate::error::{Error, ErrorKind, Result};

const SCHEMA: &str = include_str!("schema.cedarschema");

const FILES: [(&str, &str); 4] = [
    ("list.cedar", include_str!("policies/list.cedar")),
    ("video.cedar", include_str!("policies/video.cedar")),
    ("publish.cedar", include_str!("policies/publish.cedar")),
    ("grants.cedar", include_str!("policies/grants.cedar")),
];

/// What a forbidding policy may give as its `@reason`; an earlier one goes before a later one.
pub const REASONS: [&str; 3] = ["ROLE_SEES_NO_VIDEO", "CAMERA_QUARANTINED", "GRANT_TO_ONESELF"];

const MAX_PRINCIPALS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// What Cedar said.
pub struct Judgement {
    pub allowed: bool,
    /// The policies that decided, sorted; none when nothing permitted.
    pub rules: Vec<String>,
    /// Of a refusal by a forbidding policy.
    pub reason: Option<&'static str>,
    /// Nothing but the grant in the context permitted it.
    pub by_grant: bool,
}

/// The policy set, and the names that requests are made of.
pub struct Rules {
    here: String,
    /// By action: Cedar visits every policy it is given, so it is given those whose scope names the action.
    policies: HashMap<EntityUid, PolicySet>,
    authorizer: Authorizer,
    reasons: HashMap<PolicyId, &'static str>,
    /// Those marked `@by("grant")`.
    by_grant: HashSet<PolicyId>,
    /// When set, every request and entity is held against it: in service that would cost more than the decision.
    strict: Option<Schema>,
    principals: Mutex<LruCache<Principal, Entity>>,
    user: EntityTypeName,
    unit: EntityTypeName,
    hub: EntityTypeName,
    system: EntityTypeName,
    camera: EntityTypeName,
    list: EntityUid,
    view_live: EntityUid,
    snapshot: EntityUid,
    publish: EntityUid,
    create_grant: EntityUid,
}

/// The policies by their own ids, and what is wrong with them.
fn read() -> (PolicySet, Vec<String>) {
    let mut problems = Vec::new();
    let mut policies = PolicySet::new();
    for (file, text) in FILES {
        let parsed = match PolicySet::from_str(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                problems.push(format!("{file}: {error}"));
                continue;
            }
        };
        for policy in parsed.policies() {
            let Some(id) = policy.annotation("id").filter(|id| !id.is_empty()) else {
                problems.push(format!("{file}: a policy has no @id"));
                continue;
            };
            let is_forbid = policy.effect() == cedar_policy::Effect::Forbid;
            if is_forbid && !policy.annotation("reason").is_some_and(|reason| REASONS.contains(&reason)) {
                problems.push(format!("{file}: {id} forbids without a @reason out of {REASONS:?}"));
            }
            if let Err(error) = policies.add(policy.new_id(PolicyId::new(id))) {
                problems.push(format!("{file}: {error}"));
            }
        }
    }
    (policies, problems)
}

fn schema() -> std::result::Result<Schema, String> {
    let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| format!("schema: {error}"))?;
    let warnings: Vec<String> = warnings.map(|warning| format!("schema: {warning}")).collect();
    if warnings.is_empty() { Ok(schema) } else { Err(warnings.join("; ")) }
}

/// Strict validation of the built-in policies against the schema: the problems found.
pub fn validate_policies() -> Vec<String> {
    let (policies, mut problems) = read();
    match schema() {
        Ok(schema) => {
            let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
            problems.extend(result.validation_errors().map(ToString::to_string));
            problems.extend(result.validation_warnings().map(ToString::to_string));
        }
        Err(problem) => problems.push(problem),
    }
    problems
}

fn internal(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, "POLICY_INVALID", format!("the built-in policies are not sound: {what}"))
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

impl Rules {
    /// `strict`: refuse what does not fit the schema. Errors: POLICY_INVALID (Internal).
    pub fn new(here: &str, strict: bool) -> Result<Self> {
        let problems = validate_policies();
        if !problems.is_empty() {
            return Err(internal(problems.join("; ")));
        }
        let (policies, _) = read();
        let mut reasons = HashMap::new();
        for policy in policies.policies() {
            let reason =
                policy.annotation("reason").and_then(|word| REASONS.into_iter().find(|reason| *reason == word));
            if let Some(reason) = reason {
                reasons.insert(policy.id().clone(), reason);
            }
        }
        let by_grant = policies.policies().filter(|policy| policy.annotation("by") == Some("grant"));
        let by_grant = by_grant.map(|policy| policy.id().clone()).collect();
        let kind = |name: &str| EntityTypeName::from_str(name).map_err(internal);
        let action_kind = kind("Action")?;
        let mut by_action: HashMap<EntityUid, PolicySet> = HashMap::new();
        let mut action = |name: &str| {
            let uid = EntityUid::from_type_name_and_id(action_kind.clone(), EntityId::new(name));
            let named = policies.policies().filter(|policy| match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(one) => one == uid,
                ActionConstraint::In(several) => several.contains(&uid),
            });
            let named = PolicySet::from_policies(named.cloned()).map_err(internal)?;
            by_action.insert(uid.clone(), named);
            Ok::<_, Error>(uid)
        };
        Ok(Self {
            here: here.to_owned(),
            authorizer: Authorizer::new(),
            reasons,
            by_grant,
            principals: Mutex::new(LruCache::new(MAX_PRINCIPALS)),
            strict: if strict { Some(schema().map_err(internal)?) } else { None },
            user: kind("User")?,
            unit: kind("Unit")?,
            hub: kind("Hub")?,
            system: kind("System")?,
            camera: kind("Camera")?,
            list: action("LIST")?,
            view_live: action("VIEW_LIVE")?,
            snapshot: action("SNAPSHOT")?,
            publish: action("PUBLISH")?,
            create_grant: action("CREATE_GRANT")?,
            policies: by_action,
        })
    }

    pub fn here(&self) -> &str {
        &self.here
    }

    fn hub_or_here<'a>(&'a self, hub_id: &'a str) -> &'a str {
        if hub_id.is_empty() { &self.here } else { hub_id }
    }

    /// The same few principals ask again and again, so what Cedar knows of them is kept.
    pub fn principal(&self, principal: &Principal) -> Result<Entity> {
        if let Some(entity) = self.principals.lock().get(principal) {
            return Ok(entity.clone());
        }
        let entity = self.make_principal(principal)?;
        self.principals.lock().put(principal.clone(), entity.clone());
        Ok(entity)
    }

    fn make_principal(&self, principal: &Principal) -> Result<Entity> {
        let hub = || ("hub".to_owned(), text(self.hub_or_here(&principal.hub_id)));
        let subjects = || Subject::of(principal, &self.here).map(|subject| text(&subject.to_string()));
        let who = || ("who".to_owned(), RestrictedExpression::new_set(subjects()));
        let (kind, attributes) = match principal.kind {
            PrincipalKind::User => {
                let roles = RestrictedExpression::new_set(principal.roles.iter().map(|role| text(role)));
                let unit = text(&principal.unit_id);
                let attributes = [hub(), ("unit".to_owned(), unit), ("roles".to_owned(), roles), who()];
                (&self.user, HashMap::from(attributes))
            }
            PrincipalKind::Unit => {
                (&self.unit, HashMap::from([hub(), ("unit".to_owned(), text(principal.own_unit()))]))
            }
            PrincipalKind::Hub => (&self.hub, HashMap::from([who()])),
            PrincipalKind::System => (&self.system, HashMap::new()),
        };
        let id = EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(&principal.id));
        Entity::new(id, attributes, HashSet::new()).map_err(internal)
    }

    pub fn camera(&self, camera: &Resource<'_>) -> Result<Entity> {
        let attributes = HashMap::from([
            ("hub".to_owned(), text(self.hub_or_here(camera.hub_id))),
            ("unit".to_owned(), text(camera.unit_id)),
            ("region".to_owned(), text(camera.region_code)),
            ("industry".to_owned(), text(camera.industry)),
            ("place".to_owned(), RestrictedExpression::new_long(i64::from(camera.place_category))),
            ("quarantined".to_owned(), RestrictedExpression::new_bool(camera.quarantined)),
        ]);
        let id = EntityUid::from_type_name_and_id(self.camera.clone(), EntityId::new(camera.id));
        Entity::new(id, attributes, HashSet::new()).map_err(internal)
    }

    /// The two that a question is about, known to Cedar together.
    pub fn entities(&self, principal: Entity, resource: Entity) -> Result<(EntityUid, EntityUid, Entities)> {
        let ids = (principal.uid(), resource.uid());
        let entities = Entities::from_entities([principal, resource], self.strict.as_ref()).map_err(internal)?;
        Ok((ids.0, ids.1, entities))
    }

    pub fn judge(
        &self,
        (principal, resource, entities): &(EntityUid, EntityUid, Entities),
        action: Action,
        purpose: &str,
        grant: Option<&Held>,
    ) -> Result<Judgement> {
        let context = match grant {
            Some(held) => held.context(action, purpose, || self.context(action, purpose, held.record.as_ref()))?,
            None => self.context(action, purpose, None)?,
        };
        let action = match action {
            Action::List => &self.list,
            Action::ViewLive => &self.view_live,
            Action::Snapshot => &self.snapshot,
            Action::Publish => &self.publish,
        };
        self.ask(principal, action, resource, context, entities)
    }

    fn context(&self, action: Action, purpose: &str, grant: Option<&RestrictedExpression>) -> Result<Context> {
        let pairs = [
            ("here".to_owned(), text(&self.here)),
            ("wanted".to_owned(), text(action.word())),
            ("purpose".to_owned(), text(purpose)),
        ];
        let grant = grant.map(|grant| ("grant".to_owned(), grant.clone()));
        Context::from_pairs(pairs.into_iter().chain(grant)).map_err(internal)
    }

    /// May the principal give a grant to this subject?
    pub fn judge_grant(&self, principal: &Principal, to: &Subject) -> Result<Judgement> {
        let hub = EntityUid::from_type_name_and_id(self.hub.clone(), EntityId::new(&self.here));
        let nobody = RestrictedExpression::new_set([]);
        let hub = Entity::new(hub, HashMap::from([("who".to_owned(), nobody)]), HashSet::new()).map_err(internal)?;
        let principal = self.principal(principal)?;
        let ids = (principal.uid(), hub.uid());
        // A hub that asks about itself is one entity, not two.
        let both = if ids.0 == ids.1 { vec![hub] } else { vec![principal, hub] };
        let entities = Entities::from_entities(both, self.strict.as_ref()).map_err(internal)?;
        let context = [("here".to_owned(), text(&self.here)), ("to".to_owned(), text(&to.to_string()))];
        let context = Context::from_pairs(context).map_err(internal)?;
        self.ask(&ids.0, &self.create_grant, &ids.1, context, &entities)
    }

    fn ask(
        &self,
        principal: &EntityUid,
        action: &EntityUid,
        resource: &EntityUid,
        context: Context,
        entities: &Entities,
    ) -> Result<Judgement> {
        let schema = self.strict.as_ref();
        let request = Request::new(principal.clone(), action.clone(), resource.clone(), context, schema);
        let policies = self.policies.get(action).ok_or_else(|| internal(action))?;
        let response = self.authorizer.is_authorized(&request.map_err(internal)?, policies, entities);
        let diagnostics = response.diagnostics();
        // Cedar passes over a policy that fails; one that forbids must not be lost that way.
        if let Some(error) = diagnostics.errors().next() {
            return Err(internal(error));
        }
        let mut rules: Vec<String> = diagnostics.reason().map(ToString::to_string).collect();
        rules.sort_unstable();
        let given: Vec<&str> = diagnostics.reason().filter_map(|id| self.reasons.get(id).copied()).collect();
        let reason = REASONS.into_iter().find(|reason| given.contains(reason));
        let by_grant = diagnostics.reason().all(|id| self.by_grant.contains(id));
        Ok(Judgement { allowed: response.decision() == cedar_policy::Decision::Allow, rules, reason, by_grant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_are_few_and_strictly_valid() {
        assert_eq!(validate_policies(), [""; 0]);
        let count = read().0.policies().count();
        assert!((6..=10).contains(&count), "{count} policies: each one costs every decision");
    }

    #[test]
    fn every_reason_is_given_by_some_policy() {
        let rules = Rules::new("h", true).expect("sound");
        let given: HashSet<&str> = rules.reasons.values().copied().collect();
        assert_eq!(given, HashSet::from(REASONS));
    }
}
