//! Cuts H.264 pictures into RTP payloads (RFC 6184, packetization-mode 1): single NAL units, STAP-A for runs of small
//! ones, FU-A for large ones.
//!
//! How many packets a picture takes is known without cutting it, so that sequence numbers can be given out first and
//! the cutting be left until a viewer needs it.

use std::ops::Range;

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// F and NRI of a NAL unit header.
const F_NRI: u8 = 0xe0;
const TYPE: u8 = 0x1f;
/// FU indicator and FU header.
const FU_HEADERS: usize = 2;

/// What one or more payloads are made of.
enum Step<'a> {
    Whole(&'a [u8]),
    /// A run of NAL units in the caller's list that share one payload.
    Aggregate(&'a [Range<u32>]),
    Fragments(&'a [u8]),
}

/// The NAL unit of that range, unless it is empty, lies outside, or has a type that RTP uses for itself (0, 24 to 31).
fn nal<'a>(data: &'a [u8], range: &Range<u32>) -> Option<&'a [u8]> {
    let unit = data.get(range.start as usize..range.end as usize)?;
    unit.first().filter(|first| (1..STAP_A).contains(&(*first & TYPE)))?;
    Some(unit)
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
        let (mut size, mut members, mut end) = (1 + 2 + unit.len(), 1, at + 1);
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

/// Fragments that a NAL unit needs: its header octet does not travel, and all but the last are of one size, so that UDP
/// GSO can send them as segments.
fn fragments(unit: &[u8], max: usize) -> (usize, usize) {
    let body = unit.len().saturating_sub(1);
    let count = body.div_ceil(max - FU_HEADERS).max(1);
    (count, body.div_ceil(count).max(1))
}

/// How many payloads `packetise` will give for this picture. `max`: octets of each, at least 16 and at most 65,000.
pub fn count(data: &[u8], nals: &[Range<u32>], max: usize) -> usize {
    let mut packets = 0;
    plan(data, nals, max, |step| {
        packets += match step {
            Step::Whole(_) | Step::Aggregate(_) => 1,
            Step::Fragments(unit) => {
                let (_, size) = fragments(unit, max);
                (unit.len() - 1).div_ceil(size)
            }
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
            scratch.clear();
            scratch.push(STAP_A);
            let mut header = 0;
            for unit in run.iter().filter_map(|range| nal(data, range)) {
                let first = unit.first().copied().unwrap_or_default();
                // RFC 6184 §5.7: F is the OR of all, NRI the highest of all.
                header = (header | first) & 0x80 | (header & 0x60).max(first & 0x60);
                scratch.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                scratch.extend_from_slice(unit);
            }
            if let Some(first) = scratch.first_mut() {
                *first |= header;
            }
            emit(&[&scratch]);
        }
        Step::Fragments(unit) => {
            let Some((&first, body)) = unit.split_first() else { return };
            let (_, size) = fragments(unit, max);
            let mut chunks = body.chunks(size).peekable();
            let mut start = 0x80;
            while let Some(chunk) = chunks.next() {
                let end = if chunks.peek().is_none() { 0x40 } else { 0 };
                emit(&[&[first & F_NRI | FU_A, start | end | first & TYPE], chunk]);
                start = 0;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rtp::MAX_PAYLOAD;
    use super::*;

    /// A picture of these NAL units in Annex B, as `AccessUnit` holds it.
    fn picture(units: &[Vec<u8>]) -> (Vec<u8>, Vec<Range<u32>>) {
        let (mut data, mut nals) = (Vec::new(), Vec::new());
        for unit in units {
            data.extend_from_slice(&[0, 0, 0, 1]);
            let start = data.len() as u32;
            data.extend_from_slice(unit);
            nals.push(start..data.len() as u32);
        }
        (data, nals)
    }

    fn payloads(units: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (data, nals) = picture(units);
        let mut payloads = Vec::new();
        packetise(&data, &nals, MAX_PAYLOAD, |parts| payloads.push(parts.concat()));
        assert_eq!(payloads.len(), count(&data, &nals, MAX_PAYLOAD));
        payloads
    }

    /// The reading side of RFC 6184, as strict as can be.
    fn unpack(payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut units, mut open) = (Vec::new(), None::<Vec<u8>>);
        for payload in payloads {
            match payload[0] & TYPE {
                STAP_A => {
                    let mut rest = &payload[1..];
                    while let Some((length, body)) = rest.split_first_chunk::<2>() {
                        let (unit, after) = body.split_at(usize::from(u16::from_be_bytes(*length)));
                        units.push(unit.to_vec());
                        rest = after;
                    }
                    assert!(rest.is_empty());
                }
                FU_A => {
                    if payload[1] & 0x80 != 0 {
                        assert!(open.replace(vec![payload[0] & F_NRI | payload[1] & TYPE]).is_none());
                    }
                    open.as_mut().unwrap().extend_from_slice(&payload[2..]);
                    if payload[1] & 0x40 != 0 {
                        units.push(open.take().unwrap());
                    }
                }
                _ => units.push(payload.clone()),
            }
        }
        assert!(open.is_none());
        units
    }

    fn unit(header: u8, length: usize) -> Vec<u8> {
        let mut unit = vec![header];
        unit.extend((1..length).map(|place| place as u8));
        unit
    }

    #[test]
    fn parameter_sets_share_a_packet_and_the_picture_follows_in_equal_fragments() {
        let units = [unit(0x67, 20), unit(0x68, 4), unit(0x06, 30), unit(0x65, 20_000)];
        let payloads = payloads(&units);
        assert_eq!(payloads[0][0], 0x60 | STAP_A);
        assert_eq!(payloads.len(), 1 + 17);
        let size = payloads[1].len();
        assert!(payloads[1..17].iter().all(|payload| payload.len() == size && size <= MAX_PAYLOAD));
        assert!(payloads[17].len() <= size && payloads[17].len() + 17 > size);
        assert_eq!(unpack(&payloads), units);
    }

    #[test]
    fn a_unit_that_just_fits_travels_alone_and_one_octet_more_makes_two() {
        assert_eq!(payloads(&[unit(0x41, MAX_PAYLOAD)]), [unit(0x41, MAX_PAYLOAD)]);
        let two = payloads(&[unit(0x41, MAX_PAYLOAD + 1)]);
        assert_eq!(two.len(), 2);
        assert_eq!((two[0][1], two[1][1]), (0x80 | 1, 0x40 | 1));
    }

    #[test]
    fn what_is_no_nal_unit_is_left_out() {
        let units = [vec![], unit(0x41, 10), unit(FU_A, 10), vec![0x80]];
        assert_eq!(payloads(&units), [unit(0x41, 10)]);
        let nothing = &[Range { start: 7, end: 3 }, 0..u32::MAX];
        assert_eq!(count(&[1, 2, 3], nothing, MAX_PAYLOAD), 0);
    }

    proptest! {
        #[test]
        fn what_is_cut_can_be_put_together(
            shapes in proptest::collection::vec((1u8..24, 0u8..4, prop_oneof![1usize..40, 1190usize..1210, 1usize..9000]), 1..12),
        ) {
            let units: Vec<_> = shapes.iter().map(|&(kind, nri, length)| unit(nri << 5 | kind, length)).collect();
            let payloads = payloads(&units);
            prop_assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
            prop_assert_eq!(unpack(&payloads), units);
        }
    }
}
