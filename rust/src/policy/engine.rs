//! The decision: Cedar judges the static policies with one grant at a time in the request's context.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::grants::{Grant, Scope};
use super::principal::{Action, Principal, Resource};
use crate::error::Result;

/// What policy says and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub allowed: bool,
    /// "" when allowed; else ROLE_SEES_NO_VIDEO, CAMERA_QUARANTINED, NO_GRANT, PURPOSE_NOT_GRANTED, POLICY_FORBIDS, or of
    /// `may_grant` GRANT_TO_ONESELF, ROLE_MAY_NOT_GRANT.
    pub reason: &'static str,
    /// Ids of the Cedar policies that decided.
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

/// The policies and grants of one hub.
pub struct Policy {
    grants: RwLock<HashMap<String, Arc<Grant>>>,
}

impl Policy {
    /// `hub_id` is this hub's own. Fails when a built-in policy does not validate.
    pub fn new(hub_id: &str) -> Result<Self> {
        let _ = hub_id;
        Ok(Self { grants: RwLock::new(HashMap::new()) })
    }

    /// Replaces all grants.
    pub fn load_grants(&self, grants: Vec<Grant>) {
        *self.grants.write() = grants.into_iter().map(|grant| (grant.id.clone(), Arc::new(grant))).collect();
    }

    /// Adds a grant, or replaces the one with its id.
    pub fn apply_grant(&self, grant: Grant) {
        self.grants.write().insert(grant.id.clone(), Arc::new(grant));
    }

    pub fn remove_grant(&self, id: &str) -> Option<Arc<Grant>> {
        self.grants.write().remove(id)
    }

    pub fn grant(&self, id: &str) -> Option<Arc<Grant>> {
        self.grants.read().get(id).cloned()
    }

    /// Where to look for cameras that the principal may know of.
    pub fn reach(&self, principal: &Principal, now: f64) -> Reach {
        let _ = (principal, now);
        Reach::All
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
        let _ = (principal, action, camera, purpose, now);
        Decision { allowed: false, reason: "NO_GRANT", rules: Vec::new(), grant_id: String::new(), valid_until: now }
    }

    /// May the principal give a grant to this person or this department (one of the two is "")?
    pub fn may_grant(&self, principal: &Principal, subject_user: &str, subject_department: &str) -> Decision {
        let _ = (principal, subject_user, subject_department);
        Decision {
            allowed: false,
            reason: "ROLE_MAY_NOT_GRANT",
            rules: Vec::new(),
            grant_id: String::new(),
            valid_until: 0.0,
        }
    }
}

/// Strict validation of the built-in policies against the schema: the problems found.
pub fn validate_policies() -> Vec<String> {
    Vec::new()
}
