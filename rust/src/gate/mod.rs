//! The one door: what a caller may list and open is settled here, for the API and for every media protocol.

mod admission;
mod door;
mod ender;
mod events;
mod guests;
mod lease;
mod lending;
mod publishing;
mod pushes;
mod sessions;
mod streams;
mod wanted;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use door::{Admission, BoxFuture, Door, Proof, Publication, Refusal};
pub use ender::{Ended, Ender};
pub use events::{Event, Events};
use lease::Lease;
pub use lease::for_hubs;
pub use lending::Lent;
pub use sessions::{SessionSpec, Sessions};
pub use streams::{Key, Origin, StartSource, Streams, StreamsOptions, WatchStream};

use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;
use crate::policy::{Action, Decision, Grant, Policy, Principal, Reach, Resource};
use crate::registry::{
    Camera, CameraStream, Candidates, Change, Counts, Filter, Grouping, Page, Registry, Row, Scope, State,
};
use crate::source::Target;
use crate::stream::{Description, SourceState};
use crate::telemetry::{self, Protocol, Telemetry, Verdict};
use crate::ticket::{Operation, Tickets};
use sessions::Session;

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The moment that many seconds after 1970. Far futures, infinity too, are clamped; what is no number is long over.
pub fn moment(seconds: f64) -> SystemTime {
    let bounded = if seconds.is_nan() { 0.0 } else { seconds.clamp(0.0, 1e11) };
    UNIX_EPOCH + Duration::from_secs_f64(bounded)
}

/// Registry, policy, sessions and streams behind one door.
pub struct Gate {
    pub registry: Arc<Registry>,
    pub policy: Policy,
    pub sessions: Arc<Sessions>,
    pub events: Arc<Events>,
    streams: Arc<Streams>,
    tickets: Tickets,
    telemetry: Arc<Telemetry>,
}

impl Gate {
    pub fn new(
        policy: Policy,
        tickets: Tickets,
        registry: Arc<Registry>,
        events: Arc<Events>,
        streams: Arc<Streams>,
        telemetry: Arc<Telemetry>,
    ) -> Arc<Self> {
        let sessions = Arc::new(Sessions::new(events.clone()));
        Arc::new(Self { registry, policy, sessions, events, streams, tickets, telemetry })
    }

    // What exists, as the caller may know it.

    /// One page of the cameras that the principal may know of, in order of id.
    pub fn list(&self, principal: &Principal, filter: &Filter, after: &str, limit: usize) -> Page {
        let time = now();
        let candidates = self.candidates(principal, time);
        self.registry.page(&candidates, filter, after, limit, &mut |row| {
            self.decide(principal, Action::List, row, "", time).allowed
        })
    }

    /// The same for many at once. Whether a camera may be known of hangs on what it is, on its id only where a grant names
    /// cameras; so cameras that are alike are judged once, and the decisions that views live by stay in memory.
    pub fn list_alike(&self, principal: &Principal, filter: &Filter, after: &str, limit: usize) -> Page {
        let time = now();
        let candidates = self.candidates(principal, time);
        if let Candidates::Scopes(scopes) = &candidates
            && scopes.iter().any(|scope| !scope.camera_ids.is_empty())
        {
            return self.list(principal, filter, after, limit);
        }
        let mut judged: HashMap<Kind, bool> = HashMap::new();
        self.registry.page(&candidates, filter, after, limit, &mut |row| {
            *judged.entry(kind(row)).or_insert_with(|| self.decide(principal, Action::List, row, "", time).allowed)
        })
    }

    /// How many cameras the principal may know of, by group, as the total of `list` has them. `stale`: as for the registry.
    pub fn count(&self, principal: &Principal, filter: &Filter, grouping: Grouping, stale: &[String]) -> Counts {
        self.registry.count(&self.candidates(principal, now()), filter, grouping, stale)
    }

    fn candidates(&self, principal: &Principal, time: f64) -> Candidates {
        match self.policy.reach(principal, time) {
            Reach::All => Candidates::All,
            Reach::Scopes(scopes) => Candidates::Scopes(scopes.into_iter().map(scope_of_registry).collect()),
        }
    }

    /// One camera. CAMERA_NOT_FOUND when it is unknown or hidden from the principal.
    pub fn get(&self, principal: &Principal, camera: &str) -> Result<Row> {
        let row = self.registry.get(camera).ok_or_else(|| camera_not_found(camera))?;
        if !self.decide(principal, Action::List, &row, "", now()).allowed {
            return Err(camera_not_found(camera));
        }
        Ok(row)
    }

    /// Whether another hub registered the camera. CAMERA_NOT_FOUND when it is unknown.
    pub fn is_of_other_hub(&self, camera: &str) -> Result<bool> {
        let row = self.registry.get(camera).ok_or_else(|| camera_not_found(camera))?;
        Ok(self.is_foreign(&row))
    }

    /// May the principal do this with this camera for this purpose? CAMERA_NOT_FOUND when it is unknown. Whoever names a
    /// camera that is hidden from them learns that they have no grant: they may ask for one.
    pub fn authorise(&self, principal: &Principal, action: Action, camera: &str, purpose: &str) -> Result<Decision> {
        let row = self.registry.get(camera).ok_or_else(|| camera_not_found(camera))?;
        Ok(self.decide(principal, action, &row, purpose, now()))
    }

    fn decide(&self, principal: &Principal, action: Action, row: &Row, purpose: &str, time: f64) -> Decision {
        let decision = self.policy.decide(principal, action, &resource(row), purpose, time);
        let verdict = if decision.allowed { Verdict::Allow } else { Verdict::Deny };
        let counted = match action {
            Action::List => telemetry::Action::List,
            Action::ViewLive | Action::Publish => telemetry::Action::ViewLive,
            Action::Snapshot => telemetry::Action::Snapshot,
        };
        self.telemetry.authorisations(verdict, counted).fetch_add(1, Relaxed);
        decision
    }

    // Changes that the control plane has made durable.

    pub fn load(&self, epoch: &str, revision: u64, cameras: Vec<Camera>, changes: Vec<Change>) -> Result<()> {
        self.registry.load(epoch, revision, cameras, changes)
    }

    /// Applies one committed change and ends what it no longer permits.
    pub fn apply_cameras(&self, revision: u64, upserts: Vec<Camera>, removed: &[String]) -> Result<()> {
        let changed: Vec<String> = upserts.iter().map(|camera| camera.id.clone()).collect();
        self.registry.apply(revision, upserts, removed)?;
        for camera in removed {
            self.cut_camera(camera, "CAMERA_RETIRED");
        }
        // Of an import hardly one is watched.
        for camera in changed.iter().filter(|camera| self.sessions.has_any(camera) || self.streams.has_any(camera)) {
            self.review(camera);
        }
        Ok(())
    }

    /// Ends every session of one camera, and its streams. Of a camera that goes for another reason than that it is
    /// retired, before it goes.
    pub fn cut_camera(&self, camera: &str, reason: &'static str) {
        for session in self.sessions.of_camera(camera) {
            self.sessions.end(&session.spec.id, reason);
        }
        self.streams.stop_camera(camera, reason);
    }

    /// Judges the sessions of one camera anew.
    fn review(&self, camera: &str) {
        let sessions = self.sessions.of_camera(camera);
        let Some(row) = self.registry.get(camera) else { return };
        for session in sessions {
            let spec = &session.spec;
            let decision = self.decide(&spec.principal, spec.action(), &row, &spec.purpose, now());
            if !decision.allowed {
                let reason =
                    if decision.reason == "CAMERA_QUARANTINED" { "CAMERA_QUARANTINED" } else { "POLICY_CHANGED" };
                self.sessions.end(&spec.id, reason);
            }
        }
        if row.is_quarantined() {
            self.streams.stop_camera(camera, "CAMERA_QUARANTINED");
        } else {
            self.streams.stop_moved(camera, |profile| self.origin(&row, profile));
            // What another hub has no more is never brought: who watches it asks again, and hears so or is given the other one.
            let is_left = |profile| row.profiles().is_empty() || row.stream(profile).is_some();
            if self.is_foreign(&row) {
                self.streams.stop_where(camera, |profile| !is_left(profile));
            }
        }
    }

    pub fn load_grants(&self, grants: Vec<Grant>) {
        self.policy.load_grants(grants);
    }

    /// Adds a grant, or replaces the one of its id; sessions that the new one does not carry any more are ended.
    pub fn apply_grant(&self, grant: Grant) {
        let id = grant.id.clone();
        let is_new = self.policy.grant(&id).is_none();
        self.policy.apply_grant(grant);
        if !is_new {
            self.sessions.end_where(|spec| (spec.grant == id && !self.is_carried(spec)).then_some("GRANT_REVOKED"));
        }
    }

    /// Whether the grant that the session stands on still permits it.
    fn is_carried(&self, spec: &SessionSpec) -> bool {
        let Some(row) = self.registry.get(&spec.camera) else { return false };
        let SessionSpec { principal, purpose, grant, .. } = spec;
        self.policy.is_carried(grant, principal, spec.action(), &resource(&row), purpose, now())
    }

    /// Takes a grant back and ends every session it carried.
    pub fn remove_grant(&self, id: &str, reason: &'static str) -> usize {
        self.policy.remove_grant(id);
        self.sessions.end_where(|spec| (spec.grant == id).then_some(reason))
    }

    // Sessions.

    /// A ticket for the session, good for its first use until `expires` (seconds since 1970).
    pub fn issue_ticket(&self, session: &str, expires: f64) -> Result<String> {
        let session = self.sessions.get(session)?;
        let spec = &session.spec;
        self.tickets.issue(&spec.id, &spec.camera, spec.operation(), expires)
    }

    /// Admits a reader inside the process, who needs no ticket: whoever can name the session here has opened it.
    pub fn admit_reader(self: &Arc<Self>, session: &str, protocol: Protocol) -> Result<Arc<dyn Admission>> {
        let session = self.sessions.get(session)?;
        is_for(&session, Operation::Play)?;
        session.reserve()?;
        admission::admit(self.clone(), session, protocol, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Ends sessions when their time is over, for as long as the hub runs.
    pub async fn keep_time(self: Arc<Self>) {
        loop {
            let now = Instant::now();
            let next = self.sessions.expire(now);
            let wait = next.map_or(Duration::from_secs(3600), |deadline| deadline.saturating_duration_since(now));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.sessions.changed() => {}
            }
        }
    }

    /// Streams that run.
    pub fn streams(&self) -> usize {
        self.streams.count()
    }

    pub fn stop_streams(&self) {
        self.streams.stop();
    }

    /// Takes an interest in one of the camera's streams; `wanted` None: the main one, or the only one.
    fn lease(&self, camera: &str, wanted: Option<Profile>) -> Result<Lease> {
        let (key, origin) = self.supply(camera, wanted)?;
        self.streams.lease(key, origin)
    }

    /// Which of its streams that is, and where it comes from. One that is pushed is there, whatever the record says; where
    /// there is neither push nor address, the push is waited for.
    fn supply(&self, camera: &str, wanted: Option<Profile>) -> Result<(Key, Origin)> {
        let row = self.registry.get(camera).ok_or_else(|| camera_not_found(camera))?;
        let of = |profile| ((camera.to_owned(), profile), self.origin(&row, profile));
        let comes = |(key, origin): &(Key, Origin)| match origin {
            Origin::Camera(_) => true,
            Origin::Hub => row.stream(key.1).is_some() || self.streams.is_pushed(key),
            Origin::Pushed => self.streams.is_pushed(key),
        };
        let Some(wanted) = wanted else {
            let found = [Profile::Main, Profile::Sub].map(of).into_iter().find(comes);
            let registered = if row.stream(Profile::Main).is_some() { Profile::Main } else { Profile::Sub };
            return Ok(found.unwrap_or_else(|| of(registered)));
        };
        let found = of(wanted);
        if row.stream(wanted).is_none() && !row.profiles().is_empty() && !comes(&found) {
            return Err(profile_missing(camera, wanted));
        }
        Ok(found)
    }

    /// Which stream is pushed under that profile.
    fn pushed(&self, camera: &str, profile: Profile) -> Result<(Key, Origin)> {
        let row = self.registry.get(camera).ok_or_else(|| camera_not_found(camera))?;
        Ok(((camera.to_owned(), profile), self.origin(&row, profile)))
    }

    fn is_foreign(&self, row: &Row) -> bool {
        !row.home_hub_id().is_empty() && row.home_hub_id() != self.policy.here()
    }

    /// Where the profile comes from, beside who pushes it. What another hub's record says of addresses is not dialled.
    fn origin(&self, row: &Row, profile: Profile) -> Origin {
        if self.is_foreign(row) {
            return Origin::Hub;
        }
        match row.stream(profile).filter(|stream| !stream.url.is_empty()) {
            Some(stream) => Origin::Camera(target(row.id(), stream)),
            None => Origin::Pushed,
        }
    }
}

/// The camera as policy sees it.
/// All that policy knows of a camera but its id and revision.
type Kind = (String, String, String, String, u8, bool);

fn kind(row: &Row) -> Kind {
    let text = str::to_owned;
    (
        text(row.home_hub_id()),
        text(row.unit_id()),
        text(row.region_code()),
        text(row.industry()),
        row.place_category(),
        row.is_quarantined(),
    )
}

fn resource(row: &Row) -> Resource<'_> {
    Resource {
        id: row.id(),
        hub_id: row.home_hub_id(),
        unit_id: row.unit_id(),
        region_code: row.region_code(),
        industry: row.industry(),
        place_category: row.place_category(),
        quarantined: row.is_quarantined(),
        revision: row.revision(),
    }
}

fn target(camera: &str, stream: CameraStream) -> Target {
    let CameraStream { url, username, password, transport, .. } = stream;
    Target { camera: camera.into(), url, username, password, transport, peer: None }
}

/// Notes what was learned of a camera and says so when it is news.
pub fn note_state(registry: &Registry, events: &Events, camera: &str, state: State, reason: &str) {
    if let Some(number) = registry.set_state(camera, state, reason, now()) {
        let camera = camera.to_owned();
        events.push(Event::CameraState { camera, number, state: state.number(), reason: reason.to_owned() });
    }
}

/// A running stream counts as a probe of its camera; `seen_live` hears of it.
pub fn watch_streams(
    registry: Arc<Registry>,
    events: Arc<Events>,
    seen_live: impl Fn(&str) + Send + Sync + 'static,
) -> WatchStream {
    Box::new(move |(camera, profile): &Key, state: &SourceState, description: Option<&Description>| match state {
        SourceState::Live => {
            seen_live(camera);
            note_state(&registry, &events, camera, State::Online, "");
            for track in description.into_iter().flat_map(|description| &description.tracks) {
                if let Some((width, height, _)) = track.parameters.picture() {
                    events.push(Event::StreamMedia {
                        camera: camera.clone(),
                        profile: if *profile == Profile::Main { 1 } else { 2 },
                        codec: track.codec.name(),
                        width,
                        height,
                    });
                }
            }
        }
        SourceState::Failed { cause, message, .. } => {
            note_state(&registry, &events, camera, state_of_failure(cause), message);
        }
        SourceState::Idle | SourceState::Connecting => {}
    })
}

fn state_of_failure(reason: &str) -> State {
    match reason {
        "CAMERA_REFUSED_LOGIN" => State::Refused,
        "CAMERA_UNREACHABLE" | "CAMERA_SILENT" => State::Offline,
        _ => State::Invalid,
    }
}

fn scope_of_registry(scope: crate::policy::Scope) -> Scope {
    Scope {
        camera_ids: scope.camera_ids,
        unit_ids: scope.unit_ids,
        region_prefixes: scope.region_prefixes,
        industries: scope.industries,
    }
}

fn profile_missing(camera: &str, profile: Profile) -> Error {
    let (missing, there) = match profile {
        Profile::Main => ("main", "SUB"),
        Profile::Sub => ("sub", "MAIN"),
    };
    let message = format!("camera {camera} is registered without a {missing} stream: ask for {there} or AUTO");
    Error::new(ErrorKind::NotFound, "CAMERA_PROFILE_MISSING", message)
}

fn camera_not_found(camera: &str) -> Error {
    // What was asked for is the caller's own text: bounded, and never more than they sent.
    let shown: String = camera.chars().take(40).collect();
    Error::new(ErrorKind::NotFound, "CAMERA_NOT_FOUND", format!("no camera {shown:?} that you may know of"))
}

/// Ways of a session's end that the control plane may name.
const END_REASONS: [&str; 19] = [
    "SESSION_CLOSED",
    "SESSION_EXPIRED",
    "GRANT_REVOKED",
    "POLICY_CHANGED",
    "SESSION_TERMINATED",
    "USER_SUSPENDED",
    "CAMERA_RETIRED",
    "CAMERA_QUARANTINED",
    "CAMERA_ID_TAKEN",
    "CAMERA_RECORD_INVALID",
    "REGION_NOT_OF_PEER",
    "PATH_CYCLE",
    "LINK_LEASE_EXPIRED",
    "SESSION_LOST",
    "HUB_DRAINING",
    "CERTIFICATE_REVOKED",
    "LINK_DOWN",
    "LINK_ENDED",
    "LINK_TIMEOUT",
];

/// The stable word for a reason from outside the core; unknown ones become SESSION_TERMINATED.
pub fn end_reason(word: &str) -> &'static str {
    END_REASONS.into_iter().find(|reason| *reason == word).unwrap_or("SESSION_TERMINATED")
}

impl Door for Arc<Gate> {
    fn admit(
        &self,
        camera: &str,
        proof: Option<Proof<'_>>,
        protocol: Protocol,
        peer: SocketAddr,
    ) -> Result<Arc<dyn Admission>> {
        let session = self.shown(camera, proof, Operation::Play)?;
        session.reserve()?;
        admission::admit(self.clone(), session, protocol, peer)
    }

    fn publish(
        &self,
        camera: &str,
        proof: Option<Proof<'_>>,
        protocol: Protocol,
        peer: SocketAddr,
    ) -> Result<Arc<dyn Publication>> {
        let session = self.shown(camera, proof, Operation::Publish)?;
        session.reserve()?;
        publishing::publish(self.clone(), session, protocol, peer)
    }

    fn session_of(&self, ticket: &str) -> Result<String> {
        // The expiry of a ticket is the time to its first use: long past for a running viewer.
        let ticket = self.tickets.verify(ticket, 0.0)?;
        Ok(self.sessions.get(&ticket.session_id)?.spec.id.clone())
    }

    fn refused(&self, refusal: &Refusal<'_>) {
        // That a camera can't be had is no refusal: its state tells of it.
        match refusal.error.kind() {
            ErrorKind::Unauthenticated
            | ErrorKind::PermissionDenied
            | ErrorKind::NotFound
            | ErrorKind::ResourceExhausted => {}
            _ => return,
        }
        let ticket = refusal.ticket.and_then(|ticket| self.tickets.verify(ticket, 0.0).ok());
        self.events.push(Event::MediaRefused {
            camera: refusal.camera.chars().take(40).collect(),
            session: ticket.map(|ticket| ticket.session_id).unwrap_or_default(),
            reason: refusal.error.reason(),
            protocol: refusal.protocol.word(),
            address: refusal.peer.ip().to_canonical(),
        });
    }

    fn rtsp_password(&self, rtsp_user: &str) -> Option<String> {
        Some(self.sessions.by_rtsp_user(rtsp_user)?.spec.rtsp_password.clone())
    }
}

impl Gate {
    /// The session that a client shows, if it is for this camera and this operation.
    fn shown(&self, camera: &str, proof: Option<Proof<'_>>, operation: Operation) -> Result<Arc<Session>> {
        let session = match proof {
            None => {
                return Err(Error::new(
                    ErrorKind::Unauthenticated,
                    "TICKET_MISSING",
                    "show a ticket: open a session and use what it gives",
                ));
            }
            Some(Proof::RtspUser(user)) => self.sessions.by_rtsp_user(user).ok_or_else(sessions::unknown)?,
            Some(Proof::Ticket(ticket)) => {
                let ticket = self.tickets.verify(ticket, now())?;
                if ticket.camera_id != camera {
                    return Err(self.other_camera(camera));
                }
                self.sessions.get(&ticket.session_id)?
            }
        };
        if session.spec.camera != camera {
            return Err(self.other_camera(camera));
        }
        is_for(&session, operation)?;
        Ok(session)
    }

    fn other_camera(&self, camera: &str) -> Error {
        if self.registry.get(camera).is_none() {
            return camera_not_found(camera);
        }
        Error::new(ErrorKind::PermissionDenied, "TICKET_OTHER_CAMERA", "this ticket is for another camera")
    }
}

fn is_for(session: &Session, operation: Operation) -> Result<()> {
    if session.spec.operation() == operation {
        return Ok(());
    }
    let message = match operation {
        Operation::Play => "this session is for pushing the camera, not for watching it",
        Operation::Publish => {
            "this session is for watching: to push a camera, its unit opens one with the purpose publish"
        }
    };
    Err(Error::new(ErrorKind::PermissionDenied, "TICKET_OTHER_OPERATION", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_end_is_far_and_no_time_at_all_is_over() {
        let far = UNIX_EPOCH + Duration::from_secs(100_000_000_000);
        assert_eq!((moment(f64::INFINITY), moment(1e300)), (far, far));
        for over in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0] {
            assert_eq!(moment(over), UNIX_EPOCH);
        }
        assert_eq!(moment(1.5), UNIX_EPOCH + Duration::from_millis(1500));
    }
}
