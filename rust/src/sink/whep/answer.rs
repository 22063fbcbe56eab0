//! From an offer to an answer and a peer connection that is ready to be driven.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use str0m::config::DtlsCert;
use str0m::format::{Codec as RtcCodec, PayloadParams};
use str0m::media::{Mid, Pt};
use str0m::net::TcpType;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::keys::{self, Keys};
use super::offer::{Narrowed, Offer, invalid, not_offered};
use crate::error::{Error, ErrorKind, Result};
use crate::media::{Codec, CodecParameters, MediaKind, Track};
use crate::stream::Description;

/// H.264 as browsers offer it, packetization-mode 1: payload type, RTX payload type, profile-level-id. The numbers are
/// the client's in the end.
const H264: [(u8, u8, u32); 5] = [
    (108, 109, 0x42e01f), // Constrained Baseline
    (127, 121, 0x42001f), // Baseline
    (123, 119, 0x4d001f), // Main
    (114, 115, 0x64001f), // High
    (116, 117, 0x640c1f), // Constrained High, as Safari says it
];

/// H.265 likewise (RFC 7798 §7.1): payload type, RTX payload type, profile-id, tier-flag. A browser names what its machine
/// decodes.
const H265: [(u8, u8, u8, u8); 4] = [
    (49, 50, 1, 0), // Main
    (51, 52, 1, 1), // Main, High tier
    (53, 54, 2, 0), // Main 10
    (55, 56, 2, 1), // Main 10, High tier
];
/// 6.2, the highest: what a stream says of its level says little of whether it plays.
const H265_LEVEL: u8 = 186;

/// What both sides agreed on.
pub struct Negotiated {
    pub rtc: Rtc,
    /// What the handshake will agree on.
    pub keys: Keys,
    pub answer: String,
    /// The offer as it was answered.
    pub offer: String,
    pub video: Chosen,
    /// None: the viewer hears nothing.
    pub audio: Option<Chosen>,
    /// For when the stream changes, or the viewer goes over to another.
    pub formats: Formats,
    /// As in `Offer`.
    pub most_packets: u32,
}

/// The payload types for pictures that both sides know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Formats {
    h264: Option<Pt>,
    h265: Option<Pt>,
}

impl Formats {
    pub fn of(self, codec: Codec) -> Option<Pt> {
        match codec {
            Codec::H264 => self.h264,
            Codec::H265 => self.h265,
            Codec::Aac | Codec::Pcma | Codec::Pcmu | Codec::Opus => None,
        }
    }
}

/// What of a stream a client can play.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    /// Place of the track.
    pub video: usize,
    pub sound: Sound,
}

/// What a client is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    Track {
        place: usize,
        codec: Codec,
    },
    /// Nothing, and why.
    None(&'static str),
}

/// One track of the stream and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    pub track: usize,
    pub mid: Mid,
    pub pt: Pt,
    pub codec: RtcCodec,
}

/// What the hub brings to every answer.
pub struct Local<'a> {
    /// One certificate for all viewers of this process.
    pub certificate: &'a DtlsCert,
    pub credentials: IceCreds,
    /// Where clients reach the port, by UDP and by TCP.
    pub candidates: &'a [SocketAddr],
}

impl Local<'_> {
    /// Names every address as a host candidate of the connection. TCP (RFC 6544) has the lower priority: what arrives late
    /// on it holds up all that follows.
    pub fn stand_in(&self, rtc: &mut Rtc) -> Result<()> {
        let udp = self.candidates.iter().map(|address| (address, Candidate::builder().udp().host(*address).build()));
        let tcp = self
            .candidates
            .iter()
            .map(|address| (address, Candidate::builder().tcp().host(*address).tcptype(TcpType::Passive).build()));
        for (address, candidate) in udp.chain(tcp) {
            let candidate = candidate.map_err(|cause| {
                Error::new(ErrorKind::Internal, "ADVERTISED_ADDRESS", format!("{address} can't be an ICE candidate"))
                    .because(cause)
            })?;
            rtc.add_local_candidate(candidate);
        }
        Ok(())
    }
}

/// The track of pictures that a client can show which `receives` these codecs and puts together pictures of at most so
/// many packets. Errors: CODEC_NOT_OFFERED, B_FRAMES, KEYFRAME_TOO_LARGE (FailedPrecondition).
pub(super) fn playable(
    description: &Description,
    most_packets: u32,
    receives: impl Fn(Codec) -> bool,
) -> Result<(usize, &Track)> {
    let (place, track) =
        track_of(description, MediaKind::Video).ok_or_else(|| not_offered("the camera's stream has no video"))?;
    if let Some((_, _, true)) = track.parameters.picture() {
        let message = "the camera sends B-frames, which WebRTC can't show in order; switch them off in the camera or watch by RTSP";
        return Err(Error::new(ErrorKind::FailedPrecondition, "B_FRAMES", message));
    }
    if !receives(track.codec) {
        return Err(not_offered(match track.codec {
            Codec::H265 => "the camera sends H.265, which this client does not take over WebRTC; watch by RTSP",
            Codec::H264 | Codec::Aac | Codec::Pcma | Codec::Pcmu | Codec::Opus => {
                "the camera sends H.264, and the offer has none with packetization-mode=1"
            }
        }));
    }
    let packets = description.keyframe_packets.load(Relaxed);
    if packets > most_packets {
        let message = format!(
            "the camera's keyframes have {packets} packets, and browsers put no more than {most_packets} together over WebRTC; \
             lower its bitrate or its resolution, or watch over WebSocket or by RTSP"
        );
        return Err(Error::new(ErrorKind::FailedPrecondition, "KEYFRAME_TOO_LARGE", message));
    }
    Ok((place, track))
}

/// What the client can play of the stream. Errors as of `playable`.
pub fn fit(offer: &Offer<'_>, description: &Description) -> Result<Fit> {
    let (video, _) = playable(description, offer.most_packets, |codec| offer.receives(codec))?;
    Ok(Fit { video, sound: hear(offer, description) })
}

fn hear(offer: &Offer<'_>, description: &Description) -> Sound {
    let Some((place, track)) = track_of(description, MediaKind::Audio) else {
        return Sound::None(description.silence());
    };
    match (audible(track), track.codec) {
        (Some(_), codec) if offer.receives(codec) => Sound::Track { place, codec },
        (Some(_), _) => Sound::None("SOUND_NOT_OFFERED"),
        (None, Codec::Aac) => Sound::None("AAC_NOT_IN_WEBRTC"),
        (None, Codec::Pcma | Codec::Pcmu) => Sound::None("G711_NOT_8_KHZ_MONO"),
        (None, Codec::Opus | Codec::H264 | Codec::H265) => Sound::None("NO_SOUND"),
    }
}

/// Answers the offer for what `fit` found.
pub fn negotiate(
    offer: &Offer<'_>,
    description: &Description,
    fit: Fit,
    local: Local<'_>,
    now: Instant,
) -> Result<Negotiated> {
    let gone =
        || Error::new(ErrorKind::Unavailable, "CAMERA_UNREACHABLE", "the camera's stream has just changed: try again");
    let video = description.tracks.get(fit.video).ok_or_else(gone)?;
    let sound = match fit.sound {
        Sound::Track { place, codec } => Some((place, codec)),
        Sound::None(_) => None,
    };
    let Narrowed { sdp, video: video_mid, audio: audio_mid } =
        offer.narrow(video.codec, sound.map(|(_, codec)| codec)).ok_or_else(gone)?;

    let config = configure(video, audio_mid.and(sound).map(|(_, codec)| codec), &local);
    let (mut rtc, keys) = keys::build(config, now);
    local.stand_in(&mut rtc)?;
    let offered = str0m::change::SdpOffer::from_sdp_string(&sdp)
        .map_err(|cause| invalid(&format!("it can't be parsed ({cause})")))?;
    let answer = rtc
        .sdp_api()
        .accept_offer(offered)
        .map_err(|cause| invalid(&format!("its parts do not fit together ({cause})")))?;

    // The payload type is known as soon as the offer is accepted; `MediaAdded` comes only once the viewer has connected.
    let pt = |codec: Codec, mid: Mid| {
        let codec = rtc_codec(codec)?;
        let offered = rtc.media(mid)?.remote_pts();
        let params = rtc.codec_config().params().iter();
        let known = |params: &&PayloadParams| params.spec().codec == codec && offered.contains(&params.pt());
        params.clone().find(known).map(PayloadParams::pt)
    };
    let chosen = |track: usize, codec: Codec, mid: Mid| {
        Some(Chosen { track, mid, pt: pt(codec, mid)?, codec: rtc_codec(codec)? })
    };
    let formats = Formats { h264: pt(Codec::H264, video_mid), h265: pt(Codec::H265, video_mid) };
    let video = chosen(fit.video, video.codec, video_mid)
        .ok_or_else(|| not_offered("the offer has the camera's codec only in profiles that the hub does not know"))?;
    let audio = audio_mid.zip(sound).and_then(|(mid, (track, codec))| chosen(track, codec, mid));
    let answer = finish(&answer.to_sdp_string());
    let most_packets = offer.most_packets;
    Ok(Negotiated { rtc, keys, answer, offer: sdp, video, audio, formats, most_packets })
}

/// The first track of a kind; a camera has one of each.
pub(super) fn track_of(description: &Description, kind: MediaKind) -> Option<(usize, &Track)> {
    description.tracks.iter().enumerate().find(|(_, track)| track.kind() == kind)
}

/// The codec of sound that a browser plays: with G.711, telephone sound and nothing wider.
pub(super) fn audible(track: &Track) -> Option<RtcCodec> {
    match track.parameters {
        CodecParameters::G711 { channels: 1 } if track.clock_rate_hz == 8000 => rtc_codec(track.codec),
        CodecParameters::Opus { .. } => rtc_codec(track.codec),
        CodecParameters::G711 { .. }
        | CodecParameters::Aac { .. }
        | CodecParameters::H264 { .. }
        | CodecParameters::H265 { .. } => None,
    }
}

/// The codec in WebRTC's terms; None where WebRTC has no such thing.
pub(super) fn rtc_codec(codec: Codec) -> Option<RtcCodec> {
    match codec {
        Codec::H264 => Some(RtcCodec::H264),
        Codec::Pcma => Some(RtcCodec::PCMA),
        Codec::Pcmu => Some(RtcCodec::PCMU),
        Codec::Opus => Some(RtcCodec::Opus),
        Codec::H265 => Some(RtcCodec::H265),
        Codec::Aac => None,
    }
}

fn configure(video: &Track, sound: Option<Codec>, local: &Local<'_>) -> RtcConfig {
    // Transport-wide numbers cost eight octets a packet, and let the viewer tell when each came: how a link that is too
    // narrow is seen before it loses anything. Send times would tell the viewer's estimate nothing more.
    let mut extensions = ExtensionMap::empty();
    extensions.set(3, Extension::TransportSequenceNumber);
    extensions.set(4, Extension::RtpMid);
    let mut config = RtcConfig::new()
        .set_ice_lite(true)
        .set_rtp_mode(true)
        .set_dtls_cert(local.certificate.clone())
        .set_local_ice_credentials(local.credentials.clone())
        .set_extension_map(extensions)
        .set_stats_interval(None)
        .clear_codecs();
    // A section without sound is answered inactive, but still wants a format to be answered with.
    config = match sound.and_then(rtc_codec) {
        Some(RtcCodec::PCMA) => config.enable_pcma(true, false),
        Some(RtcCodec::PCMU) => config.enable_pcmu(true, false),
        Some(RtcCodec::Opus) => config.enable_opus(true, false),
        _ => config.enable_opus(true, false).enable_pcma(true, false).enable_pcmu(true, false),
    };
    // What stands first in the answer is what a browser makes its decoder for: the stream's own profile, else the next
    // richer one, else the richest below.
    let mut profiles = H264;
    if let CodecParameters::H264 { sps, .. } = &video.parameters {
        let (idc, constraints) = (sps.get(1).copied().unwrap_or(0x42), sps.get(2).copied().unwrap_or(0));
        profiles.sort_by_key(|(_, _, id)| {
            let [_, theirs, their_constraints, _] = id.to_be_bytes();
            (theirs < idc, theirs.abs_diff(idc), (their_constraints & 0x40 != 0) != (constraints & 0x40 != 0))
        });
    }
    // Both codecs, so that a viewer can go over to the camera's other stream, whichever it has.
    let is_h265 = video.codec == Codec::H265;
    let codecs = config.codec_config();
    for first in [is_h265, !is_h265] {
        if first {
            for (pt, rtx, profile, tier) in H265 {
                codecs.add_h265(pt.into(), Some(rtx.into()), profile, tier, H265_LEVEL);
            }
        } else {
            for (pt, rtx, profile) in profiles {
                codecs.add_h264(pt.into(), Some(rtx.into()), true, profile);
            }
        }
    }
    config
}

/// Puts video and sound into one MediaStream, so that browsers play them in step: str0m gives each section its own. Asks
/// for no estimates of bandwidth (REMB), which str0m does whatever was offered: they need send times.
fn finish(answer: &str) -> String {
    let mut sdp = String::with_capacity(answer.len());
    for line in answer.lines().filter(|line| !line.ends_with(" goog-remb")) {
        let msid = line.find("msid:").filter(|_| line.starts_with("a=msid:") || line.starts_with("a=ssrc:"));
        match msid.and_then(|at| Some((line.get(..at)?, line.get(at..)?.split_once(' ')?.1))) {
            Some((before, track)) => sdp.extend([before, "msid:vidhub ", track]),
            None if line.starts_with("a=msid-semantic:") => sdp.push_str("a=msid-semantic:WMS vidhub"),
            None => sdp.push_str(line),
        }
        sdp.push_str("\r\n");
    }
    sdp
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const CHROMIUM: &str = include_str!("../../../../tests/vectors/whep/chromium-156.sdp");
    const AIORTC: &str = include_str!("../../../../tests/vectors/whep/aiortc-1.16.sdp");

    fn description(sps: [u8; 4], sound: bool) -> Description {
        let parameters = CodecParameters::H264 {
            sps: Bytes::copy_from_slice(&sps),
            pps: Bytes::from_static(&[0x68]),
            width: 640,
            height: 360,
            has_b_frames: false,
        };
        let mut tracks = vec![Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }];
        if sound {
            let parameters = CodecParameters::G711 { channels: 1 };
            tracks.push(Track { codec: Codec::Pcma, clock_rate_hz: 8_000, parameters });
        }
        let ssrcs = vec![1; tracks.len()];
        Description { generation: 0, tracks, ssrcs, leaves_sound: false, keyframe_packets: Default::default() }
    }

    fn answer(offer: &[u8], description: &Description) -> Result<Negotiated> {
        static CERTIFICATE: std::sync::OnceLock<DtlsCert> = std::sync::OnceLock::new();
        let certificate = CERTIFICATE
            .get_or_init(|| str0m::crypto::from_feature_flags().dtls_provider.generate_certificate().unwrap());
        let candidates = ["192.0.2.7:8555".parse().unwrap(), "[2001:db8::7]:8555".parse().unwrap()];
        let local = Local { certificate, credentials: IceCreds::new(), candidates: &candidates };
        let offer = Offer::read(offer)?;
        negotiate(&offer, description, fit(&offer, description)?, local, Instant::now())
    }

    #[test]
    fn browsers_have_room_for_so_many_packets_of_a_picture_and_no_more() {
        let read = || Offer::read(CHROMIUM.as_bytes()).unwrap();
        let description = description([0x67, 0x42, 0xe0, 0x1f], false);
        description.keyframe_packets.store(2048, Relaxed);
        assert!(fit(&read().of_browser(), &description).is_ok());
        description.keyframe_packets.store(2049, Relaxed);
        let refused = fit(&read().of_browser(), &description).unwrap_err();
        assert_eq!((refused.reason(), refused.kind()), ("KEYFRAME_TOO_LARGE", ErrorKind::FailedPrecondition));
        assert!(refused.message().contains("2049 packets"), "{}", refused.message());
        assert!(fit(&read(), &description).is_ok());
    }

    #[test]
    fn a_silent_camera_and_one_whose_sound_is_left_out_are_told_apart() {
        let offer = Offer::read(CHROMIUM.as_bytes()).unwrap();
        for (leaves_sound, reason) in [(false, "NO_SOUND"), (true, "SOUND_NOT_CARRIED")] {
            let description = Description { leaves_sound, ..description([0x67, 0x42, 0xe0, 0x1f], false) };
            let sound = fit(&offer, &description).unwrap().sound;
            assert!(matches!(sound, Sound::None(told) if told == reason), "{reason}");
        }
    }

    #[test]
    fn an_offer_that_says_no_mode_and_names_its_sections_in_another_order_is_answered() {
        let says_mode = |line: &&str| line.starts_with("a=fmtp:") && line.contains("packetization-mode");
        let offer: String =
            CHROMIUM.lines().filter(|line| !says_mode(line)).map(|line| format!("{}\r\n", line.trim_end())).collect();
        let offer = offer.replace("BUNDLE 0 1", "BUNDLE 1 0");
        assert!(offer.contains("BUNDLE 1 0"));
        let negotiated = answer(offer.as_bytes(), &description([0x67, 0x42, 0xc0, 0x1f], true)).unwrap();
        assert!(negotiated.answer.contains("packetization-mode=1"), "{}", negotiated.answer);
        assert!(negotiated.audio.is_some());
    }

    #[test]
    fn real_offers_get_an_answer_that_only_sends() {
        for offer in [CHROMIUM, AIORTC] {
            let main = description([0x67, 0x4d, 0x00, 0x1f], true);
            let negotiated = answer(offer.as_bytes(), &main).unwrap();
            let sdp = &negotiated.answer;
            assert!(sdp.contains("a=ice-lite") && sdp.contains("a=setup:passive"), "{sdp}");
            assert_eq!(sdp.matches("a=sendonly").count(), 2, "{sdp}");
            assert!(!sdp.contains("sendrecv") && !sdp.contains("recvonly"), "{sdp}");
            let offered = offer.contains("transport-cc");
            assert_eq!((sdp.contains("transport-cc"), sdp.contains("transport-wide-cc")), (offered, offered), "{sdp}");
            assert!(!sdp.contains("goog-remb") && sdp.contains("nack pli"), "{sdp}");
            for address in ["192.0.2.7 8555 typ host", "2001:db8::7 8555 typ host"] {
                assert!(sdp.contains(address), "{sdp}");
            }
            assert!(negotiated.audio.is_some());
            let silent = answer(offer.as_bytes(), &description([0x67, 0x4d, 0x00, 0x1f], false)).unwrap();
            assert!(silent.audio.is_none() && silent.answer.contains("a=inactive"), "{}", silent.answer);
        }
    }

    #[test]
    fn the_payload_type_is_the_one_nearest_to_the_stream() {
        // Chromium's numbers: 102 Baseline, 108 Constrained Baseline, 116 Main; it has no High.
        for (sps, pt) in [
            ([0x67, 0x42, 0xc0, 0x1f], 108),
            ([0x67, 0x42, 0x00, 0x1f], 102),
            ([0x67, 0x4d, 0x00, 0x28], 116),
            ([0x67, 0x64, 0x00, 0x28], 116),
        ] {
            let negotiated = answer(CHROMIUM.as_bytes(), &description(sps, false)).unwrap();
            assert_eq!(*negotiated.video.pt, pt, "{sps:x?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]
        #[test]
        fn a_damaged_offer_is_answered_or_refused_without_a_panic(
            chromium: bool,
            damage in prop::collection::vec((any::<prop::sample::Index>(), 0..5_u8, any::<u8>()), 1..6),
        ) {
            let mut lines: Vec<Vec<u8>> =
                if chromium { CHROMIUM } else { AIORTC }.lines().map(|line| line.as_bytes().to_vec()).collect();
            for (place, kind, byte) in damage {
                let place = place.index(lines.len());
                match kind {
                    0 => { lines.remove(place); }
                    1 => { let line = lines[place].clone(); lines.insert(place, line); }
                    2 => { let end = usize::from(byte) % (lines[place].len() + 1); lines[place].truncate(end); }
                    3 => { let other = usize::from(byte) % lines.len(); lines.swap(place, other); }
                    _ => {
                        let at = usize::from(byte) % lines[place].len().max(1);
                        if let Some(hit) = lines[place].get_mut(at) { *hit = byte & 0x7f; }
                    }
                }
                if lines.is_empty() { break; }
            }
            let _ = answer(&lines.join(&b"\r\n"[..]), &description([0x67, 0x4d, 0x00, 0x1f], true));
        }
    }
}
