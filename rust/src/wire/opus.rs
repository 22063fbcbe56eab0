//! Opus over RTP (RFC 7587): one Opus packet a payload, no header. What its first octets say (RFC 6716 §3).

/// Whatever was sampled (RFC 7587 §4.1).
pub const CLOCK_HZ: u32 = 48_000;
/// Time of one packet: 120 ms (RFC 6716 §3.2.5).
pub const MAX_TICKS: u32 = 5_760;
/// The largest frame, 510 kbit/s (RFC 6716 §3.2.1). RTP can't cut a packet, so it has to fit into a datagram.
pub const MAX_PACKET: usize = 1_275;

/// What a packet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toc {
    pub channels: u8,
    /// How long it sounds, in ticks of 48 kHz.
    pub ticks: u32,
}

impl Toc {
    /// Reads the TOC octet and, where it says so, the count behind it. None when that is no Opus packet that may be
    /// sent: empty, without frames, too long in time or octets.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let &toc = packet.first().filter(|_| packet.len() <= MAX_PACKET)?;
        let frame = match toc >> 3 {
            // SILK: 10, 20, 40, 60 ms.
            configuration @ 0..=11 => *[480, 960, 1_920, 2_880].get(usize::from(configuration & 3))?,
            // Both: 10, 20 ms.
            configuration @ 12..=15 => 480 << (configuration & 1),
            // CELT: 2.5, 5, 10, 20 ms.
            configuration => 120 << (configuration & 3),
        };
        let frames = match toc & 3 {
            0 => 1,
            1 | 2 => 2,
            _ => u32::from(packet.get(1)? & 0x3f),
        };
        let ticks = frames * frame;
        (1..=MAX_TICKS).contains(&ticks).then_some(Self { channels: 1 + (toc >> 2 & 1), ticks })
    }
}

/// Mends stamps of senders that count in another unit than 48 kHz: what follows a packet comes no earlier than the
/// packet has sounded.
#[derive(Debug, Default)]
pub struct Clock {
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    came: u32,
    given: u32,
    ticks: u32,
}

impl Clock {
    /// `follows`: no packet is missing before this one.
    pub fn stamp(&mut self, came: u32, toc: Toc, follows: bool) -> u32 {
        let given = self.last.as_ref().map_or(came, |last| {
            let step = came.wrapping_sub(last.came);
            last.given.wrapping_add(if follows && step < last.ticks { last.ticks } else { step })
        });
        self.last = Some(Last { came, given, ticks: toc.ticks });
        given
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_octets_tell_time_and_channels() {
        // Configuration 31 (CELT, fullband, 20 ms), stereo, one frame: what browsers and encoders send.
        assert_eq!(Toc::read(&[0xfc, 1, 2]), Some(Toc { channels: 2, ticks: 960 }));
        // Configuration 1 (SILK, 20 ms), mono, two frames.
        assert_eq!(Toc::read(&[0x09, 1, 2]), Some(Toc { channels: 1, ticks: 1_920 }));
        // Configuration 16 (CELT, 2.5 ms), 48 frames.
        assert_eq!(Toc::read(&[0x83, 48]), Some(Toc { channels: 1, ticks: 5_760 }));
        // Configuration 3 (SILK, 60 ms), two frames; configuration 12 (hybrid, 10 ms).
        assert_eq!(Toc::read(&[0x1a]).map(|toc| toc.ticks), Some(5_760));
        assert_eq!(Toc::read(&[0x60]).map(|toc| toc.ticks), Some(480));
    }

    #[test]
    fn what_may_not_be_sent_is_not_read() {
        assert_eq!(Toc::read(&[]), None);
        assert_eq!(Toc::read(&[0x03]), None, "the count is missing");
        assert_eq!(Toc::read(&[0x03, 0]), None, "no frames");
        assert_eq!(Toc::read(&[0x1b, 3]), None, "three frames of 60 ms");
        assert_eq!(Toc::read(&[0xfc; MAX_PACKET + 1]), None);
    }

    #[test]
    fn stamps_in_another_unit_are_mended_and_good_ones_pass() {
        let toc = Toc { channels: 1, ticks: 960 };
        for (step, expected) in [(160, 960), (0, 960), (960, 960), (1_920, 1_920)] {
            let mut clock = Clock::default();
            let first = u32::MAX - 1_000;
            let given: Vec<u32> = (0..4).map(|n| clock.stamp(first.wrapping_add(n * step), toc, true)).collect();
            assert!(given.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == expected), "{step}: {given:?}");
        }
        let mut clock = Clock::default();
        clock.stamp(0, toc, true);
        assert_eq!(clock.stamp(160, toc, false), 160, "behind a gap nothing is known");
        assert_eq!(clock.stamp(100, toc, true), 100, "nor of a clock that goes back");
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(packet in prop::collection::vec(any::<u8>(), 0..8)) {
            if let Some(toc) = Toc::read(&packet) {
                prop_assert!(toc.ticks <= MAX_TICKS && (1..=2).contains(&toc.channels));
            }
        }
    }
}
