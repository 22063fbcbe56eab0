//! What a camera's session description offers that the hub carries.

use bytes::Bytes;

use super::{Failure, FailureKind};
use crate::media::{Codec, MediaKind};
use crate::wire::h264::H264;
use crate::wire::h265::H265;
use crate::wire::opus;
use crate::wire::parameter_sets::ParameterSets;
use crate::wire::sprop::parameter_sets;

/// A track that we can take, and what SDP says of it.
#[derive(Clone, Debug)]
pub enum Offer {
    H264(ParameterSets<H264>),
    H265(ParameterSets<H265>),
    Aac { config: Bytes, channels: u8, rate_hz: u32 },
    G711 { codec: Codec, channels: u8, rate_hz: u32 },
    Opus { channels: u8 },
}

impl Offer {
    /// Of the track's RTP clock.
    pub fn rate_hz(&self) -> u32 {
        match self {
            Self::H264(_) | Self::H265(_) => 90_000,
            Self::Aac { rate_hz, .. } | Self::G711 { rate_hz, .. } => *rate_hz,
            Self::Opus { .. } => 48_000,
        }
    }

    /// Its codec, as `Codec::name` says it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::H264(_) => Codec::H264.name(),
            Self::H265(_) => Codec::H265.name(),
            Self::Aac { .. } => Codec::Aac.name(),
            Self::G711 { codec, .. } => codec.name(),
            Self::Opus { .. } => Codec::Opus.name(),
        }
    }

    pub fn kind(&self) -> MediaKind {
        match self {
            Self::H264(_) | Self::H265(_) => MediaKind::Video,
            Self::Aac { .. } | Self::G711 { .. } | Self::Opus { .. } => MediaKind::Audio,
        }
    }
}

/// What is taken of a description.
#[derive(Debug)]
pub struct Choice {
    /// Place among the sections, and what it is: the first picture that the hub carries, then the first sound.
    pub offers: Vec<(usize, Offer)>,
    /// What is left, and why.
    pub left: Vec<String>,
    /// There is sound, and none of it in a form that the hub carries.
    pub leaves_sound: bool,
}

/// Chooses among the sections of one description. A camera without a picture that the hub carries is refused, for a
/// camera with sound alone shows nobody anything: the failure says what to set in it.
pub fn choose(sections: &[Section<'_>]) -> Result<Choice, Failure> {
    let (mut video, mut audio, mut left) = (None, None, Vec::new());
    let mut no_picture = None;
    for (place, section) in sections.iter().enumerate() {
        let refused = match read(section) {
            Ok(offer) => {
                let taken = match offer.kind() {
                    MediaKind::Video => &mut video,
                    MediaKind::Audio => &mut audio,
                };
                if taken.is_none() {
                    *taken = Some((place, offer));
                    continue;
                }
                "one of a kind is carried"
            }
            Err(why) => why,
        };
        let refused = format!("{}/{}: {refused}", clean_name(section.media), section.encoding);
        if section.media == "video" {
            no_picture.get_or_insert_with(|| refused.clone());
        }
        left.push(refused);
    }
    if let Some(video) = video {
        let leaves_sound = audio.is_none() && sections.iter().any(|section| section.media == "audio");
        return Ok(Choice { offers: std::iter::once(video).chain(audio).collect(), left, leaves_sound });
    }
    let message = match (no_picture, audio) {
        (Some(picture), _) => format!("the camera offers no picture that the hub carries ({picture})"),
        (None, Some(_)) => "the camera offers sound but no picture: switch its video stream on, or register the path \
                            of a stream that has one"
            .to_owned(),
        (None, None) => "the camera offers neither picture nor sound: switch its video stream on".to_owned(),
    };
    Err(Failure::new(FailureKind::NoPicture, message))
}

const VIDEO_CLOCK_HZ: u32 = 90_000;
/// Of an encoding's name, characters.
const MAX_NAME: usize = 32;
/// Media sections of one description that are read.
pub const MAX_SECTIONS: usize = 32;

/// Formats of one media section that are read.
const MAX_FORMATS: usize = 16;

/// One media section, as far as it tells what is in it: of several formats the first that the hub carries, else the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// "video", "audio", …
    pub media: &'a str,
    /// In lower case, as in "h264"; empty when nothing tells.
    pub encoding: String,
    pub payload_type: u8,
    /// 0 when nothing tells.
    pub rate_hz: u32,
    pub channels: u8,
    /// What `a=fmtp` says of the format.
    pub parameters: Option<&'a str>,
    /// `a=control` (RFC 2326 §C.1.1).
    pub control: Option<&'a str>,
}

/// Reads a session description (RFC 4566) into its media sections. By line and with patience: cameras break SDP in ways
/// that no grammar knows.
pub fn sections(sdp: &str) -> Vec<Section<'_>> {
    // Of each section, as many as it has formats.
    let mut sections: Vec<Vec<Section<'_>>> = Vec::new();
    for line in sdp.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            if sections.len() == MAX_SECTIONS {
                break;
            }
            let mut words = media.split_ascii_whitespace();
            let media = words.next().unwrap_or_default();
            let first = words.nth(2).unwrap_or_default();
            let formats = std::iter::once(first).chain(words).take(MAX_FORMATS);
            sections.push(formats.map(|format| Section::new(media, format.parse().unwrap_or(u8::MAX))).collect());
            continue;
        }
        let (Some(formats), Some(attribute)) = (sections.last_mut(), line.strip_prefix("a=")) else { continue };
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "rtpmap" => {
                if let Some((section, map)) = of_format(formats, value) {
                    let mut parts = map.split('/').map(str::trim);
                    section.encoding = clean_name(parts.next().unwrap_or_default());
                    section.rate_hz = parts.next().and_then(|rate| rate.parse().ok()).unwrap_or(0);
                    section.channels = parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(1);
                }
            }
            "fmtp" => {
                if let Some((section, parameters)) = of_format(formats, value) {
                    section.parameters = Some(parameters);
                }
            }
            "control" => formats.iter_mut().for_each(|section| section.control = Some(value.trim())),
            _ => {}
        }
    }
    sections.into_iter().filter_map(carried).collect()
}

/// What an attribute says of one of the formats.
fn of_format<'a, 'b>(formats: &'b mut [Section<'a>], value: &'a str) -> Option<(&'b mut Section<'a>, &'a str)> {
    let (number, rest) = value.trim_start().split_once([' ', '\t'])?;
    let section = formats.iter_mut().find(|section| number.parse() == Ok(section.payload_type))?;
    Some((section, rest.trim()))
}

/// The first that the hub carries, else the first.
fn carried(formats: Vec<Section<'_>>) -> Option<Section<'_>> {
    let place = formats.iter().position(|section| read(section).is_ok()).unwrap_or_default();
    formats.into_iter().nth(place)
}

impl<'a> Section<'a> {
    fn new(media: &'a str, payload_type: u8) -> Self {
        let (encoding, rate_hz) = static_format(payload_type);
        let encoding = encoding.to_owned();
        Self { media, encoding, payload_type, rate_hz, channels: 1, parameters: None, control: None }
    }
}

/// The name of an encoding as it may stand in a sentence: in lower case, and no longer than any real one.
fn clean_name(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(MAX_NAME).collect::<String>().to_ascii_lowercase()
}

/// Formats that need no `rtpmap` (RFC 3551 §6).
fn static_format(payload_type: u8) -> (&'static str, u32) {
    match payload_type {
        0 => ("pcmu", 8_000),
        8 => ("pcma", 8_000),
        26 => ("jpeg", VIDEO_CLOCK_HZ),
        _ => ("", 0),
    }
}

/// Reads one section. The error says why the hub does not carry it.
pub fn read(section: &Section<'_>) -> Result<Offer, &'static str> {
    let find = |name: &str| section.parameters.and_then(|parameters| parameter(parameters, name));
    match (section.media, section.encoding.as_str()) {
        ("video", "h264") if section.rate_hz == VIDEO_CLOCK_HZ => {
            let mut sets = ParameterSets::default();
            let known = find("sprop-parameter-sets").map(parameter_sets).unwrap_or_default();
            known.iter().for_each(|set| sets.learn(set));
            Ok(Offer::H264(sets))
        }
        ("video", "h265" | "hevc") if section.rate_hz == VIDEO_CLOCK_HZ => {
            // With DONL fields in the packets (RFC 7798 §7.1) their order is another.
            let interleaved = |name: &str| find(name).is_some_and(|most| most != "0");
            if interleaved("sprop-max-don-diff") || interleaved("sprop-depack-buf-nalus") {
                return Err("its pictures come interleaved (sprop-max-don-diff): switch that off");
            }
            let mut sets = ParameterSets::default();
            let known = ["sprop-vps", "sprop-sps", "sprop-pps"].into_iter().filter_map(find).flat_map(parameter_sets);
            known.for_each(|set| sets.learn(&set));
            Ok(Offer::H265(sets))
        }
        ("video", "h264" | "h265" | "hevc") => Err("its clock is not 90 kHz"),
        ("video", "jpeg") => {
            Err("MJPEG has no keyframes that viewers could share: set the camera's video encoding to H.264 or H.265")
        }
        ("video", _) => Err("the hub carries H.264 and H.265: set the camera's video encoding to one of them"),
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
        ("audio", "opus") if section.rate_hz == opus::CLOCK_HZ => {
            Ok(Offer::Opus { channels: if find("sprop-stereo") == Some("1") { 2 } else { 1 } })
        }
        ("audio", "opus") => Err("its clock is not 48 kHz"),
        ("audio", _) => Err("the hub carries AAC, G.711 and Opus: set the camera's audio encoding to one of them"),
        _ => Err("it is neither picture nor sound"),
    }
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

    const SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n\
        a=fmtp:96 packetization-mode=1;profile-level-id=64001E; sprop-parameter-sets=Z2QAHqyyAUBf8uAiAAADAAIAAAMAZR4sXJA=,aOvDyyLA\r\n\
        m=audio 0 RTP/AVP 97\na=fmtp:96 of=another\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\n\
        a=fmtp:97 streamtype=5;mode=AAC-hbr;config=1190;SizeLength=13;IndexLength=3;IndexDeltaLength=3\r\n\
        m=audio 0 RTP/AVP 8 101\r\nm=video 0 RTP/AVP 26\r\nm=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n";

    fn section<'a>(media: &'a str, encoding: &str, payload_type: u8, rate_hz: u32) -> Section<'a> {
        Section {
            media,
            encoding: encoding.into(),
            payload_type,
            rate_hz,
            channels: 1,
            parameters: None,
            control: None,
        }
    }

    #[test]
    fn of_several_formats_the_first_that_is_carried_is_read_with_what_belongs_to_it() {
        let sdp = "m=video 0 RTP/AVP 26 97 96\r\na=control:v\r\na=rtpmap:96 H265/90000\r\na=rtpmap:97 H264/90000\r\n\
            a=fmtp:97 packetization-mode=1\r\nm=audio 0 RTP/AVP 101 8 0\r\na=rtpmap:101 telephone-event/8000\r\n\
            m=video 0 RTP/AVP 26 98\r\na=rtpmap:98 VP8/90000\r\nm=video\r\n";
        let sections = sections(sdp);
        let told: Vec<_> = sections.iter().map(|one| (one.payload_type, &one.encoding[..])).collect();
        assert_eq!(told, [(97, "h264"), (8, "pcma"), (26, "jpeg"), (u8::MAX, "")]);
        assert_eq!((sections[0].parameters, sections[0].control), (Some("packetization-mode=1"), Some("v")));
    }

    #[test]
    fn sections_are_read_with_what_belongs_to_their_first_format() {
        let sections = sections(SDP);
        let told: Vec<_> =
            sections.iter().map(|one| (one.media, &one.encoding[..], one.rate_hz, one.channels)).collect();
        let expected = [
            ("video", "h264", 90_000, 1),
            ("audio", "mpeg4-generic", 48_000, 2),
            ("audio", "pcma", 8_000, 1),
            ("video", "jpeg", 90_000, 1),
            ("application", "vnd.onvif.metadata", 90_000, 1),
        ];
        assert_eq!(told, expected);
        assert_eq!((sections[0].control, sections[1].control), (Some("trackID=0"), None));
        assert!(sections[1].parameters.is_some_and(|parameters| parameters.starts_with("streamtype=5")));
        assert_eq!(super::sections(&"m=video 0 RTP/AVP 96\n".repeat(100)).len(), MAX_SECTIONS);
    }

    #[test]
    fn parameter_sets_and_audio_configuration_are_found() {
        let sections = sections(SDP);
        let Ok(Offer::H264(sets)) = read(&sections[0]) else { panic!() };
        assert!(sets.is_complete());
        let Ok(Offer::Aac { config, channels, rate_hz }) = read(&sections[1]) else { panic!() };
        assert_eq!((&config[..], channels, rate_hz), (&[0x11, 0x90][..], 2, 48_000));
    }

    #[test]
    fn h265_and_opus_are_found_with_what_sdp_tells_of_them() {
        let sdp = "m=video 0 RTP/AVP 98\r\na=rtpmap:98 H265/90000\r\na=fmtp:98 sprop-vps=QAEMAf//AWAAAAMAkAAAAwAAAwA/ugJA; \
            sprop-sps=QgEBAWAAAAMAkAAAAwAAAwA/oAUCAXHy5bpKTC8BaAgAAAMACAAAAwDIQA==;sprop-pps=RAHAc8GJ\r\n\
            m=audio 0 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 sprop-stereo=1\r\n";
        let choice = choose(&sections(sdp)).unwrap();
        let [(0, Offer::H265(sets)), (1, Offer::Opus { channels: 2 })] = &choice.offers[..] else { panic!() };
        assert_eq!(sets.parameters().and_then(|parameters| parameters.picture()), Some((640, 360, false)));
        let interleaved = sdp.replace("sprop-vps", "sprop-max-don-diff=2;sprop-vps");
        assert!(choose(&sections(&interleaved)).unwrap_err().message.contains("sprop-max-don-diff"));
    }

    #[test]
    fn one_picture_and_one_sound_are_chosen_and_the_rest_is_named() {
        let choice = choose(&sections(SDP)).unwrap();
        assert_eq!(choice.offers.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(choice.left.len(), 3);
        assert!(choice.left[0].starts_with("audio/pcma: one of a kind"), "{:?}", choice.left);
    }

    #[test]
    fn sound_of_which_none_is_carried_is_no_silence() {
        let picture = "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n";
        let g726 = "m=audio 0 RTP/AVP 97\na=rtpmap:97 G726-32/8000\n";
        for (sound, leaves_sound) in [
            ("", false),
            ("m=application 0 RTP/AVP 107\na=rtpmap:107 vnd.onvif.metadata/90000\n", false),
            ("m=audio 0 RTP/AVP 14\n", true),
            ("m=audio 0 RTP/AVP 11\n", true),
            (g726, true),
            (&format!("{g726}m=audio 0 RTP/AVP 8\n"), false),
        ] {
            assert_eq!(choose(&sections(&format!("{picture}{sound}"))).unwrap().leaves_sound, leaves_sound, "{sound}");
        }
    }

    #[test]
    fn a_camera_without_a_picture_that_is_carried_is_told_what_to_set() {
        for (sdp, remedy) in [
            ("m=video 0 RTP/AVP 26\nm=audio 0 RTP/AVP 0\n", "MJPEG"),
            ("m=video 0 RTP/AVP 96\na=rtpmap:96 VP8/90000\n", "encoding to one of them"),
            ("m=audio 0 RTP/AVP 0\n", "sound but no picture"),
            ("v=0\n", "neither"),
        ] {
            let failure = choose(&sections(sdp)).unwrap_err();
            assert_eq!(failure.kind.probe_reason(), "CAMERA_NO_PICTURE");
            assert!(failure.message.contains(remedy), "{}", failure.message);
        }
        let long = format!("m=video 0 RTP/AVP 96\na=rtpmap:96 \u{1}{}/90000\n", "X".repeat(10_000));
        assert!(choose(&sections(&long)).unwrap_err().message.len() < 256);
    }

    #[test]
    fn what_the_hub_does_not_carry_is_said() {
        assert!(read(&section("video", "h265", 98, 44_100)).is_err());
        assert!(read(&section("audio", "opus", 98, 16_000)).is_err());
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
        fn no_sdp_makes_it_panic(sdp in "(m=|a=rtpmap:|a=fmtp:|[ -~]|\\PC|\n){0,60}", config in prop::collection::vec(any::<u8>(), 0..12)) {
            sections(&sdp).iter().for_each(|section| drop(read(section)));
            let _ = aac_channels(&config);
        }
    }
}
