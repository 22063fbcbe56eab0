//! Access units that wait for a viewer's TCP connection: by reference, so that they cost the viewer next to nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::stream::WireUnit;

struct Piece {
    unit: Arc<WireUnit>,
    /// Part of the cache given at the start: shared with the stream, and not the viewer's fault that it is long.
    is_burst: bool,
}

pub(super) struct Waiting {
    pieces: VecDeque<Piece>,
    /// Octets that count against the bound.
    bytes: usize,
    limit: usize,
    is_skipping: bool,
}

impl Waiting {
    pub fn new(limit: usize) -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, limit, is_skipping: false }
    }

    /// Whether the next unit may overtake: nothing waits, and nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && !self.is_skipping
    }

    /// Takes a unit; over the bound, all that wait are dropped, and what follows up to the next that starts a GOP. One
    /// has room always, however large it is. Returns how many were dropped.
    pub fn push(&mut self, unit: &Arc<WireUnit>, is_burst: bool) -> u64 {
        let mut dropped = 0;
        if self.is_skipping && !unit.starts_gop() {
            return 1;
        }
        let size = if is_burst { 0 } else { unit.unit.data.len() };
        if self.bytes > 0 && self.bytes + size > self.limit {
            dropped = self.pieces.len() as u64;
            self.pieces.clear();
            self.bytes = 0;
            if !unit.starts_gop() {
                self.is_skipping = true;
                return dropped + 1;
            }
        }
        self.is_skipping = false;
        self.bytes += size;
        self.pieces.push_back(Piece { unit: unit.clone(), is_burst });
        dropped
    }

    /// The oldest, when its turn has come.
    pub fn pop(&mut self) -> Option<Arc<WireUnit>> {
        let Piece { unit, is_burst } = self.pieces.pop_front()?;
        if !is_burst {
            self.bytes -= unit.unit.data.len();
        }
        Some(unit)
    }

    /// The cache is handed over anew: what waits is in it.
    pub fn begin_anew(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
        self.is_skipping = false;
    }
}
