//! How a stream of RTP packets arrives: what a receiver report says of it (RFC 3550 §6.4.1, §A.3, §A.8).

use std::time::Duration;

use super::rtcp::{ReportBlock, SenderInfo};
use super::rtp::{distance, extend};

/// Numbers that lie further off are a new count (RFC 3550 §A.1, MAX_DROPOUT).
const MAX_JUMP: u16 = 3000;
/// Above the first sequence number, so that what came before it is not below zero.
const FIRST_CYCLE: u64 = 1 << 16;

/// Statistics of one sender. Times count from any fixed moment.
#[derive(Clone, Debug)]
pub struct Reception {
    rate_hz: u32,
    count: Option<Count>,
    /// In sixteenths of a tick of the RTP clock.
    jitter_16ths: u32,
    /// Arrival less stamp of the last packet, on the RTP clock.
    transit: Option<u32>,
    /// Middle of the NTP time of the last sender report, and when it came.
    last_sender_report: Option<(u32, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    ssrc: u32,
    first: u64,
    highest: u64,
    received: u64,
    /// Expected and received at the last report.
    reported: (u64, u64),
}

impl Count {
    fn new(ssrc: u32, sequence: u16) -> Self {
        let first = FIRST_CYCLE + u64::from(sequence);
        Self { ssrc, first, highest: first, received: 0, reported: (0, 0) }
    }
}

impl Reception {
    /// `rate_hz`: of the track's RTP clock.
    pub fn new(rate_hz: u32) -> Self {
        Self { rate_hz, count: None, jitter_16ths: 0, transit: None, last_sender_report: None }
    }

    /// Counts a packet as it comes, in order or not. Another sender, or a new count of the same, begins anew.
    pub fn packet(&mut self, ssrc: u32, sequence: u16, stamp: u32, at: Duration) {
        let known = self
            .count
            .take()
            .filter(|count| count.ssrc == ssrc && distance(count.highest as u16, sequence).unsigned_abs() < MAX_JUMP);
        let mut count = match known {
            Some(count) => count,
            None => {
                self.transit = None;
                self.jitter_16ths = 0;
                Count::new(ssrc, sequence)
            }
        };
        count.highest = count.highest.max(extend(count.highest, sequence));
        count.received += 1;
        self.count = Some(count);

        let arrival = (at.as_nanos() * u128::from(self.rate_hz) / 1_000_000_000) as u32;
        let transit = arrival.wrapping_sub(stamp);
        if let Some(before) = self.transit.replace(transit) {
            let change = (transit.wrapping_sub(before) as i32).unsigned_abs();
            let decay = self.jitter_16ths.saturating_add(8) >> 4;
            self.jitter_16ths = self.jitter_16ths.saturating_add(change).saturating_sub(decay);
        }
    }

    /// Remembers a report of the sender's, which came `at`.
    pub fn sender_report(&mut self, info: &SenderInfo, at: Duration) {
        self.last_sender_report = Some(((info.ntp >> 16) as u32, at));
    }

    /// What is to be reported now; None before the first packet. Fractions count from one call to the next.
    pub fn block(&mut self, now: Duration) -> Option<ReportBlock> {
        let count = self.count.as_mut()?;
        let expected = count.highest - count.first + 1;
        let (expected_before, received_before) = std::mem::replace(&mut count.reported, (expected, count.received));
        let since = expected.saturating_sub(expected_before);
        let lost_since = since.saturating_sub(count.received - received_before);
        let lost = (expected as i64 - count.received as i64).clamp(-(1 << 23), (1 << 23) - 1);
        let (last_sender_report, delay_since) = match self.last_sender_report {
            // In 65,536ths of a second.
            Some((report, at)) => (report, (now.saturating_sub(at).as_nanos() * 65_536 / 1_000_000_000) as u32),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc: count.ssrc,
            fraction_lost: (lost_since * 256).checked_div(since).unwrap_or(0).min(255) as u8,
            cumulative_lost: lost as i32,
            highest_sequence: (count.highest - FIRST_CYCLE) as u32,
            jitter: self.jitter_16ths >> 4,
            last_sender_report,
            delay_since,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn losses_are_counted_since_the_beginning_and_since_the_last_report_over_the_wrap() {
        let mut reception = Reception::new(90_000);
        assert_eq!(reception.block(MS), None);
        for number in 0..100u16 {
            if number % 4 != 3 {
                reception.packet(7, 0xfff0_u16.wrapping_add(number), 0, MS);
            }
        }
        let block = reception.block(MS).unwrap();
        // The last one is missing too, and nobody knows yet.
        assert_eq!((block.ssrc, block.cumulative_lost, block.highest_sequence), (7, 24, 0xfff0 + 98));
        assert_eq!(block.fraction_lost, (24 * 256 / 99) as u8);
        for number in 100..110u16 {
            reception.packet(7, 0xfff0_u16.wrapping_add(number), 0, MS);
        }
        let block = reception.block(MS).unwrap();
        assert_eq!((block.cumulative_lost, block.fraction_lost), (25, (256 / 11) as u8));
        for _ in 0..30 {
            reception.packet(7, 0xfff0_u16.wrapping_add(109), 0, MS);
        }
        let block = reception.block(MS).unwrap();
        assert_eq!((block.cumulative_lost, block.fraction_lost), (-5, 0), "duplicates count as received");
    }

    #[test]
    fn jitter_is_what_spacing_differs_by_and_no_constant_delay() {
        let mut even = Reception::new(90_000);
        let mut uneven = Reception::new(90_000);
        for number in 0..200u32 {
            let at = MS * (40 * number);
            even.packet(1, number as u16, number * 3600, at + MS * 500);
            uneven.packet(1, number as u16, number * 3600, at + MS * (10 * (number % 2)));
        }
        assert_eq!(even.block(MS).unwrap().jitter, 0);
        let jitter = uneven.block(MS).unwrap().jitter;
        assert!((880..=900).contains(&jitter), "10 ms at 90 kHz: {jitter}");
    }

    #[test]
    fn a_report_says_which_sender_report_it_knows_and_since_when() {
        let mut reception = Reception::new(8_000);
        reception.packet(1, 1, 0, MS);
        let info = SenderInfo { ssrc: 1, ntp: 0x1122_3344_5566_7788, rtp_timestamp: 0, packets: 0, octets: 0 };
        reception.sender_report(&info, 1_000 * MS);
        let block = reception.block(1_500 * MS).unwrap();
        assert_eq!((block.last_sender_report, block.delay_since), (0x3344_5566, 32_768));
    }

    #[test]
    fn another_sender_or_count_begins_anew() {
        let mut reception = Reception::new(8_000);
        reception.packet(1, 100, 0, MS);
        reception.packet(1, 30_000, 0, MS);
        let block = reception.block(MS).unwrap();
        assert_eq!((block.highest_sequence, block.cumulative_lost), (30_000, 0));
        reception.packet(2, 30_001, 0, MS);
        assert_eq!(reception.block(MS).unwrap().ssrc, 2);
    }

    proptest! {
        #[test]
        fn no_packets_make_it_panic(packets in prop::collection::vec((0u32..3, any::<u16>(), any::<u32>(), any::<u32>()), 0..60)) {
            let mut reception = Reception::new(u32::MAX);
            for (ssrc, sequence, stamp, at_ms) in packets {
                reception.packet(ssrc, sequence, stamp, MS * at_ms);
                let _ = reception.block(Duration::ZERO);
            }
        }
    }
}
