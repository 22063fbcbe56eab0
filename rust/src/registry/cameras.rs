//! The registry itself: one writer at a time copies what it changes and swaps the new snapshot in; readers keep the one
//! they have.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::block::Packed;
use super::changes::{Change, ChangeKind, ChangeLog};
use super::counts::{self, Counts, Grouping};
use super::index::Order;
use super::query::{self, Candidates, Filter, Page};
use super::row::{Camera, Row, State, Status};
use super::snapshot::Snapshot;
use super::states::{StateChange, StateLog};
use crate::error::{Error, ErrorKind, Result};

/// The registry of one hub. Locks are taken in the order writer, states, changes.
pub struct Registry {
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<Allocator>,
    states: RwLock<StateLog>,
    changes: RwLock<ChangeLog>,
    moved: watch::Sender<(u64, u64)>,
}

/// Gives out slots.
#[derive(Default)]
struct Allocator {
    used: u32,
    free: Vec<u32>,
}

impl Allocator {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        })
    }
}

impl Registry {
    /// `first_state_number`: where the state log starts to count; microseconds since 1970 keep a number of an earlier
    /// life of the process from being taken for one of this.
    pub fn new(first_state_number: u64) -> Self {
        Self {
            snapshot: ArcSwap::default(),
            writer: Mutex::default(),
            states: RwLock::new(StateLog::new(first_state_number)),
            changes: RwLock::new(ChangeLog::new("".into(), 0, Vec::new())),
            moved: watch::Sender::new((0, first_state_number)),
        }
    }

    /// Replaces everything; `changes`, in order of revision, refill the revision log. States of cameras that stay are kept.
    /// Errors: CAMERA_TOO_LONG (InvalidArgument), with nothing replaced.
    pub fn load(&self, epoch: &str, revision: u64, mut cameras: Vec<Camera>, changes: Vec<Change>) -> Result<()> {
        cameras.sort_by(|one, other| one.id.cmp(&other.id));
        // Of the same id the last one counts.
        cameras.reverse();
        cameras.dedup_by(|one, other| one.id == other.id);
        cameras.reverse();
        let mut next = Snapshot::new(epoch.into(), revision);
        for (slot, camera) in (0u32..).zip(&cameras) {
            next.put(slot, camera, &Packed::new(camera)?, 0);
        }
        let used = cameras.len() as u32;
        drop(cameras);
        let slots: Vec<u32> = (0..used).collect();
        next.order = Order::from_sorted(&slots);
        next.shrink_blocks(slots);
        next.shrink_indexes();

        let mut writer = self.writer.lock();
        *writer = Allocator { used, free: Vec::new() };
        {
            let mut states = self.states.write();
            let old = self.snapshot.load_full();
            let known: Vec<(u32, Status)> = (0..used)
                .filter_map(|slot| {
                    let former = old.find(next.id(slot))?;
                    Some((slot, states.status(former, old.fixed(former)?.generation)))
                })
                .collect();
            states.start_anew(used as usize);
            known.into_iter().for_each(|(slot, status)| states.restore(slot, status));
            self.snapshot.store(Arc::new(next));
            self.moved.send_modify(|moved| moved.1 = states.number());
        }
        *self.changes.write() = ChangeLog::new(epoch.into(), revision, changes);
        self.moved.send_modify(|moved| moved.0 = revision);
        Ok(())
    }

    /// Applies one committed change: readers see all of it or nothing. Of the same id the last upsert counts, and a removal
    /// more than an upsert. Errors, with nothing applied: REVISION_WENT_BACK (Internal), CAMERA_TOO_LONG (InvalidArgument).
    pub fn apply(&self, revision: u64, upserts: Vec<Camera>, removed: &[String]) -> Result<()> {
        let packed: Vec<Packed> = upserts.iter().map(Packed::new).collect::<Result<_>>()?;
        let mut writer = self.writer.lock();
        let current = self.snapshot.load_full();
        if revision < current.revision {
            return Err(Error::new(
                ErrorKind::Internal,
                "REVISION_WENT_BACK",
                format!("revision {revision} was applied after {}", current.revision),
            ));
        }
        let mut next = Snapshot::clone(&current);
        next.revision = revision;
        let mut log = Vec::with_capacity(upserts.len() + removed.len());
        let mut touched = Vec::with_capacity(upserts.len());
        for (camera, packed) in upserts.iter().zip(&packed) {
            let slot = match next.order.find(&camera.id, |slot| next.id(slot)) {
                Ok(place) => {
                    let slot = next.order.slot(place).unwrap_or_default();
                    let generation = next.fixed(slot).map_or(0, |fixed| fixed.generation);
                    next.put(slot, camera, packed, generation);
                    slot
                }
                Err(place) => {
                    let slot = writer.take();
                    next.put(slot, camera, packed, self.states.read().generation(slot));
                    next.order.insert(place, slot);
                    slot
                }
            };
            touched.push(slot);
            // A row's own revision, when it is one of this change: a watcher must not miss what is older.
            let own = Some(camera.revision).filter(|own| (current.revision + 1..=revision).contains(own));
            let revision = own.unwrap_or(revision);
            log.push(Change { revision, kind: ChangeKind::Upserted, id: camera.id.clone() });
        }
        log.sort_by_key(|change| change.revision);
        let mut freed = Vec::new();
        for id in removed {
            if let Some(slot) = next.find(id) {
                next.remove(slot);
                freed.push(slot);
                log.push(Change { revision, kind: ChangeKind::Removed, id: id.clone() });
            }
        }
        touched.sort_unstable();
        next.shrink_blocks(touched);
        {
            let mut states = self.states.write();
            states.grow(writer.used as usize);
            freed.iter().for_each(|slot| states.clear(*slot));
            self.snapshot.store(Arc::new(next));
        }
        writer.free.extend(freed);
        self.changes.write().extend(revision, log);
        self.moved.send_modify(|moved| moved.0 = revision);
        Ok(())
    }

    pub fn get(&self, id: &str) -> Option<Row> {
        let snapshot = self.snapshot.load_full();
        let slot = snapshot.find(id)?;
        Row::new(&snapshot, slot, &self.states.read())
    }

    /// One page in order of id, after the id `after` ("" for the first). `allowed` is asked for the rows of the page
    /// only; a page may come out short of `limit` when it refuses many.
    pub fn page(
        &self,
        candidates: &Candidates,
        filter: &Filter,
        after: &str,
        limit: usize,
        allowed: &mut dyn FnMut(&Row) -> bool,
    ) -> Page {
        let snapshot = self.snapshot.load_full();
        let selection = {
            let states = self.states.read();
            query::select(&snapshot, &|slot, generation| states.state(slot, generation), candidates, filter)
        };
        query::page(&snapshot, &self.states, &selection, after, limit, allowed)
    }

    /// How many there are in each group. `stale`: ids of cameras whose link is down.
    pub fn count(&self, candidates: &Candidates, filter: &Filter, grouping: Grouping, stale: &[String]) -> Counts {
        let snapshot = self.snapshot.load_full();
        counts::count(&snapshot, &self.states.read(), candidates, filter, grouping, stale)
    }

    /// (epoch, revision) of what readers see now.
    pub fn revision(&self) -> (Arc<str>, u64) {
        let snapshot = self.snapshot.load();
        (snapshot.epoch.clone(), snapshot.revision)
    }

    pub fn len(&self) -> usize {
        self.snapshot.load().len
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// (state, region code, industry, cameras), for the metric `vidhub_cameras`.
    pub fn camera_counts(&self) -> Vec<(State, Arc<str>, Arc<str>, usize)> {
        let snapshot = self.snapshot.load_full();
        let mut counts: HashMap<(State, u32, u32), usize> = HashMap::new();
        {
            let states = self.states.read();
            for (slot, fixed) in snapshot.order.iter().filter_map(|slot| Some((slot, snapshot.fixed(slot)?))) {
                let state = if fixed.quarantined { State::Quarantined } else { states.state(slot, fixed.generation) };
                *counts.entry((state, fixed.codes.region, fixed.codes.industry)).or_default() += 1;
            }
        }
        let mut counts: Vec<_> = counts
            .into_iter()
            .filter_map(|((state, region, industry), cameras)| {
                let region = snapshot.regions.value(region)?.clone();
                Some((state, region, snapshot.industries.value(industry)?.clone(), cameras))
            })
            .collect();
        counts.sort();
        counts
    }

    /// Changes after `revision`, about `limit` of them: one revision is never cut in two.
    /// Errors: REVISION_TOO_OLD (OutOfRange) past the log's end or of another epoch.
    pub fn changes_since(&self, epoch: &str, revision: u64, limit: usize) -> Result<Vec<Change>> {
        self.changes.read().since(epoch, revision, limit)
    }

    /// State changes after `number`, the newest of each camera; false when some of them are no longer kept, so that the
    /// reader must take every camera's state anew, and go on from the last of what is kept.
    pub fn states_since(&self, number: u64, limit: usize) -> (Vec<StateChange>, bool) {
        let states = self.states.read();
        let snapshot = self.snapshot.load();
        let (changes, complete) = states.since(number, limit);
        let changes = changes.into_iter().map(|entry| StateChange {
            number: entry.number,
            id: snapshot.id(entry.slot).to_owned(),
            state: entry.state,
            reason: entry.reason,
        });
        (changes.collect(), complete)
    }

    /// Notes how a camera is. Its number in the state log; None when nothing changed or the camera is unknown.
    pub fn set_state(&self, id: &str, state: State, reason: &str, time: f64) -> Option<u64> {
        let mut states = self.states.write();
        // Under the states' lock, so that the slot can't change hands meanwhile.
        let slot = self.snapshot.load().find(id)?;
        let number = states.set(slot, state, reason, time)?;
        self.moved.send_modify(|moved| moved.1 = number);
        Some(number)
    }

    /// Notes how cameras of other hubs than `here` are: (id, state, time, reason) each, in one go. What was news: (time, id,
    /// number in the state log, state, reason).
    pub fn set_foreign_states(
        &self,
        told: impl IntoIterator<Item = (String, State, f64, String)>,
        here: &str,
    ) -> Vec<(f64, String, u64, u8, String)> {
        let mut news = Vec::new();
        let mut states = self.states.write();
        // Under the states' lock, so that no slot changes hands meanwhile.
        let snapshot = self.snapshot.load();
        for (id, state, time, reason) in told {
            let Some(slot) = snapshot.find(&id) else { continue };
            let home = snapshot.fixed(slot).and_then(|fixed| snapshot.hubs.value(fixed.codes.hub));
            let is_foreign = home.is_some_and(|home| !home.is_empty() && **home != *here);
            if let Some(number) = is_foreign.then(|| states.set(slot, state, &reason, time)).flatten() {
                news.push((time, id, number, state.number(), reason));
            }
        }
        if let Some((_, _, number, ..)) = news.last() {
            self.moved.send_modify(|moved| moved.1 = *number);
        }
        news
    }

    /// Wakes when the revision or the state log moves: (revision, state number).
    pub fn subscribe(&self) -> watch::Receiver<(u64, u64)> {
        self.moved.subscribe()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::query::Circle;
    use super::super::row::CameraStream;
    use super::*;
    use crate::media::Profile;

    fn camera(number: u32, name: &str) -> Camera {
        let stream = |profile, url: String, password: &str| CameraStream {
            profile,
            url,
            username: "admin".into(),
            password: password.into(),
            transport: 1,
        };
        Camera {
            id: format!("{:020}", 36_060_200_001_320_000_000u128 + u128::from(number)),
            name: name.into(),
            unit_id: format!("u{}", number % 5),
            region_code: ["360602", "360603", "360681", "110101"][number as usize % 4].into(),
            industry: ["11", "12", "00"][number as usize % 3].into(),
            place_category: (number % 4) as u8,
            latitude: 28.2 + f64::from(number % 40) * 0.004,
            longitude: 117.0 + f64::from(number % 37) * 0.004,
            quarantined: number.is_multiple_of(13),
            revision: 0,
            streams: vec![
                stream(Profile::Main, format!("rtsp://10.0.0.{number}:554/主/101"), "s3cret"),
                stream(Profile::Sub, format!("rtsp://10.0.0.{number}:554/主/102"), "s3cret"),
                stream(Profile::Sub, String::new(), "other"),
            ],
            home_hub_id: if number.is_multiple_of(7) { "lower".into() } else { String::new() },
        }
    }

    pub const NAMES: [&str; 6] =
        ["胜利路与交通路口 A", "月湖公园停车场", "Station EAST 东站", "长行小区", "İstanbul ẞ", ""];

    pub fn named(number: u32) -> Camera {
        camera(number, NAMES[number as usize % NAMES.len()])
    }

    pub fn ids(registry: &Registry, candidates: &Candidates, filter: &Filter, limit: usize) -> Vec<String> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let page = registry.page(candidates, filter, &after, limit, &mut |_| true);
            assert!(page.rows.len() <= limit);
            all.extend(page.rows.iter().map(|row| row.id().to_owned()));
            match page.next_after {
                Some(next) => after = next,
                None => {
                    assert_eq!(page.total, all.len());
                    return all;
                }
            }
        }
    }

    pub fn loaded(count: u32) -> Registry {
        let registry = Registry::new(1);
        registry.load("e", 1, (0..count).map(named).collect(), Vec::new()).expect("loads");
        registry
    }

    fn found(registry: &Registry, filter: Filter) -> usize {
        ids(registry, &Candidates::All, &filter, 7).len()
    }

    #[test]
    fn a_row_comes_back_as_it_went_in() {
        let registry = loaded(60);
        for number in 0..60 {
            let wanted = named(number);
            let row = registry.get(&wanted.id).expect("there");
            assert_eq!(row.camera(), wanted);
            assert_eq!(row.profiles(), [Profile::Main, Profile::Sub, Profile::Sub]);
            assert_eq!(row.stream(Profile::Main).as_ref(), wanted.streams.first());
            let state = if wanted.quarantined { State::Quarantined } else { State::Unknown };
            assert_eq!(row.status().state, state);
            assert!(!format!("{row:?} {wanted:?}").contains("s3cret"));
        }
        assert!(registry.get("").is_none() && registry.get("x").is_none());
        let mut long = named(1);
        long.name = "长".repeat(5000);
        for outcome in [registry.apply(2, vec![long.clone()], &[]), registry.load("f", 1, vec![long], Vec::new())] {
            assert_eq!(outcome.expect_err("too long").reason(), "CAMERA_TOO_LONG");
        }
        assert_eq!(registry.revision(), ("e".into(), 1));
    }

    #[test]
    fn text_finds_names_ids_and_initials_in_any_case() {
        let registry = loaded(600);
        let by_text = |text: &str| found(&registry, Filter { text: text.into(), ..Filter::default() });
        for text in [
            "胜利路",
            "slly",
            "SLLYJTLK",
            "yhgy",
            "tjc",
            "tcc",
            "station east",
            "EAST 东",
            "  东站 ",
            "zxxq",
            "İST",
            "ẞ",
        ] {
            assert_eq!(by_text(text), 100, "{text}");
        }
        assert_eq!((by_text("交"), by_text("月湖公园交"), by_text("slx"), by_text("")), (100, 0, 0, 600));
        assert_eq!(by_text("36060200001320000123"), 1);
        assert_eq!(by_text(&"路".repeat(100_000)), 0);
    }

    #[test]
    fn a_circle_takes_what_is_inside_it() {
        let registry = Registry::new(1);
        let at = |number: u32, latitude, longitude| Camera { latitude, longitude, ..named(number) };
        let cameras = vec![
            at(1, 28.2, 117.0),
            at(2, 28.2, 117.009),
            at(3, 28.2089, 117.0),
            at(4, 28.21, 117.0),
            at(5, 0.0, 179.999),
            at(6, 0.0, -179.999),
            at(7, 90.0, 12.0),
            at(8, f64::NAN, 0.0),
            at(9, 1e9, 0.0),
        ];
        registry.load("e", 1, cameras, Vec::new()).expect("loads");
        let within = |latitude, longitude, radius_m| {
            found(&registry, Filter { within: Some(Circle { latitude, longitude, radius_m }), ..Filter::default() })
        };
        assert_eq!(within(28.2, 117.0, 1000.0), 3);
        assert_eq!(within(28.2, 117.0, 0.0), 1);
        assert_eq!(within(0.0, 180.0, 200.0), 2, "across the antimeridian");
        assert_eq!(within(89.999, -100.0, 200.0), 1, "over the pole");
        assert_eq!(within(28.2, 117.0, 3e7), 7);
        for bad in [f64::NAN, -1.0, f64::NEG_INFINITY] {
            assert_eq!(within(28.2, 117.0, bad), 0);
            assert_eq!(within(bad - 200.0, 117.0, 1000.0), 0);
        }
    }

    #[test]
    fn a_page_that_policy_refuses_is_short_and_goes_on() {
        let registry = loaded(2000);
        let mut asked = 0;
        let mut refuse = |_: &Row| {
            asked += 1;
            false
        };
        let page = registry.page(&Candidates::All, &Filter::default(), "", 10, &mut refuse);
        assert_eq!((page.rows.len(), page.total, asked), (0, 2000, 256));
        let page =
            registry.page(&Candidates::All, &Filter::default(), &page.next_after.expect("more"), 1, &mut |_| true);
        assert_eq!(page.rows.first().map(|row| row.id().to_owned()), Some(named(256).id));
    }

    #[test]
    fn states_survive_an_update_and_a_load_but_not_a_removal() {
        let registry = loaded(20);
        let id = named(1).id;
        let mut woken = registry.subscribe();
        assert_eq!(registry.set_state(&id, State::Online, "", 5.0), Some(3));
        assert!(woken.has_changed().expect("open"));
        assert_eq!(*woken.borrow_and_update(), (1, 3));
        assert_eq!(registry.set_state("nobody", State::Online, "", 5.0), None);
        let state = |id: &str| registry.get(id).map(|row| row.status().state);
        registry.apply(2, vec![camera(1, "moved")], &[]).expect("applies");
        assert_eq!(state(&id), Some(State::Online));
        registry.load("f", 9, (1..30).map(named).collect(), Vec::new()).expect("loads");
        assert_eq!(state(&id), Some(State::Online));
        let online = Filter { states: vec![State::Online], ..Filter::default() };
        assert_eq!(found(&registry, online), 1);
        registry.apply(10, Vec::new(), std::slice::from_ref(&id)).expect("applies");
        registry.apply(11, vec![camera(100, "takes the slot")], &[]).expect("applies");
        assert_eq!((state(&id), state(&camera(100, "").id)), (None, Some(State::Unknown)));
        assert!(registry.apply(10, Vec::new(), &[]).is_err());
        let counts: usize = registry.camera_counts().iter().map(|(.., cameras)| cameras).sum();
        assert_eq!(counts, registry.len());
        assert!(registry.camera_counts().iter().any(|(state, ..)| *state == State::Quarantined));
        let kinds: Vec<_> = registry.changes_since("f", 9, 9).expect("kept").iter().map(|change| change.kind).collect();
        assert_eq!(kinds, [ChangeKind::Removed, ChangeKind::Upserted]);
    }

    #[test]
    fn a_list_never_sees_half_a_batch() {
        let registry = Arc::new(loaded(0));
        let writer = registry.clone();
        let batches = std::thread::spawn(move || {
            for revision in 2..300u64 {
                let (unit, count) = (format!("b{revision}"), 50);
                let batch = (0..count).map(|number| {
                    let mut camera = named(number);
                    camera.unit_id.clone_from(&unit);
                    camera.revision = revision;
                    camera
                });
                writer.apply(revision, batch.collect(), &[]).expect("applies");
            }
        });
        let mut seen = 0;
        while !batches.is_finished() {
            let page = registry.page(&Candidates::All, &Filter::default(), "", 100, &mut |_| true);
            let whole = page
                .rows
                .iter()
                .all(|row| row.revision() == page.revision && row.unit_id() == format!("b{}", page.revision));
            assert!(whole && (page.rows.len() == 50 || page.revision == 1));
            seen += 1;
        }
        batches.join().expect("writes");
        assert!(seen > 0);
    }
}
