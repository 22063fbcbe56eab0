//! What is negotiated in words: RTSP, SDP, logins, WHEP, WebSockets.

use _core::media::Codec;
use _core::server::mse::Hello;
use _core::server::webrtc::whip;
use _core::sink::whep;
use _core::source::offer;
use _core::wire::digest::{Challenge, Credentials, next_nonce};
use _core::wire::framed::Frames;
use _core::wire::mp4_codecs::Playable;
use _core::wire::record;
use _core::wire::rtsp::{Fault, Incoming, Input, Parser, Reader, Target, Transport};
use _core::wire::websocket;

use crate::input::cuts;

/// Cut at will, a client's octets are the same messages.
pub fn rtsp_request(data: &[u8]) {
    let read = |pieces: Vec<&[u8]>| -> Result<Vec<Incoming>, Fault> {
        let (mut parser, mut found) = (Parser::default(), Vec::new());
        for piece in pieces {
            let mut rest = piece;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(parser.room().min(rest.len()));
                parser.push(now);
                rest = later;
                while let Some(message) = parser.take()? {
                    found.push(message);
                }
                assert!(parser.room() > 0, "the parser waits for more and takes no more");
            }
        }
        Ok(found)
    };
    let whole = read(vec![data]);
    if let (Ok(whole), Ok(pieces)) = (&whole, &read(cuts(data))) {
        assert_eq!(whole, pieces);
    }
    for message in whole.unwrap_or_default() {
        if let Incoming::Request(request) = message {
            let _ = (request.cseq(), request.session());
        }
    }
}

/// A camera's octets, likewise.
pub fn rtsp_answer(data: &[u8]) {
    let read = |pieces: Vec<&[u8]>| -> Result<Vec<String>, Fault> {
        let (mut reader, mut found, mut held) = (Reader::default(), Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            loop {
                let (used, input) = reader.read(&held)?;
                let is_idle = input.is_none();
                found.extend(input.map(|input: Input<'_>| format!("{input:?}")));
                held.drain(..used);
                if used == 0 || (is_idle && held.is_empty()) {
                    break;
                }
            }
        }
        Ok(found)
    };
    if let (Ok(whole), Ok(pieces)) = (read(vec![data]), read(cuts(data))) {
        assert_eq!(whole, pieces);
    }
}

pub fn rtsp_transport(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = Transport::parse_all(&text);
}

pub fn rtsp_target(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = Target::parse(&text);
}

/// A camera's description: sections, offers, and the choice among them, whose refusal is one sentence.
pub fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let sections = offer::sections(&text);
    assert!(sections.len() <= offer::MAX_SECTIONS);
    match offer::choose(&sections) {
        Ok(choice) => assert!((1..=2).contains(&choice.offers.len())),
        Err(failure) => {
            assert!(failure.message.len() <= 256, "{}", failure.message);
            assert!(!failure.message.contains(char::is_control), "{}", failure.message);
        }
    }
}

pub fn digest(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(credentials) = Credentials::parse(&text) {
        assert!(!credentials.verify("DESCRIBE", "a password that nobody has"));
    }
}

/// What is answered to a challenge is one header line.
pub fn challenge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for challenge in Challenge::parse_all(&text) {
        if let Challenge::Digest(digest) = challenge {
            let answer = digest.answer(("admin", "p:#/\"\\"), "SETUP", "rtsp://camera/1", 1, "c");
            assert!(text.contains(['\r', '\n']) || !answer.contains(['\r', '\n']), "{answer}");
        }
    }
    let _ = next_nonce(&text);
}

pub fn whep(data: &[u8]) {
    if let Ok(offer) = whep::Offer::read(data) {
        assert!(offer.receives(Codec::H264) || offer.receives(Codec::H265));
        let _ = str0m::change::SdpOffer::from_sdp_string(&String::from_utf8_lossy(data));
    }
}

/// The refusal goes into one header of the answer.
pub fn whip(data: &[u8]) {
    if let Err(refused) = whip::check(data) {
        assert!(refused.message().len() <= 512, "{}", refused.message());
        assert!(!refused.message().contains(char::is_control), "{}", refused.message());
    }
}

pub fn mse_hello(data: &[u8]) {
    if let Ok(hello) = Hello::read(&String::from_utf8_lossy(data)) {
        let _ = Playable::read(hello.mimes.iter().map(String::as_str));
    }
}

pub fn websocket(data: &[u8]) {
    const LIMIT: usize = 4096;
    let read = |pieces: Vec<&[u8]>| {
        let (mut parser, mut found) = (websocket::Parser::new(LIMIT), Vec::new());
        for piece in pieces {
            parser.push(piece);
            while let Some(message) = parser.take()? {
                let is_close = message == websocket::Incoming::Close;
                found.push(message);
                if is_close {
                    return Ok(found);
                }
            }
        }
        Ok::<_, websocket::Fault>(found)
    };
    let (whole, pieces) = (read(vec![data]), read(cuts(data)));
    if let (Ok(whole), Ok(pieces)) = (&whole, &pieces) {
        assert_eq!(whole, pieces);
    }
    for message in whole.unwrap_or_default() {
        if let websocket::Incoming::Text(text) = message {
            assert!(text.len() <= LIMIT);
        }
    }
    let _ = websocket::accept(&String::from_utf8_lossy(data));
}

/// RFC 4571.
pub fn framed(data: &[u8]) {
    let read = |pieces: Vec<&[u8]>| {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for piece in pieces {
            frames.push(piece);
            loop {
                match frames.take() {
                    Ok(Some(frame)) => found.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(_) => return found,
                }
            }
        }
        found
    };
    assert_eq!(read(vec![data]), read(cuts(data)));
}

/// What a browser says it can decode.
pub fn mimes(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = Playable::read(text.lines());
}

/// What a unit registers: a record that is taken has what a camera cannot do without.
pub fn camera_record(data: &[u8]) {
    if let Some((places, _)) = record::batch(data) {
        // One after the other, within what there is.
        let mut end = 0;
        for place in places {
            assert!(end < place.start && place.start <= place.end && place.end <= data.len(), "{place:?} after {end}");
            end = place.end;
        }
    }
    if let Some(record) = record::read(data, "u1") {
        assert!(
            !record.name().is_empty() && record.region_code().len() == 6 && (1..=2).contains(&record.streams().len())
        );
        assert!(serde_json::from_str::<serde_json::Value>(record.device_json()).is_ok_and(|json| json.is_object()));
        assert!(record.latitude.abs() <= 90.0 && record.longitude.abs() <= 180.0);
    }
}
