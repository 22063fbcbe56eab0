//! Decisions held against a table of cases (`tests/vectors/policy/`) and against an oracle without Cedar.

use proptest::prelude::*;
use serde::Deserialize;

use super::engine::{Decision, Policy, Reach};
use super::grants::{Grant, Scope, Subject};
use super::principal::{Action, Principal, PrincipalKind, Resource};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PrincipalCase {
    kind: String,
    id: String,
    hub: String,
    unit: String,
    department: String,
    roles: Vec<String>,
}

impl PrincipalCase {
    fn principal(&self) -> Principal {
        Principal {
            kind: PrincipalKind::from_word(&self.kind).expect("a kind"),
            id: self.id.clone(),
            hub_id: self.hub.clone(),
            unit_id: self.unit.clone(),
            department: self.department.clone(),
            roles: self.roles.clone(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CameraCase {
    id: String,
    hub: String,
    unit: String,
    region: String,
    industry: String,
    quarantined: bool,
}

impl Default for CameraCase {
    fn default() -> Self {
        let [id, unit, region, industry] = ["c1", "u1", "360602", "11"].map(str::to_owned);
        Self { id, hub: String::new(), unit, region, industry, quarantined: false }
    }
}

impl CameraCase {
    fn resource(&self) -> Resource<'_> {
        Resource {
            id: &self.id,
            hub_id: &self.hub,
            unit_id: &self.unit,
            region_code: &self.region,
            industry: &self.industry,
            place_category: 1,
            quarantined: self.quarantined,
            revision: 1,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantCase {
    id: String,
    /// "user:zhang", "department:traffic", "hub:lower".
    to: String,
    #[serde(default)]
    cameras: Vec<String>,
    #[serde(default)]
    units: Vec<String>,
    #[serde(default)]
    regions: Vec<String>,
    #[serde(default)]
    industries: Vec<String>,
    actions: Vec<String>,
    purposes: Vec<String>,
    from: f64,
    until: f64,
}

impl GrantCase {
    fn grant(&self) -> Grant {
        let (kind, name) = self.to.split_once(':').expect("kind:name");
        Grant {
            id: self.id.clone(),
            subject: Subject::new(kind, name).expect("a subject"),
            scope: Scope {
                camera_ids: self.cameras.clone(),
                unit_ids: self.units.clone(),
                region_prefixes: self.regions.clone(),
                industries: self.industries.clone(),
            },
            actions: self.actions.clone(),
            purposes: self.purposes.clone(),
            not_before: self.from,
            not_after: self.until,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    principal: PrincipalCase,
    #[serde(default)]
    grants: Vec<GrantCase>,
    #[serde(default)]
    camera: CameraCase,
    action: String,
    #[serde(default)]
    purpose: String,
    /// "" when it is allowed.
    reason: String,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    grant: String,
    #[serde(default)]
    valid_until: Option<f64>,
}

const NOW: f64 = 1000.0;

#[test]
fn the_table_of_cases_holds() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/policy");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).expect("the folder") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let cases: Vec<Case> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in cases {
            let policy = Policy::new("here").expect("sound");
            policy.load_grants(case.grants.iter().map(GrantCase::grant).collect());
            let action = Action::from_word(&case.action).expect("an action");
            let decision =
                policy.decide(&case.principal.principal(), action, &case.camera.resource(), &case.purpose, NOW);
            let wanted = Decision {
                allowed: case.reason.is_empty(),
                reason: decision.reason,
                rules: case.rules,
                grant_id: case.grant,
                valid_until: case.valid_until.unwrap_or(f64::INFINITY),
            };
            assert_eq!((&decision, decision.reason), (&wanted, case.reason.as_str()), "{}", case.name);
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen} cases");
}

fn user(id: &str, roles: &[&str]) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        id: id.into(),
        hub_id: String::new(),
        unit_id: String::new(),
        department: "traffic".into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    }
}

fn grant(id: &str, subject: Subject, scope: Scope) -> Grant {
    Grant {
        id: id.into(),
        subject,
        scope,
        actions: vec!["view_live".into()],
        purposes: vec!["patrol".into()],
        not_before: 0.0,
        not_after: 2000.0,
    }
}

fn region(prefix: &str) -> Scope {
    Scope { region_prefixes: vec![prefix.into()], ..Scope::default() }
}

#[test]
fn a_kept_decision_ends_with_its_grant_its_time_and_its_camera() {
    let policy = Policy::new("here").expect("sound");
    let (zhang, mut case) = (user("zhang", &["operator"]), CameraCase::default());
    let ask = |case: &CameraCase, revision: u64, now: f64| {
        let camera = Resource { revision, ..case.resource() };
        policy.decide(&zhang, Action::ViewLive, &camera, "patrol", now).reason
    };
    assert_eq!(ask(&case, 1, NOW), "NO_GRANT");
    policy.apply_grant(Grant { not_before: 1500.0, ..grant("g", Subject::User("zhang".into()), region("3606")) });
    assert_eq!(ask(&case, 1, NOW), "NO_GRANT");
    assert_eq!(ask(&case, 1, 1500.0), "", "a refusal stands until the grant begins");
    assert_eq!(ask(&case, 1, NOW), "NO_GRANT", "and an earlier time is an earlier time");
    assert_eq!(ask(&case, 1, 1999.9995), "");
    assert_eq!(ask(&case, 1, 2000.0), "NO_GRANT");
    assert_eq!(ask(&case, 1, 1600.0), "");
    case.unit = "another".into();
    case.quarantined = true;
    assert_eq!(ask(&case, 2, 1600.0), "CAMERA_QUARANTINED");
    case.quarantined = false;
    assert_eq!(ask(&case, 3, 1600.0), "");
    assert!(policy.grant("g").is_some());
    assert_eq!(policy.remove_grant("g").map(|grant| grant.id.clone()).as_deref(), Some("g"));
    assert!(policy.remove_grant("g").is_none());
    assert_eq!(ask(&case, 3, 1600.0), "NO_GRANT");
}

#[test]
fn the_narrowest_grant_that_names_the_purpose_carries_it_among_very_many() {
    let policy = Policy::new("here").expect("sound");
    let zhang = user("zhang", &["operator"]);
    for number in 0..200 {
        let scope = Scope { camera_ids: vec!["c1".into(), "c1".into()], ..Scope::default() };
        let other = grant(&format!("a{number}"), Subject::User("zhang".into()), scope);
        policy.apply_grant(Grant { purposes: vec!["traffic".into()], ..other });
    }
    policy.apply_grant(grant("wide", Subject::User("zhang".into()), region("36")));
    policy.apply_grant(grant("narrow", Subject::Department("traffic".into()), region("360602")));
    let case = CameraCase::default();
    let decision = policy.decide(&zhang, Action::ViewLive, &case.resource(), "patrol", NOW);
    assert_eq!((decision.allowed, decision.grant_id.as_str()), (true, "narrow"));
    let decision = policy.decide(&zhang, Action::ViewLive, &case.resource(), "safety", NOW);
    assert_eq!(decision.reason, "PURPOSE_NOT_GRANTED");
}

#[test]
fn nobody_grants_to_themselves() {
    let policy = Policy::new("here").expect("sound");
    let reason =
        |principal: &Principal, user: &str, department: &str| policy.may_grant(principal, user, department).reason;
    for role in ["approver", "supervisor", "administrator"] {
        let chief = user("chief", &[role]);
        assert_eq!(reason(&chief, "zhang", ""), "");
        assert_eq!(reason(&chief, "", "fire"), "");
        assert_eq!(reason(&chief, "chief", ""), "GRANT_TO_ONESELF");
        assert_eq!(reason(&chief, "", "traffic"), "GRANT_TO_ONESELF");
        assert_eq!(reason(&chief, "chief", "fire"), "GRANT_TO_ONESELF");
        assert_eq!(reason(&chief, "zhang", "traffic"), "GRANT_TO_ONESELF");
        let foreign = Principal { hub_id: "elsewhere".into(), ..chief };
        assert_eq!(reason(&foreign, "zhang", ""), "ROLE_MAY_NOT_GRANT");
    }
    for role in ["operator", "unit", "auditor", ""] {
        assert_eq!(reason(&user("li", &[role]), "zhang", ""), "ROLE_MAY_NOT_GRANT");
    }
    let of = |kind, id: &str| Principal { kind, id: id.into(), ..user("", &[]) };
    assert_eq!(reason(&of(PrincipalKind::System, ""), "zhang", ""), "");
    assert_eq!(reason(&of(PrincipalKind::Hub, "here"), "zhang", ""), "ROLE_MAY_NOT_GRANT");
    assert_eq!(reason(&of(PrincipalKind::Unit, "u1"), "zhang", ""), "ROLE_MAY_NOT_GRANT");
    assert_eq!(policy.may_grant(&user("chief", &["approver"]), "chief", "").rules, ["no-grant-to-oneself"]);
}

/// What the policies mean, written down a second time without Cedar and without an index.
fn oracle(principal: &Principal, grants: &[Grant], action: Action, camera: &CameraCase, purpose: &str) -> &'static str {
    let any = |list: &[String], value: &str| list.iter().any(|entry| entry == value);
    let or_here = |hub: &str| if hub.is_empty() { "here".to_owned() } else { hub.to_owned() };
    let hub = if principal.kind == PrincipalKind::Hub { principal.id.clone() } else { or_here(&principal.hub_id) };
    let (local, is) = (hub == "here", |role: &str| principal.has_role(role));
    let is_user = principal.kind == PrincipalKind::User;
    let open = grants.iter().filter(|grant| {
        let named = match &grant.subject {
            Subject::User(name) => is_user && local && *name == principal.id,
            Subject::Department(name) => is_user && local && !name.is_empty() && *name == principal.department,
            Subject::Hub(id) if principal.kind == PrincipalKind::Hub => !local && *id == principal.id,
            Subject::Hub(id) => is_user && !local && *id == hub,
        };
        let scope = &grant.scope;
        let lists = [&scope.camera_ids, &scope.unit_ids, &scope.region_prefixes, &scope.industries];
        let given = if action == Action::List { !grant.actions.is_empty() } else { any(&grant.actions, action.word()) };
        named
            && given
            && (grant.not_before..grant.not_after).contains(&NOW)
            && !lists.iter().all(|list| list.is_empty())
            && (scope.camera_ids.is_empty() || any(&scope.camera_ids, &camera.id))
            && (scope.unit_ids.is_empty() || any(&scope.unit_ids, &camera.unit))
            && (scope.region_prefixes.is_empty()
                || scope.region_prefixes.iter().any(|p| camera.region.starts_with(p.as_str())))
            && (scope.industries.is_empty() || any(&scope.industries, &camera.industry))
    });
    let open: Vec<&Grant> = open.collect();
    let runs = ["administrator", "supervisor", "approver", "auditor"].into_iter().any(is);
    let own = |unit: &str| unit == camera.unit && hub == or_here(&camera.hub);
    let sees = match principal.kind {
        PrincipalKind::User => is("operator"),
        PrincipalKind::Hub => !local,
        _ => false,
    };
    match action {
        Action::List => {
            let by_role = principal.kind == PrincipalKind::System || (is_user && local && runs);
            let by_unit = (principal.kind == PrincipalKind::Unit && own(&principal.unit_id))
                || (is_user && is("unit") && !principal.unit_id.is_empty() && own(&principal.unit_id));
            match () {
                () if by_role || by_unit || (sees && !open.is_empty()) => "",
                () if open.is_empty() => "NO_GRANT",
                () => "POLICY_FORBIDS",
            }
        }
        Action::Publish => match () {
            () if camera.quarantined => "CAMERA_QUARANTINED",
            () if purpose != "publish" => "PURPOSE_NOT_GRANTED",
            () if principal.kind == PrincipalKind::Unit && local && own(&principal.unit_id) => "",
            () if principal.kind == PrincipalKind::Hub && or_here(&camera.hub) != "here" => "",
            () => "POLICY_FORBIDS",
        },
        Action::ViewLive | Action::Snapshot => match () {
            () if principal.kind != PrincipalKind::Hub && (!sees || runs) => "ROLE_SEES_NO_VIDEO",
            () if camera.quarantined => "CAMERA_QUARANTINED",
            () if open.is_empty() => "NO_GRANT",
            () if !open.iter().any(|grant| any(&grant.purposes, purpose)) => "PURPOSE_NOT_GRANTED",
            () if sees => "",
            () => "POLICY_FORBIDS",
        },
    }
}

fn one(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(words).prop_map(str::to_owned)
}

fn some(words: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(words, 0..=words.len().min(2))
        .prop_map(|words| words.iter().map(|word| (*word).to_owned()).collect())
}

prop_compose! {
    fn any_principal()(kind in proptest::sample::select(&[PrincipalKind::User, PrincipalKind::User, PrincipalKind::User, PrincipalKind::Unit, PrincipalKind::Hub, PrincipalKind::System][..]),
        id in one(&["zhang", "li", "lower", "here"]), hub_id in one(&["", "", "here", "lower"]), unit_id in one(&["u1", "u2"]),
        department in one(&["", "traffic"]), roles in some(&["operator", "operator", "unit", "administrator", "auditor"])) -> Principal {
        Principal { kind, id, hub_id, unit_id, department, roles }
    }
}

prop_compose! {
    fn any_grant()(id in one(&["g1", "g2", "g3", "g4"]), subject in one(&["user:zhang", "user:zhang", "user:lower", "department:traffic", "department:", "hub:lower", "hub:here"]),
        camera_ids in some(&["c1", "c2"]), unit_ids in some(&["u1", "u2"]), region_prefixes in some(&["36", "360602", "", "11"]),
        industries in some(&["11", "12"]), actions in some(&["list", "view_live", "snapshot"]), purposes in some(&["patrol", "traffic"]),
        not_before in proptest::sample::select(&[0.0, NOW, NOW + 1.0][..]), not_after in proptest::sample::select(&[NOW, NOW + 5.0, f64::INFINITY][..])) -> Grant {
        let (kind, name) = subject.split_once(':').expect("kind:name");
        let scope = Scope { camera_ids, unit_ids, region_prefixes, industries };
        Grant { id, subject: Subject::new(kind, name).expect("a subject"), scope, actions, purposes, not_before, not_after }
    }
}

prop_compose! {
    fn any_camera()(id in one(&["c1", "c2"]), hub in one(&["", "", "here", "lower"]), unit in one(&["u1", "u2"]),
        region in one(&["360602", "360681", "110101"]), industry in one(&["11", "12"]), quarantined in proptest::bool::weighted(0.2)) -> CameraCase {
        CameraCase { id, hub, unit, region, industry, quarantined }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]
    #[test]
    fn policy_agrees_with_its_oracle(principal in any_principal(), grants in proptest::collection::vec(any_grant(), 0..6), camera in any_camera(),
        action in proptest::sample::select(&Action::ALL[..]), purpose in one(&["patrol", "traffic", "publish", ""])) {
        thread_local! {
            static POLICY: Policy = Policy::new("here").expect("sound");
        }
        let mut grants = grants;
        grants.reverse();
        grants.sort_by(|one, other| one.id.cmp(&other.id));
        grants.dedup_by(|one, other| one.id == other.id);
        let (decision, reach) = POLICY.with(|policy| {
            policy.load_grants(grants.clone());
            (policy.decide(&principal, action, &camera.resource(), &purpose, NOW), policy.reach(&principal, NOW))
        });
        let wanted = oracle(&principal, &grants, action, &camera, &purpose);
        prop_assert_eq!((decision.reason, decision.allowed), (wanted, wanted.is_empty()));
        prop_assert!(decision.valid_until > NOW);
        prop_assert_eq!(decision.allowed, decision.allowed && !decision.rules.is_empty());
        if action == Action::List && decision.allowed && let Reach::Scopes(scopes) = reach {
            let any = |list: &[String], value: &str| list.is_empty() || list.iter().any(|entry| entry == value);
            prop_assert!(scopes.iter().any(|scope| any(&scope.camera_ids, &camera.id) && any(&scope.unit_ids, &camera.unit)
                && any(&scope.industries, &camera.industry)
                && (scope.region_prefixes.is_empty() || scope.region_prefixes.iter().any(|prefix| camera.region.starts_with(prefix.as_str())))));
        }
    }
}
