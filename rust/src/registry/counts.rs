//! How many cameras there are, by what they have in common, and how they are: a tree's branches without its leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::index::Slots;
use super::query::{Selection, select};
use super::row::State;
use super::snapshot::Snapshot;
use super::states::StateLog;
use super::{Candidates, Filter};

/// Groups told at most; the rest is a number.
pub const MOST_GROUPS: usize = 10_000;
const STATES: usize = State::ALL.len();

/// What the cameras of one group share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// All in one.
    None,
    /// The region code, or so many of its first letters.
    Region(usize),
    Unit,
    Industry,
}

/// The cameras of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub key: String,
    /// The least id among them.
    pub first: String,
    /// By the order of `State::ALL`; without the stale ones.
    pub states: [u64; STATES],
    pub stale: u64,
}

impl Count {
    pub fn cameras(&self) -> u64 {
        self.states.iter().sum::<u64>() + self.stale
    }

    fn add(&mut self, other: Count) {
        if self.first.is_empty() || (!other.first.is_empty() && other.first < self.first) {
            self.first = other.first;
        }
        self.states.iter_mut().zip(other.states).for_each(|(sum, more)| *sum += more);
        self.stale += other.stale;
    }
}

/// In order of key, of one snapshot.
#[derive(Clone, Debug)]
pub struct Counts {
    pub groups: Vec<Count>,
    /// Groups beyond `MOST_GROUPS`.
    pub left_out: usize,
    /// Of all groups, those left out too.
    pub total: Count,
    pub epoch: Arc<str>,
    pub revision: u64,
}

/// The cameras of one code, while they are counted.
#[derive(Clone, Copy)]
struct Tally {
    first: u32,
    states: [u64; STATES],
    stale: u64,
}

/// Counts the candidates that the filter holds for. `stale`: ids of cameras whose link is down.
pub fn count(
    snapshot: &Snapshot,
    log: &StateLog,
    candidates: &Candidates,
    filter: &Filter,
    grouping: Grouping,
    stale: &[String],
) -> Counts {
    let selection = select(snapshot, &|slot, generation| log.state(slot, generation), candidates, filter);
    let stale: Slots = stale.iter().filter_map(|id| snapshot.find(id)).collect();
    let tallies = tally(snapshot, log, &selection, grouping, &stale);
    let mut groups: BTreeMap<String, Count> = BTreeMap::new();
    let mut total = Count::default();
    for (code, tally) in (0u32..).zip(tallies) {
        let Some(tally) = tally else { continue };
        let value = match grouping {
            Grouping::None => None,
            Grouping::Region(letters) => {
                snapshot.regions.value(code).map(|value| value.get(..letters).unwrap_or(value))
            }
            Grouping::Unit => snapshot.units.value(code).map(|value| &**value),
            Grouping::Industry => snapshot.industries.value(code).map(|value| &**value),
        };
        let key = value.unwrap_or_default().to_owned();
        let first = snapshot.id(tally.first).to_owned();
        let found = Count { key: key.clone(), first, states: tally.states, stale: tally.stale };
        total.add(found.clone());
        groups.entry(key.clone()).or_insert_with(|| Count { key, ..Count::default() }).add(found);
    }
    let left_out = groups.len().saturating_sub(MOST_GROUPS);
    Counts {
        groups: groups.into_values().take(MOST_GROUPS).collect(),
        left_out,
        total,
        epoch: snapshot.epoch.clone(),
        revision: snapshot.revision,
    }
}

/// By the code that the grouping's index gave; in order of id, so that the first of a group has its least.
fn tally(
    snapshot: &Snapshot,
    log: &StateLog,
    selection: &Selection,
    grouping: Grouping,
    stale: &Slots,
) -> Vec<Option<Tally>> {
    let mut tallies: Vec<Option<Tally>> = Vec::new();
    for slot in snapshot.order.iter().filter(|slot| selection.contains(*slot)) {
        let Some(fixed) = snapshot.fixed(slot) else { continue };
        let code = match grouping {
            Grouping::None => 0,
            Grouping::Region(_) => fixed.codes.region,
            Grouping::Unit => fixed.codes.unit,
            Grouping::Industry => fixed.codes.industry,
        } as usize;
        if code >= tallies.len() {
            tallies.resize(code + 1, None);
        }
        let Some(place) = tallies.get_mut(code) else { continue };
        let tally = place.get_or_insert(Tally { first: slot, states: [0; STATES], stale: 0 });
        if stale.contains(slot) {
            tally.stale += 1;
            continue;
        }
        let state = if fixed.quarantined { State::Quarantined } else { log.state(slot, fixed.generation) };
        if let Some(sum) = tally.states.get_mut(usize::from(state.number()) - 1) {
            *sum += 1;
        }
    }
    tallies
}

#[cfg(test)]
mod tests {
    use super::super::cameras::tests::{ids, loaded, named};
    use super::super::query::Scope;
    use super::*;

    /// (key, cameras, online, stale) of each group.
    fn plain(counts: &Counts) -> Vec<(&str, u64, u64, u64)> {
        counts.groups.iter().map(|one| (one.key.as_str(), one.cameras(), one.states[1], one.stale)).collect()
    }

    #[test]
    fn groups_hold_what_a_list_of_them_would() {
        let registry = loaded(200);
        for number in 0..200 {
            let state = if number % 3 == 0 { State::Online } else { State::Offline };
            registry.set_state(&named(number).id, state, "", 1.0);
        }
        for (grouping, field) in
            [(Grouping::Region(6), 0), (Grouping::Region(2), 1), (Grouping::Unit, 2), (Grouping::Industry, 3)]
        {
            let counts = registry.count(&Candidates::All, &Filter::default(), grouping, &[]);
            assert_eq!(counts.groups.iter().map(Count::cameras).sum::<u64>(), 200);
            assert!(counts.groups.is_sorted_by(|one, other| one.key < other.key));
            for group in &counts.groups {
                let key = vec![group.key.clone()];
                let filter = match field {
                    0 | 1 => Filter { region_prefix: group.key.clone(), ..Filter::default() },
                    2 => Filter { unit_ids: key, ..Filter::default() },
                    _ => Filter { industries: key, ..Filter::default() },
                };
                let listed = ids(&registry, &Candidates::All, &filter, 50);
                assert_eq!(group.cameras(), listed.len() as u64, "{} of {grouping:?}", group.key);
                assert_eq!(Some(&group.first), listed.first());
                let online = Filter { states: vec![State::Online], ..filter.clone() };
                assert_eq!(group.states[1], ids(&registry, &Candidates::All, &online, 50).len() as u64);
            }
        }
    }

    #[test]
    fn only_what_the_scopes_cover_is_counted_and_stale_ones_apart() {
        let registry = loaded(40);
        for number in 0..40 {
            registry.set_state(&named(number).id, State::Online, "", 1.0);
        }
        let candidates = Candidates::Scopes(vec![Scope { region_prefixes: vec!["360602".into()], ..Scope::default() }]);
        // 4 and 8 are of the region, 5 is not.
        let stale = [named(4).id, named(8).id, named(5).id, "nobody".to_owned()];
        let counts = registry.count(&candidates, &Filter::default(), Grouping::Region(6), &stale);
        // 0 and 13·4 are quarantined; of the ten one in forty is.
        assert_eq!(plain(&counts), [("360602", 10, 7, 2)]);
        assert_eq!((counts.total.cameras(), counts.total.stale, counts.total.states[5]), (10, 2, 1));
        let none = registry.count(&Candidates::Scopes(Vec::new()), &Filter::default(), Grouping::None, &[]);
        assert!(none.groups.is_empty() && none.total.cameras() == 0);
    }

    #[test]
    fn groups_are_bounded_and_the_total_is_not() {
        let registry = loaded(0);
        let many = MOST_GROUPS as u32 + 7;
        let cameras =
            (0..many).map(|number| super::super::Camera { unit_id: format!("u{number:06}"), ..named(number) });
        registry.load("e1", 1, cameras.collect(), Vec::new()).expect("loads");
        let counts = registry.count(&Candidates::All, &Filter::default(), Grouping::Unit, &[]);
        assert_eq!((counts.groups.len(), counts.left_out), (MOST_GROUPS, 7));
        assert_eq!(counts.total.cameras(), u64::from(many));
        let none = registry.count(&Candidates::All, &Filter::default(), Grouping::None, &[]);
        assert_eq!((none.groups.len(), none.groups[0].cameras()), (1, u64::from(many)));
    }
}
