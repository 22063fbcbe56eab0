//! The session description that the RTSP server hands out (RFC 4566, RFC 6184 §8, RFC 3640 §4.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

use crate::media::{Codec, CodecParameters, MediaKind, Track};

/// Says of a whole session that there is sound, but none that the hub carries: to players as WHEP says it in a header, and
/// to the hub above, whose viewers are told the same.
const LEAVES_SOUND: (&str, &str) = ("x-vidhub-audio", "none; reason=SOUND_NOT_CARRIED");

/// Whether another hub says so.
pub fn leaves_sound(sdp: &str) -> bool {
    let value = |line: &'_ str| line.trim_end().strip_prefix("a=")?.split_once(':').map(|pair| pair == LEAVES_SOUND);
    sdp.lines().any(|line| value(line) == Some(true))
}

/// The line that says so.
pub fn leaves_sound_line() -> String {
    format!("a={}:{}\r\n", LEAVES_SOUND.0, LEAVES_SOUND.1)
}

/// Describes `tracks`, each with its RTP payload type, as served: track n at `trackID=n`. `version` changes whenever the
/// tracks do.
pub fn describe(name: &str, tracks: &[(&Track, u8)], version: u32, leaves_sound: bool) -> String {
    let session = Session {
        origin: Origin {
            username: None,
            sess_id: "1".into(),
            sess_version: u64::from(version),
            nettype: "IN".into(),
            addrtype: "IP4".into(),
            unicast_address: "0.0.0.0".into(),
        },
        session_name: clean(name),
        session_description: None,
        uri: None,
        emails: Vec::new(),
        phones: Vec::new(),
        connection: Some(Connection {
            nettype: "IN".into(),
            addrtype: "IP4".into(),
            connection_address: "0.0.0.0".into(),
        }),
        bandwidths: Vec::new(),
        times: vec![Time { start_time: 0, stop_time: 0, repeats: Vec::new() }],
        time_zones: Vec::new(),
        key: None,
        attributes: [("control", "*"), ("range", "npt=now-")]
            .into_iter()
            .chain(leaves_sound.then_some(LEAVES_SOUND))
            .map(|(name, value)| attribute(name, value))
            .collect(),
        medias: tracks
            .iter()
            .enumerate()
            .map(|(index, (track, payload_type))| media(index, track, *payload_type))
            .collect(),
    };
    let mut text = Vec::new();
    match session.write(&mut text) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        // Writing into memory has no way to fail.
        Err(_) => String::new(),
    }
}

fn media(index: usize, track: &Track, payload_type: u8) -> Media {
    let mut attributes = vec![attribute("rtpmap", format!("{payload_type} {}", encoding(track)))];
    if let Some(parameters) = format_parameters(track) {
        attributes.push(attribute("fmtp", format!("{payload_type} {parameters}")));
    }
    attributes.push(attribute("control", format!("trackID={index}")));
    Media {
        media: match track.kind() {
            MediaKind::Video => "video".into(),
            MediaKind::Audio => "audio".into(),
        },
        port: 0,
        num_ports: None,
        proto: "RTP/AVP".into(),
        fmt: payload_type.to_string(),
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes,
    }
}

fn encoding(track: &Track) -> String {
    let rate = track.clock_rate_hz;
    match (track.codec, &track.parameters) {
        (Codec::H264, _) => format!("H264/{rate}"),
        (Codec::H265, _) => format!("H265/{rate}"),
        // RFC 7587 §7: always two, whatever is in the packets.
        (Codec::Opus, _) => format!("opus/{rate}/2"),
        (Codec::Aac, CodecParameters::Aac { channels, .. }) => format!("mpeg4-generic/{rate}/{channels}"),
        (Codec::Aac, _) => format!("mpeg4-generic/{rate}"),
        (Codec::Pcma, parameters) => format!("PCMA/{rate}{}", more_channels(parameters)),
        (Codec::Pcmu, parameters) => format!("PCMU/{rate}{}", more_channels(parameters)),
    }
}

fn more_channels(parameters: &CodecParameters) -> String {
    match parameters {
        CodecParameters::G711 { channels } if *channels > 1 => format!("/{channels}"),
        _ => String::new(),
    }
}

fn format_parameters(track: &Track) -> Option<String> {
    match &track.parameters {
        CodecParameters::H264 { sps, pps, .. } => {
            let mut text = String::from("packetization-mode=1");
            // profile_idc, the constraint flags and level_idc (ITU-T H.264 §7.3.2.1.1) follow the NAL header.
            if let Some(profile) = sps.get(1..4) {
                text.push_str(&format!(";profile-level-id={}", hex::encode_upper(profile)));
            }
            if !sps.is_empty() && !pps.is_empty() {
                text.push_str(&format!(";sprop-parameter-sets={},{}", BASE64.encode(sps), BASE64.encode(pps)));
            }
            Some(text)
        }
        CodecParameters::H265 { vps, sps, pps, .. } => {
            // RFC 7798 §7.1.
            let sets = [("sprop-vps", vps), ("sprop-sps", sps), ("sprop-pps", pps)];
            let known: Vec<String> = sets
                .iter()
                .filter(|(_, set)| !set.is_empty())
                .map(|(name, set)| format!("{name}={}", BASE64.encode(set)))
                .collect();
            (!known.is_empty()).then(|| known.join(";"))
        }
        CodecParameters::Opus { channels } if *channels > 1 => Some("sprop-stereo=1".into()),
        CodecParameters::Opus { .. } => None,
        CodecParameters::Aac { config, .. } => Some(format!(
            "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config={}",
            hex::encode_upper(config)
        )),
        CodecParameters::G711 { .. } => None,
    }
}

fn attribute(name: &str, value: impl Into<String>) -> Attribute {
    Attribute { attribute: name.into(), value: Some(value.into()) }
}

/// One line, never empty (RFC 4566 §5.3).
fn clean(name: &str) -> String {
    let name: String = name.chars().filter(|character| !character.is_control()).collect();
    if name.trim().is_empty() { "vidhub".into() } else { name }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn video() -> Track {
        Track {
            codec: Codec::H264,
            clock_rate_hz: 90_000,
            parameters: CodecParameters::H264 {
                sps: Bytes::from_static(&[0x67, 0x42, 0xc0, 0x1e, 0xd9]),
                pps: Bytes::from_static(&[0x68, 0xce, 0x3c, 0x80]),
                width: 640,
                height: 360,
                has_b_frames: false,
            },
        }
    }

    fn sound(codec: Codec, clock_rate_hz: u32, parameters: CodecParameters) -> Track {
        Track { codec, clock_rate_hz, parameters }
    }

    #[test]
    fn a_player_learns_all_it_needs_of_each_codec() {
        let aac = CodecParameters::Aac { config: Bytes::from_static(&[0x11, 0x90]), channels: 2 };
        let tracks = [
            (&video(), 96),
            (&sound(Codec::Aac, 48_000, aac), 97),
            (&sound(Codec::Pcma, 8_000, CodecParameters::G711 { channels: 1 }), 8),
            (&sound(Codec::Pcmu, 16_000, CodecParameters::G711 { channels: 2 }), 99),
        ];
        let text = describe("gate 3\r\nm=evil", &tracks, 4, false);
        for line in [
            "o=- 1 4 IN IP4 0.0.0.0",
            "s=gate 3m=evil",
            "a=control:*",
            "m=video 0 RTP/AVP 96",
            "a=rtpmap:96 H264/90000",
            "a=fmtp:96 packetization-mode=1;profile-level-id=42C01E;sprop-parameter-sets=Z0LAHtk=,aM48gA==",
            "a=control:trackID=0",
            "m=audio 0 RTP/AVP 97",
            "a=rtpmap:97 mpeg4-generic/48000/2",
            "a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190",
            "m=audio 0 RTP/AVP 8",
            "a=rtpmap:8 PCMA/8000",
            "m=audio 0 RTP/AVP 99",
            "a=rtpmap:99 PCMU/16000/2",
            "a=control:trackID=3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(Session::parse(text.as_bytes()).expect("reads back").medias.len(), 4);
    }

    #[test]
    fn sound_that_is_left_out_is_said_to_players_and_read_back() {
        let text = describe("gate", &[(&video(), 96)], 0, true);
        assert!(text.contains("a=x-vidhub-audio:none; reason=SOUND_NOT_CARRIED\r\n"), "{text}");
        assert!(text.find("a=x-vidhub-audio") < text.find("m=video"), "it is about all of the session: {text}");
        assert!(leaves_sound(&text) && leaves_sound(&leaves_sound_line()));
        assert!(!leaves_sound(&describe("gate", &[(&video(), 96)], 0, false)));
        assert!(!leaves_sound("v=0\r\na=x-vidhub-audio:none; reason=NO_SOUND\r\n"));
    }

    #[test]
    fn missing_parameter_sets_are_left_out() {
        let parameters =
            CodecParameters::H264 { sps: Bytes::new(), pps: Bytes::new(), width: 0, height: 0, has_b_frames: false };
        let text = describe("", &[(&Track { parameters, ..video() }, 96)], 0, false);
        assert!(text.contains("a=fmtp:96 packetization-mode=1\r\n"));
        assert!(text.contains("s=vidhub\r\n"));
    }
}
