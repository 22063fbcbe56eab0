//! Messages printed as JSON straight from their octets, by plans made of their descriptors once.
//!
//! What is out of the ordinary has no plan, or is given up half-way: `json.rs` then takes the message apart as a whole.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::wire::protobuf::{Fields, Value};

const TIMESTAMP: &str = "google.protobuf.Timestamp";
/// The seconds of the years 1 to 9999, as the mapping has them.
const CALENDAR_S: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

enum Print {
    Bool,
    Signed32,
    Unsigned32,
    /// Numbers of 64 bits are texts in JSON.
    Signed64,
    Unsigned64,
    Double,
    Text,
    Bytes,
    Enum(HashMap<i32, String>),
    Timestamp,
    Message(usize),
}

struct Field {
    /// As it stands in the JSON: quoted, with the colon.
    key: String,
    print: Print,
    is_list: bool,
    /// A zero that is on the wire is told.
    has_presence: bool,
}

/// The fields of a message by number.
#[derive(Default)]
struct Plan {
    fields: Vec<Option<Field>>,
}

/// The plans of all messages that were asked for, and of those in them.
#[derive(Default)]
pub struct Plans {
    places: HashMap<String, Option<usize>>,
    plans: Vec<Plan>,
}

impl Plans {
    /// Makes the plan of a message; None when there is something in it that is not printed here.
    pub fn add(&mut self, message: &MessageDescriptor) -> Option<usize> {
        if let Some(place) = self.places.get(message.full_name()) {
            return *place;
        }
        // None until it is made: a message that holds itself has no plan.
        self.places.insert(message.full_name().to_owned(), None);
        let is_known_type = message.package_name() == "google.protobuf";
        let mut plan = Plan::default();
        for field in message.fields() {
            let print = if is_known_type || field.is_map() { None } else { self.print(&field) };
            let number = usize::try_from(field.number()).ok().filter(|number| *number < 1_000)?;
            if plan.fields.len() <= number {
                plan.fields.resize_with(number + 1, || None);
            }
            *plan.fields.get_mut(number)? = Some(Field {
                key: format!("\"{}\":", field.json_name()),
                print: print?,
                is_list: field.is_list(),
                has_presence: field.supports_presence(),
            });
        }
        self.plans.push(plan);
        let place = Some(self.plans.len() - 1);
        self.places.insert(message.full_name().to_owned(), place);
        place
    }

    fn print(&mut self, field: &FieldDescriptor) -> Option<Print> {
        Some(match field.kind() {
            Kind::Bool => Print::Bool,
            Kind::Int32 => Print::Signed32,
            Kind::Uint32 => Print::Unsigned32,
            Kind::Int64 => Print::Signed64,
            Kind::Uint64 => Print::Unsigned64,
            Kind::Double => Print::Double,
            Kind::String => Print::Text,
            Kind::Bytes => Print::Bytes,
            Kind::Enum(kind) if kind.full_name() != "google.protobuf.NullValue" => {
                // Of several names for one number the first.
                let mut names = HashMap::new();
                for value in kind.values() {
                    names.entry(value.number()).or_insert(value.name().to_owned());
                }
                Print::Enum(names)
            }
            Kind::Message(message) if message.full_name() == TIMESTAMP => Print::Timestamp,
            Kind::Message(message) => Print::Message(self.add(&message)?),
            _ => return None,
        })
    }

    /// None for a message without a plan, and for octets that a serialiser does not write so.
    pub fn write(&self, name: &str, message: &[u8]) -> Option<Vec<u8>> {
        let plan = self.plans.get((*self.places.get(name)?)?)?;
        let mut json = Vec::with_capacity(4 * message.len() + 2);
        self.message(plan, message, &mut json)?;
        Some(json)
    }

    fn message(&self, plan: &Plan, message: &[u8], json: &mut Vec<u8>) -> Option<()> {
        json.push(b'{');
        let start = json.len();
        let (mut last, mut is_open) = (0, false);
        for field in Fields::new(message) {
            let (number, value) = field?;
            let field = plan.fields.get(number as usize)?.as_ref()?;
            if number < last || (number == last && !field.is_list) {
                return None;
            }
            let is_packed = field.is_list
                && !matches!(field.print, Print::Text | Print::Bytes | Print::Timestamp | Print::Message(_));
            if !field.is_list && !field.has_presence && is_zero(value) {
                return None;
            }
            if number != last {
                if std::mem::take(&mut is_open) {
                    json.push(b']');
                }
                if json.len() > start {
                    json.push(b',');
                }
                json.extend_from_slice(field.key.as_bytes());
                is_open = field.is_list;
                json.extend_from_slice(if is_open { b"[" } else { b"" });
            } else {
                json.push(b',');
            }
            last = number;
            match value {
                Value::Bytes(packed) if is_packed => self.packed(field, packed, json)?,
                value => self.value(&field.print, value, json)?,
            }
        }
        json.extend_from_slice(if is_open { b"]}" } else { b"}" });
        Some(())
    }

    fn packed(&self, field: &Field, packed: &[u8], json: &mut Vec<u8>) -> Option<()> {
        let mut rest = packed;
        loop {
            let value = match field.print {
                Print::Double => {
                    let (head, after) = rest.split_first_chunk()?;
                    rest = after;
                    Value::Fixed64(*head)
                }
                _ => Value::Varint(prost::encoding::decode_varint(&mut rest).ok()?),
            };
            self.value(&field.print, value, json)?;
            if rest.is_empty() {
                return Some(());
            }
            json.push(b',');
        }
    }

    fn value(&self, print: &Print, value: Value<'_>, json: &mut Vec<u8>) -> Option<()> {
        let number = |value| if let Value::Varint(number) = value { Some(number) } else { None };
        match print {
            Print::Bool => put(json, &(number(value)? != 0)),
            Print::Signed32 => put(json, &(number(value)? as i32)),
            Print::Unsigned32 => put(json, &(number(value)? as u32)),
            Print::Signed64 => put(json, &(number(value)? as i64).to_string()),
            Print::Unsigned64 => put(json, &number(value)?.to_string()),
            Print::Double => match value.double()? {
                number if number.is_finite() => put(json, &number),
                number if number.is_nan() => put(json, "NaN"),
                number => put(json, if number > 0.0 { "Infinity" } else { "-Infinity" }),
            },
            Print::Text => put(json, value.text()?),
            Print::Bytes => put(json, &STANDARD.encode(value.bytes()?)),
            Print::Enum(names) => {
                let number = number(value)? as i32;
                match names.get(&number) {
                    Some(name) => put(json, name),
                    None => put(json, &number),
                }
            }
            Print::Timestamp => put(json, &moment(value.bytes()?)?),
            Print::Message(place) => self.message(self.plans.get(*place)?, value.bytes()?, json),
        }
    }
}

fn put<T: serde::Serialize + ?Sized>(json: &mut Vec<u8>, value: &T) -> Option<()> {
    serde_json::to_writer(json, value).ok()
}

fn is_zero(value: Value<'_>) -> bool {
    match value {
        Value::Varint(number) => number == 0,
        Value::Fixed64(octets) => octets == [0; 8],
        Value::Fixed32(octets) => octets == [0; 4],
        Value::Bytes(octets) => octets.is_empty(),
    }
}

/// A timestamp as RFC 3339 has it, with no, three, six or nine digits after the second.
fn moment(message: &[u8]) -> Option<String> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    for field in Fields::new(message) {
        match field? {
            (1, Value::Varint(number)) => seconds = number as i64,
            (2, Value::Varint(number)) => nanos = number as i64,
            _ => return None,
        }
    }
    if !CALENDAR_S.contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let fraction = match nanos {
        0 => String::new(),
        nanos if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!(".{:06}", nanos / 1_000),
        nanos => format!(".{nanos:09}"),
    };
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"))
}

/// (year, month, day) of a day after 1970-01-01, in the Gregorian calendar: years begin in March, so that the leap day is
/// their last (Howard Hinnant, chrono-Compatible Low-Level Date Algorithms, `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::protobuf::Writer;

    fn written(seconds: i64, nanos: u32) -> Option<String> {
        let mut message = Writer::default();
        message.unsigned(1, seconds as u64);
        message.unsigned(2, nanos);
        moment(&message.finish())
    }

    #[test]
    fn moments_are_written_as_rfc_3339_has_them() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_772_323_199, 123_456_000, "2026-02-28T23:59:59.123456Z"),
            (1_709_164_800, 5_000_000, "2024-02-29T00:00:00.005Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(written(seconds, nanos).as_deref(), Some(text));
        }
        assert_eq!(written(253_402_300_800, 0), None);
        assert_eq!(written(0, 1_000_000_000), None);
    }
}
