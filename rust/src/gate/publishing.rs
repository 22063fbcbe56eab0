//! One admitted publisher: its place in the session and its turn at the camera's stream.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::info;

use super::Gate;
use super::door::{BoxFuture, Publication};
use super::ender::Ender;
use super::events::Event;
use super::lease::Lease;
use super::pushes::Turn;
use super::sessions::{Session, unknown};
use crate::error::Result;
use crate::media::Profile;
use crate::stream::Stream;
use crate::telemetry::{Direction, Meter, Protocol};

struct Publishing {
    gate: Arc<Gate>,
    session: Arc<Session>,
    /// Before the lease: giving it up may start a pull, and the stream must be there for it.
    turn: Mutex<Option<Turn>>,
    lease: Lease,
    protocol: Protocol,
    /// Its number among the session's connections, once it pushes.
    number: Mutex<Option<u64>>,
}

/// The caller has reserved a place in the session; it is given back when the attempt fails or pushes.
pub fn publish(
    gate: Arc<Gate>,
    session: Arc<Session>,
    protocol: Protocol,
    peer: SocketAddr,
) -> Result<Arc<dyn Publication>> {
    let lease = gate
        .pushed(&session.spec.camera, session.spec.profile.unwrap_or(Profile::Main))
        .and_then(|(key, target)| gate.streams.lease_to_push(key, target))
        .inspect_err(|_| session.give_back())?;
    info!(camera = %session.spec.camera, session = %session.spec.id, protocol = protocol.word(), %peer, "publisher admitted");
    Ok(Arc::new(Publishing { gate, session, turn: Mutex::new(None), lease, protocol, number: Mutex::new(None) }))
}

impl Publication for Publishing {
    fn session_id(&self) -> &str {
        &self.session.spec.id
    }

    fn stream(&self) -> &Arc<Stream> {
        self.lease.stream()
    }

    fn link(&self) -> Option<Meter> {
        self.session.meter(&self.gate.telemetry, Direction::In)
    }

    fn begin(&self, ender: Ender) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            {
                let mut number = self.number.lock();
                if number.is_some() {
                    return Ok(());
                }
                if !self.session.is_open() {
                    return Err(unknown());
                }
                *number = Some(self.session.connect(self.protocol, ender.clone()));
            }
            self.session.give_back();
            let session = self.session.spec.id.clone();
            self.gate.events.push(Event::SessionConnected { session, protocol: self.protocol.word() });
            let turn = tokio::select! {
                biased;
                () = self.session.over() => return Err(unknown()),
                turn = self.lease.take_over(ender) => turn?,
            };
            *self.turn.lock() = Some(turn);
            Ok(())
        })
    }
}

impl Drop for Publishing {
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
