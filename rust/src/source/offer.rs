//! What a camera's session description offers that the hub carries.

use bytes::Bytes;

use crate::media::Codec;
use crate::wire::h264::parameter_sets;
use crate::wire::h264_unit::ParameterSets;

/// A track that we can take, and what SDP says of it.
#[derive(Clone, Debug)]
pub enum Offer {
    H264(ParameterSets),
    Aac { config: Bytes, channels: u8, rate_hz: u32 },
    G711 { codec: Codec, channels: u8, rate_hz: u32 },
}

/// One media section, as far as it tells what is in it.
pub struct Section<'a> {
    pub media: &'a str,
    pub encoding: &'a str,
    pub payload_type: u8,
    pub rate_hz: u32,
    pub channels: u8,
    pub sdp: &'a [u8],
}

/// Reads one section. The error says why the hub does not carry it.
pub fn read(section: &Section<'_>) -> Result<Offer, &'static str> {
    let parameters = format_parameters(section.sdp, section.media, section.payload_type);
    let find = |name: &str| parameters.as_deref().and_then(|parameters| parameter(parameters, name));
    match (section.media, section.encoding) {
        ("video", "h264") if section.rate_hz == 90_000 => {
            let mut sets = ParameterSets::default();
            let known = find("sprop-parameter-sets").map(parameter_sets).unwrap_or_default();
            known.iter().for_each(|set| sets.learn(set));
            Ok(Offer::H264(sets))
        }
        ("video", "h264") => Err("its clock is not 90 kHz"),
        ("video", _) => Err("the hub carries H.264 only"),
        ("audio", "pcma" | "pcmu") if (1..=2).contains(&section.channels) && section.rate_hz > 0 => Ok(Offer::G711 {
            codec: if section.encoding == "pcma" { Codec::Pcma } else { Codec::Pcmu },
            channels: section.channels,
            rate_hz: section.rate_hz,
        }),
        ("audio", "mpeg4-generic") => {
            // Other modes frame their units in another way (RFC 3640 §3.3).
            let hbr = find("sizelength") == Some("13")
                && find("indexlength") == Some("3")
                && find("indexdeltalength").is_none_or(|length| length == "3");
            let config = find("config").and_then(|config| hex::decode(config).ok()).unwrap_or_default();
            let channels = aac_channels(&config).ok_or("its AudioSpecificConfig can't be read")?;
            if !hbr || section.rate_hz == 0 {
                return Err("it is not AAC-hbr");
            }
            Ok(Offer::Aac { config: config.into(), channels, rate_hz: section.rate_hz })
        }
        ("audio", _) => Err("the hub carries AAC and G.711 only"),
        _ => Err("it is neither picture nor sound"),
    }
}

/// The `fmtp` text of a payload type within its media section. Read by line: cameras break SDP in ways that no grammar knows.
fn format_parameters(sdp: &[u8], media: &str, payload_type: u8) -> Option<String> {
    let text = String::from_utf8_lossy(sdp);
    let mut inside = false;
    for line in text.lines() {
        if let Some(section) = line.strip_prefix("m=") {
            let mut words = section.split_ascii_whitespace();
            inside = words.next() == Some(media)
                && words.nth(2).and_then(|first| first.parse::<u8>().ok()) == Some(payload_type);
        } else if inside
            && let Some(rest) = line.trim_end().strip_prefix("a=fmtp:")
            && let Some((number, parameters)) = rest.split_once(' ')
            && number.trim().parse() == Ok(payload_type)
        {
            return Some(parameters.to_owned());
        }
    }
    None
}

/// One parameter of a `fmtp` line; names are compared without case (RFC 6184 §8.1), the space after `;` is optional.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// `channelConfiguration` of an AudioSpecificConfig (ISO 14496-3 §1.6.2.1), as a count.
fn aac_channels(config: &[u8]) -> Option<u8> {
    let bits = config.iter().take(8).fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let len = config.len().min(8) * 8;
    let read = |from: usize, count: usize| -> Option<u64> {
        let shift = len.checked_sub(from + count)?;
        Some(bits >> shift & ((1 << count) - 1))
    };
    // Object type 31 escapes to six more bits, frequency index 15 to 24 bits.
    let after_type = if read(0, 5)? == 31 { 11 } else { 5 };
    let after_rate = after_type + if read(after_type, 4)? == 15 { 28 } else { 4 };
    match read(after_rate, 4)? {
        channels @ 1..=6 => Some(channels as u8),
        7 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SDP: &[u8] = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
        a=fmtp:96 packetization-mode=1;profile-level-id=64001E; sprop-parameter-sets=Z2QAHqyyAUBf8uAiAAADAAIAAAMAZR4sXJA=,aOvDyyLA\r\n\
        m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\n\
        a=fmtp:97 streamtype=5;mode=AAC-hbr;config=1190;SizeLength=13;IndexLength=3;IndexDeltaLength=3\r\n";

    fn section<'a>(media: &'a str, encoding: &'a str, payload_type: u8, rate_hz: u32) -> Section<'a> {
        Section { media, encoding, payload_type, rate_hz, channels: 1, sdp: SDP }
    }

    #[test]
    fn parameter_sets_and_audio_configuration_are_found() {
        let Ok(Offer::H264(sets)) = read(&section("video", "h264", 96, 90_000)) else { panic!() };
        assert!(sets.is_complete());
        let Ok(Offer::Aac { config, channels, rate_hz }) = read(&section("audio", "mpeg4-generic", 97, 48_000)) else {
            panic!()
        };
        assert_eq!((&config[..], channels, rate_hz), (&[0x11, 0x90][..], 2, 48_000));
        // The video's parameters are not the audio's.
        assert!(format_parameters(SDP, "audio", 96).is_none());
    }

    #[test]
    fn what_the_hub_does_not_carry_is_said() {
        assert!(read(&section("video", "h265", 98, 90_000)).is_err());
        assert!(read(&section("audio", "opus", 98, 48_000)).is_err());
        assert!(read(&section("application", "vnd.onvif.metadata", 107, 90_000)).is_err());
        assert!(read(&section("audio", "mpeg4-generic", 99, 48_000)).is_err(), "no configuration");
        assert!(matches!(read(&section("audio", "pcmu", 0, 8_000)), Ok(Offer::G711 { codec: Codec::Pcmu, .. })));
    }

    #[test]
    fn channel_counts_are_read_behind_escapes() {
        assert_eq!(aac_channels(&[0x11, 0x90]), Some(2));
        assert_eq!(aac_channels(&[0x14, 0x08]), Some(1));
        // Frequency written out: 5 bits type 2, index 15, 24 bits, channels 2.
        assert_eq!(aac_channels(&[0x17, 0x80, 0x5d, 0xc0, 0x10]), Some(2));
        assert_eq!(aac_channels(&[0x11]), None);
        assert_eq!(aac_channels(&[]), None);
    }

    proptest! {
        #[test]
        fn no_sdp_makes_it_panic(sdp in prop::collection::vec(any::<u8>(), 0..300), config in prop::collection::vec(any::<u8>(), 0..12)) {
            let _ = read(&Section { media: "video", encoding: "h264", payload_type: 96, rate_hz: 90_000, channels: 1, sdp: &sdp });
            let _ = aac_channels(&config);
        }
    }
}
