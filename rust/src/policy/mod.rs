//! Who may do what with which camera, and why: few policies judged by Cedar, grants kept as data.

#[cfg(test)]
mod cases;
mod engine;
mod grants;
mod principal;
mod rules;

pub use engine::{Decision, Policy, Reach};
pub use grants::{Grant, Scope, Subject};
pub use principal::{Action, Principal, PrincipalKind, Resource};
pub use rules::validate_policies;
