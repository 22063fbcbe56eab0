//! A viewer's TCP connection with what waits for it: written without blocking, and known to be stalled or not.

use std::io::{self, ErrorKind, IoSlice};
use std::time::{Duration, Instant};

use super::outbox::{MAX_SLICES, Outbox, Sent};
use super::transport::Transport;

/// A reader that takes nothing for so long while data waits is closed.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// While data waits, the socket is asked so often what the peer has taken.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Octets handed to the kernel for one sink before the others of the shard have their turn.
const FLUSH_BUDGET: usize = 1024 * 1024;

pub(super) struct Line {
    pub transport: Transport,
    pub outbox: Outbox,
    /// The socket was full at the last try; the shard tells when it is not.
    is_blocked: bool,
    /// The budget was used up at the last try: go on at the next timer.
    is_unfinished: bool,
    progress: Instant,
    looked: Instant,
    acknowledged: u64,
}

impl Line {
    pub fn new(transport: Transport, queue_bytes: usize, now: Instant) -> Self {
        Self {
            transport,
            outbox: Outbox::new(queue_bytes),
            is_blocked: false,
            is_unfinished: false,
            progress: now,
            looked: now,
            acknowledged: 0,
        }
    }

    /// The time without progress counts from when something waits: to be called before something is put in.
    pub fn starts_waiting(&mut self, now: Instant) {
        if !self.has_waiting() {
            (self.progress, self.looked) = (now, now);
        }
    }

    pub fn has_waiting(&self) -> bool {
        !self.outbox.is_empty() || self.transport.has_pending()
    }

    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Writes what waits until the socket is full or others should have their turn; true when all is out. `on_sent` hears
    /// of each unit that is out whole.
    pub fn flush(&mut self, now: Instant, mut on_sent: impl FnMut(Sent)) -> io::Result<bool> {
        let mut budget = FLUSH_BUDGET;
        (self.is_unfinished, self.is_blocked) = (false, false);
        let failure = loop {
            if self.outbox.is_empty() {
                match self.transport.flush() {
                    Ok(()) => return Ok(true),
                    Err(error) => break error,
                }
            }
            if budget == 0 {
                self.is_unfinished = true;
                return Ok(false);
            }
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let filled = self.outbox.slices(&mut slices);
            match self.transport.write(slices.get(..filled).unwrap_or_default()) {
                Ok(0) => break ErrorKind::WriteZero.into(),
                Ok(written) => {
                    budget = budget.saturating_sub(written);
                    self.progress = now;
                    self.outbox.advance(written, &mut on_sent);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        if failure.kind() != ErrorKind::WouldBlock {
            return Err(failure);
        }
        self.is_blocked = true;
        Ok(false)
    }

    /// Whether the reader has taken nothing for too long.
    pub fn is_stalled(&mut self, now: Instant) -> bool {
        if !self.has_waiting() {
            return false;
        }
        self.looked = now;
        // The kernel tells of room late; what the peer has acknowledged is the truth.
        let acknowledged = self.transport.acknowledged();
        if acknowledged > self.acknowledged {
            (self.acknowledged, self.progress) = (acknowledged, now);
        }
        now.saturating_duration_since(self.progress) >= STALL_TIMEOUT
    }

    /// When `flush` or `is_stalled` is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_unfinished {
            return Some(self.progress);
        }
        self.has_waiting().then(|| self.looked + LOOK_EVERY)
    }
}
