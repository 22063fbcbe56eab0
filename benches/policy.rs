//! What a decision costs: `cargo bench --bench policy`.

use std::time::{Duration, Instant};

use _core::policy::{Action, Grant, Policy, Principal, PrincipalKind, Resource, Scope, Subject};

const NOW: f64 = 1000.0;
const ROUNDS: u32 = 400;
const PER_ROUND: u32 = 10;

/// The best round counts, for what else the machine does.
fn cost(mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let start = Instant::now();
        (0..PER_ROUND).for_each(|_| work());
        start.elapsed() / PER_ROUND
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

fn main() {
    let policy = Policy::new("hub").expect("sound");
    let zhang = Principal {
        kind: PrincipalKind::User,
        id: "zhang".into(),
        hub_id: String::new(),
        unit_id: String::new(),
        department: "traffic".into(),
        roles: vec!["operator".into()],
    };
    let camera = Resource {
        id: "36060200001320000001",
        hub_id: "",
        unit_id: "unit-1",
        region_code: "360602",
        industry: "11",
        place_category: 1,
        quarantined: false,
        revision: 1,
    };
    // A thousand grants of the same department that cover other cameras, and one that counts.
    for number in 0..1000 {
        policy.apply_grant(Grant {
            id: format!("g{number}"),
            subject: Subject::Department("traffic".into()),
            scope: Scope { unit_ids: vec![format!("unit-{number}")], ..Scope::default() },
            actions: vec!["view_live".into(), "snapshot".into()],
            purposes: vec!["patrol".into(), "traffic".into(), "incident".into()],
            not_before: 0.0,
            not_after: 2000.0,
        });
    }
    let view = |purpose: &str| policy.decide_uncached(&zhang, Action::ViewLive, &camera, purpose, NOW);
    assert!(view("traffic").allowed && !view("safety").allowed);
    let allowed = cost(|| drop(view("traffic")));
    let refused = cost(|| drop(view("safety")));
    let listed = cost(|| drop(policy.decide_uncached(&zhang, Action::List, &camera, "", NOW)));
    let kept = cost(|| drop(policy.decide(&zhang, Action::ViewLive, &camera, "traffic", NOW)));
    println!("a decision: {allowed:?} allowed, {refused:?} refused, {listed:?} to list; kept: {kept:?}");
}
