//! What a camera's answer to DESCRIBE says: its media, and under which addresses they are asked for.

use std::net::SocketAddr;

use tracing::{debug, info};
use url::Url;

use super::super::offer::{self, MAX_SECTIONS, Offer};
use super::super::{Failure, FailureKind, Target};
use super::Address;
use crate::wire::rtsp::Answer;
use crate::wire::sdp;

/// A described camera: what we take of it.
#[derive(Debug)]
pub struct Description {
    /// What PLAY, keep-alives and TEARDOWN are about.
    pub control: String,
    pub tracks: Vec<Track>,
    /// As in `offer::Choice`.
    pub leaves_sound: bool,
}

/// One of the camera's media that we take.
#[derive(Debug)]
pub struct Track {
    pub offer: Offer,
    /// What SETUP is about.
    pub control: String,
}

impl Description {
    /// Reads an answer. Whatever host it names, what is asked for is asked of the registered one, on the connection that
    /// there is: what we sign is worth nothing elsewhere. Cameras behind a translator name the address that they have inside.
    pub fn read(answer: &Answer, address: &Address, dialled: SocketAddr, target: &Target) -> Result<Self, Failure> {
        let invalid = |message: &str| Failure::new(FailureKind::Invalid, message);
        let text = String::from_utf8_lossy(&answer.body);
        if text.lines().filter(|line| line.starts_with("m=")).count() > MAX_SECTIONS {
            return Err(invalid(
                "the camera's description is larger than any camera's: check that the address is one's",
            ));
        }
        let sections = offer::sections(&text);
        if sections.is_empty() {
            return Err(invalid("the camera's description names no media: check the URL's path"));
        }
        let mut base = address.url.to_string();
        for name in ["Content-Location", "Content-Base"] {
            if let Some(named) = answer.headers.get(name).and_then(|named| Url::parse(named).ok()) {
                base = home(&named, address, dialled)?;
            }
        }
        let controls: Vec<String> = std::iter::once(session_control(&text))
            .chain(sections.iter().map(|section| section.control))
            .map(|control| resolve(&base, control.unwrap_or("*"), address, dialled))
            .collect::<Result<_, _>>()?;

        let choice = offer::choose(&sections)?;
        if !choice.left.is_empty() {
            info!(camera = %target.camera, media = ?choice.left, "media of the camera that are not carried");
        }
        let of = |place: usize| controls.get(place + 1).unwrap_or(&base).clone();
        let tracks = choice.offers.into_iter().map(|(place, offer)| Track { offer, control: of(place) }).collect();
        let control = controls.into_iter().next().unwrap_or(base);
        Ok(Self { control, tracks, leaves_sound: choice.leaves_sound || sdp::leaves_sound(&text) })
    }
}

/// `a=control` before the first media section (RFC 2326 §C.1.1).
fn session_control(sdp: &str) -> Option<&str> {
    sdp.lines().take_while(|line| !line.starts_with("m=")).find_map(|line| line.trim_end().strip_prefix("a=control:"))
}

/// The address that a control attribute stands for. RFC 2326 §C.1.1 would have relative ones resolved as in HTML;
/// cameras mean, and other clients do, that they are appended.
fn resolve(base: &str, control: &str, address: &Address, dialled: SocketAddr) -> Result<String, Failure> {
    let control = control.trim();
    if control.is_empty() || control == "*" {
        return Ok(base.to_owned());
    }
    match Url::parse(control) {
        Ok(absolute) if absolute.has_host() => home(&absolute, address, dialled),
        _ => {
            let clean = control.replace(|character: char| character.is_control() || character.is_whitespace(), "%20");
            Ok(format!("{}/{}", base.trim_end_matches('/'), clean.trim_start_matches('/')))
        }
    }
}

/// The camera's URL, on the registered host.
fn home(url: &Url, address: &Address, dialled: SocketAddr) -> Result<String, Failure> {
    if address.is_home(url, dialled) {
        return Ok(url.to_string());
    }
    let host = url.host_str().unwrap_or_default();
    let mut here = address.url.clone();
    if !matches!(url.scheme(), "rtsp" | "rtsps") {
        return Err(Failure::new(
            FailureKind::Invalid,
            format!("the camera's description leads elsewhere than by RTSP ({host}): register the address of a stream"),
        ));
    }
    debug!(host = %address.host, named = %host, "the camera names another host for itself");
    here.set_path(url.path());
    here.set_query(url.query());
    here.set_fragment(None);
    Ok(here.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::tests::target;
    use super::*;
    use crate::wire::rtsp::{Input, Reader};

    fn read(headers: &str, sdp: &str) -> Result<Description, Failure> {
        let target = target("rtsp://cam/live?x=1");
        let bytes = format!("RTSP/1.0 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{sdp}", sdp.len());
        let (mut reader, mut at) = (Reader::default(), 0);
        loop {
            let (used, input) = reader.read(&bytes.as_bytes()[at..]).unwrap();
            at += used;
            if let Some(Input::Answer(answer)) = input {
                let address = Address::of(&target).unwrap();
                return Description::read(&answer, &address, "192.0.2.7:554".parse().unwrap(), &target);
            }
        }
    }

    fn controls(headers: &str, session: &str, media: &str) -> (String, String) {
        let sdp = format!("v=0\r\n{session}m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n{media}");
        let mut description = read(headers, &sdp).unwrap();
        (description.control, description.tracks.remove(0).control)
    }

    #[test]
    fn controls_are_resolved_as_cameras_mean_them() {
        let both = |control: &str, track: &str| (control.to_owned(), track.to_owned());
        assert_eq!(controls("", "", ""), both("rtsp://cam/live?x=1", "rtsp://cam/live?x=1"));
        assert_eq!(
            controls("", "a=control:*\r\n", "a=control:trackID=1\r\n"),
            both("rtsp://cam/live?x=1", "rtsp://cam/live?x=1/trackID=1")
        );
        for base in ["rtsp://cam/live", "rtsp://cam/live/", "rtsp://192.0.2.7:554/live/"] {
            let track = format!("{}/track1", base.trim_end_matches('/'));
            assert_eq!(controls(&format!("Content-Base: {base}\r\n"), "", "a=control:track1\r\n"), both(base, &track));
        }
        assert_eq!(
            controls("Content-Base: nonsense\r\n", "a=control:rtsp://cam/all\r\n", "a=control:rtsp://cam/one two\r\n"),
            both("rtsp://cam/all", "rtsp://cam/one%20two")
        );
    }

    #[test]
    fn another_hub_says_that_its_camera_has_sound_which_is_left_out() {
        let sdp = "v=0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
        assert!(!read("", sdp).unwrap().leaves_sound);
        let said = sdp.replace("a=control:*\r\n", &crate::wire::sdp::leaves_sound_line());
        assert!(read("", &said).unwrap().leaves_sound);
        assert!(read("", &format!("{sdp}m=audio 0 RTP/AVP 14\r\n")).unwrap().leaves_sound);
    }

    #[test]
    fn whatever_host_is_named_the_registered_one_is_asked() {
        let both = |control: &str, track: &str| (control.to_owned(), track.to_owned());
        for inside in ["192.168.1.64:554", "0.0.0.0", "user:pw@other", "[fe80::1]:8554"] {
            assert_eq!(
                controls(&format!("Content-Base: rtsp://{inside}/live/?y=2\r\n"), "", ""),
                both("rtsp://cam/live/?y=2", "rtsp://cam/live/?y=2")
            );
            assert_eq!(
                controls(
                    &format!("Content-Location: rtsp://{inside}/there/\r\n"),
                    &format!("a=control:rtsp://{inside}/all\r\n"),
                    &format!("a=control:rtsp://{inside}/all/trackID=1?q=2\r\n")
                ),
                both("rtsp://cam/all", "rtsp://cam/all/trackID=1?q=2")
            );
        }
        assert_eq!(
            controls("Content-Base: rtsp://192.168.1.64/live/\r\n", "", "a=control:track1\r\n").1,
            "rtsp://cam/live/track1"
        );
    }

    #[test]
    fn another_protocol_is_refused_wherever_it_is_named() {
        let sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:";
        for (headers, sdp) in [
            ("Content-Base: http://other/live/\r\n", format!("{sdp}1\r\n")),
            ("", format!("{sdp}1\r\nm=audio 0 RTP/AVP 0\r\na=control:http://cam/1\r\n")),
        ] {
            let failure = read(headers, &sdp).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Invalid);
            assert!(failure.message.contains("elsewhere"), "{headers}{sdp}");
        }
    }

    #[test]
    fn what_is_no_description_is_told() {
        for (sdp, word) in
            [("", "no media"), ("no sdp :)", "no media"), (&"m=video 0 RTP/AVP 96\n".repeat(33), "larger")]
        {
            let failure = read("", sdp).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Invalid);
            assert!(failure.message.contains(word), "{}", failure.message);
        }
    }
}
