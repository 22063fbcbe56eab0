//! The same search written without any index, to hold the registry against.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::cameras::tests::{NAMES, ids, loaded, named};
use super::query::{Candidates, Filter, Scope};
use super::row::{Camera, State};

/// What a scope and a filter mean, written down a second time without any index.
fn holds(camera: &Camera, state: State, scopes: Option<&[Scope]>, filter: &Filter) -> bool {
    let any = |list: &[String], value: &str| list.is_empty() || list.iter().any(|entry| entry == value);
    let begins =
        |list: &[String]| list.is_empty() || list.iter().any(|prefix| camera.region_code.starts_with(prefix.as_str()));
    let covers = |scope: &Scope| {
        *scope != Scope::default()
            && any(&scope.camera_ids, &camera.id)
            && any(&scope.unit_ids, &camera.unit_id)
            && any(&scope.industries, &camera.industry)
            && begins(&scope.region_prefixes)
    };
    let state = if camera.quarantined { State::Quarantined } else { state };
    scopes.is_none_or(|scopes| scopes.iter().any(covers))
        && camera.region_code.starts_with(&filter.region_prefix)
        && any(&filter.unit_ids, &camera.unit_id)
        && any(&filter.industries, &camera.industry)
        && (filter.place_categories.is_empty() || filter.place_categories.contains(&camera.place_category))
        && (filter.states.is_empty() || filter.states.contains(&state))
        && (camera.name.contains(&filter.text) || camera.id.contains(&filter.text))
}

fn some(values: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(proptest::sample::select(values).prop_map(str::to_owned), 0..3)
}

prop_compose! {
    fn scope()(numbers in proptest::collection::vec(0u32..90, 0..3), unit_ids in some(&["u0", "u3", "none"]),
        region_prefixes in some(&["36", "360602", "11", "9"]), industries in some(&["11", "00"])) -> Scope {
        Scope { camera_ids: numbers.into_iter().map(|number| named(number).id).collect(), unit_ids, region_prefixes, industries }
    }
}

prop_compose! {
    fn filter()(region_prefix in proptest::sample::select(&["", "36", "360602", "4"][..]), unit_ids in some(&["u1", "u2"]),
        industries in some(&["11", "12"]), place_categories in proptest::collection::vec(0u8..6, 0..3),
        states in proptest::collection::vec(proptest::sample::select(&State::ALL[..]), 0..3),
        text in proptest::sample::select(&["", "路", "公园", "0001", "东站", "无"][..])) -> Filter {
        Filter { region_prefix: region_prefix.into(), unit_ids, industries, place_categories, states, text: text.into(), within: None }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn every_index_agrees_with_a_plain_search(
        batches in proptest::collection::vec((proptest::collection::vec((0u32..90, 0usize..6, 0u32..90), 0..20), proptest::collection::vec(0u32..90, 0..8)), 1..8),
        states in proptest::collection::vec((0u32..90, proptest::sample::select(&State::ALL[..5])), 0..40),
        scopes in proptest::option::of(proptest::collection::vec(scope(), 0..3)),
        filter in filter(),
        limit in 1usize..30,
    ) {
        let registry = loaded(30);
        let mut plain: BTreeMap<String, (Camera, State)> =
            (0..30).map(named).map(|camera| (camera.id.clone(), (camera, State::Unknown))).collect();
        let mut revision = 1;
        for (upserts, removed) in batches {
            revision += 1;
            // The row of one number with the properties of another: every index must move.
            let upserts: Vec<Camera> = upserts.into_iter().map(|(number, name, like)| {
                Camera { id: named(number).id, name: NAMES[name].into(), ..named(like) }
            }).collect();
            let removed: Vec<String> = removed.into_iter().map(|number| named(number).id).collect();
            registry.apply(revision, upserts.clone(), &removed).expect("applies");
            for camera in upserts {
                let state = plain.get(&camera.id).map_or(State::Unknown, |(_, state)| *state);
                plain.insert(camera.id.clone(), (camera, state));
            }
            removed.iter().for_each(|id| drop(plain.remove(id)));
        }
        for (number, state) in states {
            let id = named(number).id;
            registry.set_state(&id, state, "", 1.0);
            if let Some(entry) = plain.get_mut(&id) {
                entry.1 = state;
            }
        }
        let candidates = scopes.clone().map_or(Candidates::All, Candidates::Scopes);
        let wanted: Vec<String> = plain.values()
            .filter(|(camera, state)| holds(camera, *state, scopes.as_deref(), &filter))
            .map(|(camera, _)| camera.id.clone()).collect();
        prop_assert_eq!(ids(&registry, &candidates, &filter, limit), wanted);
        prop_assert_eq!(registry.len(), plain.len());
        for (camera, _) in plain.values() {
            prop_assert_eq!(&registry.get(&camera.id).expect("there").camera(), camera);
        }
    }
}
