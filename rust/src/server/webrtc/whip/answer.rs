//! From a publisher's offer to an answer and a peer connection that receives.

use std::time::Instant;

use str0m::media::Mid;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Rtc, RtcConfig};

use super::offer::{self, Chosen, Format, Offer, invalid};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::whep::{Local, Restarts};
use crate::source::{self, Announced};

/// Level that is told for H.265, 5.1 in RFC 7798 terms; the main profile, main tier.
const H265: (u8, u8, u8) = (1, 0, 153);

/// What both sides agreed on.
pub struct Negotiated {
    pub rtc: Rtc,
    pub answer: String,
    /// The section of the picture; its track is the first.
    pub video: Mid,
    pub audio: Option<Mid>,
    pub announced: Announced,
    /// The client's ICE username fragment.
    pub remote_ufrag: String,
    /// For the day when the client restarts ICE.
    pub restarts: Restarts,
}

pub fn negotiate(camera: &str, body: &[u8], local: Local<'_>, now: Instant) -> Result<Negotiated> {
    let Offer { sdp, taken, video, audio, ufrag } = offer::read(body)?;
    let (_, announced) = source::announced(camera, taken.as_bytes())?;
    let mut rtc = configure(&video, audio.as_ref(), &local).build(now);
    local.stand_in(&mut rtc)?;
    let offer = str0m::change::SdpOffer::from_sdp_string(&sdp)
        .map_err(|cause| invalid(&format!("it can't be parsed ({cause})")))?;
    let answer = rtc
        .sdp_api()
        .accept_offer(offer)
        .map_err(|cause| invalid(&format!("its parts do not fit together ({cause})")))?
        .to_sdp_string();
    let video = Mid::from(video.mid.as_str());
    let is_taken = rtc.media(video).is_some_and(|media| !media.remote_pts().is_empty());
    if !is_taken {
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            "CODEC_NOT_OFFERED",
            "the offer has H.264 or H.265 only in a form that the hub does not know",
        ));
    }
    let audio = audio.map(|audio| Mid::from(audio.mid.as_str()));
    Ok(Negotiated { rtc, answer, video, audio, announced, remote_ufrag: ufrag, restarts: Restarts::new(sdp) })
}

fn configure(video: &Chosen, audio: Option<&Chosen>, local: &Local<'_>) -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    extensions.set(1, Extension::AbsoluteSendTime);
    // By the arrival of each packet the client finds out how much the way carries.
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
    // A section that is not taken is answered inactive, but still wants a format to be answered with.
    config = match audio.map(|audio| audio.format) {
        Some(Format::Pcma) => config.enable_pcma(true, false),
        Some(Format::Pcmu) => config.enable_pcmu(true, false),
        Some(Format::Opus) => config.enable_opus(true, false),
        Some(Format::H264 { .. } | Format::H265) | None => {
            config.enable_opus(true, false).enable_pcma(true, false).enable_pcmu(true, false)
        }
    };
    let (pt, resend) = (video.payload_type.into(), video.resend.map(Into::into));
    match video.format {
        Format::H264 { profile_level_id, mode_1 } => {
            config.codec_config().add_h264(pt, resend, mode_1, profile_level_id);
        }
        Format::H265 => {
            let (profile, tier, level) = H265;
            config.codec_config().add_h265(pt, resend, profile, tier, level);
        }
        Format::Opus | Format::Pcma | Format::Pcmu => {}
    }
    config
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use str0m::IceCreds;
    use str0m::config::DtlsCert;

    use super::*;

    static CERTIFICATE: LazyLock<DtlsCert> =
        LazyLock::new(|| str0m::crypto::from_feature_flags().dtls_provider.generate_certificate().unwrap());

    fn answered(offer: &str) -> Result<Negotiated> {
        let candidates = ["192.0.2.1:8555".parse().unwrap()];
        let local = Local { certificate: &CERTIFICATE, credentials: IceCreds::new(), candidates: &candidates };
        negotiate("c", offer.as_bytes(), local, Instant::now())
    }

    fn offer(video: u8, resend: u8, audio: u8, extra: &str) -> String {
        let fingerprint = ["AB"; 32].join(":");
        format!(
            "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF {audio}\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n\
             a=rtpmap:{audio} opus/48000/2\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF {video} {resend}\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\n\
             a=rtpmap:{video} H264/90000\r\na=fmtp:{video} packetization-mode=1;profile-level-id=42e01f\r\n\
             a=rtpmap:{resend} rtx/90000\r\na=fmtp:{resend} apt={video}\r\n{extra}"
        )
    }

    #[test]
    fn a_usual_offer_is_answered() {
        let negotiated = answered(&offer(96, 97, 111, "")).unwrap();
        assert!(negotiated.audio.is_some());
        assert_eq!(negotiated.answer.matches("a=recvonly").count(), 2, "{}", negotiated.answer);
    }

    #[test]
    fn an_offer_that_names_its_sections_in_another_order_is_answered() {
        let usual = offer(96, 97, 111, "");
        let turned = usual.replace("BUNDLE 0 1", "BUNDLE 1 0");
        let negotiated = answered(&turned).unwrap();
        assert_eq!(negotiated.answer.matches("a=recvonly").count(), 2, "{}", negotiated.answer);
        // A group that does not name them all, or others, is no order of them.
        for broken in ["BUNDLE 1", "BUNDLE 1 0 2"] {
            let refused = answered(&usual.replace("BUNDLE 0 1", broken)).err().unwrap();
            assert_eq!(refused.reason(), "SDP_INVALID", "{broken}");
        }
    }

    proptest! {
        #[test]
        fn no_numbers_and_no_lines_make_it_panic(
            (video, resend, audio) in (payload_type(), payload_type(), payload_type()),
            extra in prop::collection::vec(line(), 0..4),
        ) {
            let _ = answered(&offer(video, resend, audio, &extra.concat()));
        }
    }

    fn payload_type() -> impl Strategy<Value = u8> {
        prop_oneof![prop::sample::select(vec![0u8, 8, 9, 13, 96, 97, 100, 109, 111, 127, 128, 255]), any::<u8>()]
    }

    fn line() -> impl Strategy<Value = String> {
        let lines = [
            "a=ssrc:1 cname:x\r\n",
            "a=ssrc-group:FID 1 1\r\n",
            "a=ssrc-group:FID 1\r\n",
            "a=extmap:0 urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
            "a=extmap:15 urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
            "a=extmap:255 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n",
            "a=msid:- -\r\n",
            "a=mid:0\r\n",
            "a=setup:passive\r\n",
            "a=ice-options:renomination\r\n",
            "a=rtcp-fb:* nack\r\n",
            "a=fmtp:96 packetization-mode=1;packetization-mode=0\r\n",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 96\r\na=mid:2\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:96 opus/48000/2\r\n",
            "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtpmap:96 H264/90000\r\n",
            "m=video 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:3\r\na=inactive\r\na=rtpmap:111 VP8/90000\r\n",
        ];
        prop::sample::select(lines.map(str::to_owned).to_vec())
    }
}
