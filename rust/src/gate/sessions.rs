//! The sessions that are open: who watches what, on which connections, until when.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::ender::Ender;
use super::events::{Event, Events};
use super::guests::{Guests, is_guest};
use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;
use crate::policy::{Action, Principal, PrincipalKind};
use crate::telemetry::{Direction, Meter, Protocol, Telemetry};
use crate::ticket::Operation;

/// Attempts of one session that are admitted and not yet playing.
const PENDING_PER_SESSION: usize = 8;
/// Nothing is kept open for longer than this without a renewal.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Sessions that may be open at once on one hub.
const SESSIONS: usize = 65_536;

/// What the control plane puts on record before it hands the session to the core.
#[derive(Clone)]
pub struct SessionSpec {
    pub id: String,
    pub principal: Principal,
    pub camera: String,
    /// None: AUTO, the main stream where the viewer can carry and decode it, else the sub stream.
    pub profile: Option<Profile>,
    pub purpose: String,
    pub grant: String,
    pub expires: SystemTime,
    pub rtsp_user: String,
    pub rtsp_password: String,
    /// Connections per kind of sink; more than one for load programs only.
    pub connections: usize,
}

impl SessionSpec {
    /// What its tickets are good for. The purpose `publish` stands outside the register: nothing is watched with it.
    pub fn operation(&self) -> Operation {
        if self.purpose == "publish" { Operation::Publish } else { Operation::Play }
    }

    /// What policy is asked for.
    pub fn action(&self) -> Action {
        match self.operation() {
            Operation::Play => Action::ViewLive,
            Operation::Publish => Action::Publish,
        }
    }
}

struct Connection {
    number: u64,
    protocol: Protocol,
    ender: Ender,
}

struct Life {
    expires: Instant,
    ended: Option<&'static str>,
    pending: usize,
    connections: Vec<Connection>,
    next_number: u64,
}

/// One open session.
pub struct Session {
    pub spec: SessionSpec,
    life: Mutex<Life>,
    /// Cancelled when it has ended, for attempts that wait for their camera.
    over: CancellationToken,
}

impl Session {
    /// Takes one of the places for attempts; `None` when the session has ended.
    pub fn reserve(&self) -> Result<()> {
        let mut life = self.life.lock();
        if life.ended.is_some() {
            return Err(unknown());
        }
        if life.pending >= PENDING_PER_SESSION.max(self.spec.connections) {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_CONNECTIONS",
                format!("{PENDING_PER_SESSION} connections of this session are being opened: wait for one"),
            ));
        }
        life.pending += 1;
        Ok(())
    }

    pub fn is_open(&self) -> bool {
        self.life.lock().ended.is_none()
    }

    pub fn end_reason(&self) -> Option<&'static str> {
        self.life.lock().ended
    }

    pub fn give_back(&self) {
        self.life.lock().pending -= 1;
    }

    /// Books a connection and replaces the oldest one of its kind when there are too many: a player that falls back from
    /// UDP to TCP replaces itself. Returns its number.
    pub fn connect(&self, protocol: Protocol, ender: Ender) -> u64 {
        let mut replaced = None;
        let mut life = self.life.lock();
        let number = life.next_number;
        life.next_number += 1;
        if let Some(reason) = life.ended {
            drop(life);
            ender.end(reason);
            return number;
        }
        let is_same = |connection: &Connection| connection.protocol.sink() == protocol.sink();
        if life.connections.iter().filter(|connection| is_same(connection)).count() >= self.spec.connections
            && let Some(oldest) = life.connections.iter().position(is_same)
        {
            replaced = Some(life.connections.remove(oldest));
        }
        life.connections.push(Connection { number, protocol, ender });
        drop(life);
        if let Some(connection) = replaced {
            connection.ender.end("CONNECTION_REPLACED");
        }
        number
    }

    /// Counts what its connections move, where it is another hub's own.
    pub fn meter(&self, telemetry: &Telemetry, direction: Direction) -> Option<Meter> {
        let principal = &self.spec.principal;
        (principal.kind == PrincipalKind::Hub).then(|| telemetry.link(&principal.id, direction))
    }

    /// Returns when the session has ended.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    pub fn disconnect(&self, number: u64) {
        self.life.lock().connections.retain(|connection| connection.number != number);
    }

    /// Ends it once; true for the call that did.
    fn end(&self, reason: &'static str) -> bool {
        let mut life = self.life.lock();
        if life.ended.is_some() {
            return false;
        }
        life.ended = Some(reason);
        self.over.cancel();
        let connections = std::mem::take(&mut life.connections);
        drop(life);
        for connection in connections {
            connection.ender.end(reason);
        }
        true
    }
}

#[derive(Default)]
struct Book {
    by_id: HashMap<String, Arc<Session>>,
    by_rtsp_user: HashMap<String, Arc<Session>>,
    by_camera: HashMap<String, HashSet<String>>,
    deadlines: BTreeSet<(Instant, String)>,
}

/// Every open session of the hub.
pub struct Sessions {
    book: Mutex<Book>,
    pub(super) guests: Guests,
    events: Arc<Events>,
    /// Rings when the earliest deadline may have changed.
    changed: Notify,
}

impl Sessions {
    pub fn new(events: Arc<Events>) -> Self {
        Self { book: Mutex::default(), guests: Guests::default(), events, changed: Notify::new() }
    }

    pub fn open(&self, spec: SessionSpec) -> Result<()> {
        let mut book = self.book.lock();
        if book.by_id.len() >= SESSIONS {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_SESSIONS",
                format!("{SESSIONS} sessions are open on this hub: end some"),
            ));
        }
        if book.by_id.contains_key(&spec.id) || book.by_rtsp_user.contains_key(&spec.rtsp_user) {
            return Err(Error::new(ErrorKind::AlreadyExists, "SESSION_EXISTS", "a session of this id is open"));
        }
        let expires = steady(spec.expires);
        book.deadlines.insert((expires, spec.id.clone()));
        book.by_camera.entry(spec.camera.clone()).or_default().insert(spec.id.clone());
        let life = Life { expires, ended: None, pending: 0, connections: Vec::new(), next_number: 0 };
        let session = Arc::new(Session { spec, life: Mutex::new(life), over: CancellationToken::new() });
        book.by_rtsp_user.insert(session.spec.rtsp_user.clone(), session.clone());
        book.by_id.insert(session.spec.id.clone(), session);
        drop(book);
        self.changed.notify_one();
        Ok(())
    }

    pub fn get(&self, id: &str) -> Result<Arc<Session>> {
        self.book.lock().by_id.get(id).cloned().ok_or_else(unknown)
    }

    pub fn by_rtsp_user(&self, user: &str) -> Option<Arc<Session>> {
        self.book.lock().by_rtsp_user.get(user).cloned()
    }

    pub fn count(&self) -> usize {
        self.book.lock().by_id.len()
    }

    pub fn renew(&self, id: &str, expires: SystemTime) -> Result<()> {
        let expires = steady(expires);
        let mut book = self.book.lock();
        let session = book.by_id.get(id).cloned().ok_or_else(unknown)?;
        let mut life = session.life.lock();
        book.deadlines.remove(&(life.expires, id.to_owned()));
        life.expires = expires;
        book.deadlines.insert((expires, id.to_owned()));
        drop(life);
        drop(book);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends one session on every protocol and says so; false when it is not open.
    pub fn end(&self, id: &str, reason: &'static str) -> bool {
        let session = {
            let mut book = self.book.lock();
            let Some(session) = book.by_id.remove(id) else { return false };
            book.by_rtsp_user.remove(&session.spec.rtsp_user);
            book.deadlines.remove(&(session.life.lock().expires, id.to_owned()));
            if let Some(of_camera) = book.by_camera.get_mut(&session.spec.camera) {
                of_camera.remove(id);
                if of_camera.is_empty() {
                    book.by_camera.remove(&session.spec.camera);
                }
            }
            session
        };
        if session.end(reason) {
            self.guests.left(self, &session.spec.camera);
            self.events.push(Event::SessionEnded { session: id.to_owned(), reason });
        }
        true
    }

    /// Ends every session for which `ends` has a reason; returns how many.
    pub fn end_where(&self, mut ends: impl FnMut(&SessionSpec) -> Option<&'static str>) -> usize {
        let sessions: Vec<_> = self.book.lock().by_id.values().cloned().collect();
        let ending: Vec<_> =
            sessions.iter().filter_map(|session| ends(&session.spec).map(|reason| (session, reason))).collect();
        ending.into_iter().filter(|(session, reason)| self.end(&session.spec.id, reason)).count()
    }

    /// Sessions of one camera.
    pub fn of_camera(&self, camera: &str) -> Vec<Arc<Session>> {
        let book = self.book.lock();
        let Some(ids) = book.by_camera.get(camera) else { return Vec::new() };
        ids.iter().filter_map(|id| book.by_id.get(id).cloned()).collect()
    }

    /// Whether the camera has a session.
    pub fn has_any(&self, camera: &str) -> bool {
        self.book.lock().by_camera.contains_key(camera)
    }

    /// Whether somebody of the hub `peer` has a session to watch the camera.
    pub fn has_guest(&self, camera: &str, peer: &str) -> bool {
        self.of_camera(camera).iter().any(|session| is_guest(&session.spec, peer))
    }

    /// Ends what has expired by `now`; returns the next deadline.
    pub fn expire(&self, now: Instant) -> Option<Instant> {
        loop {
            let (deadline, id) = self.book.lock().deadlines.first().cloned()?;
            if deadline > now {
                return Some(deadline);
            }
            self.end(&id, "SESSION_EXPIRED");
        }
    }

    /// Waits until the earliest deadline may have changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// A moment of the wall clock on the steady one: whoever sets the clock neither ends running pictures nor keeps them. What
/// was given until a time of day is judged again by the wall clock at each renewal.
fn steady(expires: SystemTime) -> Instant {
    let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + left.min(LONGEST)
}

pub fn unknown() -> Error {
    Error::new(ErrorKind::Unauthenticated, "SESSION_UNKNOWN", "this session is not open: open a new one")
}
