//! RTSP pull over TCP: retina speaks the protocol, we decide whom it dials and what becomes of the packets.
//!
//! retina dials by itself, so it is given the very address that was checked, as a literal: no second resolution can
//! differ, and the camera sees its address in the request. It follows no redirect, and its connection stays with the
//! one address; what would lead elsewhere (a foreign `Content-Base`, say) is refused before SETUP.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use retina::client::{
    Credentials, Described, InitialSequenceNumberPolicy, InitialTimestampPolicy, PacketItem, PlayOptions, Playing,
    Session, SessionGroup, SessionIdPolicy, SessionOptions, SetupOptions, TcpTransportOptions, TeardownPolicy,
    Transport, UnassignedChannelDataPolicy, UnknownRtcpSsrcPolicy,
};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};
use url::{Host, Url};

use super::offer::{self, Offer};
use super::{Denial, Failure, FailureKind, Options, Target};

const DEFAULT_PORT: u16 = 554;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Of one description; reading takes time for each of its parts.
const MAX_MEDIA: usize = 32;
const MAX_SDP_BYTES: usize = 64 << 10;
/// How long the answer to "is anybody there at all?" is waited for after a time-out.
const DIAGNOSIS: Duration = Duration::from_secs(1);

/// A camera that has described itself.
pub struct Camera {
    session: Session<Described>,
    /// Place among the camera's media, and what it is.
    pub offers: Vec<(usize, Offer)>,
    connect_timeout: Duration,
}

/// A camera that plays.
pub struct Play(Session<Playing>);

/// Where a target's URL leads.
#[derive(Debug)]
pub struct Address {
    url: Url,
    pub host: String,
    port: u16,
}

impl Address {
    pub fn of(target: &Target) -> Result<Self, Failure> {
        let invalid = |message: &str| Failure::new(FailureKind::Invalid, message);
        let url = Url::parse(&target.url).map_err(|_| invalid("the camera's URL is none: write rtsp://HOST/PATH"))?;
        match url.scheme() {
            "rtsp" => {}
            "rtsps" => {
                return Err(invalid("the camera's URL says rtsps://, which this hub can't pull yet: use rtsp://"));
            }
            _ => return Err(invalid("the camera's URL does not begin with rtsp://, which is what this hub pulls")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("the camera's URL holds a login: give it as username and password"));
        }
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| invalid("the camera's URL names no host"))?;
        Ok(Self { host: host.to_owned(), port: url.port().unwrap_or(DEFAULT_PORT), url })
    }

    /// Resolves the name and keeps the addresses that may be dialled.
    async fn resolve(&self, options: &Options) -> Result<Vec<SocketAddr>, Failure> {
        let found: Vec<SocketAddr> = match self.url.host() {
            Some(Host::Ipv4(ip)) => vec![(ip, self.port).into()],
            Some(Host::Ipv6(ip)) => vec![(ip, self.port).into()],
            Some(Host::Domain(name)) => {
                let unknown = || {
                    Failure::new(
                        FailureKind::Unreachable,
                        format!("the name {name} does not resolve: check it, or the hub's DNS"),
                    )
                };
                lookup_host((name, self.port)).await.map_err(|_| unknown())?.collect()
            }
            None => Vec::new(),
        };
        let mut denied = None;
        let mut allowed: Vec<SocketAddr> = Vec::new();
        for address in found {
            match options.networks.check(address) {
                Ok(()) if allowed.len() < MAX_ADDRESSES && !allowed.contains(&address) => allowed.push(address),
                Ok(()) => {}
                Err(denial) => denied = Some((address, denial)),
            }
        }
        match (allowed.is_empty(), denied) {
            (false, _) => Ok(allowed),
            (true, Some((address, denial))) => Err(denied_failure(address, denial)),
            (true, None) => {
                Err(Failure::new(FailureKind::Unreachable, format!("the name {} has no address", self.host)))
            }
        }
    }
}

fn denied_failure(address: SocketAddr, denial: Denial) -> Failure {
    let why = match denial {
        Denial::Network(network) => format!("source.deny has {network}"),
        Denial::Kind(kind) => format!("{kind} addresses are denied unless source.allow has them"),
        Denial::OwnListener => "it is this hub's own port".to_owned(),
    };
    Failure::new(FailureKind::Denied, format!("the hub does not dial {address}: {why}"))
}

/// Connects and asks what there is. Name, address and login are looked at anew each time.
pub async fn describe(target: &Target, options: &Options, group: Option<Arc<SessionGroup>>) -> Result<Camera, Failure> {
    let address = Address::of(target)?;
    let _dial = options.dials.admit(&address.host).await;
    let deadline = Instant::now() + options.connect_timeout;
    let addresses = timeout_at(deadline, address.resolve(options)).await.map_err(|_| {
        Failure::new(
            FailureKind::Unreachable,
            format!("the name {} was not resolved in time: check the hub's DNS", address.host),
        )
    })??;
    let mut failure = Failure::new(FailureKind::Unreachable, "no address to dial");
    for dialled in addresses {
        match describe_at(&address, dialled, target, options, group.clone(), deadline).await {
            Err(unreachable) if unreachable.kind == FailureKind::Unreachable => failure = unreachable,
            settled => return settled,
        }
    }
    Err(failure)
}

async fn describe_at(
    address: &Address,
    dialled: SocketAddr,
    target: &Target,
    options: &Options,
    group: Option<Arc<SessionGroup>>,
    deadline: Instant,
) -> Result<Camera, Failure> {
    let mut url = address.url.clone();
    if url.set_ip_host(dialled.ip()).is_err() {
        return Err(Failure::new(FailureKind::Invalid, "the camera's URL can't be dialled"));
    }
    let credentials = (!target.username.is_empty())
        .then(|| Credentials { username: target.username.clone(), password: target.password.clone() });
    let mut session_options = SessionOptions::default()
        .creds(credentials)
        .user_agent(concat!("vidhub/", env!("CARGO_PKG_VERSION")).to_owned())
        .teardown(TeardownPolicy::Auto)
        .session_id(SessionIdPolicy::UseFirst)
        .unassigned_channel_data(UnassignedChannelDataPolicy::Ignore);
    if let Some(group) = group {
        session_options = session_options.session_group(group);
    }
    let session = match timeout_at(deadline, Session::describe(url, session_options)).await {
        Ok(session) => session.map_err(|error| explain(&error, "DESCRIBE", target))?,
        Err(_) => return Err(diagnose(dialled).await),
    };
    if session.streams().len() > MAX_MEDIA || session.sdp().len() > MAX_SDP_BYTES {
        let message = "the camera's description is larger than any camera's: check that the address is one's";
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    stays_home(&session, address, dialled)?;
    let offers = offers(&session, target)?;
    Ok(Camera { session, offers, connect_timeout: options.connect_timeout })
}

/// No answer in time: is nobody there, or does somebody not speak?
async fn diagnose(dialled: SocketAddr) -> Failure {
    match timeout(DIAGNOSIS, TcpStream::connect(dialled)).await {
        Ok(Ok(_)) => Failure::new(
            FailureKind::Silent,
            format!(
                "{dialled} takes the connection, but does not answer DESCRIBE: restart the camera, or check the port"
            ),
        ),
        Ok(Err(_)) | Err(_) => Failure::new(
            FailureKind::Unreachable,
            format!("{dialled} does not answer: check that the camera has power and network"),
        ),
    }
}

/// The description must not lead to another host. retina would speak to it over the connection it has, but puts its
/// name into what it signs, and with old live555 servers it dials the `Content-Base` to tear a session down.
fn stays_home(session: &Session<Described>, address: &Address, dialled: SocketAddr) -> Result<(), Failure> {
    let elsewhere = |host: &str| {
        Failure::new(
            FailureKind::Invalid,
            format!("the camera's description leads to another host ({host}): register the camera under that address"),
        )
    };
    let literal = host_of(dialled);
    for stream in session.streams() {
        let Some(control) = stream.control() else { continue };
        let host = control.host_str().unwrap_or_default();
        if control.scheme() != "rtsp" || !(host.eq_ignore_ascii_case(&address.host) || host == literal) {
            return Err(elsewhere(host));
        }
    }
    if session.tool().is_some_and(|tool| tool.has_live555_tcp_bug()) {
        // Only a relative control shows the `Content-Base`, and it must be the very place that was checked.
        let shown = relative_control(session.sdp())
            && session.streams().iter().filter_map(|stream| stream.control()).all(|control| {
                control.host_str() == Some(&literal) && control.port().unwrap_or(DEFAULT_PORT) == dialled.port()
            });
        if !shown {
            return Err(elsewhere("its Content-Base is not its own address"));
        }
    }
    Ok(())
}

fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// Whether every media section's `control` is relative.
fn relative_control(sdp: &[u8]) -> bool {
    let text = String::from_utf8_lossy(sdp);
    let mut sections = text.split("\nm=").skip(1).peekable();
    sections.peek().is_some()
        && sections.all(|section| {
            section
                .lines()
                .find_map(|line| line.trim_end().strip_prefix("a=control:"))
                .is_some_and(|control| control != "*" && Url::parse(control).is_err())
        })
}

/// What is taken of the camera's media.
fn offers(session: &Session<Described>, target: &Target) -> Result<Vec<(usize, Offer)>, Failure> {
    let sdp = String::from_utf8_lossy(session.sdp());
    let sections = offer::sections(&sdp);
    let choice = offer::choose(sections.get(..session.streams().len()).unwrap_or(&sections))?;
    if !choice.left.is_empty() {
        info!(camera = %target.camera, media = ?choice.left, "media of the camera that are not carried");
    }
    Ok(choice.offers)
}

impl Camera {
    /// SETUP of every offer, then PLAY.
    pub async fn play(mut self, target: &Target) -> Result<Play, Failure> {
        let limit = self.connect_timeout;
        for (place, _) in &self.offers {
            let transport = Transport::Tcp(TcpTransportOptions::default());
            let setup = self.session.setup(*place, SetupOptions::default().transport(transport));
            within(limit, setup, "SETUP", target).await?;
        }
        let options = PlayOptions::default()
            .initial_timestamp(InitialTimestampPolicy::Permissive)
            .initial_seq(InitialSequenceNumberPolicy::Ignore)
            .unknown_rtcp_ssrc(UnknownRtcpSsrcPolicy::ProcessPackets);
        // Stamps are not held to anything here: mending them is the timeline's work.
        within(limit, self.session.play(options), "PLAY", target).await.map(Play)
    }
}

async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, retina::Error>>,
    method: &str,
    target: &Target,
) -> Result<T, Failure> {
    match timeout(limit, step).await {
        Ok(done) => done.map_err(|error| explain(&error, method, target)),
        Err(_) => Err(Failure::new(
            FailureKind::Silent,
            format!("the camera does not answer {method}: restart it, or see whether it has too many viewers already"),
        )),
    }
}

impl Play {
    /// The next packet; an error where the connection ends.
    pub async fn next(&mut self, target: &Target) -> Result<PacketItem, Failure> {
        match self.0.next().await {
            Some(Ok(item)) => Ok(item),
            Some(Err(error)) => Err(explain(&error, "playing", target)),
            None => Err(Failure::new(FailureKind::Unreachable, "the camera has closed the connection")),
        }
    }
}

/// Says what an error of retina means. Its own words may quote URLs, which may hold passwords (some recorders take
/// them in the path), so they go nowhere but, with the URL struck out, into the debug log.
fn explain(error: &retina::Error, method: &str, target: &Target) -> Failure {
    let text = error.to_string();
    debug!(camera = %target.camera, method, detail = %scrub(&text, target), "the camera failed");
    let (kind, message) = match error.status_code() {
        Some(401) if target.username.is_empty() => {
            (FailureKind::RefusedLogin, "the camera wants a login and none is registered".to_owned())
        }
        Some(401 | 403 | 407) => (
            FailureKind::RefusedLogin,
            "the camera refuses the registered login: check username and password".to_owned(),
        ),
        Some(404 | 454) => {
            (FailureKind::Invalid, "the camera has no stream under the registered path: check the URL".to_owned())
        }
        Some(status @ 300..400) => (
            FailureKind::Invalid,
            format!(
                "the camera redirects elsewhere ({status}), which is not followed: register the address that it names"
            ),
        ),
        Some(status @ (453 | 500..)) => (
            FailureKind::Unreachable,
            format!(
                "the camera answers {method} with {status}: it may have too many viewers; restart it if that stays"
            ),
        ),
        Some(status @ 400..) => (FailureKind::Invalid, format!("the camera answers {method} with {status}")),
        Some(_) => (FailureKind::Invalid, format!("the camera's answer to {method} can't be used")),
        None if text.starts_with("Unable to connect") => (
            FailureKind::Unreachable,
            if text.contains("refused") {
                "the camera's address refuses the connection: check port and RTSP service".to_owned()
            } else {
                "the camera can't be reached: check that it has power and network".to_owned()
            },
        ),
        None if text.starts_with("Error reading") || text.starts_with("Error writing") => {
            (FailureKind::Unreachable, format!("the camera has cut the connection ({method})"))
        }
        None => (FailureKind::Invalid, format!("what the camera sends is no RTSP ({method})")),
    };
    Failure::new(kind, message)
}

fn scrub(text: &str, target: &Target) -> String {
    let first = text.lines().next().unwrap_or_default();
    let mut clean = first.to_owned();
    let path = Url::parse(&target.url).map(|url| url[url::Position::BeforePath..].to_owned()).unwrap_or_default();
    for secret in [target.url.as_str(), path.as_str(), target.password.as_str(), target.username.as_str()] {
        if secret.len() > 1 {
            clean = clean.replace(secret, "…");
        }
    }
    clean.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target {
            camera: "c".into(),
            url: url.into(),
            username: "admin".into(),
            password: "hunter2#".into(),
            transport: 0,
        }
    }

    #[test]
    fn a_url_that_can_not_be_pulled_is_refused_with_the_remedy() {
        for (url, word) in [
            ("", "rtsp://HOST"),
            ("http://cam/1", "does not begin"),
            ("rtsps://cam/1", "can't pull yet"),
            ("rtsp://user:pw@cam/1", "username and password"),
            ("rtsp:///1", "host"),
        ] {
            let failure = Address::of(&target(url)).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Invalid);
            assert!(failure.message.contains(word), "{url}: {}", failure.message);
            assert!(!failure.message.contains("pw"));
        }
        let address = Address::of(&target("rtsp://cam.example/live?x=1")).unwrap();
        assert_eq!((address.host.as_str(), address.port), ("cam.example", 554));
    }

    #[test]
    fn what_is_logged_holds_no_secret() {
        let target = target("rtsp://10.0.0.1/user=admin&password=hunter2#&channel=1.sdp");
        let text =
            "DESCRIBE response at rtsp://10.0.0.1/user=admin&password=hunter2#&channel=1.sdp has no type\nconn: …";
        let clean = scrub(text, &target);
        assert!(!clean.contains("hunter2") && !clean.contains("admin") && !clean.contains("conn"), "{clean}");
    }

    #[test]
    fn relative_controls_are_told_from_absolute_ones() {
        assert!(relative_control(b"v=0\r\nm=video 0 RTP/AVP 96\r\na=control:track1\r\n"));
        assert!(!relative_control(b"v=0\r\nm=video 0 RTP/AVP 96\r\na=control:rtsp://cam/track1\r\n"));
        assert!(!relative_control(b"v=0\r\nm=video 0 RTP/AVP 96\r\n"));
        assert!(!relative_control(b""));
    }
}
