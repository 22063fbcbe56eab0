//! A WHIP client's offer (RFC 9725), narrowed to what the hub takes: one picture and one sound, each in one format.

use crate::error::{Error, ErrorKind, Result};
use crate::wire::sdp;

/// No encoder asks for more; the answer costs time for each.
const MAX_SECTIONS: usize = 16;
/// Formats of one section that are looked at.
const MAX_FORMATS: usize = 64;
const BUNDLE: &str = "a=group:BUNDLE ";

/// What is taken of an offer.
#[derive(Debug, PartialEq, Eq)]
pub struct Offer {
    /// The offer as str0m shall see it.
    pub sdp: String,
    /// Only the sections that are taken, in the same order as here.
    pub taken: String,
    pub video: Chosen,
    pub audio: Option<Chosen>,
    /// The client's ICE username fragment.
    pub ufrag: String,
}

/// A section that is taken and the format it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub mid: String,
    pub payload_type: u8,
    /// Of retransmissions (RFC 4588).
    pub resend: Option<u8>,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    H264 { profile_level_id: u32, mode_1: bool },
    H265,
    Opus,
    Pcma,
    Pcmu,
}

struct Section<'a> {
    media: &'a str,
    mid: &'a str,
    formats: Vec<u8>,
    sends: bool,
    lines: Vec<&'a str>,
}

pub fn read(body: &[u8]) -> Result<Offer> {
    let text = std::str::from_utf8(body).map_err(|_| invalid("it is not UTF-8"))?;
    if !text.starts_with("v=0") {
        return Err(invalid("it does not start with v=0"));
    }
    let mut lines = text.lines().map(str::trim_end).peekable();
    let mut session = Vec::new();
    while let Some(line) = lines.next_if(|line| !line.starts_with("m=")) {
        session.push(line);
    }
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
    let direction_of_all = direction(&session);
    for section in &mut sections {
        section.finish(direction_of_all)?;
    }
    let ufrag = attribute(&session, "ice-ufrag:")
        .or_else(|| sections.iter().find_map(|section| attribute(&section.lines, "ice-ufrag:")))
        .ok_or_else(|| invalid("it has no ice-ufrag"))?
        .to_owned();

    let find = |media: &str| {
        let mut wanted = sections.iter().enumerate().filter(|(_, section)| section.media == media && section.sends);
        wanted.find_map(|(place, section)| Some((place, section.choose()?)))
    };
    let Some((video_place, video)) = find("video") else {
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            "CODEC_NOT_OFFERED",
            "the offer has no video section that sends H.264 or H.265: set the encoder to one of them",
        ));
    };
    let audio = find("audio");

    let (mut sdp, mut taken) = (String::with_capacity(text.len()), String::from("v=0\r\n"));
    for line in &session {
        match line.strip_prefix(BUNDLE) {
            Some(mids) => push(&mut sdp, &format!("{BUNDLE}{}", in_order(mids, &sections))),
            None => push(&mut sdp, line),
        }
    }
    for (place, section) in sections.iter().enumerate() {
        let chosen = match &audio {
            _ if place == video_place => Some(&video),
            Some((audio_place, audio)) if place == *audio_place => Some(audio),
            _ => None,
        };
        section.write(&mut sdp, chosen);
    }
    let mut take = |place: usize, chosen: &Chosen| {
        if let Some(section) = sections.get(place) {
            section.write(&mut taken, Some(chosen));
        }
    };
    take(video_place, &video);
    if let Some((place, audio)) = &audio {
        take(*place, audio);
    } else if sections.iter().any(|section| section.media == "audio" && section.sends) {
        taken.insert_str("v=0\r\n".len(), &sdp::leaves_sound_line());
    }
    Ok(Offer { sdp, taken, video, audio: audio.map(|(_, audio)| audio), ufrag })
}

impl<'a> Section<'a> {
    fn begin(media: &'a str, line: &'a str) -> Result<Self> {
        let mut words = media.split(' ');
        let media = words.next().unwrap_or_default();
        if media == "application" {
            return Err(invalid("it asks for a data channel; WHIP carries audio and video only"));
        }
        let formats = words.skip(2).take(MAX_FORMATS).filter_map(|format| format.parse().ok()).collect();
        Ok(Self { media, mid: "", formats, sends: false, lines: vec![line] })
    }

    fn finish(&mut self, direction_of_all: Option<&'a str>) -> Result<()> {
        self.mid = attribute(&self.lines, "mid:").unwrap_or_default();
        // str0m keeps 16 bytes of a mid: a longer one would be answered under another name.
        if self.mid.is_empty() || self.mid.len() > 16 || !self.mid.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("each media section wants a mid of 1 to 16 characters"));
        }
        self.sends = matches!(direction(&self.lines).or(direction_of_all), None | Some("sendrecv" | "sendonly"));
        Ok(())
    }

    /// The first format of the client's order that the hub carries; of H.264 one that may cut pictures into packets.
    fn choose(&self) -> Option<Chosen> {
        let carried =
            || self.formats.iter().filter_map(|payload_type| Some((*payload_type, self.format(*payload_type)?)));
        let cut = |format: &Format| !matches!(format, Format::H264 { mode_1: false, .. });
        let (payload_type, format) = carried().find(|(_, format)| cut(format)).or_else(|| carried().next())?;
        let resend = self.formats.iter().copied().find(|other| {
            let is_rtx = self.parameter("rtpmap:", *other).is_some_and(|map| map.eq_ignore_ascii_case("rtx/90000"));
            let of = self.parameter("fmtp:", *other).and_then(|fmtp| field(fmtp, "apt"));
            is_rtx && of.and_then(|of| of.parse().ok()) == Some(payload_type)
        });
        Some(Chosen { mid: self.mid.to_owned(), payload_type, resend, format })
    }

    fn format(&self, payload_type: u8) -> Option<Format> {
        let map = self.parameter("rtpmap:", payload_type).map(str::to_ascii_lowercase);
        let fmtp = self.parameter("fmtp:", payload_type).unwrap_or_default();
        match (self.media, map.as_deref(), payload_type) {
            ("video", Some("h264/90000"), _) => {
                // RFC 6184 §8.1: Baseline where nothing tells.
                let id = field(fmtp, "profile-level-id").and_then(|id| u32::from_str_radix(id, 16).ok());
                let mode_1 = field(fmtp, "packetization-mode") == Some("1");
                Some(Format::H264 { profile_level_id: id.unwrap_or(0x42_000a), mode_1 })
            }
            ("video", Some("h265/90000"), _) => Some(Format::H265),
            ("audio", Some("opus/48000/2"), _) => Some(Format::Opus),
            ("audio", Some("pcma/8000" | "pcma/8000/1"), _) | ("audio", None, 8) => Some(Format::Pcma),
            ("audio", Some("pcmu/8000" | "pcmu/8000/1"), _) | ("audio", None, 0) => Some(Format::Pcmu),
            _ => None,
        }
    }

    /// The value of an attribute that names a format, such as `a=rtpmap:96 H264/90000`.
    fn parameter(&self, name: &str, format: u8) -> Option<&'a str> {
        self.lines.iter().find_map(|line| {
            let (number, value) = line.strip_prefix("a=")?.strip_prefix(name)?.split_once(' ')?;
            (number.parse() == Ok(format)).then(|| value.trim())
        })
    }

    /// Writes the section with the one format that is taken, or as it is and inactive. The client's candidates are of no
    /// use to an ICE-lite side, which learns them from the checks; of several layers (simulcast) one is enough.
    fn write(&self, sdp: &mut String, chosen: Option<&Chosen>) {
        const UNUSED: [&str; 4] = ["a=candidate:", "a=end-of-candidates", "a=simulcast:", "a=rid:"];
        const OF_FORMAT: [&str; 3] = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"];
        let keeps = |line: &str| {
            let Some(chosen) = chosen else { return true };
            let Some(value) = OF_FORMAT.iter().find_map(|name| line.strip_prefix(name)) else { return true };
            let number = value.split(' ').next().unwrap_or_default();
            number == "*"
                || number.parse().is_ok_and(|number| chosen.payload_type == number || chosen.resend == Some(number))
        };
        for (number, line) in self.lines.iter().enumerate() {
            match chosen {
                Some(chosen) if number == 0 => {
                    let head: Vec<&str> = line.split(' ').take(3).collect();
                    let resend = chosen.resend.map(|resend| format!(" {resend}")).unwrap_or_default();
                    push(sdp, &format!("{} {}{resend}", head.join(" "), chosen.payload_type));
                }
                _ if is_direction(line) || UNUSED.iter().any(|unused| line.starts_with(unused)) || !keeps(line) => {}
                _ => push(sdp, line),
            }
        }
        push(sdp, if chosen.is_some() { "a=sendonly" } else { "a=inactive" });
    }
}

/// The members of a group in the order of the sections: the offer's may be another (RFC 9143 §5), which str0m does not take.
fn in_order(mids: &str, sections: &[Section<'_>]) -> String {
    let mut mids: Vec<_> = mids.split_ascii_whitespace().collect();
    mids.sort_by_key(|mid| sections.iter().position(|section| section.mid == *mid).unwrap_or(sections.len()));
    mids.join(" ")
}

/// One field of a `fmtp` line.
fn field<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn attribute<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)).map(str::trim)
}

fn is_direction(line: &str) -> bool {
    matches!(line, "a=sendrecv" | "a=recvonly" | "a=sendonly" | "a=inactive")
}

fn direction<'a>(lines: &[&'a str]) -> Option<&'a str> {
    lines.iter().find(|line| is_direction(line)).map(|line| line.trim_start_matches("a="))
}

fn push(sdp: &mut String, line: &str) {
    sdp.push_str(line);
    sdp.push_str("\r\n");
}

pub(super) fn invalid(why: &str) -> Error {
    let message = format!("the body is no SDP offer that an encoder can send: {why}");
    Error::new(ErrorKind::InvalidArgument, "SDP_INVALID", message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 63 111 0 8\r\na=mid:0\r\na=sendonly\r\na=rtpmap:63 red/48000/2\r\n\
        a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\na=rtpmap:0 PCMU/8000\r\na=candidate:1 1 udp 1 x.local 9 typ host\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 121 103 125\r\na=mid:1\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n\
        a=fmtp:97 apt=96\r\na=rtpmap:103 H264/90000\r\na=fmtp:103 packetization-mode=0;profile-level-id=42001f\r\n\
        a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack pli\r\na=rtcp-fb:102 transport-cc\r\n\
        a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f\r\na=rtpmap:121 rtx/90000\r\na=fmtp:121 apt=102\r\n\
        a=rtpmap:125 ulpfec/90000\r\na=simulcast:send h;l\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:2\r\na=sendonly\r\na=rtpmap:102 H264/90000\r\n";

    #[test]
    fn one_picture_and_one_sound_are_taken_each_in_one_format() {
        let offer = read(OFFER.as_bytes()).unwrap();
        let format = Format::H264 { profile_level_id: 0x64_001f, mode_1: true };
        let video = Chosen { mid: "1".into(), payload_type: 102, resend: Some(121), format };
        assert_eq!(offer.video, video);
        let audio = Chosen { mid: "0".into(), payload_type: 111, resend: None, format: Format::Opus };
        assert_eq!(offer.audio, Some(audio));
        assert_eq!(offer.ufrag, "abcd");
        for kept in ["SAVPF 102 121\r\n", "SAVPF 111\r\n", "a=fmtp:121 apt=102", "a=rtcp-fb:102 transport-cc"] {
            assert!(offer.sdp.contains(kept), "{kept}");
        }
        for gone in ["VP8", "candidate", "simulcast", "ulpfec", "red/", "PCMU", "a=fmtp:103"] {
            assert!(!offer.sdp.contains(gone), "{gone}");
        }
        assert_eq!(offer.sdp.matches("a=inactive").count(), 1, "the second picture");
        assert_eq!(offer.sdp.matches("\nm=").count(), 3);
        assert_eq!(offer.taken.matches("\nm=").count(), 2);
        assert!(offer.taken.find("m=video") < offer.taken.find("m=audio"));
    }

    #[test]
    fn sound_in_no_format_that_is_carried_is_said_to_be_left_out() {
        let leaves_sound = |offer: &str| sdp::leaves_sound(&read(offer.as_bytes()).unwrap().taken);
        assert!(!leaves_sound(OFFER));
        let (before, rest) = OFFER.split_once("m=audio").unwrap();
        let (sound, pictures) = rest.split_once("m=video").unwrap();
        let sound = sound.replace("111 0 8", "9").replace("a=rtpmap", "a=x");
        assert!(leaves_sound(&format!("{before}m=audio{sound}m=video{pictures}")));
        let unsent = sound.replace("sendonly", "inactive");
        assert!(!leaves_sound(&format!("{before}m=audio{unsent}m=video{pictures}")));
        assert!(!leaves_sound(&format!("{before}m=video{pictures}")));
    }

    #[test]
    fn what_can_not_be_taken_is_refused_with_its_reason() {
        let reason = |offer: &str| read(offer.as_bytes()).unwrap_err().reason();
        assert_eq!(reason("hello"), "SDP_INVALID");
        assert_eq!(reason(&OFFER.replace("a=ice-ufrag:abcd\r\n", "")), "SDP_INVALID");
        assert_eq!(reason(&OFFER.replace("a=mid:1\r\n", "")), "SDP_INVALID");
        assert_eq!(reason(&format!("{OFFER}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n")), "SDP_INVALID");
        assert_eq!(reason(&format!("{OFFER}{}", "m=audio 9 X 0\r\na=mid:9\r\n".repeat(16))), "SDP_INVALID");
        assert_eq!(reason(&OFFER.replace("H264", "AV1")), "CODEC_NOT_OFFERED");
        assert_eq!(reason(&OFFER.replace("sendonly", "recvonly")), "CODEC_NOT_OFFERED");
        assert_eq!(read(&[0xff, 0xfe]).unwrap_err().reason(), "SDP_INVALID");
    }

    #[test]
    fn where_the_order_puts_it_first_h265_is_taken() {
        let offer = OFFER.replace("a=rtpmap:96 VP8/90000", "a=rtpmap:96 H265/90000");
        let offer = read(offer.as_bytes()).unwrap();
        assert_eq!((offer.video.payload_type, offer.video.resend, offer.video.format), (96, Some(97), Format::H265));
    }

    proptest! {
        #[test]
        fn no_offer_makes_it_panic(body in "(v=0\n)?(m=video |m=audio |a=rtpmap:|a=fmtp:|a=mid:|a=ice-ufrag:|H264/90000|96 |[ -~]|\\PC|\n){0,80}") {
            let _ = read(body.as_bytes());
        }
    }
}
