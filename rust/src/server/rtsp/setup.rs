//! SETUP: which track, and how its media goes; the same way for all tracks of a connection.

use super::super::socket::Socket;
use super::connection::{Connection, Next};
use super::pair::ViewerPorts;
use crate::wire::rtsp::{self, Lower, Request, Response};

/// How a connection's media goes.
pub(super) enum Carried {
    Interleaved,
    Datagrams(Box<ViewerPorts>),
}

impl<S: Socket> Connection<S> {
    pub(super) async fn setup(&mut self, request: &Request, cseq: Option<u32>) -> Next {
        let offers = request.headers.get("Transport").map(rtsp::Transport::parse_all).unwrap_or_default();
        // Who may not see the camera learns nothing of its tracks.
        let target = match self.admit(request).await {
            Ok(target) => target,
            Err(next) => return next,
        };
        let track = match (target.track, self.tracks.len()) {
            (Some(track), count) if track < count => track,
            (None, 1) => 0,
            (Some(_), _) => return Next::Answer(Response::refusal(404, cseq, "TRACK_NOT_FOUND")),
            (None, _) => return Next::Answer(Response::refusal(459, cseq, "TRACK_MISSING")),
        };
        let transport = match self.carry(track, &offers) {
            Ok(transport) => transport,
            Err(reason) => return Next::Answer(Response::refusal(461, cseq, reason)),
        };
        if let Some(is_set_up) = self.tracks.get_mut(track) {
            *is_set_up = true;
        }
        let session = self.session.get_or_insert_with(|| format!("{:016x}", rand::random::<u64>()));
        let answer = Response::new(200, cseq)
            .header("Session", format_args!("{session};timeout=60"))
            .header("Transport", transport)
            .header("Cache-Control", "no-cache");
        Next::Answer(answer)
    }

    /// Takes the first offer that can be had, and gives the answer's `Transport`; else why there is none.
    fn carry(&mut self, track: usize, offers: &[rtsp::Transport]) -> Result<String, &'static str> {
        let Some(admitted) = &self.admitted else { return Err("TRANSPORT_UNKNOWN") };
        let ssrc = admitted.description.ssrcs.get(track).copied().unwrap_or_default();
        let pair = self.context.udp.as_ref().filter(|pair| pair.reaches(self.local.ip(), self.peer.ip()));
        // What the client learns when nothing is left: the most telling reason.
        let mut reason = if pair.is_some() { "TRANSPORT_UNKNOWN" } else { "TRANSPORT_TCP_ONLY" };
        for offer in offers.iter().filter(|offer| !offer.multicast && !offer.record) {
            match (offer.lower, &mut self.carried, pair) {
                (Lower::Tcp, Some(Carried::Datagrams(_)), _) | (Lower::Udp, Some(Carried::Interleaved), Some(_)) => {
                    reason = "TRANSPORT_MIXED";
                }
                (Lower::Tcp, carried, _) => {
                    *carried = Some(Carried::Interleaved);
                    // One buffer serves all viewers, so the channels are ours to choose and the same for all.
                    let (rtp, rtcp) = (2 * track, 2 * track + 1);
                    return Ok(format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp};ssrc={ssrc:08X};mode=\"PLAY\""));
                }
                (Lower::Udp, carried, Some(pair)) => {
                    let mut ports = match carried.take() {
                        Some(Carried::Datagrams(ports)) => ports,
                        _ => Box::new(ViewerPorts::new(
                            pair.clone(),
                            admitted.admission.session_id(),
                            self.local.ip(),
                            self.peer.ip(),
                            self.tracks.len(),
                        )),
                    };
                    let client = offer.client_port.unwrap_or_default();
                    let set = ports.set(track, ssrc, client);
                    if set.is_ok() || ports.is_used() {
                        *carried = Some(Carried::Datagrams(ports));
                    }
                    match set {
                        Ok(()) => {
                            let server = pair.server_ports();
                            return Ok(format!(
                                "RTP/AVP;unicast;client_port={}-{};server_port={}-{};ssrc={ssrc:08X};mode=\"PLAY\"",
                                client.0, client.1, server.0, server.1
                            ));
                        }
                        Err(refused) => reason = refused.reason(),
                    }
                }
                (Lower::Udp, _, None) | (Lower::Other, _, _) => {}
            }
        }
        Err(reason)
    }
}
