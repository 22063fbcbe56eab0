//! One admitted attempt: its place in the session and its interest in a stream of the camera.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use tracing::info;

use super::Gate;
use super::door::{Admission, BoxFuture};
use super::ender::Ender;
use super::events::Event;
use super::lease::{Cause, Lease, for_hubs, uncarried};
use super::sessions::{Session, unknown};
use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;
use crate::policy::PrincipalKind;
use crate::stream::{Description, Interest, SinkHandle, Stream};
use crate::telemetry::{Direction, Meter, Protocol};

struct Admitted {
    gate: Arc<Gate>,
    session: Arc<Session>,
    /// In what it plays or is to play.
    interest: Mutex<Arc<dyn Interest>>,
    /// What kept it from the stream that it was to play.
    instead: Mutex<&'static str>,
    protocol: Mutex<Protocol>,
    started: Instant,
    pictured: AtomicBool,
    /// Its number among the session's connections and what plays, once something does.
    playing: Mutex<Option<(u64, SinkHandle)>>,
}

/// An interest in a stream for as long as the session is open.
struct Held {
    session: Arc<Session>,
    lease: Lease,
}

impl Interest for Held {
    fn profile(&self) -> Profile {
        self.lease.profile()
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

    fn plays(&self, sink: SinkHandle) {
        self.lease.plays(sink);
    }
}

/// The caller has reserved a place in the session; it is given back when the attempt fails or plays.
pub fn admit(
    gate: Arc<Gate>,
    session: Arc<Session>,
    protocol: Protocol,
    peer: SocketAddr,
) -> Result<Arc<dyn Admission>> {
    let lease = gate.lease(&session.spec.camera, session.spec.profile).inspect_err(|_| session.give_back())?;
    info!(camera = %session.spec.camera, session = %session.spec.id, protocol = protocol.word(), %peer, "viewer admitted");
    Ok(Arc::new(Admitted {
        gate,
        interest: Mutex::new(Arc::new(Held { session: session.clone(), lease })),
        instead: Mutex::new(""),
        session,
        protocol: Mutex::new(protocol),
        started: Instant::now(),
        pictured: AtomicBool::new(false),
        playing: Mutex::new(None),
    }))
}

impl Admitted {
    /// The other stream's description, where this one can't be carried though the camera answers, and the other can.
    async fn ready_otherwise(&self, error: Error) -> Result<Arc<Description>> {
        let Some(cause) = uncarried(&error) else { return Err(error) };
        // A hub orders each stream by itself.
        if self.session.spec.principal.kind == PrincipalKind::Hub {
            return Err(for_hubs(error));
        }
        let Ok(other) = self.other() else { return Err(error) };
        match other.ready().await {
            Ok(description) => {
                *self.instead.lock() = cause;
                self.switched(other);
                Ok(description)
            }
            Err(why) => {
                let name = if other.profile() == Profile::Sub { "sub" } else { "main" };
                let message = format!("{}. Its {name} stream can't be had either: {}", error.message(), why.message());
                Err(Error::new(error.kind(), error.reason(), message).because(Cause(cause)))
            }
        }
    }
}

impl Admission for Admitted {
    fn session_id(&self) -> &str {
        &self.session.spec.id
    }

    fn stream(&self) -> Arc<Stream> {
        self.interest.lock().stream().clone()
    }

    fn profile(&self) -> Profile {
        self.interest.lock().profile()
    }

    fn ready(&self) -> BoxFuture<'_, Result<Arc<Description>>> {
        let interest = self.interest.lock().clone();
        Box::pin(async move {
            match interest.ready().await {
                Ok(description) => Ok(description),
                Err(error) => self.ready_otherwise(error).await,
            }
        })
    }

    fn instead(&self) -> &'static str {
        *self.instead.lock()
    }

    fn is_open(&self) -> bool {
        self.session.is_open()
    }

    fn end_reason(&self) -> Option<&'static str> {
        self.session.end_reason()
    }

    fn carried_by(&self, protocol: Protocol) {
        *self.protocol.lock() = protocol;
    }

    fn connected(&self, sink: SinkHandle) {
        let protocol = *self.protocol.lock();
        let mut playing = self.playing.lock();
        if playing.is_some() {
            return;
        }
        let number = self.session.connect(protocol, Ender::Sink(sink.clone()));
        *playing = Some((number, sink.clone()));
        self.interest.lock().plays(sink);
        drop(playing);
        self.session.give_back();
        let session = self.session.spec.id.clone();
        self.gate.events.push(Event::SessionConnected { session, protocol: protocol.word() });
    }

    fn other(&self) -> Result<Arc<dyn Interest>> {
        let other = match self.profile() {
            Profile::Main => Profile::Sub,
            Profile::Sub => Profile::Main,
        };
        if self.session.spec.profile.is_some() {
            // AUTO is good advice only where there is another one.
            self.gate.supply(&self.session.spec.camera, Some(other))?;
            let message = "the session asked for this stream and no other: open one with profile AUTO";
            return Err(Error::new(ErrorKind::FailedPrecondition, "PROFILE_FIXED", message));
        }
        let lease = self.gate.lease(&self.session.spec.camera, Some(other))?;
        Ok(Arc::new(Held { session: self.session.clone(), lease }))
    }

    fn switched(&self, to: Arc<dyn Interest>) {
        // Under the same lock as `connected`, so that a sink just coming is told to one of them.
        let playing = self.playing.lock();
        if let Some((_, sink)) = &*playing {
            to.plays(sink.clone());
        }
        let from = std::mem::replace(&mut *self.interest.lock(), to);
        drop(playing);
        drop(from);
    }

    fn link(&self) -> Option<Meter> {
        self.session.meter(&self.gate.telemetry, Direction::Out)
    }

    fn first_picture(&self) {
        if !self.pictured.swap(true, Relaxed) {
            self.gate.telemetry.first_picture.observe(self.started.elapsed());
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        match self.playing.get_mut().take() {
            None => self.session.give_back(),
            Some((number, _)) => {
                self.session.disconnect(number);
                let session = self.session.spec.id.clone();
                self.gate.events.push(Event::SessionDisconnected { session, protocol: self.protocol.lock().word() });
            }
        }
    }
}
