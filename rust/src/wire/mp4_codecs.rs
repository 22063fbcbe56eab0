//! Codec strings of MP4 (RFC 6381, ISO 14496-15 annex E): what a track is called, and whether what a browser says it
//! plays covers it.
//!
//! The rule: a decoder that is offered for one codec string plays every stream of the same codec whose profile it
//! includes and whose level is not above. Browsers are asked about strings, not about streams, so a list of the highest
//! that they play says it all.

use std::fmt::Write;

use super::h265::{Profile, SpsSummary};
use crate::media::{Codec, CodecParameters, Track};

/// What a browser says it plays, at most.
pub const MAX_CODECS: usize = 256;

/// The track's codec string; None for what MP4 in browsers has no place for (G.711), or whose parameters can't be read.
pub fn name(track: &Track) -> Option<String> {
    match &track.parameters {
        CodecParameters::H264 { sps, .. } => match sps.get(1..4) {
            Some([profile, constraints, level]) => Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}")),
            _ => None,
        },
        CodecParameters::H265 { sps, .. } => Some(h265_name(&SpsSummary::read(sps)?.profile)),
        CodecParameters::Aac { config, .. } => Some(format!("mp4a.40.{}", object_type(config)?)),
        CodecParameters::Opus { .. } => Some("opus".into()),
        CodecParameters::G711 { .. } => None,
    }
}

/// ISO 14496-15 §E.3.
fn h265_name(profile: &Profile) -> String {
    let space = ["", "A", "B", "C"].get(usize::from(profile.space)).copied().unwrap_or_default();
    let tier = if profile.is_high_tier { 'H' } else { 'L' };
    let Profile { idc, compatibility, level_idc, constraints, .. } = profile;
    let mut name = format!("hvc1.{space}{idc}.{:X}.{tier}{level_idc}", compatibility.reverse_bits());
    let said = constraints.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
    for octet in constraints.iter().take(said) {
        // Writing to a string does not fail.
        let _ = write!(name, ".{octet:X}");
    }
    name
}

/// The audio object type of an AudioSpecificConfig (ISO 14496-3 §1.6.2.1).
fn object_type(config: &[u8]) -> Option<u8> {
    match config.first()? >> 3 {
        31 => {
            let [first, second] = *config.first_chunk::<2>()?;
            Some(32 + ((first & 7) << 3 | second >> 5))
        }
        0 => None,
        kind => Some(kind),
    }
}

/// What one browser plays.
#[derive(Clone, Debug, Default)]
pub struct Playable {
    codecs: Vec<Offered>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Offered {
    H264 { profile: u8, constraints: u8, level: u8 },
    H265 { profile: u8, is_high_tier: bool, level: u8 },
    Aac { object_type: u8 },
    Opus,
}

impl Playable {
    /// Takes types as `MediaSource.isTypeSupported` does: `video/mp4; codecs="avc1.640028,mp4a.40.2"`. What is not MP4,
    /// or not known here, is left out, and so is what is more than `MAX_CODECS`.
    pub fn read<'a>(mimes: impl IntoIterator<Item = &'a str>) -> Self {
        let codecs = mimes.into_iter().flat_map(codecs_of).filter_map(Offered::read).take(MAX_CODECS).collect();
        Self { codecs }
    }

    pub fn plays(&self, track: &Track) -> bool {
        let Some(name) = name(track) else { return false };
        self.codecs.iter().any(|offered| offered.covers(track, &name))
    }
}

/// The codecs of a type, if it is one of MP4.
fn codecs_of(mime: &str) -> impl Iterator<Item = &str> {
    let (kind, parameters) = mime.split_once(';').unwrap_or((mime, ""));
    let is_mp4 = ["video/mp4", "audio/mp4"].iter().any(|known| kind.trim().eq_ignore_ascii_case(known));
    let list = parameters.trim().strip_prefix("codecs=").filter(|_| is_mp4).unwrap_or_default();
    list.trim_matches('"').split(',').map(str::trim).filter(|name| !name.is_empty())
}

impl Offered {
    fn read(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        match parts.next()? {
            "avc1" | "avc3" => {
                let [_, profile, constraints, level] = u32::from_str_radix(parts.next()?, 16).ok()?.to_be_bytes();
                Some(Self::H264 { profile, constraints, level })
            }
            "hvc1" | "hev1" => {
                let profile = parts.next()?.trim_start_matches(['A', 'B', 'C']).parse().ok()?;
                let tier_level = parts.nth(1)?;
                let (tier, level) = tier_level.split_at_checked(1)?;
                Some(Self::H265 { profile, is_high_tier: tier == "H", level: level.parse().ok()? })
            }
            // 0x40 is MPEG-4 audio.
            "mp4a" if parts.next()? == "40" => Some(Self::Aac { object_type: parts.next()?.parse().ok()? }),
            name if name.eq_ignore_ascii_case("opus") => Some(Self::Opus),
            _ => None,
        }
    }

    fn covers(&self, track: &Track, name: &str) -> bool {
        match (self, track.codec, &track.parameters) {
            (Self::H264 { profile, constraints, level }, Codec::H264, CodecParameters::H264 { sps, .. }) => {
                let Some([theirs, their_constraints, their_level]) = sps.get(1..4) else { return false };
                let is_included = match (h264_rank(*theirs), h264_rank(*profile)) {
                    (Some(theirs), Some(offered)) => theirs <= offered,
                    // Scalable, multiview, extended: the very same alone.
                    _ => theirs == profile && their_constraints == constraints,
                };
                is_included && their_level <= level
            }
            (Self::H265 { profile, is_high_tier, level }, Codec::H265, CodecParameters::H265 { sps, .. }) => {
                let Some(SpsSummary { profile: theirs, .. }) = SpsSummary::read(sps) else { return false };
                // A stream says by its compatibility flags which other profiles decode it; Main 10 includes Main (§A.3.3).
                let is_flagged = u32::from(*profile) < 32 && theirs.compatibility << u32::from(*profile) >> 31 == 1;
                let is_included = theirs.idc == *profile || is_flagged || (theirs.idc, *profile) == (1, 2);
                is_included && theirs.level_idc <= *level && (*is_high_tier || !theirs.is_high_tier)
            }
            (Self::Aac { object_type }, Codec::Aac, _) => name == format!("mp4a.40.{object_type}"),
            (Self::Opus, Codec::Opus, _) => true,
            _ => false,
        }
    }
}

/// Profiles of which each includes those before it (ITU-T H.264 §A.2). Constrained Baseline and full Baseline count as one:
/// cameras say either, and none uses what sets them apart.
fn h264_rank(profile: u8) -> Option<u8> {
    [66, 77, 100, 110, 122].iter().position(|known| *known == profile).map(|place| place as u8)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::h265::samples::{SPS, SPS_1080P_10_BIT};

    fn h264(profile: u8, constraints: u8, level: u8) -> Track {
        let sps = Bytes::from(vec![0x67, profile, constraints, level]);
        let parameters =
            CodecParameters::H264 { sps, pps: Bytes::new(), width: 1280, height: 720, has_b_frames: false };
        Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }
    }

    fn h265(sps: &'static [u8]) -> Track {
        let sps = Bytes::from_static(sps);
        let parameters = CodecParameters::H265 {
            vps: Bytes::new(),
            sps,
            pps: Bytes::new(),
            width: 1920,
            height: 1080,
            has_b_frames: false,
        };
        Track { codec: Codec::H265, clock_rate_hz: 90_000, parameters }
    }

    fn aac(config: &'static [u8]) -> Track {
        let parameters = CodecParameters::Aac { config: Bytes::from_static(config), channels: 1 };
        Track { codec: Codec::Aac, clock_rate_hz: 16_000, parameters }
    }

    fn plays(mimes: &[&str], track: &Track) -> bool {
        Playable::read(mimes.iter().copied()).plays(track)
    }

    #[test]
    fn tracks_have_the_names_that_browsers_know() {
        assert_eq!(name(&h264(0x64, 0, 0x1f)).unwrap(), "avc1.64001f");
        assert_eq!(name(&h265(SPS)).unwrap(), "hvc1.1.6.L63.90");
        assert_eq!(name(&h265(SPS_1080P_10_BIT)).unwrap(), "hvc1.2.4.L120.90");
        assert_eq!(name(&aac(&[0x14, 0x08])).unwrap(), "mp4a.40.2");
        assert_eq!(name(&aac(&[0xf9, 0x40])).unwrap(), "mp4a.40.42");
        assert_eq!(name(&aac(&[])), None);
        let g711 = CodecParameters::G711 { channels: 1 };
        assert_eq!(name(&Track { codec: Codec::Pcma, clock_rate_hz: 8_000, parameters: g711 }), None);
    }

    #[test]
    fn a_decoder_plays_what_its_profile_includes_up_to_its_level() {
        let high_51 = ["video/mp4; codecs=\"avc1.640033\""];
        for (profile, constraints, level) in [(0x42, 0xc0, 0x1e), (0x4d, 0, 0x28), (0x64, 0x0c, 0x33)] {
            assert!(plays(&high_51, &h264(profile, constraints, level)), "{profile:x} {level:x}");
        }
        assert!(!plays(&high_51, &h264(0x64, 0, 0x34)), "a level above");
        assert!(!plays(&high_51, &h264(0x6e, 0, 0x1e)), "High 10");
        assert!(!plays(&["video/mp4; codecs=\"avc1.42e033\""], &h264(0x64, 0, 0x1e)), "High for a Baseline decoder");
        assert!(!plays(&["video/mp4; codecs=\"avc1.640033\""], &h264(0x58, 0, 0x1e)), "Extended is in none");
        assert!(!plays(&high_51, &h265(SPS)));
    }

    #[test]
    fn h265_is_judged_by_profile_tier_and_level() {
        let plays = |codec: &str, sps| plays(&[&format!("video/mp4; codecs=\"{codec}\"")], &h265(sps));
        for codec in ["hvc1.1.6.L63.90", "hev1.1.6.L153.B0", "hvc1.2.4.L153", "hvc1.1.6.H120.90"] {
            assert!(plays(codec, SPS), "{codec}");
        }
        for codec in ["hvc1.1.6.L60.B0", "hvc1.4.10.L153", "avc1.640033", "hvc1.1.6", "hvc1"] {
            assert!(!plays(codec, SPS), "{codec}");
        }
        assert!(plays("hvc1.2.4.L120", SPS_1080P_10_BIT) && !plays("hvc1.1.6.L153.B0", SPS_1080P_10_BIT));
    }

    #[test]
    fn types_are_read_as_browsers_write_them() {
        let sound = aac(&[0x14, 0x08]);
        assert!(plays(&["video/mp4; codecs=\"avc1.640028, mp4a.40.2\""], &sound));
        assert!(plays(&["AUDIO/MP4;codecs=mp4a.40.2"], &sound));
        assert!(!plays(
            &["audio/webm; codecs=\"mp4a.40.2\"", "video/mp4", "", "audio/mp4; codecs=\"mp4a.40.5\""],
            &sound
        ));
        let opus =
            Track { codec: Codec::Opus, clock_rate_hz: 48_000, parameters: CodecParameters::Opus { channels: 2 } };
        assert!(plays(&["audio/mp4; codecs=\"opus\""], &opus) && plays(&["audio/mp4; codecs=\"Opus\""], &opus));
        let many = format!("video/mp4; codecs=\"{}\"", "opus,".repeat(100_000));
        assert_eq!(Playable::read([many.as_str()]).codecs.len(), MAX_CODECS);
    }

    proptest! {
        #[test]
        fn whatever_a_browser_says_is_read_without_panic(mime in ".{0,60}", codec in "(avc1|hvc1|mp4a|opus)[.0-9A-Fa-f]{0,20}") {
            let codec = format!("video/mp4; codecs=\"{codec}\"");
            let playable = Playable::read([mime.as_str(), codec.as_str()]);
            for track in [h264(0x64, 0, 0x1f), h265(SPS), aac(&[0x14, 0x08])] {
                playable.plays(&track);
            }
        }

        #[test]
        fn configurations_of_any_kind_are_named_or_not(config in proptest::collection::vec(any::<u8>(), 0..40)) {
            object_type(&config);
        }
    }
}
