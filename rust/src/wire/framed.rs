//! Datagrams on a TCP connection (RFC 4571 §2): each has its length in two bytes in front.

/// Longest datagram that is taken: no STUN message, DTLS record or RTCP report of a viewer is longer.
pub const MAX_FRAME: usize = 2000;

const LENGTH: usize = 2;

/// The peer says that a frame longer than `MAX_FRAME` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Cuts what a connection brings into frames; keeps at most the one that is not complete.
#[derive(Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
}

impl Frames {
    /// Adds what was read. To be followed by `take` until it gives nothing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.start));
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete frame; None: more must be read.
    pub fn take(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some(length) = rest.first_chunk::<LENGTH>().map(|length| usize::from(u16::from_be_bytes(*length))) else {
            return Ok(None);
        };
        if length > MAX_FRAME {
            return Err(TooLong);
        }
        let Some(frame) = rest.get(LENGTH..LENGTH + length) else { return Ok(None) };
        self.start += LENGTH + length;
        Ok(Some(frame))
    }
}

/// Writes `datagrams`, equal pieces of `segment` bytes of which the last may be shorter, each in a frame of its own. A
/// piece longer than a frame can be is left out.
pub fn write(datagrams: &[u8], segment: usize, out: &mut Vec<u8>) {
    for piece in datagrams.chunks(segment.max(1)) {
        let Ok(length) = u16::try_from(piece.len()) else { continue };
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(frames: &mut Frames) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut found = Vec::new();
        while let Some(frame) = frames.take()? {
            found.push(frame.to_vec());
        }
        Ok(found)
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_has_come() {
        let mut frames = Frames::default();
        frames.push(&(MAX_FRAME as u16 + 1).to_be_bytes());
        assert_eq!(all(&mut frames), Err(TooLong));
        let mut frames = Frames::default();
        frames.push(&(MAX_FRAME as u16).to_be_bytes());
        assert_eq!(all(&mut frames), Ok(Vec::new()));
    }

    #[test]
    fn equal_pieces_and_a_shorter_last_one_are_framed_apart() {
        let mut out = Vec::new();
        write(&[7; 250], 100, &mut out);
        let mut frames = Frames::default();
        frames.push(&out);
        assert_eq!(all(&mut frames).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn frames_come_out_whole_however_they_are_cut(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            step in 1..700_usize,
        ) {
            let mut bytes = Vec::new();
            for datagram in &sent {
                bytes.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
                bytes.extend_from_slice(datagram);
            }
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(step) {
                frames.push(piece);
                found.extend(all(&mut frames).unwrap());
                prop_assert!(frames.bytes.len() - frames.start < LENGTH + MAX_FRAME);
            }
            prop_assert_eq!(found, sent);
        }

        #[test]
        fn garbage_is_frames_or_refused_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let mut frames = Frames::default();
            frames.push(&bytes);
            let _ = all(&mut frames);
        }
    }
}
