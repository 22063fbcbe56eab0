//! ICE restarts (RFC 8445 §2.4, by PATCH as in RFC 9725 §4.3.3): both sides take new credentials, and the session goes on from
//! wherever the new checks come.

use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::{IceCreds, Rtc};
use tokio::sync::oneshot;

/// A restart whose checks have not come by then is a viewer that has left.
const CHECKED_WITHIN: Duration = Duration::from_secs(10);

/// What a client sends to restart (`SinkHandle::message`), and where the answer goes.
pub struct Restart {
    pub remote: IceCreds,
    pub reply: oneshot::Sender<Restarted>,
}

/// The other side of a restart.
#[derive(Debug)]
pub struct Restarted {
    pub local_ufrag: String,
    /// `application/trickle-ice-sdpfrag` (RFC 8840 §9).
    pub fragment: String,
}

/// What a peer keeps for restarts.
pub struct Restarts {
    /// The offer that was answered.
    offer: Box<str>,
    /// Begun and not checked yet.
    since: Option<Instant>,
}

impl Restarts {
    pub fn new(offer: String) -> Self {
        Self { offer: offer.into(), since: None }
    }

    /// Gives both sides new credentials. What is under way goes on along the old path until the new one is checked. None
    /// when str0m does not take them.
    pub fn begin(&mut self, rtc: &mut Rtc, remote: &IceCreds, now: Instant) -> Option<Restarted> {
        let offer = SdpOffer::from_sdp_string(&with_credentials(&self.offer, remote)).ok()?;
        let answer = rtc.sdp_api().accept_offer(offer).ok()?.to_sdp_string();
        self.since = Some(now);
        let local_ufrag = rtc.direct_api().local_ice_credentials().ufrag;
        Some(Restarted { local_ufrag, fragment: fragment(&answer) })
    }

    /// The new checks have come.
    pub fn is_checked(&mut self) {
        self.since = None;
    }

    /// When they must have come.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + CHECKED_WITHIN)
    }
}

fn with_credentials(offer: &str, credentials: &IceCreds) -> String {
    let mut sdp = String::with_capacity(offer.len());
    for line in offer.lines() {
        match line.split_once(':') {
            Some((name @ "a=ice-ufrag", _)) => sdp.extend([name, ":", &credentials.ufrag]),
            Some((name @ "a=ice-pwd", _)) => sdp.extend([name, ":", &credentials.pass]),
            _ => sdp.push_str(line),
        }
        sdp.push_str("\r\n");
    }
    sdp
}

/// What of an answer a client needs to find the new path: everything is bundled with the first section.
fn fragment(answer: &str) -> String {
    let (session, media) = answer.split_at(answer.find("m=").unwrap_or(answer.len()));
    let first = media.lines().enumerate().take_while(|(place, line)| *place == 0 || !line.starts_with("m="));
    let is_wanted = |line: &&str| {
        ["a=ice-lite", "a=group:BUNDLE", "m=", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"]
            .iter()
            .any(|wanted| line.starts_with(wanted))
    };
    let lines = session.lines().chain(first.map(|(_, line)| line)).filter(is_wanted);
    lines.chain(["a=end-of-candidates"]).flat_map(|line| [line, "\r\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_has_what_finds_the_path_and_nothing_else() {
        let answer = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\na=ice-lite\r\na=group:BUNDLE 0 1\r\na=fingerprint:sha-256 AA\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 8\r\nc=IN IP4 0.0.0.0\r\na=candidate:1 1 udp 9 192.0.2.7 8555 typ host\r\na=mid:0\r\n\
            a=ice-ufrag:ours\r\na=ice-pwd:secret\r\na=sendonly\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=ice-ufrag:ours\r\n";
        let expected = "a=ice-lite\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 8\r\n\
            a=candidate:1 1 udp 9 192.0.2.7 8555 typ host\r\na=mid:0\r\na=ice-ufrag:ours\r\na=ice-pwd:secret\r\n\
            a=end-of-candidates\r\n";
        assert_eq!(fragment(answer), expected);
        assert_eq!(fragment(""), "a=end-of-candidates\r\n");
    }

    #[test]
    fn every_section_gets_the_new_credentials() {
        let new = IceCreds { ufrag: "new".into(), pass: "word".into() };
        let offer = "v=0\r\nm=audio 9\r\na=ice-ufrag:a\r\na=ice-pwd:b\r\nm=video 9\r\na=ice-ufrag:a\r\na=ice-pwd:b\r\n";
        let sdp = with_credentials(offer, &new);
        assert_eq!((sdp.matches("ufrag:new\r\n").count(), sdp.matches("pwd:word\r\n").count()), (2, 2));
    }
}
