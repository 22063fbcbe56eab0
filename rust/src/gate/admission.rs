//! One admitted attempt: its place in the session and its interest in the camera's stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use tracing::info;

use super::Gate;
use super::door::{Admission, BoxFuture};
use super::events::Event;
use super::sessions::{Session, unknown};
use super::streams::Lease;
use crate::error::Result;
use crate::stream::{Description, SinkHandle, Stream};
use crate::telemetry::Protocol;

struct Admitted {
    gate: Arc<Gate>,
    session: Arc<Session>,
    lease: Lease,
    protocol: Protocol,
    started: Instant,
    pictured: AtomicBool,
    /// Its number among the session's connections, once it plays.
    number: Mutex<Option<u64>>,
}

/// The caller has reserved a place in the session; it is given back when the attempt fails or plays.
pub fn admit(
    gate: Arc<Gate>,
    session: Arc<Session>,
    protocol: Protocol,
    peer: SocketAddr,
) -> Result<Arc<dyn Admission>> {
    let lease = gate
        .dial(&session.spec.camera, session.spec.profile)
        .and_then(|(key, target)| gate.streams.lease(key, target))
        .inspect_err(|_| session.give_back())?;
    info!(camera = %session.spec.camera, session = %session.spec.id, protocol = protocol.word(), %peer, "viewer admitted");
    Ok(Arc::new(Admitted {
        gate,
        session,
        lease,
        protocol,
        started: Instant::now(),
        pictured: AtomicBool::new(false),
        number: Mutex::new(None),
    }))
}

impl Admission for Admitted {
    fn session_id(&self) -> &str {
        &self.session.spec.id
    }

    fn stream(&self) -> &Arc<Stream> {
        self.lease.stream()
    }

    fn ready(&self) -> BoxFuture<'_, Result<Arc<Description>>> {
        Box::pin(async {
            tokio::select! {
                biased;
                () = self.session.over() => Err(unknown()),
                ready = self.lease.ready() => ready,
            }
        })
    }

    fn is_open(&self) -> bool {
        self.session.is_open()
    }

    fn connected(&self, sink: SinkHandle) {
        let mut number = self.number.lock();
        if number.is_some() {
            return;
        }
        *number = Some(self.session.connect(self.protocol, sink.clone()));
        drop(number);
        self.lease.plays(sink);
        self.session.give_back();
        let session = self.session.spec.id.clone();
        self.gate.events.push(Event::SessionConnected { session, protocol: self.protocol.word() });
    }

    fn first_picture(&self) {
        if !self.pictured.swap(true, Relaxed) {
            self.gate.telemetry.first_picture.observe(self.started.elapsed());
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        match self.number.get_mut().take() {
            None => self.session.give_back(),
            Some(number) => {
                self.session.disconnect(number);
                let session = self.session.spec.id.clone();
                self.gate.events.push(Event::SessionDisconnected { session, protocol: self.protocol.word() });
            }
        }
    }
}
