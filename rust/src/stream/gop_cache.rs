//! The units from the last keyframe on, bounded in octets.

use std::sync::Arc;

use super::WireUnit;

/// What a unit costs beside its octets, so that a flood of tiny units is bounded too.
const OVERHEAD: usize = 512;

/// Whether a unit went into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    /// There is no keyframe in front of it.
    No,
    /// It would have been too much: the cache is empty until the next keyframe.
    OverBudget,
}

/// Either empty or a keyframe with all that followed it. Counts the octets of the access units; each wire form that
/// viewers have asked for adds about as much.
pub(super) struct GopCache {
    limit: usize,
    size: usize,
    units: Vec<Arc<WireUnit>>,
    /// How many of the oldest units have no contiguous forms.
    cooled: usize,
    /// Units to come until those that joiners have made are let go again.
    warm: usize,
}

/// The newest units keep their contiguous forms: shards may be about to send them.
const HOT_UNITS: usize = 4;
/// After somebody has joined, all units keep them for so many units more: those who join together share them.
const WARM_UNITS: usize = 12;

impl GopCache {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, size: 0, units: Vec::new(), cooled: 0, warm: 0 }
    }

    /// Takes a unit in. What it pushes out is given back, to be dropped outside of any lock.
    pub(super) fn push(&mut self, unit: &Arc<WireUnit>) -> (Kept, Vec<Arc<WireUnit>>) {
        let mut out = Vec::new();
        if unit.starts_gop() {
            // The next group is likely to be as long as the last.
            let room = Vec::with_capacity(self.units.len().min(1024));
            out = std::mem::replace(&mut self.units, room);
            self.size = 0;
            self.cooled = 0;
        } else if self.units.is_empty() {
            return (Kept::No, out);
        }
        let size = self.size.saturating_add(unit.unit.data.len()).saturating_add(OVERHEAD);
        if size > self.limit {
            out.append(&mut self.clear());
            return (Kept::OverBudget, out);
        }
        self.size = size;
        self.units.push(unit.clone());
        self.cool();
        (Kept::Yes, out)
    }

    /// Somebody joins: the whole cache is about to be sent.
    pub(super) fn joined(&mut self) {
        self.cooled = 0;
        self.warm = WARM_UNITS;
    }

    /// Lets the forms go of what has been sent: the cache would be twice as large with them.
    fn cool(&mut self) {
        self.warm = self.warm.saturating_sub(1);
        if self.warm == 0 {
            let sent = self.units.len().saturating_sub(HOT_UNITS);
            self.units.iter().take(sent).skip(self.cooled).for_each(|unit| unit.cool());
            self.cooled = self.cooled.max(sent);
        }
    }

    pub(super) fn clear(&mut self) -> Vec<Arc<WireUnit>> {
        self.size = 0;
        self.cooled = 0;
        std::mem::take(&mut self.units)
    }

    pub(super) fn units(&self) -> &[Arc<WireUnit>] {
        &self.units
    }
}
