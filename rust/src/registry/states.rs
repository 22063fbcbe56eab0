//! The state log: how each camera is, and the order in which that changed. Volatile: 20,000 cameras that go dark are no
//! transaction.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::row::{State, Status};

/// Entries kept, one for each camera at most.
pub const MAX_STATES: usize = 65_536;

/// Reasons repeat, so their texts are shared; past this many the memory of them starts again.
const MAX_REASONS: usize = 1024;
const MAX_REASON_CHARS: usize = 256;

/// One entry of the volatile state log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    pub number: u64,
    pub id: String,
    pub state: State,
    pub reason: Arc<str>,
}

/// The same before the slot's camera is looked up.
pub struct Entry {
    pub number: u64,
    pub slot: u32,
    pub state: State,
    pub reason: Arc<str>,
}

#[derive(Clone)]
struct Cell {
    reason: Arc<str>,
    time: f64,
    /// Of the camera's newest entry in the log; 0 while it has none.
    number: u64,
    state: State,
    generation: u8,
}

pub struct StateLog {
    /// By slot of the registry.
    cells: Vec<Cell>,
    /// (number, slot). An entry that is not its camera's newest is passed over.
    entries: VecDeque<(u64, u32)>,
    number: u64,
    /// Newest number that has gone from the log.
    floor: u64,
    first: u64,
    reasons: HashSet<Arc<str>>,
    none: Arc<str>,
}

impl StateLog {
    pub fn new(first: u64) -> Self {
        Self {
            cells: Vec::new(),
            entries: VecDeque::new(),
            number: first,
            floor: first,
            first,
            reasons: HashSet::new(),
            none: "".into(),
        }
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    /// Which use of the slot its cell is in.
    pub fn generation(&self, slot: u32) -> u8 {
        self.cells.get(slot as usize).map_or(0, |cell| cell.generation)
    }

    /// Makes cells for slots up to `slots`.
    pub fn grow(&mut self, slots: usize) {
        if slots > self.cells.len() {
            let empty = Cell { reason: self.none.clone(), time: 0.0, number: 0, state: State::Unknown, generation: 0 };
            self.cells.reserve_exact((slots - self.cells.len()).max(self.cells.len() / 16));
            self.cells.resize(slots, empty);
        }
    }

    /// The slot's camera is gone.
    pub fn clear(&mut self, slot: u32) {
        if let Some(cell) = self.cells.get_mut(slot as usize) {
            let generation = cell.generation.wrapping_add(1);
            *cell = Cell { reason: self.none.clone(), time: 0.0, number: 0, state: State::Unknown, generation };
        }
    }

    pub fn status(&self, slot: u32, generation: u8) -> Status {
        match self.cells.get(slot as usize) {
            Some(cell) if cell.generation == generation => {
                Status { state: cell.state, reason: cell.reason.clone(), time: cell.time }
            }
            _ => Status { state: State::Unknown, reason: self.none.clone(), time: 0.0 },
        }
    }

    pub fn state(&self, slot: u32, generation: u8) -> State {
        match self.cells.get(slot as usize) {
            Some(cell) if cell.generation == generation => cell.state,
            _ => State::Unknown,
        }
    }

    /// Its number; None when nothing changed.
    pub fn set(&mut self, slot: u32, state: State, reason: &str, time: f64) -> Option<u64> {
        let reason = self.share(reason);
        let cell = self.cells.get_mut(slot as usize)?;
        if cell.state == state && cell.reason == reason {
            return None;
        }
        self.number += 1;
        *cell = Cell { reason, time, number: self.number, state, generation: cell.generation };
        self.entries.push_back((self.number, slot));
        self.bound();
        Some(self.number)
    }

    /// Puts a status in place that was known before, without an entry.
    pub fn restore(&mut self, slot: u32, status: Status) {
        if let Some(cell) = self.cells.get_mut(slot as usize) {
            cell.state = status.state;
            cell.reason = status.reason;
            cell.time = status.time;
        }
    }

    /// A new registry: its slots mean other cameras, so readers must take every state anew.
    pub fn start_anew(&mut self, slots: usize) {
        self.cells.clear();
        self.entries.clear();
        self.number += 1;
        self.floor = self.number;
        if self.first == self.number - 1 {
            // Nobody has read anything yet.
            self.first = self.number;
        }
        self.grow(slots);
    }

    fn share(&mut self, reason: &str) -> Arc<str> {
        let reason = match reason.char_indices().nth(MAX_REASON_CHARS) {
            Some((end, _)) => reason.get(..end).unwrap_or_default(),
            None => reason,
        };
        if let Some(known) = self.reasons.get(reason) {
            return known.clone();
        }
        if self.reasons.len() >= MAX_REASONS {
            self.reasons.clear();
        }
        let shared: Arc<str> = reason.into();
        self.reasons.insert(shared.clone());
        shared
    }

    fn is_newest(&self, (number, slot): (u64, u32)) -> bool {
        self.cells.get(slot as usize).is_some_and(|cell| cell.number == number)
    }

    /// Entries that are not their camera's newest go first, then the oldest.
    fn bound(&mut self) {
        if self.entries.len() < 2 * MAX_STATES {
            return;
        }
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|entry| self.is_newest(*entry));
        while entries.len() > MAX_STATES {
            if let Some((number, _)) = entries.pop_front() {
                self.floor = number;
            }
        }
        self.entries = entries;
    }

    /// What came after `number`, and whether that is all that changed since. From 0 it is, as long as
    /// nothing has gone from the log: a camera without an entry is UNKNOWN.
    pub fn since(&self, number: u64, limit: usize) -> (Vec<Entry>, bool) {
        let from_start = number == 0 && self.floor == self.first;
        let complete = from_start || (number >= self.floor && number <= self.number);
        let start = if complete { self.entries.partition_point(|entry| entry.0 <= number) } else { 0 };
        let changes = self.entries.range(start..).filter(|entry| self.is_newest(**entry)).take(limit.max(1));
        let changes = changes.filter_map(|(number, slot)| {
            let cell = self.cells.get(*slot as usize)?;
            Some(Entry { number: *number, slot: *slot, state: cell.state, reason: cell.reason.clone() })
        });
        (changes.collect(), complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(slots: usize) -> StateLog {
        let mut log = StateLog::new(1000);
        log.grow(slots);
        log
    }

    fn slots(log: &StateLog, number: u64) -> (Vec<u32>, bool) {
        let (changes, complete) = log.since(number, usize::MAX);
        (changes.into_iter().map(|change| change.slot).collect(), complete)
    }

    #[test]
    fn a_camera_stands_in_the_log_once_with_its_newest_state() {
        let mut log = log(3);
        assert_eq!(log.set(0, State::Offline, "CAMERA_SILENT", 1.0), Some(1001));
        assert_eq!(log.set(1, State::Online, "", 2.0), Some(1002));
        assert_eq!(log.set(1, State::Online, "", 3.0), None);
        assert_eq!(log.set(0, State::Online, "", 4.0), Some(1003));
        assert_eq!(log.set(9, State::Online, "", 4.0), None);
        assert_eq!(slots(&log, 0), (vec![1, 0], true));
        assert_eq!(slots(&log, 1002), (vec![0], true));
        assert_eq!(slots(&log, 1003), (vec![], true));
        assert_eq!(slots(&log, 5), (vec![1, 0], false), "a number of an earlier life");
        assert_eq!(slots(&log, 2000), (vec![1, 0], false));
        assert_eq!(log.status(1, 0).time, 2.0);
    }

    #[test]
    fn a_slot_that_is_used_anew_starts_unknown() {
        let mut log = log(1);
        log.set(0, State::Online, "", 1.0);
        log.clear(0);
        assert_eq!(log.generation(0), 1);
        assert_eq!(log.state(0, 1), State::Unknown);
        assert_eq!(slots(&log, 0), (vec![], true));
        log.set(0, State::Refused, "", 1.0);
        assert_eq!((log.state(0, 1), log.state(0, 0)), (State::Refused, State::Unknown));
    }

    #[test]
    fn the_log_and_its_reasons_are_bounded() {
        let cameras = 3 * MAX_STATES as u32;
        let mut log = log(cameras as usize);
        for slot in 0..cameras {
            log.set(slot, State::Offline, &format!("reason {slot}"), 1.0);
        }
        assert!(log.entries.len() < 2 * MAX_STATES && log.reasons.len() <= MAX_REASONS);
        assert!(!log.since(0, 1).1);
        assert!(log.since(log.number() - 1, 1).1);
        for _ in 0..4 * MAX_STATES {
            log.set(0, State::Online, "", 1.0);
            log.set(0, State::Offline, "", 1.0);
        }
        assert!(log.entries.len() < 2 * MAX_STATES);
        log.set(1, State::Offline, &"长".repeat(1000), 1.0);
        assert_eq!(log.status(1, 0).reason.chars().count(), MAX_REASON_CHARS);
    }
}
