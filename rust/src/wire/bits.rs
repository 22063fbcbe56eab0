//! The bits of a NAL unit's first bytes, emulation prevention undone (ITU-T H.264 §7.4.1, H.265 §7.4.2).

/// Reads from at most `N` octets of payload; what lies behind them is as if it were missing.
pub struct Bits<const N: usize> {
    bytes: [u8; N],
    len: usize,
    at: usize,
}

impl<const N: usize> Bits<N> {
    /// `nal`: without its header.
    pub fn new(nal: &[u8]) -> Self {
        let mut bytes = [0; N];
        let (mut len, mut zeros) = (0, 0);
        for byte in nal.iter().copied() {
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            let Some(place) = bytes.get_mut(len) else { break };
            *place = byte;
            len += 1;
        }
        Self { bytes, len: len * 8, at: 0 }
    }

    pub fn bit(&mut self) -> Option<u32> {
        if self.at >= self.len {
            return None;
        }
        let bit = self.bytes.get(self.at / 8)? >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    pub fn flag(&mut self) -> Option<bool> {
        self.bit().map(|bit| bit == 1)
    }

    /// u(n), n ≤ 32.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0u32, |value, _| Some(value << 1 | self.bit()?))
    }

    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.len)?;
        Some(())
    }

    /// ue(v), ITU-T H.264 §9.1, H.265 §9.2.
    pub fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.bits(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_over_emulation_prevention() {
        // 00 00 03 01: the 03 is none of the payload.
        let mut bits = Bits::<16>::new(&[0b1010_0000, 0, 0, 3, 1, 0xff]);
        assert_eq!(bits.exp_golomb(), Some(0));
        assert_eq!(bits.exp_golomb(), Some(1));
        assert_eq!(bits.skip(4), Some(()));
        assert_eq!(bits.bits(24), Some(1));
        assert_eq!(bits.flag(), Some(true));
        assert_eq!(bits.bits(8), None);
    }

    #[test]
    fn what_is_behind_the_bound_is_missing() {
        let mut bits = Bits::<2>::new(&[0xff; 100]);
        assert_eq!(bits.bits(16), Some(0xffff));
        assert_eq!((bits.bit(), bits.skip(1)), (None, None));
        assert_eq!(Bits::<16>::new(&[0; 16]).exp_golomb(), None);
    }
}
