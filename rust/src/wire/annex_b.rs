//! The byte stream format (ITU-T H.264 Annex B, H.265 Annex B): NAL units behind start codes.

use std::ops::Range;

pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Splits a byte stream into its NAL units' places, start codes and padding zeros excluded.
pub fn split_annex_b(data: &[u8]) -> Vec<Range<usize>> {
    let mut units = Vec::new();
    let mut start = None;
    let mut at = 0;
    while let Some(found) = find_start_code(data, at) {
        if let Some(start) = start {
            push_trimmed(data, start..found, &mut units);
        }
        at = found + 3;
        start = Some(at);
    }
    if let Some(start) = start {
        push_trimmed(data, start..data.len(), &mut units);
    }
    units
}

/// The place of the next 00 00 01.
pub fn find_start_code(data: &[u8], from: usize) -> Option<usize> {
    let rest = data.get(from..)?;
    rest.windows(3).position(|window| window == [0, 0, 1]).map(|place| from + place)
}

/// A NAL unit without the zeros behind it, which are none of it.
pub fn trim_zeros(nal: &[u8]) -> &[u8] {
    let zeros = nal.iter().rev().take_while(|byte| **byte == 0).count();
    nal.get(..nal.len() - zeros).unwrap_or_default()
}

fn push_trimmed(data: &[u8], range: Range<usize>, units: &mut Vec<Range<usize>>) {
    let len = trim_zeros(data.get(range.clone()).unwrap_or_default()).len();
    if len > 0 {
        units.push(range.start..range.start + len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn annex_b_is_split_at_either_start_code() {
        let data = [0, 0, 0, 1, 9, 16, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 0, 1, 0x68, 3];
        let units: Vec<&[u8]> = split_annex_b(&data).into_iter().map(|range| &data[range]).collect();
        assert_eq!(units, [&[9u8, 16][..], &[0x67, 1, 2], &[0x68, 3]]);
        assert!(split_annex_b(&[1, 2, 3]).is_empty());
    }

    proptest! {
        #[test]
        fn whatever_is_split_lies_inside(data in prop::collection::vec(0u8..3, 0..200)) {
            for range in split_annex_b(&data) {
                prop_assert!(range.start < range.end && range.end <= data.len());
            }
        }
    }
}
