//! Examines a camera once, hop by hop, on the way that pulling goes: which hop fails, and what to do about it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::intake::{Arrived, Intake};
use super::rtsp::{self, Camera, Media};
use super::{Failure, FailureKind, NO_KEYFRAME_REMEDY, Options, Target};
use crate::stream::{Stream, StreamLimits};
use crate::wire::depay::Packet;
use crate::wire::rtp::BROWSER_PACKETS;

/// What may stay of a picture while it is looked at.
const LOOK_BYTES: usize = 1 << 20;

/// One step on the way to a camera's picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub name: &'static str,
    /// Empty when it went well.
    pub reason: &'static str,
    /// What was found, or what is wrong and what to do.
    pub message: String,
}

impl Hop {
    pub(super) fn passed(name: &'static str, message: String) -> Self {
        Self { name, reason: "", message }
    }

    pub(super) fn failed(name: &'static str, failure: Failure) -> Self {
        Self { name, reason: failure.kind.probe_reason(), message: failure.message }
    }
}

/// Every hop up to the first that fails: url, name, policy, tcp, tls, rtsp, login, describe, setup, packet, keyframe,
/// codec. It takes a few time-outs at most, and leaves nothing behind: neither in the metrics nor at the camera.
pub async fn examine(target: &Target, options: &Options) -> Vec<Hop> {
    let mut hops = Vec::new();
    if let Some(mut camera) = rtsp::reach(target, options, &mut hops).await {
        let began = Instant::now();
        match camera.play(began).await {
            Ok(()) => {
                hops.push(Hop::passed("setup", format!("by {}", camera.protocol().word())));
                look(&mut camera, began, options, &mut hops).await;
            }
            Err(failure) => hops.push(Hop::failed("setup", failure)),
        }
        camera.end().await;
    }
    hops
}

/// Waits for the first packet and the first keyframe.
async fn look(camera: &mut Camera, began: Instant, options: &Options, hops: &mut Vec<Hop>) {
    let telemetry = Arc::default();
    let limits = StreamLimits { gop_cache_bytes: LOOK_BYTES };
    let stream = Stream::new("examined".into(), limits, Arc::clone(&telemetry));
    let mut intake = Intake::new(stream.clone(), telemetry);
    intake.restart(camera.offers().cloned(), camera.leaves_sound());
    let (mut has_packet, mut has_picture) = (false, false);
    let mut until = began + options.stall_timeout;
    loop {
        let mut brought = false;
        let arrivals = tokio::select! {
            biased;
            () = sleep_until(until) => break,
            arrivals = camera.advance(|media| if let Media::Packet { place, packet, at } = media {
                let header = packet.header;
                let packet = Packet {
                    sequence: header.sequence,
                    timestamp: header.timestamp,
                    marker: header.marker,
                    payload: packet.payload,
                };
                let one = intake.take(place, Arrived { payload_type: header.payload_type, packet, at });
                has_picture |= one.picture;
                brought |= one.keyframe;
            }) => arrivals,
        };
        match arrivals {
            Err(failure) => {
                hops.push(Hop::failed(if has_packet { "keyframe" } else { "packet" }, failure));
                return;
            }
            Ok(arrivals) if arrivals.packets > 0 && !has_packet => {
                has_packet = true;
                hops.push(Hop::passed("packet", after("the first", began)));
                until = Instant::now() + options.keyframe_timeout;
            }
            Ok(_) => {}
        }
        if brought {
            hops.push(Hop::passed("keyframe", after("a whole picture to begin with", began)));
            hops.push(Hop::passed("codec", pictures(&stream)));
            return;
        }
    }
    let silence = camera.silence().map(|why| format!(": {why}")).unwrap_or_default();
    hops.push(if !has_packet {
        let waited = seconds(options.stall_timeout);
        let message = format!("the camera sends nothing within {waited}{silence}");
        Hop::failed("packet", Failure::new(FailureKind::Silent, message))
    } else if has_picture {
        let waited = seconds(options.keyframe_timeout);
        let message = format!("the camera sends pictures, but no keyframe within {waited}: {NO_KEYFRAME_REMEDY}");
        Hop::failed("keyframe", Failure::new(FailureKind::NoKeyframe, message))
    } else {
        let waited = seconds(options.keyframe_timeout);
        let message = format!("packets come, but no whole picture within {waited}: register transport TCP");
        Hop::failed("keyframe", Failure::new(FailureKind::Silent, message))
    });
}

/// Codec and size, and whether pictures lean on later ones, or keyframes have more packets than fit, which browsers do not
/// show over WebRTC.
fn pictures(stream: &Stream) -> String {
    let Some(description) = stream.description() else { return String::new() };
    let of = description.tracks.iter().filter_map(|track| Some((track.codec.name(), track.parameters.picture()?)));
    of.map(|(codec, (width, height, has_b_frames))| {
        let large = match description.keyframe_packets.load(Relaxed) {
            packets if packets > BROWSER_PACKETS => format!(" with keyframes of {packets} packets"),
            _ => String::new(),
        };
        format!("{codec} {width}x{height}{}{large}", if has_b_frames { " with B-frames" } else { "" })
    })
    .collect::<Vec<_>>()
    .join(", ")
}

fn after(what: &str, began: Instant) -> String {
    format!("{what} after {} ms", began.elapsed().as_millis())
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::{AccessUnit, Codec, CodecParameters, Track};
    use crate::wire::rtp::MAX_PAYLOAD;

    #[test]
    fn keyframes_that_browsers_have_no_room_for_are_told() {
        let stream = Stream::new("c".into(), StreamLimits { gop_cache_bytes: LOOK_BYTES }, Arc::default());
        let (sps, pps) = (Bytes::from_static(&[0x67]), Bytes::from_static(&[0x68]));
        let parameters = CodecParameters::H264 { sps, pps, width: 3840, height: 2160, has_b_frames: false };
        stream.describe(vec![Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }]);
        let publish = |packets: usize| {
            let mut data = vec![0x65; packets * (MAX_PAYLOAD - 2)];
            data[..4].copy_from_slice(&[0, 0, 0, 1]);
            let nals = std::iter::once(4..data.len() as u32).collect();
            stream.publish(AccessUnit { track: 0, pts: 0, dts: 0, keyframe: true, data: data.into(), nals });
        };
        publish(2_000);
        assert_eq!(pictures(&stream), "h264 3840x2160");
        publish(2_100);
        assert_eq!(pictures(&stream), "h264 3840x2160 with keyframes of 2100 packets");
    }
}
