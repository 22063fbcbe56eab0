//! A WHEP client's offer: what it can play, and how str0m shall see it, the lines that concern nobody taken out.

use str0m::media::Mid;

use crate::error::{Error, ErrorKind, Result};
use crate::media::{Codec, MediaKind};
use crate::wire::rtp::BROWSER_PACKETS;

/// No player asks for more; the answer costs time for each.
const MAX_SECTIONS: usize = 16;
const BUNDLE: &str = "a=group:BUNDLE ";
const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";
/// Pictures are cut into packets (RFC 6184 §6.3).
const MODE_1: &str = "packetization-mode=1";

/// What a client offers.
#[derive(Debug)]
pub struct Offer<'a> {
    session: Vec<&'a str>,
    sections: Vec<Section<'a>>,
    /// Its ICE username fragment: another one in a later PATCH asks for a restart.
    pub ufrag: &'a str,
    /// Of the largest picture that the client puts together.
    pub(super) most_packets: u32,
}

/// An offer narrowed to one video and at most one audio section.
#[derive(Debug)]
pub(super) struct Narrowed {
    /// The offer as str0m shall see it.
    pub sdp: String,
    pub video: Mid,
    /// None where the stream's sound is not offered or not wanted.
    pub audio: Option<Mid>,
}

#[derive(Debug)]
struct Section<'a> {
    kind: Option<MediaKind>,
    mid: &'a str,
    /// The client can receive here.
    receives: bool,
    /// Its port is 0 and it shares no other section's transport (RFC 9143 §6).
    is_rejected: bool,
    formats: Vec<&'a str>,
    /// Formats of H.264 that are taken for packetization-mode=1 though they say none.
    modeless: Vec<&'a str>,
    lines: Vec<&'a str>,
}

impl<'a> Offer<'a> {
    /// Reads an offer. Errors: SDP_INVALID, and CODEC_NOT_OFFERED (FailedPrecondition) when no camera's stream could
    /// answer it, which is better known before one is started.
    pub fn read(body: &'a [u8]) -> Result<Self> {
        let offer = parse(body)?;
        let is_seen = |codec| offer.receives(codec);
        if ![Codec::H264, Codec::H265].into_iter().any(is_seen) {
            return Err(not_offered(
                "the offer has no video section that receives H.264 with packetization-mode=1, or H.265",
            ));
        }
        Ok(offer)
    }

    /// The same from a browser, which does not put together pictures of any size.
    pub fn of_browser(self) -> Self {
        Self { most_packets: BROWSER_PACKETS, ..self }
    }

    /// Whether the client can receive this codec.
    pub fn receives(&self, codec: Codec) -> bool {
        self.section(codec).is_some()
    }

    fn section(&self, codec: Codec) -> Option<usize> {
        self.sections.iter().position(|section| section.wants(codec.kind()) && section.plays(codec))
    }

    /// Leaves the sections for these two codecs active. None when the video is not offered.
    pub(super) fn narrow(&self, video: Codec, sound: Option<Codec>) -> Option<Narrowed> {
        let (video, audio) = (self.section(video)?, sound.and_then(|codec| self.section(codec)));
        let mut sdp = String::new();
        // The group in the order of the sections: the offer's may be another (RFC 9143 §5), which str0m does not take.
        for line in self.session.iter().filter(|line| !line.starts_with("a=group:")) {
            push(&mut sdp, line);
        }
        let bundled: Vec<_> =
            self.sections.iter().filter(|section| !section.is_rejected).map(|section| section.mid).collect();
        push(&mut sdp, &format!("{BUNDLE}{}", bundled.join(" ")));
        for (place, section) in self.sections.iter().enumerate() {
            let active = place == video || Some(place) == audio;
            section.write(&mut sdp, if active { "recvonly" } else { "inactive" });
        }
        let mid = |place: usize| self.sections.get(place).map(|section| Mid::from(section.mid));
        Some(Narrowed { sdp, video: mid(video)?, audio: audio.and_then(mid) })
    }
}

fn parse(body: &[u8]) -> Result<Offer<'_>> {
    let text = std::str::from_utf8(body).map_err(|_| invalid("it is not UTF-8"))?;
    if !text.starts_with("v=0") {
        return Err(invalid("it does not start with v=0"));
    }
    let mut lines = text.lines().peekable();
    let mut session = Vec::new();
    while let Some(line) = lines.next_if(|line| !line.starts_with("m=")) {
        session.push(line);
    }
    let session_direction = direction(&session);
    let mut sections: Vec<Section> = Vec::new();
    for line in lines {
        if let Some(media) = line.strip_prefix("m=") {
            if sections.len() == MAX_SECTIONS {
                return Err(invalid("it has too many media sections"));
            }
            sections.push(Section::begin(media, line)?);
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line);
        }
    }
    let bundle = session.iter().find_map(|line| line.strip_prefix(BUNDLE)).unwrap_or_default();
    for section in &mut sections {
        section.finish(session_direction, bundle)?;
    }
    let is_given = |name| {
        attribute(&session, name).is_some() || sections.iter().any(|section| attribute(&section.lines, name).is_some())
    };
    if !is_given("fingerprint:") {
        return Err(invalid("it has no a=fingerprint, and media is sent encrypted (DTLS-SRTP) or not at all"));
    }
    if !is_given("ice-pwd:") {
        return Err(invalid("it has no a=ice-pwd"));
    }

    let ufrag = attribute(&session, "ice-ufrag:")
        .or_else(|| sections.iter().find_map(|section| attribute(&section.lines, "ice-ufrag:")))
        .ok_or_else(|| invalid("it has no a=ice-ufrag"))?;
    Ok(Offer { session, sections, ufrag, most_packets: u32::MAX })
}

impl<'a> Section<'a> {
    fn begin(media: &'a str, line: &'a str) -> Result<Self> {
        let mut words = media.split_ascii_whitespace();
        let kind = match words.next() {
            Some("video") => Some(MediaKind::Video),
            Some("audio") => Some(MediaKind::Audio),
            Some("application") => {
                return Err(invalid("it asks for a data channel; WHEP carries audio and video only"));
            }
            _ => None,
        };
        let (port, protocol) = (words.next(), words.next().unwrap_or_default());
        if kind.is_some() && protocol != PROTOCOL {
            return Err(invalid(&format!("a media section is of {protocol:.32}, and WebRTC's are of {PROTOCOL}")));
        }
        let (is_rejected, formats) = (port == Some("0"), words.collect());
        Ok(Self { kind, mid: "", receives: false, is_rejected, formats, modeless: Vec::new(), lines: vec![line] })
    }

    /// `bundle`: the mids of the sections that share one transport.
    fn finish(&mut self, session_direction: Option<&'a str>, bundle: &str) -> Result<()> {
        self.mid = attribute(&self.lines, "mid:").unwrap_or_default();
        // str0m keeps 16 bytes of a mid: a longer one would be answered under another name.
        if self.mid.is_empty() || self.mid.len() > 16 || !self.mid.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("each media section wants a mid of 1 to 16 characters"));
        }
        let is_bundled = bundle.split_ascii_whitespace().any(|mid| mid == self.mid);
        if !is_bundled && !self.is_rejected {
            return Err(invalid(
                "its media sections share no transport: name the mid of each in one a=group:BUNDLE line",
            ));
        }
        self.is_rejected = !is_bundled;
        self.receives =
            is_bundled && matches!(direction(&self.lines).or(session_direction), None | Some("sendrecv" | "recvonly"));
        self.modeless = self.without_mode();
        Ok(())
    }

    /// Formats of H.264, where no word says how any of them comes in packets. That would mean single NAL units (RFC 6184
    /// §8.1), which no camera's pictures fit into; but who says nothing takes what comes, as GStreamer's depayloader does
    /// (`whepsrc`). Who does mean single NAL units offers the other mode beside them, as Firefox does.
    fn without_mode(&self) -> Vec<&'a str> {
        let of_h264 = |format: &&&str| self.parameter("rtpmap:", format).is_some_and(is_h264);
        let formats: Vec<_> = self.formats.iter().filter(of_h264).copied().collect();
        let says_mode =
            |format: &&str| self.parameter("fmtp:", format).is_some_and(|fmtp| fmtp.contains("packetization-mode"));
        if formats.iter().any(says_mode) { Vec::new() } else { formats }
    }

    fn wants(&self, kind: MediaKind) -> bool {
        self.kind == Some(kind) && self.receives
    }

    fn plays(&self, codec: Codec) -> bool {
        self.formats.iter().any(|format| {
            let named = |name: &str| {
                self.parameter("rtpmap:", format).is_some_and(|map| {
                    map.split('/').take(2).map(str::to_ascii_uppercase).eq(name.split('/').map(str::to_owned))
                })
            };
            match codec {
                Codec::H264 => {
                    let is_mode_1 = || self.parameter("fmtp:", format).is_some_and(mode_1);
                    self.modeless.contains(format) || is_mode_1() && named("H264/90000")
                }
                Codec::Pcma => *format == "8" || named("PCMA/8000"),
                Codec::Pcmu => *format == "0" || named("PCMU/8000"),
                Codec::H265 => named("H265/90000") && self.parameter("fmtp:", format).is_none_or(single_stream),
                Codec::Opus => named("OPUS/48000"),
                // WebRTC has no AAC.
                Codec::Aac => false,
            }
        })
    }

    /// The value of an attribute that names a format, such as `a=rtpmap:96 H264/90000`.
    fn parameter(&self, name: &str, format: &str) -> Option<&'a str> {
        self.lines.iter().find_map(|line| {
            line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(format)?.strip_prefix(' ').map(str::trim)
        })
    }

    /// Writes the section with its direction as we take it. Simulcast does not concern a viewer; estimates
    /// of bandwidth by the viewer would need send times; the client's candidates are of no use to an ICE-lite side, which learns
    /// them from the checks, and may hold names instead of addresses.
    fn write(&self, sdp: &mut String, direction: &str) {
        const UNUSED: [&str; 4] = ["a=candidate:", "a=end-of-candidates", "a=simulcast:", "a=rid:"];
        for line in &self.lines {
            let is_unused = UNUSED.iter().any(|unused| line.starts_with(unused))
                || line.starts_with("a=rtcp-fb:") && line.trim_end().ends_with(" goog-remb");
            if !is_direction(line) && !is_unused {
                match self.modeless.iter().find(|format| is_fmtp_of(line, format)) {
                    Some(_) => push(sdp, &format!("{};{MODE_1}", line.trim_end())),
                    None => push(sdp, line),
                }
            }
        }
        for format in self.modeless.iter().filter(|format| self.parameter("fmtp:", format).is_none()) {
            push(sdp, &format!("a=fmtp:{format} {MODE_1}"));
        }
        push(sdp, &format!("a={direction}"));
    }
}

fn is_h264(rtpmap: &str) -> bool {
    rtpmap.trim_end().eq_ignore_ascii_case("H264/90000")
}

fn is_fmtp_of(line: &str, format: &str) -> bool {
    line.strip_prefix("a=fmtp:").and_then(|rest| rest.strip_prefix(format)).is_some_and(|rest| rest.starts_with(' '))
}

fn mode_1(fmtp: &str) -> bool {
    fmtp.split(';').any(|part| part.trim().eq_ignore_ascii_case(MODE_1))
}

/// All of H.265 on one RTP stream, which is also what no word of it means (RFC 7798 §7.1).
fn single_stream(fmtp: &str) -> bool {
    fmtp.split(';')
        .filter_map(|part| part.trim().split_once('='))
        .all(|(name, value)| !name.eq_ignore_ascii_case("tx-mode") || value.eq_ignore_ascii_case("SRST"))
}

fn attribute<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)).map(str::trim)
}

fn is_direction(line: &str) -> bool {
    matches!(line.trim_end(), "a=sendrecv" | "a=recvonly" | "a=sendonly" | "a=inactive")
}

fn direction<'a>(lines: &[&'a str]) -> Option<&'a str> {
    lines.iter().find(|line| is_direction(line)).map(|line| line.trim_end().trim_start_matches("a="))
}

fn push(sdp: &mut String, line: &str) {
    sdp.push_str(line.trim_end());
    sdp.push_str("\r\n");
}

pub(super) fn not_offered(why: &str) -> Error {
    Error::new(ErrorKind::FailedPrecondition, "CODEC_NOT_OFFERED", why)
}

pub(super) fn invalid(why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "SDP_INVALID",
        format!("the body is no SDP offer that a viewer can send: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        a=fingerprint:sha-256 AB:CD\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 8\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\n\
        a=recvonly\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:8 PCMA/8000\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 102\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=candidate:1 1 udp 1 x.local 9 typ host\r\n\
        a=sendrecv\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:102 H264/90000\r\n\
        a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";

    #[test]
    fn an_offer_to_send_and_receive_is_taken_as_one_to_receive() {
        let offer = Offer::read(OFFER.as_bytes()).unwrap();
        assert_eq!(offer.ufrag, "abcd");
        let narrowed = offer.narrow(Codec::H264, Some(Codec::Pcma)).unwrap();
        assert_eq!((narrowed.video, narrowed.audio), (Mid::from("1"), Some(Mid::from("0"))));
        assert_eq!(narrowed.sdp.matches("a=recvonly").count(), 2);
        assert!(!narrowed.sdp.contains("sendrecv") && !narrowed.sdp.contains("candidate"));
    }

    #[test]
    fn sound_that_is_not_offered_or_not_there_is_answered_inactive() {
        let offer = Offer::read(OFFER.as_bytes()).unwrap();
        for sound in [None, Some(Codec::Pcmu), Some(Codec::Aac)] {
            let narrowed = offer.narrow(Codec::H264, sound).unwrap();
            assert_eq!(narrowed.audio, None);
            assert_eq!(narrowed.sdp.matches("a=inactive").count(), 1);
        }
    }

    #[test]
    fn an_offer_that_cannot_receive_video_of_ours_has_no_codec_for_us() {
        let h265 = OFFER.replace("H264/90000", "H265/90000");
        let cases = [
            OFFER.replace("a=sendrecv", "a=sendonly"),
            OFFER.replace("a=sendrecv", "a=inactive"),
            OFFER.replace("H264/90000", "H263/90000"),
            OFFER.replace("packetization-mode=1", "packetization-mode=0"),
            OFFER.split("m=video").next().unwrap_or_default().to_owned(),
            h265.replace("level-asymmetry-allowed=1", "tx-mode=MRST"),
        ];
        for case in cases {
            assert_eq!(Offer::read(case.as_bytes()).unwrap_err().reason(), "CODEC_NOT_OFFERED", "{case}");
        }
        let offer = Offer::read(h265.as_bytes()).unwrap();
        assert!(offer.receives(Codec::H265) && !offer.receives(Codec::H264));
        assert!(offer.narrow(Codec::H264, None).is_none());
    }

    #[test]
    fn formats_that_say_no_mode_are_taken_for_the_common_one_and_only_where_none_says_one() {
        let fmtp = "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";
        let narrowed = |offer: &str| Offer::read(offer.as_bytes()).unwrap().narrow(Codec::H264, None).unwrap().sdp;
        // As GStreamer's whepsrc writes it.
        let none = OFFER.replace(fmtp, "");
        assert!(narrowed(&none).contains("a=fmtp:102 packetization-mode=1\r\n"));
        let silent = OFFER.replace("packetization-mode=1;", "");
        let line = "a=fmtp:102 level-asymmetry-allowed=1;profile-level-id=42e01f;packetization-mode=1\r\n";
        assert!(narrowed(&silent).contains(line));
        // As Firefox writes it: 97 is for single NAL units.
        let two =
            OFFER.replace("96 102", "96 102 97") + "a=rtpmap:97 H264/90000\r\na=fmtp:97 profile-level-id=42e01f\r\n";
        assert!(narrowed(&two).contains("a=fmtp:97 profile-level-id=42e01f\r\n"));
        assert_eq!(narrowed(&two).matches("packetization-mode").count(), 1);
    }

    #[test]
    fn sections_are_bundled_in_their_order_and_those_without_a_port_are_left_out() {
        let turned = OFFER.replace("BUNDLE 0 1", "BUNDLE 1 0");
        let sdp = Offer::read(turned.as_bytes()).unwrap().narrow(Codec::H264, None).unwrap().sdp;
        assert!(sdp.contains("a=group:BUNDLE 0 1\r\n") && sdp.matches("a=group:").count() == 1, "{sdp}");
        // Of one that shares another's transport the port means nothing.
        let shared = OFFER.replace("m=video 9", "m=video 0");
        assert!(Offer::read(shared.as_bytes()).unwrap().receives(Codec::H264));
        let rejected = OFFER.replace("m=audio 9", "m=audio 0").replace("BUNDLE 0 1", "BUNDLE 1");
        let offer = Offer::read(rejected.as_bytes()).unwrap();
        let narrowed = offer.narrow(Codec::H264, Some(Codec::Pcma)).unwrap();
        assert_eq!(narrowed.audio, None);
        assert!(narrowed.sdp.contains("a=group:BUNDLE 1\r\n"));
    }

    #[test]
    fn an_offer_that_lacks_what_webrtc_needs_is_told_what() {
        for (taken, given, told) in [
            ("a=group:BUNDLE 0 1\r\n", "", "name the mid of each in one a=group:BUNDLE line"),
            ("BUNDLE 0 1", "BUNDLE 0", "name the mid of each in one a=group:BUNDLE line"),
            ("a=fingerprint:sha-256 AB:CD\r\n", "", "no a=fingerprint"),
            ("a=ice-pwd:0123456789abcdef01234567\r\n", "", "no a=ice-pwd"),
            ("a=ice-ufrag:abcd\r\n", "", "no a=ice-ufrag"),
            ("m=video 9 UDP/TLS/RTP/SAVPF", "m=video 9 RTP/AVP", "of RTP/AVP, and WebRTC's are of UDP/TLS/RTP/SAVPF"),
        ] {
            let error = Offer::read(OFFER.replace(taken, given).as_bytes()).unwrap_err();
            assert_eq!(error.reason(), "SDP_INVALID");
            assert!(error.message().contains(told), "{error}");
        }
    }

    #[test]
    fn what_is_no_offer_is_refused_without_a_panic() {
        let many = format!("{OFFER}{}", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\n".repeat(20));
        let cases: [&[u8]; 6] = [
            b"",
            b"hello",
            b"\xff\xfe",
            many.as_bytes(),
            b"v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n",
            b"v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
        ];
        for case in cases {
            assert_eq!(Offer::read(case).unwrap_err().reason(), "SDP_INVALID");
        }
        for end in 0..OFFER.len() {
            let _ = Offer::read(&OFFER.as_bytes()[..end]).map(|offer| offer.narrow(Codec::H264, Some(Codec::Pcma)));
        }
    }
}
