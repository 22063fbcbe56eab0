//! Readers of encoded frames inside the process: through the gate like every viewer, on a shard like every sink.

use std::os::fd::RawFd;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Hub, no_threads, stopped};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::frames::{Frame, FrameQueue, FramesSink, Wanted, ended};
use crate::telemetry::Protocol;

/// Readers at once on one hub: each costs a descriptor, and its queue when nobody takes from it.
const MAX_READERS: usize = 1024;

/// One reader's end of a session's frames. Dropping it closes it.
pub struct FrameReader {
    queue: Arc<FrameQueue>,
    closed: CancellationToken,
}

impl FrameReader {
    /// Readable while units wait, and from the end on.
    pub fn fd(&self) -> RawFd {
        self.queue.fd()
    }

    /// Up to `limit` units, none when there is nothing yet; the reason when no more will come.
    pub fn take(&self, limit: usize) -> Result<Vec<Frame>> {
        self.queue.take(limit)
    }

    pub fn close(&self) {
        self.queue.end(&ended("READER_CLOSED"));
        self.closed.cancel();
    }
}

impl Drop for FrameReader {
    fn drop(&mut self) {
        self.close();
    }
}

/// Ends the queue with the task or the sink that was to fill it.
struct Filling(Arc<FrameQueue>);

impl Drop for Filling {
    fn drop(&mut self) {
        self.0.end(&ended("HUB_DRAINING"));
    }
}

impl Hub {
    /// Reads an open session's frames; the source starts if need be, and what goes wrong there ends the reader. Errors:
    /// SESSION_UNKNOWN (Unauthenticated), LIMIT_FRAMES, LIMIT_CONNECTIONS, LIMIT_STREAMS (ResourceExhausted).
    ///
    /// A second reader of the session replaces the first, as on every protocol; one for a still stands beside it.
    pub fn open_frames(&self, session: &str, wanted: Wanted) -> Result<FrameReader> {
        let handle = self.runtime.lock().as_ref().map(|runtime| runtime.handle().clone()).ok_or_else(stopped)?;
        let place = self.readers.clone();
        if Arc::strong_count(&place) > MAX_READERS + 1 {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_FRAMES",
                format!("{MAX_READERS} readers of frames are open on this hub: close some"),
            ));
        }
        let admission = self.gate.admit_reader(session, Protocol::Frames)?;
        let (telemetry, shards) = (self.telemetry.clone(), self.shards.clone());
        let queue = FrameQueue::new(wanted, self.options.stream.gop_cache_bytes, telemetry.clone())
            .map_err(|cause| no_threads().because(cause))?;
        let turns = self.reader_turns.clone();
        let (closed, stopping) = (CancellationToken::new(), self.accepting.clone());
        let reader = FrameReader { queue: queue.clone(), closed: closed.clone() };
        handle.spawn(async move {
            let filling = Filling(queue.clone());
            let ready = tokio::select! {
                biased;
                () = closed.cancelled() => return,
                // `filling` says so.
                () = stopping.cancelled() => return,
                ready = admission.ready() => ready,
            };
            let description = match (ready, admission.end_reason()) {
                (_, Some(reason)) => return queue.end(&ended(reason)),
                (Err(error), None) => return queue.end(&error),
                (Ok(description), None) => description,
            };
            let first_picture = Box::new({
                let admission = admission.clone();
                move || admission.first_picture()
            });
            let stream = admission.stream();
            let keep = Box::new((admission.clone(), filling, place, closed.clone().drop_guard()));
            let sink = FramesSink::new(queue, stream.clone(), description, first_picture, telemetry, keep);
            let attached = {
                // Whoever has a picture is connected, so that a later reader takes an earlier one's place, never the other way.
                let _turn = turns.lock();
                let attached = shards.attach(stream, Box::new(sink), true);
                if wanted != Wanted::OneKeyframe {
                    admission.connected(attached.clone());
                }
                attached
            };
            drop(admission);
            closed.cancelled().await;
            attached.end("READER_CLOSED");
        });
        Ok(reader)
    }
}
