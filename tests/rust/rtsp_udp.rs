//! RTSP with media by UDP, spoken to by hand: whom it goes to, what is taken from whom, and how it ends.

#[path = "rtsp/support.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use _core::server::rtsp::UdpPair;
use _core::telemetry::{Direction, Protocol, SinkKind};
use _core::wire::rtcp::{self, Report};
use support::{Answer, Client, GOP, Heard, Rtp, Studio, until};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn pair(address: &str) -> UdpPair {
    UdpPair::bind(address.parse().expect("address")).expect("two free ports")
}

fn studio() -> Studio {
    Studio::on_air_with(|options| options.udp = Some(pair("127.0.0.1:0")))
}

/// A viewer's sockets for one track.
struct Ports {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Ports {
    /// Any free pair.
    fn open() -> Self {
        loop {
            let rtp = UdpSocket::bind((LOCALHOST, 0)).expect("a port");
            let next = rtp.local_addr().expect("address").port().wrapping_add(1);
            if let Ok(rtcp) = UdpSocket::bind((LOCALHOST, next)) {
                for socket in [&rtp, &rtcp] {
                    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("time-out");
                }
                return Self { rtp, rtcp };
            }
        }
    }

    fn first(&self) -> u16 {
        self.rtp.local_addr().expect("address").port()
    }

    fn offer(&self) -> String {
        format!("RTP/AVP;unicast;client_port={}-{}", self.first(), self.first() + 1)
    }

    /// The next packet, and where it came from.
    fn rtp(&self) -> (Rtp, SocketAddr) {
        let mut packet = [0; 2048];
        let (length, from) = self.rtp.recv_from(&mut packet).expect("a packet comes");
        (Rtp::read(0, &packet[..length]), from)
    }

    fn rtcp(&self) -> (Vec<Report>, SocketAddr) {
        let mut packet = [0; 2048];
        let (length, from) = self.rtcp.recv_from(&mut packet).expect("a report comes");
        (rtcp::parse(&packet[..length]).collect(), from)
    }
}

fn describe(client: &mut Client, studio: &Studio, ticket: &str) {
    let answer = client.ask("DESCRIBE", &studio.url(&format!("gate?ticket={ticket}")), &[]);
    assert_eq!(answer.status(), 200, "{answer:?}");
}

fn set_up(client: &mut Client, studio: &Studio, track: usize, transport: &str, session: &str) -> Answer {
    let mut headers = vec![("Transport", transport)];
    if !session.is_empty() {
        headers.push(("Session", session));
    }
    client.ask("SETUP", &studio.url(&format!("gate/trackID={track}")), &headers)
}

fn session(answer: &Answer) -> String {
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.header("Session").split(';').next().expect("id").to_owned()
}

fn parameter<'a>(transport: &'a str, name: &str) -> &'a str {
    let found = transport.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {transport}"))
}

/// Plays both tracks; the session and where RTP is said to come from.
fn play(client: &mut Client, studio: &Studio, ports: &[Ports; 2]) -> (String, Answer, u16) {
    describe(client, studio, "good");
    let first = set_up(client, studio, 0, &ports[0].offer(), "");
    let id = session(&first);
    let server = parameter(first.header("Transport"), "server_port").split('-').next().expect("first");
    let second = set_up(client, studio, 1, &ports[1].offer(), &id);
    session(&second);
    let answer = client.ask("PLAY", &studio.url("gate"), &[("Session", &id)]);
    assert_eq!(answer.status(), 200, "{answer:?}");
    (id, answer, server.parse().expect("a port"))
}

fn receiver_report(ssrc: u32, lost: i32) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&(lost as u32 & 0x00ff_ffff).to_be_bytes());
    packet.extend_from_slice(&[0; 16]);
    packet
}

#[test]
fn pictures_go_from_the_server_port_to_the_client_port_and_reports_beside_them() {
    let mut studio = studio();
    let (mut client, ports) = (studio.client(), [Ports::open(), Ports::open()]);
    let (id, answer, server_port) = play(&mut client, &studio, &ports);
    assert_eq!(server_port % 2, 0);
    let base = studio.url("gate");
    let expected = format!("url={base}/trackID=0;seq=0;rtptime=90000,url={base}/trackID=1;seq=0;rtptime=8000");
    assert_eq!(answer.header("RTP-Info"), expected);
    let (mut sequence, mut octets, mut pictures) = (0, 0, 0);
    while pictures < GOP / 2 {
        let (packet, from) = ports[0].rtp();
        assert_eq!((from.ip(), from.port()), (LOCALHOST.into(), server_port));
        assert_eq!((packet.sequence, packet.payload_type), (sequence, 96));
        assert_eq!(u64::from(packet.timestamp), 90_000 + pictures * 3_600);
        assert!(packet.payload.len() <= 1_200);
        sequence += 1;
        octets += packet.payload.len() as u32;
        pictures += u64::from(packet.marker);
    }
    let (sound, _) = ports[1].rtp();
    assert_eq!((sound.payload_type, sound.sequence), (8, 0));
    // Live goes on behind the cache.
    studio.publish(3_000);
    let live = ports[0].rtp().0;
    assert_eq!(live.sequence, sequence);
    let (first, from) = ports[0].rtcp();
    assert_eq!(from.port(), server_port + 1);
    let Some(Report::Sender { info, .. }) = first.first() else { panic!("{first:?}") };
    assert_eq!(info.packets, 0, "the first report goes ahead of the pictures");
    until("what was sent is counted", || {
        studio.telemetry.flow(Direction::Out, Protocol::RtspUdp).packets.load(SeqCst) > u64::from(sequence)
    });
    assert_eq!(studio.telemetry.flow(Direction::Out, Protocol::RtspTcp).packets.load(SeqCst), 0);
    assert_eq!(studio.telemetry.sinks(SinkKind::Rtsp).load(SeqCst), 1);
    assert_eq!(studio.door.first_pictures.load(SeqCst), 1);
    assert_eq!(studio.door.carried.lock().expect("lock")[..], [Protocol::RtspUdp]);

    // What is left of the last picture.
    let mut total = (u32::from(sequence) + 1, octets + live.payload.len() as u32);
    ports[0].rtp.set_read_timeout(Some(Duration::from_millis(300))).expect("time-out");
    let mut rest = [0; 2048];
    while let Ok((length, _)) = ports[0].rtp.recv_from(&mut rest) {
        total = (total.0 + 1, total.1 + length as u32 - 12);
    }
    studio.door.sinks.lock().expect("lock")[0].end("GRANT_REVOKED");
    let last = loop {
        let (reports, _) = ports[0].rtcp();
        if reports.iter().any(|report| matches!(report, Report::Bye { .. })) {
            break reports;
        }
    };
    let Some(Report::Sender { info, .. }) = last.first() else { panic!("{last:?}") };
    assert_eq!((info.packets, info.octets), total, "reports count payload");
    let notice = match client.hear() {
        Heard::Request(notice) => notice,
        other => panic!("{other:?}"),
    };
    assert_eq!(notice.header("X-Vidhub-Reason"), "GRANT_REVOKED");
    assert_eq!(notice.header("Session"), id);
    assert!(matches!(client.hear(), Heard::Closed));
    until("the admission is given back", || studio.door.admissions.load(SeqCst) == 0);
}

#[test]
fn teardown_and_a_closed_connection_end_the_pictures() {
    let mut studio = studio();
    for is_polite in [true, false] {
        let (mut client, ports) = (studio.client(), [Ports::open(), Ports::open()]);
        let (id, ..) = play(&mut client, &studio, &ports);
        ports[0].rtp();
        if is_polite {
            assert_eq!(client.ask("GET_PARAMETER", &studio.url("gate"), &[("Session", &id)]).status(), 200);
            assert_eq!(client.ask("TEARDOWN", &studio.url("gate"), &[("Session", &id)]).status(), 200);
        }
        drop(client);
        until("the sink is gone", || studio.telemetry.sinks(SinkKind::Rtsp).load(SeqCst) == 0);
        // The same ports for the next one: nobody holds them.
        let mut next = studio.client();
        describe(&mut next, &studio, "another");
        session(&set_up(&mut next, &studio, 0, &ports[0].offer(), ""));
        studio.publish(3_000);
    }
}

#[test]
fn only_the_clients_own_ports_are_sent_to_and_the_reason_is_told() {
    let studio = studio();
    let ports = Ports::open();
    let first = ports.first();
    for (transport, reason) in [
        ("RTP/AVP;unicast", "CLIENT_PORT_INVALID"),
        ("RTP/AVP;unicast;client_port=0-1", "CLIENT_PORT_INVALID"),
        ("RTP/AVP;unicast;client_port=53-54", "CLIENT_PORT_INVALID"),
        ("RTP/AVP;unicast;client_port=1023-1024", "CLIENT_PORT_INVALID"),
        ("RTP/AVP;unicast;client_port=65535", "CLIENT_PORT_INVALID"),
        ("RTP/AVP;unicast;client_port=5000-5000", "CLIENT_PORT_INVALID"),
        ("RTP/AVP;unicast;client_port=99999-100000", "CLIENT_PORT_INVALID"),
        ("RTP/AVP;multicast;client_port=5000-5001", "TRANSPORT_UNKNOWN"),
        ("RTP/SAVP;unicast;client_port=5000-5001", "TRANSPORT_UNKNOWN"),
        ("nonsense", "TRANSPORT_UNKNOWN"),
    ] {
        let mut client = studio.client();
        describe(&mut client, &studio, "good");
        let answer = set_up(&mut client, &studio, 0, transport, "");
        assert_eq!((answer.status(), answer.header("X-Vidhub-Reason")), (461, reason), "{transport}");
        let answer = set_up(&mut client, &studio, 0, "RTP/AVP/TCP;unicast;interleaved=0-1", "");
        assert_eq!(answer.status(), 200, "a client may go on with TCP");
    }
    // What can't be had is passed over for what can.
    let mut client = studio.client();
    describe(&mut client, &studio, "good");
    let offers = format!("RTP/AVP;multicast, RTP/AVP;unicast;client_port=1-2, {}", ports.offer());
    let answer = set_up(&mut client, &studio, 0, &offers, "");
    let id = session(&answer);
    assert_eq!(parameter(answer.header("Transport"), "client_port"), format!("{first}-{}", first + 1));
    // All tracks go one way, and each has ports of its own.
    let answer = set_up(&mut client, &studio, 1, "RTP/AVP/TCP;unicast;interleaved=2-3", &id);
    assert_eq!(answer.header("X-Vidhub-Reason"), "TRANSPORT_MIXED");
    let answer = set_up(&mut client, &studio, 1, &ports.offer(), &id);
    assert_eq!(answer.header("X-Vidhub-Reason"), "CLIENT_PORT_TAKEN");
    let mut other = studio.client();
    describe(&mut other, &studio, "another");
    let answer = set_up(&mut other, &studio, 0, &ports.offer(), "");
    assert_eq!(answer.header("X-Vidhub-Reason"), "CLIENT_PORT_TAKEN", "another session's viewer has them");
    // The same session again: its old connection may be dead already.
    let mut again = studio.client();
    describe(&mut again, &studio, "good");
    let id = session(&set_up(&mut again, &studio, 0, &ports.offer(), ""));
    drop(client);
    assert_eq!(again.ask("PLAY", &studio.url("gate"), &[("Session", &id)]).status(), 200);
    ports.rtp();
}

#[test]
fn a_destination_of_a_third_party_is_not_sent_to() {
    let studio = studio();
    let victim = UdpSocket::bind("127.0.0.9:0").expect("a port");
    let port = victim.local_addr().expect("address").port();
    victim.set_read_timeout(Some(Duration::from_millis(500))).expect("time-out");
    let mut client = studio.client();
    describe(&mut client, &studio, "good");
    let offer = format!("RTP/AVP;unicast;destination=127.0.0.9;client_port={port}-{}", port.wrapping_add(1));
    let answer = set_up(&mut client, &studio, 0, &offer, "");
    assert!(!answer.header("Transport").contains("destination"));
    let id = session(&answer);
    assert_eq!(client.ask("PLAY", &studio.url("gate"), &[("Session", &id)]).status(), 200);
    until("pictures are sent, to the client's own host", || {
        studio.telemetry.flow(Direction::Out, Protocol::RtspUdp).packets.load(SeqCst) > 0
    });
    assert!(victim.recv_from(&mut [0; 2048]).is_err());
}

#[test]
fn on_every_address_the_client_hears_from_the_one_it_knows() {
    let studio = Studio::on_air_with(|options| {
        options.listen = "0.0.0.0:0".parse().expect("address");
        options.udp = Some(pair("0.0.0.0:0"));
    });
    let mut client = Client::connect(SocketAddr::new([127, 0, 0, 7].into(), studio.address.port()));
    let ports = [Ports::open(), Ports::open()];
    play(&mut client, &studio, &ports);
    assert_eq!(ports[0].rtp().1.ip(), Ipv4Addr::new(127, 0, 0, 7));
    assert_eq!(ports[0].rtcp().1.ip(), Ipv4Addr::new(127, 0, 0, 7));
}

#[test]
fn a_port_on_another_address_than_the_clients_is_not_offered() {
    let studio = Studio::on_air_with(|options| {
        options.listen = "0.0.0.0:0".parse().expect("address");
        options.udp = Some(pair("127.0.0.1:0"));
    });
    let mut client = Client::connect(SocketAddr::new([127, 0, 0, 7].into(), studio.address.port()));
    describe(&mut client, &studio, "good");
    let answer = set_up(&mut client, &studio, 0, &Ports::open().offer(), "");
    assert_eq!(answer.header("X-Vidhub-Reason"), "TRANSPORT_TCP_ONLY");
}

#[test]
fn what_strangers_send_changes_nothing_and_a_viewers_word_is_bounded() {
    let mut studio = studio();
    let (mut client, ports) = (studio.client(), [Ports::open(), Ports::open()]);
    let (id, _, server_port) = play(&mut client, &studio, &ports);
    let (rtp, rtcp) = ((LOCALHOST, server_port), (LOCALHOST, server_port + 1));
    let ssrc = studio.door.stream.description().expect("described").ssrcs[0];
    let stranger = UdpSocket::bind((LOCALHOST, 0)).expect("a port");
    for number in 0..5_000_u32 {
        let garbage: Vec<u8> = (0..number % 1_400).map(|place| (place * 31 + number) as u8).collect();
        // A full socket is as good as a full network.
        let _ = stranger.send_to(&garbage, rtp);
        let _ = stranger.send_to(&garbage, rtcp);
    }
    let lies = [receiver_report(ssrc, 1_000), rtcp::bye(ssrc, "gone")].concat();
    stranger.send_to(&lies, rtcp).expect("send");
    // From the viewer's address, but about nobody's stream; and one that is cut short.
    ports[0].rtcp.send_to(&receiver_report(ssrc ^ 1, 1_000), rtcp).expect("send");
    ports[0].rtcp.send_to(&receiver_report(ssrc, 1_000)[..20], rtcp).expect("send");
    ports[0].rtcp.send_to(&rtcp::bye(ssrc, "gone"), rtcp).expect("send");
    assert_eq!(client.ask("OPTIONS", &studio.url("gate"), &[("Session", &id)]).status(), 200);
    studio.publish(3_000);
    while ports[0].rtp().0.timestamp != 90_000 + (GOP / 2) as u32 * 3_600 {}

    // The viewer's own report counts with the next of ours, and never for more than was sent.
    let sent = studio.telemetry.flow(Direction::Out, Protocol::RtspUdp).packets.load(SeqCst);
    ports[0].rtcp.send_to(&receiver_report(ssrc, 3), rtcp).expect("send");
    let telemetry = studio.telemetry.clone();
    let lost = || telemetry.lost(Protocol::RtspUdp).load(SeqCst);
    until("the loss is counted", || lost() > 0);
    assert_eq!(lost(), 3);
    studio.publish(3_000);
    ports[0].rtcp.send_to(&receiver_report(ssrc, 8_000_000), rtcp).expect("send");
    until("more is counted", || lost() > 3);
    assert!(lost() <= 3 + sent, "{}", lost());
}

#[test]
fn a_viewer_whose_host_refuses_the_packets_is_told_so_and_ended() {
    let mut studio = studio();
    let (mut client, ports) = (studio.client(), [Ports::open(), Ports::open()]);
    play(&mut client, &studio, &ports);
    let (mut good, kept) = (studio.client(), [Ports::open(), Ports::open()]);
    play(&mut good, &studio, &kept);
    drop(ports);
    let begun = Instant::now();
    client.socket.set_read_timeout(Some(Duration::from_millis(20))).expect("time-out");
    let mut next = None;
    let notice = loop {
        assert!(begun.elapsed() < Duration::from_secs(40), "it is never ended");
        studio.publish(3_000);
        // Refusals show at calls for others too, and cost those nothing.
        loop {
            let (packet, _) = kept[0].rtp();
            assert_eq!(packet.sequence, next.unwrap_or(packet.sequence));
            next = Some(packet.sequence.wrapping_add(1));
            if packet.marker {
                break;
            }
        }
        match client.hear_if_any() {
            Some(Heard::Request(notice)) => break notice,
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    };
    assert_eq!(notice.header("X-Vidhub-Reason"), "VIEWER_UNREACHABLE");
    assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
    until("its sink is gone", || studio.telemetry.sinks(SinkKind::Rtsp).load(SeqCst) == 1);
}

#[test]
fn setups_without_end_are_cut_off_and_hold_nothing() {
    let studio = studio();
    let (ports, last) = (Ports::open(), Ports::open());
    let mut client = studio.client();
    describe(&mut client, &studio, "good");
    let mut id = session(&set_up(&mut client, &studio, 0, &ports.offer(), ""));
    for _ in 0..60 {
        id = session(&set_up(&mut client, &studio, 0, &last.offer(), &id));
    }
    // Those of before are given back.
    let mut other = studio.client();
    describe(&mut other, &studio, "another");
    session(&set_up(&mut other, &studio, 0, &ports.offer(), ""));
    let more = format!("SETUP {} RTSP/1.0\r\nCSeq: 9\r\nSession: {id}\r\n\r\n", studio.url("gate/trackID=0"));
    while client.takes(more.as_bytes()) {}
    while !matches!(client.hear(), Heard::Closed) {}
    until("its place is given back", || studio.door.admissions.load(SeqCst) == 1);
    session(&set_up(&mut other, &studio, 1, &last.offer(), ""));
}
