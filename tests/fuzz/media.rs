//! What media comes in: datagrams, payloads, parameter sets.

use std::time::Duration;

use _core::media::{Codec, Track};
use _core::wire::depay::{Depacketiser, Event, Packet};
use _core::wire::feedback::{self, Feedback};
use _core::wire::h264::H264;
use _core::wire::h265::H265;
use _core::wire::nal::NalFormat;
use _core::wire::parameter_sets::ParameterSets;
use _core::wire::reorder::Reorder;
use _core::wire::srtp::{Contexts, Profile};
use _core::wire::unit_builder::MAX_UNIT_BYTES;
use _core::wire::{aac, annex_b, fmp4, h264_pay, h265_pay, mp4_codecs, opus, rtcp, rtp, sdp, stun};

use crate::input::packets;

pub fn stun(data: &[u8]) {
    let _ = (stun::is_stun(data), stun::is_binding_success(data), stun::local_ufrag(data));
}

pub fn rtp(data: &[u8]) {
    if let Some(packet) = rtp::Packet::parse(data) {
        assert!(packet.payload.len() + rtp::HEADER_LEN <= data.len());
    }
}

pub fn rtcp(data: &[u8]) {
    assert!(rtcp::parse(data).count() <= data.len() / 4);
}

/// What a viewer tells names no more packets than the format has room for.
pub fn feedback(data: &[u8]) {
    for raw in rtcp::packets(data) {
        match feedback::read(raw) {
            Some(Feedback::Nack { lost, .. }) => assert!(lost.sequences().count() <= raw.body.len() / 4 * 17),
            Some(Feedback::Arrivals(arrivals)) => {
                let mut told = 0;
                let whole = arrivals.each(|_, _| told += 1);
                assert!(told <= 8_192 && (whole || told < 8_192), "{told}");
            }
            Some(Feedback::Keyframe { .. }) | None => {}
        }
    }
}

/// Sealed reports open once and as they were; what is changed on the way does not open.
pub fn srtcp(data: &[u8]) {
    const MATERIAL: [u8; 88] = [0x5a; 88];
    for (profile, octets) in
        [(Profile::Aes128CmSha1_80, 60), (Profile::AeadAes128Gcm, 56), (Profile::AeadAes256Gcm, 88)]
    {
        let contexts = |is_client| Contexts::new(profile, &MATERIAL[..octets], is_client).expect("keys");
        let (mut viewer, mut hub) = (contexts(true), contexts(false));
        assert!(hub.feedback.open(&mut data.to_vec()).is_err(), "nobody sealed it");
        let mut sealed = data.to_vec();
        if viewer.reports.seal(&mut sealed).is_err() {
            continue;
        }
        let place = data.iter().map(|octet| usize::from(*octet)).sum::<usize>() % sealed.len();
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        assert!(hub.feedback.open(&mut changed).is_err(), "octet {place} is not protected");
        let mut again = sealed.clone();
        assert_eq!(hub.feedback.open(&mut sealed).expect("opens"), data);
        assert!(hub.feedback.open(&mut again).is_err(), "it opened twice");
    }
}

/// Whatever comes, numbers rise and nothing is let go twice.
pub fn reorder(data: &[u8]) {
    let (mut buffer, mut now, mut last) = (Reorder::default(), Duration::ZERO, None);
    for record in data.chunks_exact(4) {
        let &[high, low, size, pause] = record else { continue };
        now += Duration::from_millis(u64::from(pause) / 4);
        let sequence = u16::from_be_bytes([high, low]);
        buffer.push(sequence, (), usize::from(size) * 256, now, |ordered| {
            if let Some(last) = last.replace(ordered.sequence) {
                assert!(rtp::distance(last, ordered.sequence) > 0, "{last} and then {}", ordered.sequence);
            }
        });
    }
}

pub fn h264(data: &[u8]) {
    let codec = Codec::H264;
    pictures::<H264>(data, codec, |data, nals| {
        for max in [rtp::MAX_PAYLOAD, rtp::LARGE_PAYLOAD] {
            let mut count = 0;
            h264_pay::packetise(data, nals, max, |parts| {
                assert!(parts.concat().len() <= max);
                count += 1;
            });
            assert_eq!(count, h264_pay::count(data, nals, max));
        }
    });
}

pub fn h265(data: &[u8]) {
    pictures::<H265>(data, Codec::H265, |data, nals| {
        for max in [rtp::MAX_PAYLOAD, rtp::LARGE_PAYLOAD] {
            let mut count = 0;
            h265_pay::packetise(data, nals, max, |parts| {
                assert!(parts.concat().len() <= max);
                count += 1;
            });
            assert_eq!(count, h265_pay::count(data, nals, max));
        }
    });
}

/// From packets to units, and from those to all that is made of them.
fn pictures<F: NalFormat>(data: &[u8], codec: Codec, send: impl Fn(&[u8], &[std::ops::Range<u32>])) {
    let mut depacketiser = Depacketiser::<F>::default();
    let mut events = Vec::new();
    for (sequence, timestamp, marker, payload) in packets(data) {
        events.extend(depacketiser.push(Packet { sequence, timestamp, marker, payload }));
        // The payload by itself, as a parameter set of SDP.
        let mut sets = ParameterSets::<F>::default();
        sets.learn(payload);
        let _ = (F::role(payload), F::slice(payload), sets.reorder_depth());
    }
    events.extend(depacketiser.flush());
    for event in events {
        let Event::Unit(unit) = event else { continue };
        assert!(unit.data.len() <= MAX_UNIT_BYTES + 64 * 1024);
        assert!(unit.nals.windows(2).all(|pair| pair[0].end + 4 == pair[1].start));
        assert!(unit.nals.iter().all(|nal| nal.start < nal.end && nal.end as usize <= unit.data.len()));
        if unit.keyframe {
            let found = |wanted| {
                unit.nals.iter().any(|nal| F::role(&unit.data[nal.start as usize..nal.end as usize]) == wanted)
            };
            assert!(found(_core::wire::nal::Role::Sps) && found(_core::wire::nal::Role::Pps));
        }
        send(&unit.data, &unit.nals);
    }
    assert!(depacketiser.sets.reorder_depth() <= 16);
    if let Some(parameters) = depacketiser.sets.parameters() {
        let track = Track { codec, clock_rate_hz: 90_000, parameters };
        let _ =
            (mp4_codecs::name(&track), fmp4::init(&[(0, &track)]), sdp::describe("camera", &[(&track, 96)], 0, false));
    }
}

pub fn aac(data: &[u8]) {
    let mut depacketiser = aac::Depacketiser::default();
    let mut last = None;
    for (sequence, timestamp, _, payload) in packets(data) {
        if last.replace(sequence).is_some_and(|last: u16| last.wrapping_add(1) != sequence) {
            depacketiser.lost();
        }
        for (_, frame) in depacketiser.push(timestamp, payload).unwrap_or_default() {
            assert!(!frame.is_empty() && frame.len() <= aac::MAX_FRAME);
        }
    }
}

pub fn opus(data: &[u8]) {
    let (mut clock, mut last) = (opus::Clock::default(), None);
    for (sequence, timestamp, _, payload) in packets(data) {
        let follows = last.replace(sequence).is_none_or(|last: u16| last.wrapping_add(1) == sequence);
        let Some(toc) = opus::Toc::read(payload) else { continue };
        assert!((1..=opus::MAX_TICKS).contains(&toc.ticks));
        clock.stamp(timestamp, toc, follows);
    }
}

/// A byte stream falls into units that hold no start code and do not end in zero.
pub fn annex_b(data: &[u8]) {
    for range in annex_b::split_annex_b(data) {
        let unit = &data[range];
        assert!(unit.last().is_some_and(|last| *last != 0));
        assert_eq!(annex_b::find_start_code(unit, 0), None);
    }
}
