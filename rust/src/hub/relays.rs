//! Relays: streams on their way to other hubs, each by a connection of our own, for as long as somebody there watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Hub, stopped};
use crate::error::{Error, ErrorKind, Result};
use crate::gate::{Ended, Ender, Event, Events, Lent, for_hubs};
use crate::media::Profile;
use crate::peer::Peer;
use crate::sink::rtsp::{self, Relay};
use crate::stream::{Interest, Shards};
use crate::telemetry::{Direction, Telemetry};

/// Relays at once on one hub.
pub const MAX_RELAYS: usize = 1024;

/// What the other hub is told when the last of its people has gone.
const NOT_WANTED: &str = "RELAY_NOT_WANTED";

/// The relays that run, by id.
#[derive(Default)]
pub struct Relays {
    running: Mutex<HashMap<String, Running>>,
}

struct Running {
    /// Camera, profile and hub: one copy of a stream goes to each hub.
    copy: (String, Profile, String),
    ender: Ender,
}

/// Says once that a relay has ended, whatever becomes of its task.
struct Telling {
    relays: Arc<Relays>,
    events: Arc<Events>,
    id: String,
    end: (&'static str, String),
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.relays.running.lock().remove(&self.id);
        let (reason, message) = std::mem::take(&mut self.end);
        info!(relay = %self.id, reason, "a relay ends");
        self.events.push(Event::RelayEnded { relay: std::mem::take(&mut self.id), reason, message });
    }
}

/// What a relay needs.
struct Order {
    camera: String,
    lent: Lent,
    peer: Peer,
    queue_bytes: usize,
    shards: Arc<Shards>,
    telemetry: Arc<Telemetry>,
}

impl Hub {
    /// Pushes a stream to another hub; what comes of it is told by events. Errors: RELAY_NOT_WANTED, HUB_STOPPED
    /// (FailedPrecondition), RELAY_EXISTS (AlreadyExists), LIMIT_RELAYS, LIMIT_STREAMS (ResourceExhausted),
    /// CAMERA_NOT_FOUND, CAMERA_PROFILE_MISSING (NotFound).
    pub fn start_relay(&self, id: &str, camera: &str, profile: Profile, peer: Peer) -> Result<()> {
        let handle = self.runtime.lock().as_ref().map(|runtime| runtime.handle().clone()).ok_or_else(stopped)?;
        let (ender, ended) = Ender::task();
        let copy = (camera.to_owned(), profile, peer.id().to_owned());
        let lent = {
            let mut running = self.relays.running.lock();
            if running.contains_key(id) {
                let message = "a relay of this id runs: give each order an id of its own";
                return Err(Error::new(ErrorKind::AlreadyExists, "RELAY_EXISTS", message));
            }
            if running.len() >= MAX_RELAYS {
                let message = format!("{MAX_RELAYS} streams go to other hubs already: wait until some end");
                return Err(Error::new(ErrorKind::ResourceExhausted, "LIMIT_RELAYS", message));
            }
            let lent = self.gate.lend(camera, profile, peer.id())?;
            let earlier = running.values().find(|earlier| earlier.copy == copy);
            if let Some(earlier) = earlier {
                earlier.ender.end("RELAY_REPLACED");
            }
            running.insert(id.to_owned(), Running { copy, ender });
            lent
        };
        let telling = Telling {
            relays: self.relays.clone(),
            events: self.gate.events.clone(),
            id: id.to_owned(),
            end: ("RELAY_FAILED", "the relay has failed; the hub's log says why".to_owned()),
        };
        info!(relay = id, camera, hub = peer.id(), "a relay starts");
        let order = Order {
            camera: camera.to_owned(),
            lent,
            peer,
            queue_bytes: self.options.stream.sink_queue_bytes,
            shards: self.shards.clone(),
            telemetry: self.telemetry.clone(),
        };
        handle.spawn(run(order, telling, ended, self.accepting.clone()));
        Ok(())
    }

    /// Ends a relay. False when there is none of this id.
    pub fn stop_relay(&self, id: &str, reason: &'static str) -> bool {
        let running = self.relays.running.lock();
        let relay = running.get(id);
        if let Some(relay) = relay {
            relay.ender.end(reason);
        }
        relay.is_some()
    }
}

async fn run(order: Order, mut telling: Telling, mut ended: Ended, draining: CancellationToken) {
    telling.end = {
        let events = telling.events.clone();
        let live = || events.push(Event::RelayLive { relay: telling.id.clone() });
        relay(&order, &mut ended, draining, live).await
    };
    // The interest in the camera is given back before it is told.
    drop(order);
}

/// From the first step to the end; why it has ended.
async fn relay(
    order: &Order,
    ended: &mut Ended,
    draining: CancellationToken,
    live: impl FnOnce(),
) -> (&'static str, String) {
    let Order { camera, lent, peer, queue_bytes, shards, telemetry } = order;
    let nobody = || (NOT_WANTED, format!("nobody of hub {} watches camera {camera} any more", peer.id()));
    let told = |reason: &'static str| (reason, String::new());
    let begin = async {
        // The camera may have to be dialled as well.
        let (description, connection) = tokio::try_join!(lent.ready(), peer.dial())?;
        let recorded = rtsp::record(connection, peer, camera, &description).await?;
        Ok::<_, Error>((description, recorded))
    };
    let begun = tokio::select! {
        biased;
        reason = ended.wait() => return told(reason),
        () = lent.over() => return nobody(),
        () = draining.cancelled() => return told("HUB_DRAINING"),
        begun = begin => begun,
    };
    let (description, recorded) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let error = for_hubs(error);
            return (error.reason(), error.message().to_owned());
        }
    };
    live();
    let stream = lent.stream().clone();
    let link = telemetry.link(peer.id(), Direction::Out);
    let (sink, closed) =
        Relay::new(recorded, stream.clone(), description, *queue_bytes, link, telemetry.clone(), Instant::now());
    let sink = shards.attach(stream, Box::new(sink), true);
    lent.plays(sink.clone());
    let end = tokio::select! {
        biased;
        reason = ended.wait() => told(reason),
        () = lent.over() => nobody(),
        // Closed without a word: the shards have stopped.
        reason = closed => return explained(reason.unwrap_or("HUB_DRAINING"), peer.id()),
    };
    sink.end(end.0);
    end
}

/// Words of the connection, and what they mean between hubs.
fn explained(reason: &'static str, hub: &str) -> (&'static str, String) {
    let message = match reason {
        "CLIENT_CLOSED" | "CONNECTION_LOST" | "CLIENT_TEARDOWN" => format!("hub {hub} has closed the media connection"),
        "READER_STALLED" => {
            format!("hub {hub} took nothing for 10 s: see whether the network between the hubs carries it")
        }
        _ => String::new(),
    };
    (reason, message)
}
