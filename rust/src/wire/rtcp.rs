//! RTCP (RFC 3550 §6): the reports that we send, and what we care for in what the other side sends.

use smallvec::SmallVec;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const CNAME: u8 = 1;
/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_EPOCH_S: u64 = 2_208_988_800;

/// What a sender report says of one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    pub ssrc: u32,
    /// The moment of the report, as NTP time; see `ntp`.
    pub ntp: u64,
    /// The same moment on the track's RTP clock.
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

/// Wall-clock time since 1970 as the 64-bit NTP timestamp.
pub fn ntp(since_1970: std::time::Duration) -> u64 {
    let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
    since_1970.as_secs().wrapping_add(NTP_EPOCH_S) << 32 | fraction
}

/// A compound packet: sender report and CNAME (RFC 3550 §6.1 wants both). Tracks of one camera share the `cname`, of
/// which 255 octets count.
pub fn sender_report(info: SenderInfo, cname: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + cname.len());
    out.extend_from_slice(&[0x80, SENDER_REPORT, 0, 6]);
    out.extend_from_slice(&info.ssrc.to_be_bytes());
    out.extend_from_slice(&info.ntp.to_be_bytes());
    out.extend_from_slice(&info.rtp_timestamp.to_be_bytes());
    out.extend_from_slice(&info.packets.to_be_bytes());
    out.extend_from_slice(&info.octets.to_be_bytes());
    name(&mut out, info.ssrc, cname);
    out
}

/// A compound packet: receiver report of at most 31 tracks, and CNAME.
pub fn receiver_report(ssrc: u32, blocks: &[ReportBlock], cname: &str) -> Vec<u8> {
    let blocks = blocks.get(..31).unwrap_or(blocks);
    let mut out = Vec::with_capacity(48 + blocks.len() * 24 + cname.len());
    out.extend_from_slice(&[0x80 | blocks.len() as u8, RECEIVER_REPORT, 0, 1 + 6 * blocks.len() as u8]);
    out.extend_from_slice(&ssrc.to_be_bytes());
    for block in blocks {
        let lost = u32::from(block.fraction_lost) << 24 | block.cumulative_lost as u32 & 0xff_ffff;
        for word in
            [block.ssrc, lost, block.highest_sequence, block.jitter, block.last_sender_report, block.delay_since]
        {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
    name(&mut out, ssrc, cname);
    out
}

/// A source description that holds a CNAME only (RFC 3550 §6.5).
fn name(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let cname = cname.as_bytes().get(..255).unwrap_or(cname.as_bytes());
    // The chunk: SSRC, the item, at least one zero, up to a word's end.
    let words = (4 + 2 + cname.len() + 1).div_ceil(4);
    out.extend_from_slice(&[0x81, SDES, 0, words as u8]);
    let end = out.len() + words * 4;
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[CNAME, cname.len() as u8]);
    out.extend_from_slice(cname);
    out.resize(end, 0);
}

/// A receiver report about nobody, to begin a compound with (RFC 3550 §6.1).
pub fn empty_report(ssrc: u32) -> Vec<u8> {
    let mut out = vec![0x80, RECEIVER_REPORT, 0, 1];
    out.extend_from_slice(&ssrc.to_be_bytes());
    out
}

/// The BYE that ends a track, with its reason in words.
pub fn bye(ssrc: u32, reason: &str) -> Vec<u8> {
    let reason = reason.as_bytes().get(..255).unwrap_or(reason.as_bytes());
    let words = 1 + (1 + reason.len()).div_ceil(4);
    let mut out = Vec::with_capacity(4 + words * 4);
    out.extend_from_slice(&[0x81, BYE, 0, words as u8]);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.push(reason.len() as u8);
    out.extend_from_slice(reason);
    out.resize(4 + words * 4, 0);
    out
}

/// One report block (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// Whom it is about.
    pub ssrc: u32,
    /// In 256ths, since the last report.
    pub fraction_lost: u8,
    pub cumulative_lost: i32,
    pub highest_sequence: u32,
    pub jitter: u32,
    pub last_sender_report: u32,
    pub delay_since: u32,
}

/// What came in a compound packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Sender { info: SenderInfo, blocks: SmallVec<[ReportBlock; 2]> },
    Receiver { ssrc: u32, blocks: SmallVec<[ReportBlock; 2]> },
    Bye { ssrcs: SmallVec<[u32; 2]> },
    Other { packet_type: u8 },
}

/// One packet of a compound, not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    pub packet_type: u8,
    /// Five bits: a count, or the format of feedback.
    pub count: u8,
    /// What follows the first word.
    pub body: &'a [u8],
}

/// The packets of a compound, as far as they are whole; what is left over is ignored.
pub fn packets(data: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (&[first, packet_type, l0, l1], body) = rest.split_first_chunk::<4>()?;
        if first >> 6 != 2 {
            return None;
        }
        let (body, after) = body.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])) * 4)?;
        rest = after;
        Some(Raw { packet_type, count: first & 0x1f, body })
    })
}

/// Reads a compound packet as far as it makes sense; what is left over is ignored. Nobody's stream ends because a
/// viewer's RTCP is odd.
pub fn parse(data: &[u8]) -> impl Iterator<Item = Report> + '_ {
    packets(data).map(read)
}

/// Reads one packet.
pub fn read(raw: Raw<'_>) -> Report {
    report(raw.packet_type, raw.count.into(), raw.body).unwrap_or(Report::Other { packet_type: raw.packet_type })
}

fn word(data: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*data.get(place * 4..)?.first_chunk::<4>()?))
}

fn report(packet_type: u8, count: usize, body: &[u8]) -> Option<Report> {
    match packet_type {
        SENDER_REPORT => {
            let info = SenderInfo {
                ssrc: word(body, 0)?,
                ntp: u64::from(word(body, 1)?) << 32 | u64::from(word(body, 2)?),
                rtp_timestamp: word(body, 3)?,
                packets: word(body, 4)?,
                octets: word(body, 5)?,
            };
            Some(Report::Sender { info, blocks: blocks(count, body.get(24..)?) })
        }
        RECEIVER_REPORT => Some(Report::Receiver { ssrc: word(body, 0)?, blocks: blocks(count, body.get(4..)?) }),
        BYE => Some(Report::Bye { ssrcs: (0..count).map_while(|place| word(body, place)).collect() }),
        _ => None,
    }
}

fn blocks(count: usize, body: &[u8]) -> SmallVec<[ReportBlock; 2]> {
    body.chunks_exact(24)
        .take(count)
        .map_while(|block| {
            let lost = word(block, 1)?;
            Some(ReportBlock {
                ssrc: word(block, 0)?,
                fraction_lost: (lost >> 24) as u8,
                // 24 bits, signed.
                cumulative_lost: ((lost << 8) as i32) >> 8,
                highest_sequence: word(block, 2)?,
                jitter: word(block, 3)?,
                last_sender_report: word(block, 4)?,
                delay_since: word(block, 5)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const INFO: SenderInfo =
        SenderInfo { ssrc: 0x1234_5678, ntp: 0xe000_0000_8000_0000, rtp_timestamp: 90_000, packets: 7, octets: 8_000 };

    #[test]
    fn a_sender_report_is_read_back_and_carries_a_name() {
        for cname in ["", "c", "camera", "0123456789"] {
            let packet = sender_report(INFO, cname);
            assert_eq!(packet.len() % 4, 0);
            let reports: Vec<_> = parse(&packet).collect();
            let sender = Report::Sender { info: INFO, blocks: SmallVec::new() };
            assert_eq!(reports, [sender, Report::Other { packet_type: SDES }]);
        }
        assert_eq!(parse(&sender_report(INFO, &"x".repeat(999))).count(), 2, "an overlong name is cut");
    }

    #[test]
    fn receiver_reports_and_byes_are_found_in_a_compound_packet() {
        let mut packet = vec![0x81, RECEIVER_REPORT, 0, 7, 0, 0, 0, 9];
        packet.extend_from_slice(&[0, 0, 0, 5, 64, 0xff, 0xff, 0xfe, 0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 6]);
        packet.extend_from_slice(&bye(9, "done"));
        let block = ReportBlock {
            ssrc: 5,
            fraction_lost: 64,
            cumulative_lost: -2,
            highest_sequence: 0x1_0002,
            jitter: 3,
            last_sender_report: 4,
            delay_since: 6,
        };
        let wanted = [
            Report::Receiver { ssrc: 9, blocks: SmallVec::from_iter([block]) },
            Report::Bye { ssrcs: SmallVec::from_iter([9]) },
        ];
        assert_eq!(parse(&packet).collect::<Vec<_>>(), wanted);
        packet.truncate(packet.len() - 1);
        assert_eq!(parse(&packet).count(), 1, "what is cut short is left out");
    }

    #[test]
    fn a_receiver_report_is_read_back() {
        let block = |ssrc| ReportBlock {
            ssrc,
            fraction_lost: 255,
            cumulative_lost: -8_388_608,
            highest_sequence: 1,
            jitter: 2,
            last_sender_report: 3,
            delay_since: 4,
        };
        for count in 0..3 {
            let blocks: Vec<ReportBlock> = (0..count).map(block).collect();
            let packet = receiver_report(9, &blocks, "hub");
            let report = Report::Receiver { ssrc: 9, blocks: blocks.into() };
            assert_eq!(parse(&packet).collect::<Vec<_>>(), [report, Report::Other { packet_type: SDES }]);
        }
        assert_eq!(parse(&receiver_report(9, &vec![block(1); 99], "")).count(), 2, "what does not fit is left out");
    }

    #[test]
    fn the_ntp_clock_starts_in_1900() {
        assert_eq!(ntp(Duration::from_millis(500)), 2_208_988_800 << 32 | 1 << 31);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_panic(data in proptest::collection::vec(any::<u8>(), 0..128)) {
            prop_assert!(parse(&data).count() <= data.len() / 4);
        }
    }
}
