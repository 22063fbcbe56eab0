//! Cuts H.265 pictures into RTP payloads (RFC 7798 §4.4, no DONL): single NAL units, aggregation packets for runs of
//! small ones, fragmentation units for large ones. As with H.264, the number of packets is known without cutting.

use std::ops::Range;

/// Aggregation packet and fragmentation unit (RFC 7798 §4.4.2, §4.4.3).
const AP: u8 = 48;
const FU: u8 = 49;
/// `PayloadHdr` has the layout of a NAL unit header: F, type, layer id, temporal id plus one.
const HEADER: usize = 2;
const FU_HEADERS: usize = HEADER + 1;

/// What one or more payloads are made of.
enum Step<'a> {
    Whole(&'a [u8]),
    /// A run of NAL units in the caller's list that share one payload.
    Aggregate(&'a [Range<u32>]),
    Fragments(&'a [u8]),
}

/// The six bits of the type.
fn kind(first: u8) -> u8 {
    first >> 1 & 0x3f
}

fn with_kind(first: u8, kind: u8) -> u8 {
    first & 0x81 | kind << 1
}

/// The NAL unit of that range, unless it is too short, lies outside, or has a type that RTP uses for itself (48 and up).
fn nal<'a>(data: &'a [u8], range: &Range<u32>) -> Option<&'a [u8]> {
    let unit = data.get(range.start as usize..range.end as usize)?;
    (unit.len() > HEADER && kind(*unit.first()?) < AP).then_some(unit)
}

/// Walks the NAL units in order and says how each travels. Runs are taken greedily.
fn plan<'a>(data: &'a [u8], nals: &'a [Range<u32>], max: usize, mut each: impl FnMut(Step<'a>)) {
    let mut at = 0;
    while let Some(range) = nals.get(at) {
        let Some(unit) = nal(data, range) else {
            at += 1;
            continue;
        };
        if unit.len() > max {
            each(Step::Fragments(unit));
            at += 1;
            continue;
        }
        let (mut size, mut members, mut end) = (HEADER + 2 + unit.len(), 1, at + 1);
        while let Some(next) = nals.get(end) {
            if let Some(next) = nal(data, next) {
                if size + 2 + next.len() > max {
                    break;
                }
                size += 2 + next.len();
                members += 1;
            }
            end += 1;
        }
        each(if members == 1 { Step::Whole(unit) } else { Step::Aggregate(nals.get(at..end).unwrap_or_default()) });
        at = end;
    }
}

/// How large each fragment is but the last: equal, so that UDP GSO can send them as segments.
fn fragment_size(unit: &[u8], max: usize) -> usize {
    let body = unit.len().saturating_sub(HEADER);
    body.div_ceil(body.div_ceil(max - FU_HEADERS).max(1)).max(1)
}

/// How many payloads `packetise` will give for this picture. `max`: octets of each, at least 16 and at most 65,000.
pub fn count(data: &[u8], nals: &[Range<u32>], max: usize) -> usize {
    let mut packets = 0;
    plan(data, nals, max, |step| {
        packets += match step {
            Step::Whole(_) | Step::Aggregate(_) => 1,
            Step::Fragments(unit) => (unit.len() - HEADER).div_ceil(fragment_size(unit, max)),
        }
    });
    packets
}

/// Gives the payloads in order, each as parts to be written one after the other.
pub fn packetise(data: &[u8], nals: &[Range<u32>], max: usize, mut emit: impl FnMut(&[&[u8]])) {
    let mut scratch = Vec::new();
    plan(data, nals, max, |step| match step {
        Step::Whole(unit) => emit(&[unit]),
        Step::Aggregate(run) => {
            // RFC 7798 §4.4.2: F is the OR of all, layer and temporal id the lowest of all.
            let (mut forbidden, mut layer, mut temporal) = (0, u8::MAX, u8::MAX);
            scratch.clear();
            scratch.extend_from_slice(&[0; HEADER]);
            for unit in run.iter().filter_map(|range| nal(data, range)) {
                let &[first, second, ..] = unit else { continue };
                forbidden |= first & 0x80;
                layer = layer.min((first & 1) << 5 | second >> 3);
                temporal = temporal.min(second & 7);
                scratch.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                scratch.extend_from_slice(unit);
            }
            if let Some(header) = scratch.first_chunk_mut::<HEADER>() {
                *header = [forbidden | AP << 1 | layer >> 5, layer << 3 | temporal];
            }
            emit(&[&scratch]);
        }
        Step::Fragments(unit) => {
            let Some((&[first, second], body)) = unit.split_first_chunk::<HEADER>() else { return };
            let mut chunks = body.chunks(fragment_size(unit, max)).peekable();
            let mut start = 0x80;
            while let Some(chunk) = chunks.next() {
                let end = if chunks.peek().is_none() { 0x40 } else { 0 };
                emit(&[&[with_kind(first, FU), second, start | end | kind(first)], chunk]);
                start = 0;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::depay::{Depacketiser, Event, Packet};
    use super::super::h265::H265;
    use super::super::h265::samples::{PPS, SPS, VPS};
    use super::super::rtp::MAX_PAYLOAD;
    use super::*;

    fn unit(kind: u8, layer: u8, temporal: u8, size: usize) -> Vec<u8> {
        let mut nal = vec![kind << 1 | layer >> 5, layer << 3 | temporal];
        nal.extend((0..size).map(|place| place as u8));
        nal
    }

    fn payloads(nals: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut data, mut ranges) = (Vec::new(), Vec::new());
        for nal in nals {
            ranges.push(data.len() as u32..(data.len() + nal.len()) as u32);
            data.extend_from_slice(nal);
        }
        let mut out = Vec::new();
        packetise(&data, &ranges, MAX_PAYLOAD, |parts| out.push(parts.concat()));
        assert_eq!(out.len(), count(&data, &ranges, MAX_PAYLOAD));
        assert!(out.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        out
    }

    #[test]
    fn small_units_share_a_payload_with_the_lowest_ids() {
        let sets = [unit(32, 3, 2, 20), unit(33, 0, 1, 30), unit(34, 1, 4, 5)];
        let out = payloads(&sets);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0][..2], [48 << 1, 1]);
        assert_eq!(out[0].len(), 2 + 3 * 2 + sets.iter().map(Vec::len).sum::<usize>());
        assert_eq!(out[0][2..4], 22u16.to_be_bytes());
    }

    #[test]
    fn a_large_unit_comes_in_equal_fragments_that_give_it_back() {
        for size in [1199, 1200, 2394, 2395, 40_000] {
            let nal = unit(19, 0, 1, size);
            let out = payloads(std::slice::from_ref(&nal));
            assert!(out.len() > 1 && out[..out.len() - 1].iter().all(|part| part.len() == out[0].len()));
            let mut back = vec![out[0][0] & 0x81 | (out[0][2] & 0x3f) << 1, out[0][1]];
            out.iter().for_each(|part| back.extend_from_slice(&part[3..]));
            assert_eq!(back, nal);
            assert_eq!(out.iter().map(|part| part[2] & 0xc0).filter(|bits| *bits == 0x80).count(), 1);
            assert_eq!(out.last().map(|part| part[2] & 0xc0), Some(0x40));
            assert!(out.iter().all(|part| part[0] >> 1 == FU));
        }
        assert_eq!(payloads(&[unit(1, 0, 1, 1198)]), [unit(1, 0, 1, 1198)]);
    }

    #[test]
    fn types_that_rtp_uses_for_itself_do_not_travel() {
        assert!(payloads(&[unit(48, 0, 1, 9), unit(50, 0, 1, 9), vec![2], vec![]]).is_empty());
    }

    type Carried = (Vec<(bool, Vec<Vec<u8>>)>, usize);

    /// The units, keyframe or not, and the count of losses: what a depacketiser makes of pictures that travel without loss, or without the packet at `lost`.
    fn carried(pictures: &[Vec<Vec<u8>>], lost: Option<usize>) -> Carried {
        let (mut depacketiser, mut number) = (Depacketiser::<H265>::default(), 0);
        let (mut units, mut losses) = (Vec::new(), 0);
        for (picture, time) in pictures.iter().zip(0u32..) {
            let payloads = payloads(picture);
            for (payload, place) in payloads.iter().zip(1..) {
                let marker = place == payloads.len();
                number += 1;
                if lost == Some(number) {
                    continue;
                }
                let packet = Packet { sequence: number as u16, timestamp: time * 3_600, marker, payload };
                for event in depacketiser.push(packet) {
                    let Event::Unit(unit) = event else {
                        losses += 1;
                        continue;
                    };
                    let nals = unit.nals.iter().map(|nal| unit.data[nal.start as usize..nal.end as usize].to_vec());
                    units.push((unit.keyframe, nals.collect()));
                }
            }
        }
        (units, losses)
    }

    fn slice(kind: u8, is_first: bool, size: usize) -> Vec<u8> {
        let mut nal = vec![kind << 1, 1, if is_first { 0xaf } else { 0x2f }];
        nal.extend((0..size).map(|place| place as u8 | 1));
        nal
    }

    fn key(size: usize) -> Vec<Vec<u8>> {
        vec![VPS.to_vec(), SPS.to_vec(), PPS.to_vec(), slice(19, true, size), slice(19, false, size)]
    }

    #[test]
    fn a_lost_fragment_costs_its_picture_and_no_other() {
        let pictures = [key(3_000), vec![slice(1, true, 3_000)], key(2_000)];
        let (whole, losses) = carried(&pictures, None);
        assert_eq!(whole.iter().map(|(keyframe, _)| *keyframe).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!((whole[0].1.clone(), losses), (pictures[0].clone(), 0));
        // The first picture takes seven packets.
        for lost in 8..=10 {
            let (units, losses) = carried(&pictures, Some(lost));
            assert_eq!(units, [whole[0].clone(), whole[2].clone()], "without packet {lost}");
            assert_eq!(losses, 1);
        }
    }

    proptest! {
        #[test]
        fn what_is_cut_can_be_put_together(
            shapes in prop::collection::vec((0usize..4, prop_oneof![1usize..60, 1_180usize..1_210, 1usize..9_000], 1usize..4), 1..8),
        ) {
            let mut pictures = vec![key(100)];
            pictures.extend(shapes.iter().map(|&(kind, size, slices)| {
                (0..slices).map(|n| slice([0, 1, 9, 21][kind], n == 0, size)).collect::<Vec<_>>()
            }));
            let (units, losses) = carried(&pictures, None);
            prop_assert_eq!(losses, 0);
            let random_access = |picture: &[Vec<u8>]| picture[0][0] == 21 << 1;
            let expected: Vec<Vec<Vec<u8>>> = pictures.iter().map(|picture| {
                // A random access point without sets gets those that were learned.
                let sets = if random_access(picture) { vec![VPS.to_vec(), SPS.to_vec(), PPS.to_vec()] } else { vec![] };
                sets.into_iter().chain(picture.iter().cloned()).collect()
            }).collect();
            prop_assert_eq!(units.into_iter().map(|(_, nals)| nals).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn no_packets_make_the_depacketiser_panic(packets in prop::collection::vec(
            (0u16..40, 0u32..4, any::<bool>(), prop_oneof![Just(1u8), Just(19), Just(33), Just(48), Just(49), any::<u8>()],
             prop::collection::vec(any::<u8>(), 0..60)), 0..60)
        ) {
            let mut depacketiser = Depacketiser::<H265>::default();
            for (sequence, timestamp, marker, kind, rest) in packets {
                let payload = [&[kind << 1, 1], &rest[..]].concat();
                for event in depacketiser.push(Packet { sequence, timestamp, marker, payload: &payload }) {
                    if let Event::Unit(unit) = event {
                        prop_assert!(unit.nals.iter().all(|nal| nal.start < nal.end && nal.end as usize <= unit.data.len()));
                    }
                }
            }
        }
    }
}
