//! G.711 over RTP (RFC 3551 §4.5.14): samples of one octet, channels interleaved, no header.

use super::rtp::MAX_PAYLOAD;

/// Octets of one packet: the largest number of whole samples of all channels.
fn size(channels: u8) -> usize {
    let channels = usize::from(channels.max(1));
    MAX_PAYLOAD / channels * channels
}

/// How many payloads `packetise` will give.
pub fn count(data: &[u8], channels: u8) -> usize {
    data.len().div_ceil(size(channels))
}

/// Gives each payload with the ticks of the sample clock that lie before it.
pub fn packetise(data: &[u8], channels: u8, mut emit: impl FnMut(u32, &[&[u8]])) {
    let size = size(channels);
    let ticks = (size / usize::from(channels.max(1))) as u32;
    for (chunk, place) in data.chunks(size).zip(0u32..) {
        emit(place.wrapping_mul(ticks), &[chunk]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_piece_is_cut_between_samples_and_the_clock_goes_on() {
        let data: Vec<u8> = (0..2_500u32).map(|place| place as u8).collect();
        let (mut offsets, mut joined) = (Vec::new(), Vec::new());
        packetise(&data, 2, |offset, parts| {
            offsets.push(offset);
            joined.extend_from_slice(&parts.concat());
        });
        assert_eq!(offsets, [0, 600, 1200]);
        assert_eq!(offsets.len(), count(&data, 2));
        assert_eq!(joined, data);
        assert_eq!(count(&[], 1), 0);
    }
}
