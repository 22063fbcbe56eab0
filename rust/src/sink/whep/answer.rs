//! From an offer to an answer and a peer connection that is ready to be driven.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::config::DtlsCert;
use str0m::format::Codec as RtcCodec;
use str0m::media::{Mid, Pt};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::offer::{self, Offer, invalid};
use crate::error::{Error, ErrorKind, Result};
use crate::media::{Codec, CodecParameters, MediaKind, Track};
use crate::stream::Description;

/// Packets kept per viewer to answer NACKs with, at most three seconds old. The payloads are shared with the GOP cache.
const RESEND_PACKETS: usize = 1024;

/// H.264 as browsers offer it, packetization-mode 1: payload type, RTX payload type, profile-level-id. The numbers are
/// the client's in the end.
const H264: [(u8, u8, u32); 5] = [
    (108, 109, 0x42e01f), // Constrained Baseline
    (127, 121, 0x42001f), // Baseline
    (123, 119, 0x4d001f), // Main
    (114, 115, 0x64001f), // High
    (116, 117, 0x640c1f), // Constrained High, as Safari says it
];

/// What both sides agreed on.
pub struct Negotiated {
    pub rtc: Rtc,
    pub answer: String,
    pub video: Chosen,
    pub audio: Option<Chosen>,
    /// The client's ICE username fragment.
    pub remote_ufrag: String,
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
    /// Where clients reach the UDP port.
    pub candidates: &'a [SocketAddr],
}

/// Refuses what WebRTC can't carry, before anything is built.
pub(super) fn playable(description: &Description) -> Result<(usize, &Track)> {
    let (place, track) = track_of(description, MediaKind::Video).ok_or_else(|| {
        Error::new(ErrorKind::FailedPrecondition, "CODEC_NOT_OFFERED", "the camera's stream has no video")
    })?;
    match &track.parameters {
        CodecParameters::H264 { has_b_frames: true, .. } => Err(Error::new(
            ErrorKind::FailedPrecondition,
            "B_FRAMES",
            "the camera sends B-frames, which WebRTC can't show in order; switch them off in the camera or watch by RTSP",
        )),
        CodecParameters::H264 { .. } | CodecParameters::Aac { .. } | CodecParameters::G711 { .. } => Ok((place, track)),
    }
}

/// Refuses an offer that no camera's stream could answer, before one is started for it.
pub fn check(body: &[u8]) -> Result<()> {
    offer::read(body, None).map(|_| ())
}

pub fn negotiate(body: &[u8], description: &Description, local: Local<'_>, now: Instant) -> Result<Negotiated> {
    let (video_track, video) = playable(description)?;
    let sound = track_of(description, MediaKind::Audio).filter(|(_, track)| audible(track).is_some());
    let Offer { sdp, video: video_mid, audio: audio_mid, ufrag } =
        offer::read(body, sound.map(|(_, track)| track.codec))?;

    let mut rtc = configure(video, audio_mid.and(sound).map(|(_, track)| track.codec), &local).build(now);
    for address in local.candidates {
        let candidate = Candidate::host(*address, "udp").map_err(|cause| {
            Error::new(ErrorKind::Internal, "ADVERTISED_ADDRESS", format!("{address} can't be an ICE candidate"))
                .because(cause)
        })?;
        rtc.add_local_candidate(candidate);
    }
    let sdp = str0m::change::SdpOffer::from_sdp_string(&sdp)
        .map_err(|cause| invalid("it can't be parsed").because(cause.to_string()))?;
    let answer = rtc
        .sdp_api()
        .accept_offer(sdp)
        .map_err(|cause| invalid("its parts do not fit together").because(cause.to_string()))?;

    // The payload type is known as soon as the offer is accepted; `MediaAdded` comes only once the viewer has connected.
    let chosen = |track: usize, description: &Track, mid: Mid| {
        let codec = rtc_codec(description.codec)?;
        let media = rtc.media(mid)?;
        let offered = media.remote_pts();
        let pt = rtc
            .codec_config()
            .params()
            .iter()
            .find(|params| params.spec().codec == codec && offered.contains(&params.pt()))?
            .pt();
        Some(Chosen { track, mid, pt, codec })
    };
    let video = chosen(video_track, video, video_mid).ok_or_else(|| {
        Error::new(
            ErrorKind::FailedPrecondition,
            "CODEC_NOT_OFFERED",
            "the offer has H.264 with packetization-mode=1 only in profiles that the hub does not know",
        )
    })?;
    let audio = audio_mid.zip(sound).and_then(|(mid, (track, description))| chosen(track, description, mid));
    let answer = one_stream(&answer.to_sdp_string());
    Ok(Negotiated { rtc, answer, video, audio, remote_ufrag: ufrag })
}

/// The first track of a kind; a camera has one of each.
pub(super) fn track_of(description: &Description, kind: MediaKind) -> Option<(usize, &Track)> {
    description.tracks.iter().enumerate().find(|(_, track)| track.kind() == kind)
}

/// The codec of sound that a browser plays: with G.711, telephone sound and nothing wider.
pub(super) fn audible(track: &Track) -> Option<RtcCodec> {
    match track.parameters {
        CodecParameters::G711 { channels: 1 } if track.clock_rate_hz == 8000 => rtc_codec(track.codec),
        CodecParameters::G711 { .. } | CodecParameters::Aac { .. } | CodecParameters::H264 { .. } => None,
    }
}

/// The codec in WebRTC's terms; None where WebRTC has no such thing.
fn rtc_codec(codec: Codec) -> Option<RtcCodec> {
    match codec {
        Codec::H264 => Some(RtcCodec::H264),
        Codec::Pcma => Some(RtcCodec::PCMA),
        Codec::Pcmu => Some(RtcCodec::PCMU),
        Codec::Aac => None,
    }
}

fn configure(video: &Track, sound: Option<Codec>, local: &Local<'_>) -> RtcConfig {
    // No transport-wide sequence numbers and no send times: nothing here estimates bandwidth, and each costs header
    // bytes on every packet and a stream of feedback from every viewer.
    let mut extensions = ExtensionMap::empty();
    extensions.set(4, Extension::RtpMid);
    let mut config = RtcConfig::new()
        .set_ice_lite(true)
        .set_rtp_mode(true)
        .set_dtls_cert(local.certificate.clone())
        .set_local_ice_credentials(local.credentials.clone())
        .set_extension_map(extensions)
        .set_send_buffer_video(RESEND_PACKETS)
        .set_stats_interval(None)
        .clear_codecs();
    // A section without sound is answered inactive, but still wants a format to be answered with.
    config = match sound.and_then(rtc_codec) {
        Some(RtcCodec::PCMA) => config.enable_pcma(true, false),
        Some(RtcCodec::PCMU) => config.enable_pcmu(true, false),
        _ => config.enable_opus(true, false).enable_pcma(true, false).enable_pcmu(true, false),
    };
    // The stream's own profile first: what stands first in the answer is what a browser makes its decoder for.
    let mut profiles = H264;
    if let CodecParameters::H264 { sps, .. } = &video.parameters {
        let (idc, constraints) = (sps.get(1).copied().unwrap_or(0x42), sps.get(2).copied().unwrap_or(0));
        profiles.sort_by_key(|(_, _, id)| {
            let [_, their_idc, their_constraints, _] = id.to_be_bytes();
            (their_idc != idc, (their_constraints & 0x40 != 0) != (constraints & 0x40 != 0))
        });
    }
    for (pt, rtx, profile) in profiles {
        config.codec_config().add_h264(pt.into(), Some(rtx.into()), true, profile);
    }
    config
}

/// Puts video and sound into one MediaStream, so that browsers play them in step: str0m gives each section its own.
fn one_stream(answer: &str) -> String {
    let mut sdp = String::with_capacity(answer.len());
    for line in answer.lines() {
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
