//! What a publisher has announced, and how its packets are to come: SETUP with mode=record (RFC 2326 §10.4).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tracing::debug;

use crate::gate::Publication;
use crate::source::{Announced, Section};
use crate::wire::rtsp::{self, Lower, Request, Response, Target};

/// Asked of the kernel for each UDP socket, which may give less: a keyframe comes in one burst.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;
/// Tries to find two neighbouring ports.
const PORT_TRIES: usize = 64;

/// What an ANNOUNCE has led to.
pub(super) struct Recording {
    pub camera: String,
    pub base: String,
    pub publication: Arc<dyn Publication>,
    pub sections: Vec<Section>,
    pub announced: Announced,
    /// By section, once it is set up.
    pub ways: Vec<Option<Way>>,
}

/// How a section's packets come.
pub(super) enum Way {
    Interleaved { rtp: u8, rtcp: u8 },
    Udp(Box<Pair>),
}

/// Two ports that take packets from the client's two and from nobody else.
pub(super) struct Pair {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

impl Recording {
    pub fn new(
        target: &Target,
        publication: Arc<dyn Publication>,
        (sections, announced): (Vec<Section>, Announced),
    ) -> Self {
        let ways = sections.iter().map(|_| None).collect();
        Self { camera: target.camera.clone(), base: target.base.clone(), publication, sections, announced, ways }
    }

    /// The section that a SETUP names: by its control, at the end of the address or as the address, or by its number.
    /// The error is the answer.
    fn section(&self, request: &Request) -> Result<usize, Response> {
        let refuse = |status, reason| Response::refusal(status, request.cseq(), reason);
        let uri = request.uri.trim_end_matches('/');
        let named = self.sections.iter().enumerate().find_map(|(number, section)| {
            let control =
                section.control.as_deref().map(|control| control.trim_matches('/')).filter(|it| !it.is_empty())?;
            if uri.eq_ignore_ascii_case(control) {
                return Some((number, uri));
            }
            let rest = uri.strip_suffix(control)?.strip_suffix('/')?;
            Some((number, rest))
        });
        let rest = named.map_or(uri, |(_, rest)| rest);
        let target = Target::parse(rest).ok_or_else(|| refuse(400, "ADDRESS_INVALID"))?;
        // An absolute control may be what the client likes to call it; where it goes to is this connection.
        if target.camera != self.camera && rest != uri {
            return Err(refuse(403, "TICKET_OTHER_CAMERA"));
        }
        match (named, target.track, self.sections.len()) {
            (Some((number, _)), _, _) => Ok(number),
            (None, _, _) if is_below(&target.camera, &self.camera) => Err(refuse(404, "TRACK_NOT_FOUND")),
            (None, _, _) if target.camera != self.camera => Err(refuse(403, "TICKET_OTHER_CAMERA")),
            (None, Some(track), count) if track < count => Ok(track),
            (None, None, 1) => Ok(0),
            (None, Some(_), _) => Err(refuse(404, "TRACK_NOT_FOUND")),
            (None, None, _) => Err(refuse(459, "TRACK_MISSING")),
        }
    }

    /// Sets a section up; the `Transport` of the answer, or the answer when it can't be.
    /// `is_secure`: the connection is TLS, and media comes inside it or not at all.
    pub async fn set_up(
        &mut self,
        request: &Request,
        (peer, local): (SocketAddr, SocketAddr),
        is_secure: bool,
    ) -> Result<String, Response> {
        let number = self.section(request)?;
        let refuse = |status, reason| Response::refusal(status, request.cseq(), reason);
        let offers = request.headers.get("Transport").map(rtsp::Transport::parse_all).unwrap_or_default();
        let offer = offers.iter().find(|offer| match offer.lower {
            Lower::Tcp => !offer.multicast,
            Lower::Udp => !is_secure && !offer.multicast && offer.client_port.is_some(),
            Lower::Other => false,
        });
        let reason = if is_secure { "TRANSPORT_TCP_ONLY" } else { "TRANSPORT_UNKNOWN" };
        let Some(offer) = offer else { return Err(refuse(461, reason)) };
        let (way, told) = match (offer.lower, offer.client_port) {
            // Nothing comes from there, and the silence would be taken for the encoder's.
            (Lower::Udp, Some((0, _) | (_, 0))) => return Err(refuse(461, "CLIENT_PORT_INVALID")),
            (Lower::Udp, Some((rtp, rtcp))) => {
                let pair = Pair::bind(local.ip(), peer.ip(), rtp, rtcp).await.map_err(|cause| {
                    debug!(%peer, %cause, "no UDP ports for a publisher");
                    refuse(503, "PORTS_MISSING")
                })?;
                let ports = pair.ports().ok_or_else(|| refuse(503, "PORTS_MISSING"))?;
                let told = format!("RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={}-{}", ports.0, ports.1);
                (Way::Udp(Box::new(pair)), told)
            }
            _ => {
                let own = u8::try_from(2 * number).unwrap_or(u8::MAX - 1);
                let (rtp, rtcp) = offer.interleaved.unwrap_or((own, own + 1));
                let taken = |way: &Option<Way>| match way {
                    Some(Way::Interleaved { rtp: known, rtcp: other }) => {
                        [*known, *other].iter().any(|channel| *channel == rtp || *channel == rtcp)
                    }
                    Some(Way::Udp(_)) | None => false,
                };
                if rtp == rtcp || self.ways.iter().enumerate().any(|(other, way)| other != number && taken(way)) {
                    return Err(refuse(461, "CHANNEL_TAKEN"));
                }
                (Way::Interleaved { rtp, rtcp }, format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}"))
            }
        };
        if let Some(place) = self.ways.get_mut(number) {
            *place = Some(way);
        }
        Ok(format!("{told};mode=record"))
    }
}

impl Pair {
    /// An even port and the next, on the address that the client has reached.
    async fn bind(local: IpAddr, peer: IpAddr, rtp: u16, rtcp: u16) -> io::Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..PORT_TRIES {
            match Self::bind_once(local) {
                Ok(pair) => {
                    // From here on the kernel keeps everybody else's packets out.
                    pair.rtp.connect(SocketAddr::new(peer, rtp)).await?;
                    pair.rtcp.connect(SocketAddr::new(peer, rtcp)).await?;
                    return Ok(pair);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn bind_once(local: IpAddr) -> io::Result<Self> {
        let bind = |port: u16| -> io::Result<UdpSocket> {
            let socket = std::net::UdpSocket::bind(SocketAddr::new(local, port))?;
            socket.set_nonblocking(true)?;
            socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
            UdpSocket::from_std(socket)
        };
        let first = bind(0)?;
        let port = first.local_addr()?.port();
        let second = bind(port ^ 1)?;
        Ok(if port & 1 == 0 { Self { rtp: first, rtcp: second } } else { Self { rtp: second, rtcp: first } })
    }

    fn ports(&self) -> Option<(u16, u16)> {
        Some((self.rtp.local_addr().ok()?.port(), self.rtcp.local_addr().ok()?.port()))
    }
}

/// Whether a path leads on from the camera's, to what would be one of its tracks.
fn is_below(path: &str, camera: &str) -> bool {
    path.strip_prefix(camera).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{BoxFuture, Ender};
    use crate::stream::{Stream, StreamLimits};
    use crate::wire::rtsp::{Incoming, Parser};

    struct Pushed(Arc<Stream>);

    impl Publication for Pushed {
        fn session_id(&self) -> &str {
            "session"
        }

        fn stream(&self) -> &Arc<Stream> {
            &self.0
        }

        fn begin(&self, _ender: Ender) -> BoxFuture<'_, crate::error::Result<()>> {
            Box::pin(async { Ok(()) })
        }
    }

    fn request(transport: &str) -> Request {
        let mut parser = Parser::default();
        parser.push(
            format!("SETUP rtsp://h/gate/streamid=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: {transport}\r\n\r\n").as_bytes(),
        );
        match parser.take().unwrap() {
            Some(Incoming::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    /// One section, and the addresses of client and hub.
    fn recording() -> (Recording, (SocketAddr, SocketAddr)) {
        let stream = Stream::new("gate".into(), StreamLimits { gop_cache_bytes: 1 }, Arc::default());
        let announced =
            (vec![Section { control: Some("streamid=0".to_owned()), place: Some(0) }], Announced::default());
        let target = Target::parse("rtsp://h/gate").unwrap();
        let ends = ("127.0.0.1:5".parse().unwrap(), "127.0.0.1:6".parse().unwrap());
        (Recording::new(&target, Arc::new(Pushed(stream)), announced), ends)
    }

    #[tokio::test]
    async fn a_publisher_names_the_ports_that_its_packets_come_from() {
        let (mut recording, ends) = recording();
        for ports in ["0-1", "5000-0"] {
            let transport = format!("RTP/AVP;unicast;client_port={ports};mode=record");
            let refused = recording.set_up(&request(&transport), ends, false).await.err().unwrap().into_bytes();
            let refused = String::from_utf8_lossy(&refused);
            assert!(refused.starts_with("RTSP/1.0 461") && refused.contains("CLIENT_PORT_INVALID"), "{refused}");
        }
    }

    #[tokio::test]
    async fn behind_tls_no_media_is_taken_in_clear() {
        let (mut recording, ends) = recording();
        let udp = "RTP/AVP;unicast;client_port=5000-5001;mode=record";
        let refused = recording.set_up(&request(udp), ends, true).await.err().unwrap().into_bytes();
        let refused = String::from_utf8_lossy(&refused);
        assert!(refused.starts_with("RTSP/1.0 461") && refused.contains("TRANSPORT_TCP_ONLY"), "{refused}");
        let both = format!("{udp},RTP/AVP/TCP;unicast;interleaved=0-1;mode=record");
        let taken = recording.set_up(&request(&both), ends, true).await.ok().unwrap();
        assert!(taken.starts_with("RTP/AVP/TCP;"), "{taken}");
        let taken = recording.set_up(&request(udp), ends, false).await.ok().unwrap();
        assert!(taken.contains("server_port="), "{taken}");
    }
}
