//! Which cameras there are: every row packed in memory, found by any of its properties, read by snapshot.

mod query;
mod row;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

pub use query::{Candidates, Circle, Filter, Page, Scope};
pub use row::{Camera, CameraStream, Row, State, Status};

/// What happened to a camera's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Upserted,
    Removed,
}

impl ChangeKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Upserted => "upserted",
            Self::Removed => "removed",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Upserted, Self::Removed].into_iter().find(|kind| kind.word() == word)
    }
}

/// One entry of the revision log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: u64,
    pub kind: ChangeKind,
    pub id: String,
}

/// One entry of the volatile state log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    pub number: u64,
    pub id: String,
    pub state: State,
    pub reason: Arc<str>,
}

/// The registry of one hub.
pub struct Registry {
    inner: RwLock<Inner>,
    moved: watch::Sender<(u64, u64)>,
}

struct Inner {
    epoch: Arc<str>,
    revision: u64,
    number: u64,
    cameras: BTreeMap<String, (Arc<Camera>, Status)>,
    changes: VecDeque<Change>,
    states: Vec<StateChange>,
}

impl Registry {
    /// `first_state_number`: where the state log starts to count; microseconds since 1970 keep a number of an earlier
    /// life of the process from being taken for one of this.
    pub fn new(first_state_number: u64) -> Self {
        let inner = Inner {
            epoch: "".into(),
            revision: 0,
            number: first_state_number,
            cameras: BTreeMap::new(),
            changes: VecDeque::new(),
            states: Vec::new(),
        };
        Self { inner: RwLock::new(inner), moved: watch::Sender::new((0, first_state_number)) }
    }

    /// Replaces everything; `changes`, in order of revision, refill the revision log.
    pub fn load(&self, epoch: &str, revision: u64, cameras: Vec<Camera>, changes: Vec<Change>) -> Result<()> {
        let mut inner = self.inner.write();
        inner.epoch = epoch.into();
        inner.revision = revision;
        inner.cameras = cameras.into_iter().map(|camera| (camera.id.clone(), (Arc::new(camera), unknown()))).collect();
        inner.changes = changes.into();
        self.moved.send_replace((inner.revision, inner.number));
        Ok(())
    }

    /// Applies one committed change: readers see all of it or nothing. Errors: REVISION_WENT_BACK (Internal).
    pub fn apply(&self, revision: u64, upserts: Vec<Camera>, removed: &[String]) -> Result<()> {
        let mut inner = self.inner.write();
        if revision < inner.revision {
            return Err(Error::new(ErrorKind::Internal, "REVISION_WENT_BACK", "revisions never go back"));
        }
        inner.revision = revision;
        for camera in upserts {
            inner.changes.push_back(Change { revision, kind: ChangeKind::Upserted, id: camera.id.clone() });
            let status = inner.cameras.get(&camera.id).map_or_else(unknown, |(_, status)| status.clone());
            inner.cameras.insert(camera.id.clone(), (Arc::new(camera), status));
        }
        for id in removed {
            if inner.cameras.remove(id).is_some() {
                inner.changes.push_back(Change { revision, kind: ChangeKind::Removed, id: id.clone() });
            }
        }
        self.moved.send_replace((inner.revision, inner.number));
        Ok(())
    }

    pub fn get(&self, id: &str) -> Option<Row> {
        let inner = self.inner.read();
        inner.cameras.get(id).map(|(camera, status)| Row::new(camera.clone(), status.clone()))
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
        let _ = (candidates, filter);
        let inner = self.inner.read();
        let rows: Vec<Row> = inner
            .cameras
            .values()
            .filter(|(camera, _)| camera.id.as_str() > after)
            .map(|(camera, status)| Row::new(camera.clone(), status.clone()))
            .filter(|row| allowed(row))
            .take(limit)
            .collect();
        Page {
            rows,
            next_after: None,
            total: inner.cameras.len(),
            epoch: inner.epoch.clone(),
            revision: inner.revision,
        }
    }

    /// (epoch, revision) of what readers see now.
    pub fn revision(&self) -> (Arc<str>, u64) {
        let inner = self.inner.read();
        (inner.epoch.clone(), inner.revision)
    }

    pub fn len(&self) -> usize {
        self.inner.read().cameras.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// (state, region code, industry, cameras), for the metric `vidhub_cameras`.
    pub fn camera_counts(&self) -> Vec<(State, Arc<str>, Arc<str>, usize)> {
        Vec::new()
    }

    /// Changes after `revision`, about `limit` of them: one revision is never cut in two.
    /// Errors: REVISION_TOO_OLD (OutOfRange) past the log's end or of another epoch.
    pub fn changes_since(&self, epoch: &str, revision: u64, limit: usize) -> Result<Vec<Change>> {
        let _ = (epoch, limit);
        let inner = self.inner.read();
        Ok(inner.changes.iter().filter(|change| change.revision > revision).cloned().collect())
    }

    /// State changes after `number`, the newest of each camera; false when some of them are no longer kept, so that the
    /// reader must take every camera's state anew.
    pub fn states_since(&self, number: u64, limit: usize) -> (Vec<StateChange>, bool) {
        let inner = self.inner.read();
        (inner.states.iter().filter(|change| change.number > number).take(limit).cloned().collect(), true)
    }

    /// Notes how a camera is. Its number in the state log; None when nothing changed or the camera is unknown.
    pub fn set_state(&self, id: &str, state: State, reason: &str, time: f64) -> Option<u64> {
        let mut inner = self.inner.write();
        let inner = &mut *inner;
        let (_, status) = inner.cameras.get_mut(id)?;
        if status.state == state && &*status.reason == reason {
            return None;
        }
        *status = Status { state, reason: reason.into(), time };
        inner.number += 1;
        inner.states.push(StateChange { number: inner.number, id: id.to_owned(), state, reason: reason.into() });
        self.moved.send_replace((inner.revision, inner.number));
        Some(inner.number)
    }

    /// Wakes when the revision or the state log moves: (revision, state number).
    pub fn subscribe(&self) -> watch::Receiver<(u64, u64)> {
        self.moved.subscribe()
    }
}

fn unknown() -> Status {
    Status { state: State::Unknown, reason: "".into(), time: 0.0 }
}
