//! How one string of octets becomes several inputs.

/// RTP packets of one track, from records of: flags, length (two octets), payload.
///
/// Flags: 1 marker; 2 the timestamp goes on by a picture; bits 2 and 3 how many sequence numbers are skipped, of which 3
/// means one step back.
pub fn packets(data: &[u8]) -> Vec<(u16, u32, bool, &[u8])> {
    let (mut rest, mut sequence, mut timestamp) = (data, 65_530u16, u32::MAX - 10_000);
    let mut packets = Vec::new();
    while let [flags, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (payload, next) = after.split_at(length);
        rest = next;
        sequence = match flags >> 2 & 3 {
            3 => sequence.wrapping_sub(1),
            skipped => sequence.wrapping_add(1 + u16::from(skipped)),
        };
        timestamp = timestamp.wrapping_add(if flags & 2 != 0 { 3_600 } else { 0 });
        packets.push((sequence, timestamp, flags & 1 != 0, payload));
    }
    packets
}

/// The same octets as they may come from a socket: cut after each length that `data` itself happens to name.
pub fn cuts(data: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut pieces) = (data, Vec::new());
    while let Some(first) = rest.first() {
        let (piece, after) = rest.split_at((1 + usize::from(*first) % 61).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
