//! What a client sends while it plays: keep-alives, TEARDOWN, receiver reports, and now and then garbage.

use std::io::ErrorKind;
use std::time::Instant;

use bytes::Bytes;

use super::{Flow, INBOUND_BUDGET, RtspSink};
use crate::error::reason_word;
use crate::wire::rtsp::{self, Fault, Incoming, Request, Response};

/// Methods that exist on this server.
pub const METHODS: &str = "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, RECORD, TEARDOWN, GET_PARAMETER, SET_PARAMETER";
/// Those that make sense while playing.
const METHODS_PLAYING: &str = "OPTIONS, PLAY, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

impl RtspSink {
    /// Answers PLAY now that the first units are known; the first bytes of media follow the answer.
    pub(super) fn answer_play(&mut self, now: Instant) -> Flow {
        let Some(play) = self.play.take() else { return Flow::Continue };
        let tracks = self.tracks.iter().enumerate().filter(|(_, track)| track.is_set_up);
        // All on one instant, npt=0: the first unit's. A player that sets its tracks by these numbers has them in step.
        let infos: Vec<String> = tracks
            .filter_map(|(index, track)| {
                let start = self.clock.start_timestamp(track.rate_hz)?;
                let sequence = track.first_sequence.map(|number| format!(";seq={}", number as u16)).unwrap_or_default();
                Some(format!("url={}trackID={index}{sequence};rtptime={start}", self.base))
            })
            .collect();
        let mut answer = self.ok(play.cseq).header("Range", "npt=0.000-");
        if !infos.is_empty() {
            answer = answer.header("RTP-Info", infos.join(","));
        }
        // In front of the units that wait for it.
        self.outbox.push_front_message(answer.into_bytes());
        if self.clock.is_started() {
            self.report(now);
        }
        self.read(now)
    }

    /// The client still waits for PLAY's answer: that is where it learns the reason.
    pub(super) fn refuse_play(&mut self, reason: &'static str, now: Instant) {
        let Some(play) = self.play.take() else { return };
        let answer = Response::refusal(503, play.cseq, reason).header("Session", &self.session);
        self.say(answer.into_bytes(), now);
    }

    pub(super) fn say_teardown(&mut self, reason: &str, now: Instant) {
        let headers = [("Session", self.session.as_str()), ("X-Vidhub-Reason", reason)];
        let teardown = rtsp::request("TEARDOWN", &self.base, 1, &headers);
        self.say(teardown, now);
    }

    /// An answer with the session in it, which keeps clients alive that look at the time-out.
    fn ok(&self, cseq: Option<u32>) -> Response {
        Response::new(200, cseq).header("Session", format_args!("{};timeout=60", self.session))
    }

    pub(super) fn say(&mut self, message: Bytes, now: Instant) {
        self.starts_waiting(now);
        if !self.outbox.push_message(message) {
            self.close("ANSWERS_NOT_READ", now);
        }
    }

    /// Reads and answers all that has come; answers wait behind PLAY's.
    pub(super) fn read(&mut self, now: Instant) -> Flow {
        let mut chunk = [0; 4096];
        loop {
            while self.play.is_none() && self.closing.is_none() {
                match self.parser.take() {
                    Ok(Some(Incoming::Request(request))) => self.answer(&request, now),
                    // Receiver reports change nothing on TCP, and answers to our notice come too late.
                    Ok(Some(Incoming::Frame { .. } | Incoming::Response { .. })) => {}
                    Ok(None) => break,
                    Err(fault) => self.refuse(fault, now),
                }
            }
            let room = self.parser.room().min(chunk.len());
            if room == 0 || self.closing.is_some() {
                // Before PLAY is answered it is read on from there; afterwards nothing matters any more.
                return Flow::Continue;
            }
            let Some(target) = chunk.get_mut(..room) else { return Flow::Continue };
            match self.transport.read(target) {
                Ok(0) => return Flow::Close("CLIENT_CLOSED"),
                Ok(count) => {
                    self.inbound += count;
                    if self.inbound > INBOUND_BUDGET {
                        return Flow::Close("CLIENT_FLOODS");
                    }
                    self.parser.push(chunk.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Flow::Continue,
                Err(_) => return Flow::Close("CONNECTION_LOST"),
            }
        }
    }

    fn refuse(&mut self, fault: Fault, now: Instant) {
        let reason = match fault {
            Fault::Malformed => "MALFORMED_REQUEST",
            Fault::TooLarge => "TOO_LARGE",
        };
        self.say(Response::refusal(400, None, reason).into_bytes(), now);
        self.close(reason, now);
    }

    fn answer(&mut self, request: &Request, now: Instant) {
        self.heard = now;
        let cseq = request.cseq();
        let is_foreign = request.session().is_some_and(|session| session != self.session);
        let answer = match request.method.as_str() {
            _ if !request.version_supported => Response::refusal(505, cseq, "RTSP_VERSION"),
            _ if cseq.is_none() => Response::refusal(400, None, "CSEQ_MISSING"),
            _ if is_foreign => Response::refusal(454, cseq, "RTSP_SESSION_UNKNOWN"),
            "OPTIONS" => self.ok(cseq).header("Public", METHODS),
            "GET_PARAMETER" | "SET_PARAMETER" => self.ok(cseq),
            // Live goes on where it is; some clients say PLAY again to keep the session.
            "PLAY" => self.ok(cseq).header("Range", "npt=now-"),
            "TEARDOWN" => {
                let answer = self.ok(cseq).header("Connection", "close");
                self.say(answer.into_bytes(), now);
                // Whoever takes what we push says why it takes no more.
                let said = request.headers.get("X-Vidhub-Reason").filter(|_| self.is_pushing).and_then(reason_word);
                self.close(said.unwrap_or("CLIENT_TEARDOWN"), now);
                return;
            }
            // Live can't be held.
            "PAUSE" => Response::refusal(501, cseq, "LIVE_ONLY"),
            "DESCRIBE" | "SETUP" => Response::refusal(455, cseq, "ALREADY_PLAYING").header("Allow", METHODS_PLAYING),
            _ => Response::refusal(405, cseq, "METHOD_UNKNOWN").header("Allow", METHODS_PLAYING),
        };
        self.say(answer.into_bytes(), now);
    }
}
