//! The revision log: what happened to which row, so that watchers go on from where they were.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// Entries kept; who is further behind lists again.
pub const MAX_CHANGES: usize = 65_536;

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

pub struct ChangeLog {
    epoch: Arc<str>,
    /// Where the log ends.
    revision: u64,
    /// What happened up to here, this revision included, may have gone from the log.
    floor: u64,
    entries: VecDeque<Change>,
}

impl ChangeLog {
    /// `entries` in order of revision. The first revision among them may be cut, so it is not relied on.
    pub fn new(epoch: Arc<str>, revision: u64, mut entries: Vec<Change>) -> Self {
        entries.retain(|change| change.revision <= revision);
        entries.sort_by_key(|change| change.revision);
        let floor = entries.first().map_or(revision, |first| first.revision);
        let mut log = Self { epoch, revision, floor, entries: entries.into() };
        log.bound();
        log
    }

    /// `entries` in order of revision, none above `revision`.
    pub fn extend(&mut self, revision: u64, entries: Vec<Change>) {
        self.revision = revision;
        self.entries.extend(entries);
        self.bound();
    }

    fn bound(&mut self) {
        while self.entries.len() > MAX_CHANGES {
            if let Some(gone) = self.entries.pop_front() {
                self.floor = gone.revision;
            }
        }
    }

    /// What came after `revision`: `limit` entries, and then to the end of the revision they stop in.
    pub fn since(&self, epoch: &str, revision: u64, limit: usize) -> Result<Vec<Change>> {
        if *epoch != *self.epoch || revision < self.floor || revision > self.revision {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "REVISION_TOO_OLD",
                "changes since that revision are no longer kept: list the cameras again and watch from there",
            ));
        }
        let start = self.entries.partition_point(|change| change.revision <= revision);
        let end = match self.entries.get(start.saturating_add(limit.max(1)).saturating_sub(1)) {
            Some(last) => self.entries.partition_point(|change| change.revision <= last.revision),
            None => self.entries.len(),
        };
        Ok(self.entries.range(start..end).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64) -> Change {
        Change { revision, kind: ChangeKind::Upserted, id: format!("c{revision}") }
    }

    fn revisions(log: &ChangeLog, from: u64, limit: usize) -> Vec<u64> {
        log.since("e", from, limit).expect("kept").iter().map(|change| change.revision).collect()
    }

    #[test]
    fn a_watcher_goes_on_from_where_it_was() {
        let mut log = ChangeLog::new("e".into(), 7, Vec::new());
        log.extend(10, vec![change(8), change(9), change(9), change(10)]);
        assert_eq!(revisions(&log, 7, 100), [8, 9, 9, 10]);
        assert_eq!(revisions(&log, 7, 2), [8, 9, 9], "a revision is not cut in two");
        assert_eq!(revisions(&log, 10, 0), [0; 0]);
    }

    #[test]
    fn past_its_end_and_in_another_epoch_the_log_says_so() {
        let mut log = ChangeLog::new("e".into(), 5, vec![change(3), change(4)]);
        assert_eq!(revisions(&log, 3, 9), [4]);
        for (epoch, revision) in [("e", 2), ("e", 6), ("f", 4), ("", 4)] {
            let error = log.since(epoch, revision, 9).expect_err("not kept");
            assert_eq!((error.kind(), error.reason()), (ErrorKind::OutOfRange, "REVISION_TOO_OLD"));
        }
        let end = 6 + MAX_CHANGES as u64;
        log.extend(end, (6..=end).map(change).collect());
        assert_eq!(log.entries.len(), MAX_CHANGES);
        assert!(log.since("e", 5, 1).is_err());
        assert_eq!(revisions(&log, 6, 1), [7]);
    }
}
