//! Who is at the WebRTC port: found by the word that a check carries, by an address that has passed one, by resource.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::connection::Connection;
use super::inbound::Inbound;
use crate::error::{Error, ErrorKind};
use crate::stream::SinkHandle;

/// TCP connections of one peer: its interfaces and our addresses, and a change of network.
const MAX_CONNECTIONS: usize = 8;

/// Restarts of one peer are no closer together than this.
const RESTART_EVERY: Duration = Duration::from_secs(1);

/// One peer, from its answer to its end.
pub struct Peer {
    /// Never given twice.
    number: u64,
    /// Names it in URLs. Not the word that checks carry, which crosses the network in clear.
    pub resource: String,
    pub camera: String,
    pub session: String,
    ice: Mutex<Ice>,
    /// Empty until what drives the peer is on its shard.
    handle: OnceLock<SinkHandle>,
    connections: Mutex<Vec<Arc<Connection>>>,
    inbound: Inbound,
}

/// The ICE session, which a restart replaces.
#[derive(Clone, Debug)]
pub struct Ice {
    /// Without quotes.
    pub etag: String,
    pub local_ufrag: String,
    pub remote_ufrag: String,
    /// When the last restart was asked for.
    pub restarted: Option<Instant>,
}

impl Peer {
    pub fn new(resource: String, camera: String, session: String, ice: Ice, inbound: Inbound) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let (ice, handle, connections) = (Mutex::new(ice), OnceLock::new(), Mutex::default());
        Arc::new(Self { number, resource, camera, session, ice, handle, connections, inbound })
    }

    pub fn ice(&self) -> Ice {
        self.ice.lock().clone()
    }

    /// Whether it may restart ICE now; if so, not again for a while.
    pub fn may_restart(&self, now: Instant) -> bool {
        let mut ice = self.ice.lock();
        let is_soon = ice.restarted.is_some_and(|last| now.saturating_duration_since(last) < RESTART_EVERY);
        if !is_soon {
            ice.restarted = Some(now);
        }
        !is_soon
    }

    /// What drives it is on its shard.
    pub fn is_driven_by(&self, handle: SinkHandle) {
        // It is said once.
        let _ = self.handle.set(handle);
    }

    /// Ends it with a reason; nothing happens when it is gone.
    pub fn end(&self, reason: &'static str) {
        if let Some(handle) = self.handle.get() {
            handle.end(reason);
        }
    }

    pub fn handle(&self) -> Option<&SinkHandle> {
        self.handle.get()
    }

    /// Hands on what came in the peer's name, `is_proven` from where a check of its has passed. False where that is more
    /// than it may send, or than its shard has room for.
    pub fn takes(&self, is_proven: bool, hand_over: impl FnOnce(&SinkHandle) -> bool) -> bool {
        let Some(handle) = self.handle.get().filter(|handle| !handle.is_gone()) else { return true };
        self.inbound.takes(is_proven, Instant::now()) && hand_over(handle)
    }

    /// Takes one more connection, if it may have one; those that are closed count no longer.
    pub fn joins(&self, connection: &Arc<Connection>) -> bool {
        let mut connections = self.connections.lock();
        connections.retain(|known| known.is_open());
        let has_room = connections.len() < MAX_CONNECTIONS;
        if has_room {
            connections.push(connection.clone());
        }
        has_room
    }

    /// The open connection from that address.
    pub fn connection(&self, remote: SocketAddr) -> Option<Arc<Connection>> {
        self.connections.lock().iter().find(|known| known.remote() == remote && known.is_open()).cloned()
    }

    /// The same, or where it is gone, the youngest that has passed a check: a client that lost its connection comes back
    /// on another one, and its keys are good there.
    pub fn way_to(&self, remote: SocketAddr) -> Option<Arc<Connection>> {
        self.connection(remote).or_else(|| {
            let connections = self.connections.lock();
            connections.iter().rev().find(|known| known.is_open() && known.is_proven()).cloned()
        })
    }

    /// Lets all connections go, each when its last words are out.
    pub fn leaves(&self) {
        for connection in std::mem::take(&mut *self.connections.lock()) {
            connection.close_gently();
        }
    }
}

/// All peers of the port.
#[derive(Default)]
pub struct Peers {
    book: RwLock<Book>,
}

#[derive(Default)]
struct Book {
    by_ufrag: HashMap<String, Arc<Peer>>,
    by_resource: HashMap<String, Arc<Peer>>,
    by_address: HashMap<SocketAddr, Arc<Peer>>,
}

impl Peers {
    pub fn add(&self, peer: &Arc<Peer>) {
        let mut book = self.book.write();
        book.by_resource.insert(peer.resource.clone(), peer.clone());
        book.by_ufrag.insert(peer.ice.lock().local_ufrag.clone(), peer.clone());
    }

    pub fn by_ufrag(&self, ufrag: &str) -> Option<Arc<Peer>> {
        self.book.read().by_ufrag.get(ufrag).cloned()
    }

    pub fn by_resource(&self, resource: &str) -> Option<Arc<Peer>> {
        self.book.read().by_resource.get(resource).cloned()
    }

    pub fn by_address(&self, address: SocketAddr) -> Option<Arc<Peer>> {
        self.book.read().by_address.get(&address).cloned()
    }

    /// What comes from `address` by UDP is the peer's from now on.
    pub fn hears(&self, peer: &Arc<Peer>, address: SocketAddr) {
        if self.book.read().by_address.get(&address).is_some_and(|owner| owner.number == peer.number) {
            return;
        }
        self.book.write().by_address.insert(address, peer.clone());
    }

    pub fn forgets(&self, peer: &Peer, address: SocketAddr) {
        let mut book = self.book.write();
        if book.by_address.get(&address).is_some_and(|owner| owner.number == peer.number) {
            book.by_address.remove(&address);
        }
    }

    /// The peer has a new ICE session: checks name it by another word. False when it has gone meanwhile.
    pub fn renames(&self, peer: &Arc<Peer>, ice: Ice) -> bool {
        let mut book = self.book.write();
        if !book.by_resource.contains_key(&peer.resource) {
            return false;
        }
        let old = std::mem::replace(&mut *peer.ice.lock(), ice.clone());
        book.by_ufrag.remove(&old.local_ufrag);
        book.by_ufrag.insert(ice.local_ufrag, peer.clone());
        true
    }

    pub fn remove(&self, peer: &Peer) {
        let mut book = self.book.write();
        book.by_resource.remove(&peer.resource);
        book.by_ufrag.remove(&peer.ice.lock().local_ufrag);
        book.by_address.retain(|_, owner| owner.number != peer.number);
        drop(book);
        peer.leaves();
    }
}

pub fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "RESOURCE_NOT_FOUND", "no such viewer: it has ended, or never was")
}
