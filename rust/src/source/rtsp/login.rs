//! Proves a registered login to the camera, request by request.

use rand::distr::{Alphanumeric, SampleString};

use super::super::{Failure, FailureKind, Target};
use super::refused_by_hub;
use crate::peer::Peer;
use crate::wire::digest::{Challenge, next_nonce};
use crate::wire::rtsp::Answer;

/// New nonces in a row that one request is repeated for.
const MAX_RENEWALS: u32 = 3;
const CLIENT_NONCE_LEN: usize = 24;

/// The login of one connection.
pub struct Login {
    username: String,
    password: String,
    /// Another hub's ticket, as it is shown.
    ticket: Option<String>,
    challenge: Option<Challenge>,
    /// Requests signed with the challenge's nonce.
    count: u32,
    client_nonce: String,
    /// The camera has accepted the login on this connection.
    is_proven: bool,
    renewals: u32,
}

impl Login {
    pub fn new(target: &Target) -> Self {
        Self {
            username: target.username.clone(),
            password: target.password.clone(),
            ticket: target.peer.as_deref().map(Peer::authorization),
            challenge: None,
            count: 0,
            client_nonce: String::new(),
            is_proven: false,
            renewals: 0,
        }
    }

    /// The `Authorization` header of the next request, once the camera has asked for one. A ticket is shown at DESCRIBE, and
    /// what follows belongs to its connection.
    pub fn authorization(&mut self, method: &str, uri: &str) -> Option<String> {
        if let Some(ticket) = &self.ticket {
            return (method == "DESCRIBE").then(|| ticket.clone());
        }
        match self.challenge.as_ref()? {
            Challenge::Basic => {
                use base64::Engine as _;
                let pair = format!("{}:{}", self.username, self.password);
                Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
            }
            Challenge::Digest(digest) => {
                self.count += 1;
                let login = (self.username.as_str(), self.password.as_str());
                Some(digest.answer(login, method, uri, self.count, &self.client_nonce))
            }
        }
    }

    /// Whether the camera has asked for one.
    pub fn is_asked(&self) -> bool {
        self.challenge.is_some()
    }

    /// Whether the password itself is what is sent.
    pub fn is_plain(&self) -> bool {
        self.challenge == Some(Challenge::Basic)
    }

    /// The camera has answered 401. Ok: the request is to be sent again, with a new `authorization`.
    ///
    /// A login that was signed and refused is not tried again: cameras lock accounts. A nonce that has become too old
    /// says nothing about the login; some cameras renew it in mid-session and forget to say `stale`.
    pub fn challenged(&mut self, answer: &Answer) -> Result<(), Failure> {
        let refused = |message: &str| Err(Failure::new(FailureKind::RefusedLogin, message));
        if self.ticket.is_some() {
            return Err(refused_by_hub(answer));
        }
        if self.username.is_empty() {
            return refused("the camera wants a login and none is registered");
        }
        let mut challenges: Vec<Challenge> =
            answer.headers.all("WWW-Authenticate").flat_map(Challenge::parse_all).collect();
        challenges.sort_by_key(|challenge| std::cmp::Reverse(challenge.strength()));
        let Some(challenge) = challenges.into_iter().next() else {
            return refused("the camera wants a kind of login that the hub does not know: allow Digest in the camera");
        };
        let is_renewal = match (&self.challenge, &challenge) {
            (None, _) => false,
            (Some(Challenge::Digest(old)), Challenge::Digest(new)) => {
                let is_excused = new.stale || self.is_proven;
                if old.nonce == new.nonce || !is_excused || self.renewals >= MAX_RENEWALS {
                    return refused("the camera refuses the registered login: check username and password");
                }
                true
            }
            (Some(_), _) => return refused("the camera refuses the registered login: check username and password"),
        };
        self.renewals += u32::from(is_renewal);
        self.begin(challenge);
        Ok(())
    }

    /// The camera has answered with success.
    pub fn accepted(&mut self, answer: &Answer) {
        self.renewals = 0;
        let Some(challenge) = &self.challenge else { return };
        self.is_proven = true;
        let next = answer.headers.get("Authentication-Info").and_then(next_nonce);
        if let (Challenge::Digest(digest), Some(nonce)) = (challenge, next) {
            let mut digest = digest.clone();
            digest.nonce = nonce;
            self.begin(Challenge::Digest(digest));
        }
    }

    fn begin(&mut self, challenge: Challenge) {
        self.challenge = Some(challenge);
        self.count = 0;
        self.client_nonce = Alphanumeric.sample_string(&mut rand::rng(), CLIENT_NONCE_LEN);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, target};
    use super::*;

    fn login() -> Login {
        Login::new(&target("rtsp://cam/1"))
    }

    fn asks(challenge: &str) -> Answer {
        answer(401, &format!("WWW-Authenticate: {challenge}\r\n"))
    }

    #[test]
    fn the_strongest_of_several_challenges_is_answered() {
        let mut login = login();
        assert_eq!(login.authorization("DESCRIBE", "/"), None);
        let many = answer(
            401,
            "WWW-Authenticate: Basic realm=\"x\"\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"1\"\r\n\
             WWW-Authenticate: Digest realm=\"x\", nonce=\"1\", algorithm=SHA-256, qop=\"auth\"\r\n",
        );
        login.challenged(&many).unwrap();
        let first = login.authorization("DESCRIBE", "/").unwrap();
        let second = login.authorization("SETUP", "/").unwrap();
        assert!(first.contains("algorithm=SHA-256") && first.contains("nc=00000001"), "{first}");
        assert!(second.contains("nc=00000002") && !second.contains("hunter2"), "{second}");
        assert!(!login.is_plain());
    }

    #[test]
    fn a_refused_login_is_not_tried_again_but_a_stale_nonce_is_no_refusal() {
        let mut refused = login();
        refused.challenged(&asks("Digest realm=\"x\", nonce=\"1\"")).unwrap();
        assert!(refused.challenged(&asks("Digest realm=\"x\", nonce=\"2\"")).is_err());

        let mut stale = login();
        stale.challenged(&asks("Digest realm=\"x\", nonce=\"1\"")).unwrap();
        stale.challenged(&asks("Digest realm=\"x\", nonce=\"2\", stale=TRUE")).unwrap();
        assert!(stale.authorization("PLAY", "/").unwrap().contains("nonce=\"2\""));
        assert!(stale.challenged(&asks("Digest realm=\"x\", nonce=\"2\", stale=true")).is_err(), "the same nonce");
        for nonce in 3..5 {
            stale.challenged(&asks(&format!("Digest realm=\"x\", nonce=\"{nonce}\", stale=true"))).unwrap();
        }
        assert!(stale.challenged(&asks("Digest realm=\"x\", nonce=\"5\", stale=true")).is_err(), "not for ever");

        let mut proven = login();
        proven.challenged(&asks("Digest realm=\"x\", nonce=\"1\"")).unwrap();
        proven.accepted(&answer(200, ""));
        proven.challenged(&asks("Digest realm=\"x\", nonce=\"2\"")).unwrap();
        proven.accepted(&answer(200, "Authentication-Info: nextnonce=\"3\"\r\n"));
        assert!(proven.authorization("PLAY", "/").unwrap().contains("nonce=\"3\""));
    }

    #[test]
    fn basic_is_answered_where_nothing_else_is_offered() {
        let mut login = login();
        login.challenged(&asks("Basic realm=\"cam\"")).unwrap();
        assert_eq!(login.authorization("DESCRIBE", "/").as_deref(), Some("Basic YWRtaW46aHVudGVyMiM="));
        assert!(login.is_plain());
        assert!(login.challenged(&asks("Basic realm=\"cam\"")).is_err());
        assert!(self::login().challenged(&asks("Negotiate")).is_err());
        let nobody = Target { username: String::new(), ..target("rtsp://cam/1") };
        let failure = Login::new(&nobody).challenged(&asks("Basic")).unwrap_err();
        assert!(failure.message.contains("none is registered"));
    }
}
