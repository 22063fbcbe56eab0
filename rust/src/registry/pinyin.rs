//! Pinyin initials of names: 胜利路 is found by "sll". A character with several readings answers to each of them.

use pinyin::ToPinyinMulti;

/// The initials, packed: a lower-case letter or digit for each character, its other readings after it as capitals:
/// 停车场 is `tcJc`. Characters without a reading (spaces, dashes) are left out.
pub fn initials(name: &str) -> String {
    let mut packed = String::new();
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            packed.push(character.to_ascii_lowercase());
        } else if let Some(readings) = character.to_pinyin_multi() {
            let start = packed.len();
            for reading in readings {
                let Some(letter) = letter(reading.plain()) else { continue };
                if packed.len() == start {
                    packed.push(letter);
                } else if !packed[start..].chars().any(|known| known.eq_ignore_ascii_case(&letter)) {
                    packed.push(letter.to_ascii_uppercase());
                }
            }
        }
    }
    packed
}

fn letter(reading: &str) -> Option<char> {
    match reading.chars().next()? {
        'ê' => Some('e'),
        'ü' => Some('v'),
        letter => letter.is_ascii_alphabetic().then(|| letter.to_ascii_lowercase()),
    }
}

/// For each character the letters it may begin with.
pub fn readings(packed: &str) -> impl Iterator<Item = &str> {
    let mut rest = packed;
    std::iter::from_fn(move || {
        let end = rest.char_indices().skip(1).find(|(_, letter)| !letter.is_ascii_uppercase());
        let (first, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = after;
        (!first.is_empty()).then_some(first)
    })
}

/// Do the initials hold `wanted` (lower-case letters and digits) somewhere?
pub fn matches(packed: &str, wanted: &str) -> bool {
    let packed = packed.as_bytes();
    (0..packed.len())
        .filter(|start| packed.get(*start).is_some_and(|letter| !letter.is_ascii_uppercase()))
        .any(|start| follows(packed.get(start..).unwrap_or_default(), wanted.as_bytes()))
}

fn follows(mut packed: &[u8], wanted: &[u8]) -> bool {
    for letter in wanted {
        let Some((first, rest)) = packed.split_first() else { return false };
        let others = rest.iter().position(|other| !other.is_ascii_uppercase()).unwrap_or(rest.len());
        let (others, after) = rest.split_at(others);
        if first != letter && !others.iter().any(|other| other.eq_ignore_ascii_case(letter)) {
            return false;
        }
        packed = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_answers_to_its_initials() {
        let packed = initials("鹰潭市 胜利路-03号A");
        assert!(matches(&packed, "yts"));
        assert!(matches(&packed, "ytssll03ha"), "{packed}");
        assert!(!matches(&packed, "ytx"));
        assert!(!matches("", "a"));
    }

    #[test]
    fn every_combination_of_readings_is_accepted() {
        let packed = initials("重庆路停车场长行");
        for wanted in ["cqltc", "zqltc", "tcc", "tjc", "czh", "ccx", "zxx"] {
            let held = matches(&packed, wanted);
            assert_eq!(held, wanted != "zxx", "{wanted} in {packed}");
        }
    }

    #[test]
    fn readings_are_grouped_by_character() {
        assert_eq!(readings("tcJc1").collect::<Vec<_>>(), ["t", "cJ", "c", "1"]);
        assert_eq!(readings("").count(), 0);
    }
}
