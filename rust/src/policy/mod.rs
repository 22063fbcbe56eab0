//! Who may do what with which camera, and why: few policies judged by Cedar, grants kept as data.

mod engine;
mod grants;
mod principal;

pub use engine::{Decision, Policy, Reach, validate_policies};
pub use grants::{Grant, Scope, Subject};
pub use principal::{Action, Principal, PrincipalKind, Resource};
