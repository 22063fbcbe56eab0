//! RTCP feedback of viewers: packets asked for again and pictures lost (RFC 4585 §6, RFC 5104 §4.3.1), and when each
//! packet came (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use super::rtcp::Raw;

const TRANSPORT: u8 = 205;
const PAYLOAD: u8 = 206;
const NACK: u8 = 1;
const TRANSPORT_WIDE: u8 = 15;
const PLI: u8 = 1;
const FIR: u8 = 4;
const RECEIVER_REPORT: u8 = 201;
/// Behind a sealed report: a tag and its index (RFC 7714 §9.1); the least that a packet is has more.
const MAX_SEAL: usize = 16 + 4;
/// Arrivals that one packet may tell of; browsers send one for some 100 ms.
const MAX_ARRIVALS: u16 = 8192;

/// What a viewer says of what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback<'a> {
    /// Packets of this source are missing.
    Nack { media_ssrc: u32, lost: Lost<'a> },
    /// The picture of this source can't be decoded, or a fresh start is wanted.
    Keyframe { media_ssrc: u32 },
    /// When packets of all sources came.
    Arrivals(Arrivals<'a>),
}

/// Reads one packet of a compound; None for anything that is no feedback, is cut short or is of no use here.
pub fn read(raw: Raw<'_>) -> Option<Feedback<'_>> {
    let (head, rest) = raw.body.split_first_chunk::<8>()?;
    let &[_, _, _, _, m0, m1, m2, m3] = head;
    let media_ssrc = u32::from_be_bytes([m0, m1, m2, m3]);
    match (raw.packet_type, raw.count) {
        (TRANSPORT, NACK) => Some(Feedback::Nack { media_ssrc, lost: Lost { entries: rest } }),
        (TRANSPORT, TRANSPORT_WIDE) => Arrivals::read(rest).map(Feedback::Arrivals),
        (PAYLOAD, PLI) => Some(Feedback::Keyframe { media_ssrc }),
        // The source stands in the entry; the header's is zero.
        (PAYLOAD, FIR) => Some(Feedback::Keyframe { media_ssrc: u32::from_be_bytes(*rest.first_chunk()?) }),
        _ => None,
    }
}

/// Whether a report, still sealed, tells only how packets came and asks for nothing: what stands in clear is the header of
/// its first packet (RFC 3711 §3.4), and nothing may follow that.
pub fn asks_nothing(sealed: &[u8]) -> bool {
    let &[head, kind, high, low, ..] = sealed else { return false };
    let first = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
    let tells = kind == RECEIVER_REPORT || (kind == TRANSPORT && head & 0x1f == TRANSPORT_WIDE);
    tells && (first..=first + MAX_SEAL).contains(&sealed.len())
}

/// The entries of a generic NACK (RFC 4585 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost<'a> {
    entries: &'a [u8],
}

impl<'a> Lost<'a> {
    /// The sequence numbers, each entry's in ascending order.
    pub fn sequences(self) -> impl Iterator<Item = u16> + 'a {
        self.entries.chunks_exact(4).flat_map(|entry| {
            let word = |place: usize| u16::from_be_bytes([entry[place], entry[place + 1]]);
            let (first, bits) = (word(0), word(2));
            (0..=16u16)
                .filter(move |step| *step == 0 || bits >> (step - 1) & 1 == 1)
                .map(move |step| first.wrapping_add(step))
        })
    }
}

/// What came of a run of packets, by transport-wide sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrivals<'a> {
    base: u16,
    count: u16,
    /// In 64 ms, 24 bits, signed.
    reference: i32,
    chunks: &'a [u8],
}

impl<'a> Arrivals<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let (&[b0, b1, c0, c1, r0, r1, r2, _], chunks) = body.split_first_chunk::<8>()?;
        let count = u16::from_be_bytes([c0, c1]);
        let reference = i32::from_be_bytes([r0, r1, r2, 0]) >> 8;
        (count <= MAX_ARRIVALS).then_some(Self { base: u16::from_be_bytes([b0, b1]), count, reference, chunks })
    }

    /// Calls `each` with every sequence number and the time of its arrival on the viewer's clock in microseconds; None:
    /// it had not come. False when the packet is cut short; what was told before holds.
    pub fn each(self, mut each: impl FnMut(u16, Option<i64>)) -> bool {
        let Some(deltas) = self.deltas() else { return false };
        let mut deltas = deltas.iter();
        let mut at = i64::from(self.reference) * 64_000;
        let mut sequence = self.base;
        for symbol in self.symbols() {
            let delta = match symbol {
                0 => None,
                1 => match deltas.next() {
                    Some(delta) => Some(i64::from(*delta)),
                    None => return false,
                },
                2 => match (deltas.next(), deltas.next()) {
                    (Some(high), Some(low)) => Some(i64::from(i16::from_be_bytes([*high, *low]))),
                    _ => return false,
                },
                _ => return false,
            };
            at += delta.unwrap_or_default() * 250;
            each(sequence, delta.map(|_| at));
            sequence = sequence.wrapping_add(1);
        }
        true
    }

    /// The octets behind the chunks, of which there are as many as `count` wants.
    fn deltas(self) -> Option<&'a [u8]> {
        let mut left = usize::from(self.count);
        let mut rest = self.chunks;
        while left > 0 {
            let (chunk, after) = rest.split_first_chunk::<2>()?;
            left = left.saturating_sub(Chunk(u16::from_be_bytes(*chunk)).len());
            rest = after;
        }
        Some(rest)
    }

    /// One symbol for each packet.
    fn symbols(self) -> impl Iterator<Item = u8> + 'a {
        self.chunks
            .chunks_exact(2)
            .map(|chunk| Chunk(u16::from_be_bytes([chunk[0], chunk[1]])))
            .flat_map(|chunk| (0..chunk.len()).map(move |place| chunk.symbol(place)))
            .take(usize::from(self.count))
    }
}

/// A packet status chunk (§3.1.1 to §3.1.4).
#[derive(Clone, Copy)]
struct Chunk(u16);

impl Chunk {
    fn len(self) -> usize {
        match self.0 >> 14 {
            0 | 1 => usize::from(self.0 & 0x1fff),
            2 => 14,
            _ => 7,
        }
    }

    fn symbol(self, place: usize) -> u8 {
        match self.0 >> 14 {
            0 | 1 => (self.0 >> 13 & 3) as u8,
            2 => (self.0 >> 13usize.saturating_sub(place) & 1) as u8,
            _ => (self.0 >> 12usize.saturating_sub(2 * place) & 3) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rtcp::packets;
    use super::*;

    fn only(data: &[u8]) -> Option<Feedback<'_>> {
        let mut all = packets(data);
        let first = read(all.next()?);
        assert!(all.next().is_none());
        first
    }

    #[test]
    fn a_nack_names_up_to_17_packets_in_an_entry() {
        let packet = [0x81, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 0b1000_0000, 0b0000_0011, 0, 100, 0, 0];
        let Some(Feedback::Nack { media_ssrc: 9, lost }) = only(&packet) else { panic!() };
        assert_eq!(lost.sequences().collect::<Vec<_>>(), [0xffff, 0, 1, 15, 100]);
    }

    #[test]
    fn a_lost_picture_is_told_by_pli_or_fir() {
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9];
        assert_eq!(only(&pli), Some(Feedback::Keyframe { media_ssrc: 9 }));
        let fir = [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 7, 0, 0, 0];
        assert_eq!(only(&fir), Some(Feedback::Keyframe { media_ssrc: 9 }));
    }

    #[test]
    fn a_sealed_report_asks_nothing_if_all_of_it_is_how_packets_came() {
        let sealed = |clear: &[u8], behind: usize| [clear, &vec![0xee; behind]].concat();
        let report = [[0x81, 201, 0, 7].as_slice(), &[0; 28]].concat();
        let arrivals = [[0x8f, 205, 0, 6].as_slice(), &[0; 24]].concat();
        let nack = [[0x81, 205, 0, 3].as_slice(), &[0; 12]].concat();
        for seal in [14, 20] {
            assert!(asks_nothing(&sealed(&report, seal)) && asks_nothing(&sealed(&arrivals, seal)));
            // On its own, and behind a report, where it can't be seen.
            assert!(!asks_nothing(&sealed(&nack, seal)));
            assert!(!asks_nothing(&sealed(&report, nack.len() + seal)));
        }
        assert!(!asks_nothing(&sealed(&[0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9], 20)), "a lost picture");
        assert!(!asks_nothing(&report[..31]) && !asks_nothing(&[0x81, 201, 0]) && !asks_nothing(&[]));
    }

    #[test]
    fn arrivals_are_read_from_all_three_kinds_of_chunks() {
        let mut packet = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9];
        packet.extend_from_slice(&[0xff, 0xfe, 0, 13, 0, 0, 2, 0]);
        // Two small deltas by run length; of seven, one large and one small; four bits of one-bit symbols.
        packet.extend_from_slice(&[0x20, 0x02, 0b1100_1000, 0b0000_0001, 0b1010_0100, 0]);
        packet.extend_from_slice(&[4, 0, 0xff, 0xfc, 8, 40, 4]);
        packet.resize(packet.len().next_multiple_of(4), 0);
        let words = packet.len() / 4 - 1;
        packet[3] = words as u8;
        let Some(Feedback::Arrivals(arrivals)) = only(&packet) else { panic!() };
        let mut told = Vec::new();
        assert!(arrivals.each(|sequence, at| told.push((sequence, at))));
        let start = 2 * 64_000;
        let mut wanted = vec![(0xfffe, Some(start + 1000)), (0xffff, Some(start + 1000))];
        wanted.extend([
            (0, None),
            (1, Some(start)),
            (2, None),
            (3, None),
            (4, None),
            (5, None),
            (6, Some(start + 2000)),
        ]);
        wanted.extend([(7, Some(start + 12_000)), (8, None), (9, None), (10, Some(start + 13_000))]);
        assert_eq!(told, wanted);
    }

    #[test]
    fn feedback_that_claims_too_much_is_left_alone() {
        let packet = [0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0x3f, 0xff, 0x3f, 0xff];
        assert_eq!(only(&packet), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_panic(mut data in proptest::collection::vec(any::<u8>(), 4..128)) {
            data[0] = 0x80 | data[0] & 0x1f;
            data[1] = 205 + (data[1] & 1);
            data[2] = 0;
            for feedback in packets(&data).filter_map(read) {
                match feedback {
                    Feedback::Nack { lost, .. } => prop_assert!(lost.sequences().count() <= data.len() / 4 * 17),
                    Feedback::Keyframe { .. } => {}
                    Feedback::Arrivals(arrivals) => {
                        let mut count = 0;
                        arrivals.each(|_, _| count += 1);
                        prop_assert!(count <= MAX_ARRIVALS);
                    }
                }
            }
        }
    }
}
