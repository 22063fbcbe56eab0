//! Parameter sets in a session description (RFC 6184 §8.1 `sprop-parameter-sets`, RFC 7798 §7.1 `sprop-vps` and its
//! sisters).

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::STANDARD};
use bytes::Bytes;

use super::annex_b::split_annex_b;

/// Of one parameter; more are left out.
const MAX_SETS: usize = 8;

/// Reads Base64 NAL units with commas between. What can't be read is left out.
pub fn parameter_sets(sprop: &str) -> Vec<Bytes> {
    // Cameras leave the padding away.
    let lenient = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    sprop
        .split(',')
        .take(MAX_SETS)
        .filter_map(|set| STANDARD.decode(set.trim()).or_else(|_| lenient.decode(set.trim())).ok())
        // A start code in front is a quirk of some encoders.
        .map(|set| match split_annex_b(&set).first() {
            Some(range) if set.starts_with(&[0, 0]) => Bytes::copy_from_slice(&set[range.clone()]),
            _ => Bytes::from(set),
        })
        .filter(|set| !set.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::h264::samples;
    use super::*;

    #[test]
    fn sprop_is_read_with_and_without_padding_and_start_codes() {
        assert_eq!(
            parameter_sets("Z2QAHg==,aOvDyyLA"),
            [Bytes::from_static(&[0x67, 0x64, 0, 0x1e]), Bytes::from_static(samples::PPS)]
        );
        assert_eq!(parameter_sets("Z2QAHg, aOvDyyLA").len(), 2);
        assert_eq!(parameter_sets("AAAAAWjrw8siwA=="), [Bytes::from_static(samples::PPS)]);
        assert!(parameter_sets("***").is_empty());
        assert_eq!(parameter_sets(&"aOvDyyLA,".repeat(100)).len(), MAX_SETS);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = parameter_sets(&text);
        }
    }
}
