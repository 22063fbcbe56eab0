//! How cameras are asked for: a filter, the scopes it may search, and pages in order of id.

use std::sync::Arc;

use super::block::{BLOCK, Needle};
use super::index::{Index, Slots};
use super::row::{Row, State};
use super::snapshot::{HALF_CELL_DEGREES, Snapshot, middle};
use super::states::StateLog;

/// A place and how far around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circle {
    /// WGS-84 degrees.
    pub latitude: f64,
    pub longitude: f64,
    pub radius_m: f64,
}

/// All given conditions hold together; within a list any entry will do; an empty one asks nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub region_prefix: String,
    pub unit_ids: Vec<String>,
    pub industries: Vec<String>,
    pub place_categories: Vec<u8>,
    pub states: Vec<State>,
    /// Part of the name, the id, or pinyin initials, in any case.
    pub text: String,
    pub within: Option<Circle>,
}

/// Within a list any entry will do; lists given together narrow each other; no list covers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub camera_ids: Vec<String>,
    pub unit_ids: Vec<String>,
    pub region_prefixes: Vec<String>,
    pub industries: Vec<String>,
}

/// Where a query may look at all.
#[derive(Clone, Debug)]
pub enum Candidates {
    All,
    /// The union of the scopes.
    Scopes(Vec<Scope>),
}

/// Cameras in order of id, read from one snapshot.
#[derive(Clone, Debug)]
pub struct Page {
    pub rows: Vec<Row>,
    /// The id to go on from; None when this was the last page.
    pub next_after: Option<String>,
    /// All candidates that match.
    pub total: usize,
    pub epoch: Arc<str>,
    pub revision: u64,
}

/// A set that may be everything.
#[derive(Clone)]
pub enum Selection {
    Everything,
    Only(Slots),
}

impl Selection {
    pub fn contains(&self, slot: u32) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(slots) => slots.contains(slot),
        }
    }

    fn narrow(&mut self, other: Slots) {
        match self {
            Self::Everything => *self = Self::Only(other),
            Self::Only(slots) => slots.narrow(&other),
        }
    }

    /// Keeps the slots that `wanted` holds for.
    fn retain(&mut self, snapshot: &Snapshot, wanted: impl FnMut(u32) -> bool) {
        if matches!(self, Self::Everything) {
            *self = Self::Only(snapshot.order.iter().collect());
        }
        if let Self::Only(slots) = self {
            slots.retain(wanted);
        }
    }

    pub fn len(&self, snapshot: &Snapshot) -> usize {
        match self {
            Self::Everything => snapshot.len,
            Self::Only(slots) => slots.len(),
        }
    }
}

/// The slots of every candidate that the filter holds for.
pub fn select(
    snapshot: &Snapshot,
    states: &dyn Fn(u32, u8) -> State,
    candidates: &Candidates,
    filter: &Filter,
) -> Selection {
    let mut found = match candidates {
        Candidates::All => Selection::Everything,
        Candidates::Scopes(scopes) => {
            let mut reach = Slots::default();
            for scope in scopes {
                if let Selection::Only(slots) = in_scope(snapshot, scope) {
                    reach.unite(&slots);
                }
            }
            Selection::Only(reach)
        }
    };
    if !filter.region_prefix.is_empty() {
        found.narrow(with_prefix(&snapshot.regions, std::slice::from_ref(&filter.region_prefix)));
    }
    if !filter.unit_ids.is_empty() {
        found.narrow(any_of(&snapshot.units, &filter.unit_ids));
    }
    if !filter.industries.is_empty() {
        found.narrow(any_of(&snapshot.industries, &filter.industries));
    }
    if !filter.place_categories.is_empty() {
        let places = filter.place_categories.iter().flat_map(|place| snapshot.places.slots_of(place));
        found.narrow(places.copied().collect());
    }
    if let Some(circle) = &filter.within {
        found.narrow(within(snapshot, circle));
    }
    if let Some(needle) = Needle::new(&filter.text) {
        let mut block_number = usize::MAX;
        let mut block_may_match = false;
        found.retain(snapshot, |slot| {
            let Some((block, place)) = snapshot.row(slot) else { return false };
            if std::mem::replace(&mut block_number, slot as usize / BLOCK) != slot as usize / BLOCK {
                block_may_match = block.may_match(&needle);
            }
            block_may_match && block.matches(place, &needle)
        });
    }
    if !filter.states.is_empty() {
        found.retain(snapshot, |slot| {
            snapshot.fixed(slot).is_some_and(|fixed| {
                let state = if fixed.quarantined { State::Quarantined } else { states(slot, fixed.generation) };
                filter.states.contains(&state)
            })
        });
    }
    found
}

fn any_of(index: &Index<Arc<str>>, values: &[String]) -> Slots {
    values.iter().flat_map(|value| index.slots_of(value.as_str())).copied().collect()
}

fn with_prefix(index: &Index<Arc<str>>, prefixes: &[String]) -> Slots {
    let wanted = index.iter().filter(|(value, _)| prefixes.iter().any(|prefix| value.starts_with(prefix.as_str())));
    wanted.flat_map(|(_, slots)| slots).copied().collect()
}

fn in_scope(snapshot: &Snapshot, scope: &Scope) -> Selection {
    let mut found = Selection::Everything;
    if !scope.camera_ids.is_empty() {
        found.narrow(scope.camera_ids.iter().filter_map(|id| snapshot.find(id)).collect());
    }
    if !scope.unit_ids.is_empty() {
        found.narrow(any_of(&snapshot.units, &scope.unit_ids));
    }
    if !scope.region_prefixes.is_empty() {
        found.narrow(with_prefix(&snapshot.regions, &scope.region_prefixes));
    }
    if !scope.industries.is_empty() {
        found.narrow(any_of(&snapshot.industries, &scope.industries));
    }
    found
}

const EARTH_RADIUS_M: f64 = 6_371_008.8;

fn within(snapshot: &Snapshot, circle: &Circle) -> Slots {
    let mut found = Slots::default();
    if !(circle.radius_m >= 0.0 && circle.latitude.abs() <= 90.0 && circle.longitude.abs() <= 180.0) {
        return found;
    }
    let angle = circle.radius_m / EARTH_RADIUS_M;
    let high = angle.to_degrees() + HALF_CELL_DEGREES;
    // How far east and west the circle reaches; near a pole, all the way around.
    let reach = angle.min(std::f64::consts::FRAC_PI_2).sin() / circle.latitude.to_radians().cos();
    let around = circle.latitude.abs() + angle.to_degrees() >= 90.0 || reach >= 1.0 || reach.is_nan();
    let wide = if around { 360.0 } else { reach.asin().to_degrees() + HALF_CELL_DEGREES };
    for (cell, slots) in snapshot.cells.iter() {
        let Some((latitude, longitude)) = middle(*cell) else { continue };
        let east = (longitude - circle.longitude).abs();
        if (latitude - circle.latitude).abs() > high || east.min(360.0 - east) > wide {
            continue;
        }
        for slot in slots {
            let near = snapshot.fixed(*slot).is_some_and(|fixed| {
                distance_m(circle.latitude, circle.longitude, fixed.latitude, fixed.longitude) <= circle.radius_m
            });
            if near {
                found.insert(*slot);
            }
        }
    }
    found
}

/// Along the great circle (haversine).
fn distance_m(latitude: f64, longitude: f64, other_latitude: f64, other_longitude: f64) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let chord = half(latitude, other_latitude)
        + latitude.to_radians().cos() * other_latitude.to_radians().cos() * half(longitude, other_longitude);
    2.0 * EARTH_RADIUS_M * chord.min(1.0).sqrt().asin()
}

/// Rows refused by `allowed` that one page looks past, at least: a page is short rather than slow.
const MIN_JUDGED: usize = 256;

/// One page of a selection.
pub fn page(
    snapshot: &Arc<Snapshot>,
    states: &parking_lot::RwLock<StateLog>,
    selection: &Selection,
    after: &str,
    limit: usize,
    allowed: &mut dyn FnMut(&Row) -> bool,
) -> Page {
    let limit = limit.max(1);
    let most = limit.saturating_mul(4).max(MIN_JUDGED);
    let start = match snapshot.order.find(after, |slot| snapshot.id(slot)) {
        Ok((run, place)) => (run, place + 1),
        Err(place) => place,
    };
    let mut rows = Vec::with_capacity(limit.min(1024));
    let mut last = 0;
    let mut next_after = None;
    let found = snapshot.order.from(start).filter(|slot| selection.contains(*slot));
    for (judged, slot) in found.enumerate() {
        if rows.len() >= limit || judged >= most {
            next_after = Some(snapshot.id(last).to_owned());
            break;
        }
        last = slot;
        // The states' lock is not held while policy judges.
        let row = Row::new(snapshot, slot, &states.read());
        rows.extend(row.filter(|row| allowed(row)));
    }
    Page {
        rows,
        next_after,
        total: selection.len(snapshot),
        epoch: snapshot.epoch.clone(),
        revision: snapshot.revision,
    }
}
