//! Which tracks of a stream a browser gets, what they are called, and what it is told about that.

use smallvec::SmallVec;

use crate::error::{Error, ErrorKind, Result};
use crate::media::{Codec, MediaKind, Profile, Track};
use crate::stream::Description;
use crate::wire::mp4_codecs::{self, Playable};

/// What a browser gets of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// For `MediaSource.addSourceBuffer`.
    pub mime: String,
    /// Places of the picture's and the sound's track.
    pub tracks: SmallVec<[usize; 2]>,
    /// What is heard: the codec, or `none; reason=…`, as WHEP says it in `X-Vidhub-Audio`.
    pub audio: String,
}

/// The first picture and the first sound, as far as the browser plays them. CODEC_NOT_OFFERED (FailedPrecondition) when it
/// does not play the picture.
pub fn choose(playable: &Playable, description: &Description) -> Result<Choice> {
    let first = |kind| description.tracks.iter().enumerate().find(|(_, track)| track.kind() == kind);
    let refused = |message: String| Err(Error::new(ErrorKind::FailedPrecondition, "CODEC_NOT_OFFERED", message));
    let Some((place, picture)) = first(MediaKind::Video) else {
        return refused("the camera's stream has no video".into());
    };
    if !playable.plays(picture) {
        let codec = name_of(picture);
        return refused(format!("the camera sends {codec}, which the browser does not say it plays; watch by RTSP"));
    }
    let mut codecs = name_of(picture);
    let mut tracks = SmallVec::from_elem(place, 1);
    let silent = |reason| format!("none; reason={reason}");
    let audio = match first(MediaKind::Audio) {
        None => silent(description.silence()),
        Some((_, Track { codec: Codec::Pcma | Codec::Pcmu, .. })) => silent("G711_NOT_IN_MP4"),
        Some((_, sound)) if !playable.plays(sound) => silent("SOUND_NOT_OFFERED"),
        Some((place, sound)) => {
            codecs = format!("{codecs},{}", name_of(sound));
            tracks.push(place);
            sound.codec.name().to_owned()
        }
    };
    Ok(Choice { mime: format!("video/mp4; codecs=\"{codecs}\""), tracks, audio })
}

fn name_of(track: &Track) -> String {
    mp4_codecs::name(track).unwrap_or_else(|| track.codec.name().to_owned())
}

/// The text message in front of the media.
pub fn answer(choice: &Choice, profile: Profile, reason: &str) -> String {
    let profile = match profile {
        Profile::Main => "main",
        Profile::Sub => "sub",
    };
    serde_json::json!({
        "mime": choice.mime,
        "profile": profile,
        "reason": reason,
        "audio": choice.audio,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::CodecParameters;
    use crate::wire::h264::samples::{PPS, SPS};

    fn description(sound: Option<Track>) -> Description {
        let (sps, pps) = (Bytes::from_static(SPS), Bytes::from_static(PPS));
        let parameters = CodecParameters::H264 { sps, pps, width: 640, height: 360, has_b_frames: true };
        let mut tracks = vec![Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }];
        tracks.extend(sound);
        Description {
            generation: 0,
            ssrcs: vec![0; tracks.len()],
            tracks,
            leaves_sound: false,
            keyframe_packets: Default::default(),
        }
    }

    fn g711() -> Track {
        Track { codec: Codec::Pcma, clock_rate_hz: 8_000, parameters: CodecParameters::G711 { channels: 1 } }
    }

    fn aac() -> Track {
        let parameters = CodecParameters::Aac { config: Bytes::from_static(&[0x14, 0x08]), channels: 1 };
        Track { codec: Codec::Aac, clock_rate_hz: 16_000, parameters }
    }

    #[test]
    fn picture_and_sound_that_the_browser_plays_are_chosen() {
        let playable = Playable::read(["video/mp4; codecs=\"avc1.640033,mp4a.40.2\""]);
        let choice = choose(&playable, &description(Some(aac()))).unwrap();
        assert_eq!(choice.mime, "video/mp4; codecs=\"avc1.64001e,mp4a.40.2\"");
        assert_eq!((&choice.tracks[..], choice.audio.as_str()), (&[0, 1][..], "aac"));
    }

    #[test]
    fn sound_that_can_not_be_played_is_left_out_and_said_to_be() {
        let playable = Playable::read(["video/mp4; codecs=\"avc1.640033\""]);
        for (sound, reason) in [(g711(), "G711_NOT_IN_MP4"), (aac(), "SOUND_NOT_OFFERED")] {
            let choice = choose(&playable, &description(Some(sound))).unwrap();
            assert_eq!((&choice.tracks[..], choice.audio.as_str()), (&[0][..], &*format!("none; reason={reason}")));
            let told: serde_json::Value =
                serde_json::from_str(&answer(&choice, Profile::Sub, "CODEC_NOT_OFFERED")).unwrap();
            assert_eq!(told["mime"], "video/mp4; codecs=\"avc1.64001e\"");
            assert_eq!((&told["profile"], &told["reason"]), (&"sub".into(), &"CODEC_NOT_OFFERED".into()));
        }
        assert_eq!(choose(&playable, &description(None)).unwrap().audio, "none; reason=NO_SOUND");
        let left = Description { leaves_sound: true, ..description(None) };
        assert_eq!(choose(&playable, &left).unwrap().audio, "none; reason=SOUND_NOT_CARRIED");
    }

    #[test]
    fn a_picture_that_can_not_be_played_is_refused() {
        let playable = Playable::read(["video/mp4; codecs=\"hvc1.1.6.L153.B0\""]);
        let refused = choose(&playable, &description(Some(aac()))).unwrap_err();
        assert_eq!(refused.reason(), "CODEC_NOT_OFFERED");
        assert!(refused.message().contains("avc1.64001e"), "{refused}");
    }
}
