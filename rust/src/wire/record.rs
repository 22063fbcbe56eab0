//! A camera's record (`vidhub.v1.Camera`) that beyond doubt keeps every rule, read in one go.
//!
//! An import is thousands of good records and a few bad ones. `read` knows the good ones cheaply and says nothing of the
//! others: those go the long way through the rules of `protos/` and `catalogue/rules.py`, which find what is wrong with
//! them or that nothing is. So this is stricter than the rules, never laxer; `tests/unit/catalogue/test_plain.py` holds
//! the two together.

use std::net::Ipv4Addr;
use std::ops::Range;

use serde::Serialize;

use super::protobuf::{Fields, Value};

const PLACES: std::ops::RangeInclusive<u32> = 1..=12;
/// Order 799, Article 17.
const RETENTION_DAYS: std::ops::RangeInclusive<u32> = 30..=36_500;

/// One stream: the profile is 1 (main) or 2 (sub).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RecordStream {
    pub profile: u8,
    pub url: String,
    pub username: String,
    pub password: String,
    pub transport: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DeviceValue {
    Text(String),
    Count(u32),
    Measure(f64),
}

#[derive(Clone, Default, PartialEq)]
pub struct Record {
    /// Empty: the hub is to give one.
    pub id: String,
    pub name: String,
    pub region_code: String,
    pub industry: String,
    pub place_category: u8,
    pub latitude: f64,
    pub longitude: f64,
    pub address: String,
    pub streams: Vec<RecordStream>,
    pub place_basis: String,
    pub purpose: String,
    pub scope: String,
    pub retention_days: u32,
    pub signage_text: String,
    pub signage_date: String,
    /// In order of the name, without what is empty or zero.
    pub device: Vec<(&'static str, DeviceValue)>,
}

/// Where the records lie in a batch of them (`vidhub.v1.RegisterCamerasRequest`), and whether it is a dry run; None when
/// there is anything else in it.
pub fn batch(message: &[u8]) -> Option<(Vec<Range<usize>>, bool)> {
    let mut places = Vec::new();
    let mut is_dry_run = false;
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next() {
        match field? {
            (1, value) => {
                let end = message.len() - fields.left();
                places.push(end - value.bytes()?.len()..end);
            }
            (2, value) => is_dry_run = value.unsigned().filter(|claim| *claim <= 1)? == 1,
            _ => return None,
        }
    }
    Some((places, is_dry_run))
}

/// The record of a camera of `unit_id`; None when anything of it needs a closer look.
pub fn read(message: &[u8], unit_id: &str) -> Option<Record> {
    let mut record = Record::default();
    let mut last = 0;
    for field in Fields::new(message) {
        let (number, value) = field?;
        // One after the other and each once, as serialisers write them; only streams repeat.
        if number < last || (number == last && number != 8) {
            return None;
        }
        last = number;
        match number {
            1 => record.id = value.text().filter(|id| is_device_id(id))?.to_owned(),
            2 => record.name = value.text().filter(|name| is_line(name, 128) && name.trim() == *name)?.to_owned(),
            3 => value.text().filter(|unit| *unit == unit_id).map(drop)?,
            4 => record.region_code = value.text().filter(|code| is_digits(code, 6))?.to_owned(),
            5 => record.industry = value.text().filter(|code| is_digits(code, 2))?.to_owned(),
            6 => record.place_category = value.unsigned().filter(|place| PLACES.contains(place))? as u8,
            7 => location(value.bytes()?, &mut record)?,
            8 => record.streams.push(stream(value.bytes()?)?),
            9 => legal(value.bytes()?, &mut record)?,
            10 => record.device = device(value.bytes()?)?,
            _ => return None,
        }
    }
    let profiles: Vec<u8> = record.streams.iter().map(|stream| stream.profile).collect();
    let is_whole = !record.name.is_empty()
        && !record.region_code.is_empty()
        && !record.industry.is_empty()
        && record.place_category != 0
        && (record.latitude != 0.0 || record.longitude != 0.0)
        && matches!(profiles[..], [1] | [2] | [1, 2] | [2, 1])
        && [&record.place_basis, &record.purpose, &record.scope].into_iter().all(|text| says_something(text))
        && RETENTION_DAYS.contains(&record.retention_days);
    is_whole.then_some(record)
}

fn location(message: &[u8], record: &mut Record) -> Option<()> {
    for field in Fields::new(message) {
        match field? {
            (1, value) => record.latitude = value.double().filter(|degrees| degrees.abs() <= 90.0)?,
            (2, value) => record.longitude = value.double().filter(|degrees| degrees.abs() <= 180.0)?,
            (3, value) => record.address = line(value, 256)?,
            _ => return None,
        }
    }
    Some(())
}

fn stream(message: &[u8]) -> Option<RecordStream> {
    let mut stream = RecordStream::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => stream.profile = value.unsigned().filter(|profile| matches!(profile, 1 | 2))? as u8,
            (2, value) => stream.url = value.text().filter(|url| url.is_empty() || is_address(url))?.to_owned(),
            (3, value) => stream.username = line(value, 128)?,
            (4, value) => stream.password = line(value, 256)?,
            (5, value) => stream.transport = value.unsigned().filter(|transport| *transport <= 2)? as u8,
            _ => return None,
        }
    }
    let has_user = stream.password.is_empty() || !stream.username.is_empty();
    (stream.profile != 0 && has_user).then_some(stream)
}

fn legal(message: &[u8], record: &mut Record) -> Option<()> {
    let text = |value: Value<'_>, most: usize| value.text().filter(|text| is_at_most(text, most)).map(str::to_owned);
    for field in Fields::new(message) {
        match field? {
            (1, value) => record.place_basis = text(value, 500)?,
            (2, value) => record.purpose = text(value, 500)?,
            (3, value) => record.scope = text(value, 500)?,
            (4, value) => record.retention_days = value.unsigned()?,
            (5, value) => record.signage_text = text(value, 1_000)?,
            (6, value) => {
                record.signage_date = value.text().filter(|date| date.is_empty() || is_date(date))?.to_owned();
            }
            _ => return None,
        }
    }
    Some(())
}

fn device(message: &[u8]) -> Option<Vec<(&'static str, DeviceValue)>> {
    let mut found = Vec::with_capacity(20);
    let mut last = 0;
    for field in Fields::new(message) {
        let (number, value) = field?;
        if number <= last {
            return None;
        }
        last = number;
        let text = |most| line(value, most).map(DeviceValue::Text);
        let exact = |is_right: fn(&str) -> bool| {
            value.text().filter(|text| text.is_empty() || is_right(text)).map(|text| DeviceValue::Text(text.to_owned()))
        };
        let count = |most| value.unsigned().filter(|number| *number <= most).map(DeviceValue::Count);
        let measure = |most| value.double().filter(|number| (0.0..=most).contains(number)).map(DeviceValue::Measure);
        let (name, value) = match number {
            1 => ("manufacturer", text(128)),
            2 => ("model", text(128)),
            3 => ("mac", exact(is_mac)),
            4 => ("ip_address", exact(|text| text.parse::<Ipv4Addr>().is_ok())),
            5 => ("ptz_type", count(99)),
            6 => ("direction_type", count(99)),
            7 => ("room_type", count(99)),
            8 => ("supply_light_type", count(99)),
            9 => ("point_type", count(99)),
            10 => ("point_common_name", text(128)),
            11 => ("capture_position_type", text(64)),
            12 => ("horizontal_field_angle", measure(360.0)),
            13 => ("max_view_distance_m", measure(100_000.0)),
            14 => ("install_time", exact(is_date)),
            15 => ("management_unit", text(128)),
            16 => ("contact_info", text(128)),
            17 => ("record_save_days", count(36_500)),
            18 => ("industrial_classification", text(16)),
            19 => ("height_m", measure(10_000.0)),
            20 => ("pole_number", text(64)),
            _ => return None,
        };
        let value = value?;
        let is_set = match &value {
            DeviceValue::Text(text) => !text.is_empty(),
            DeviceValue::Count(number) => *number != 0,
            DeviceValue::Measure(number) => *number != 0.0,
        };
        if is_set {
            found.push((name, value));
        }
    }
    found.sort_unstable_by_key(|(name, _)| *name);
    Some(found)
}

fn line(value: Value<'_>, most: usize) -> Option<String> {
    value.text().filter(|text| is_line(text, most)).map(str::to_owned)
}

/// At most so many characters, none of them a control character or a line separator.
fn is_line(text: &str, most: usize) -> bool {
    is_at_most(text, most) && !text.chars().any(|one| one.is_control() || matches!(one, '\u{2028}' | '\u{2029}'))
}

fn is_at_most(text: &str, most: usize) -> bool {
    text.len() <= most || text.chars().count() <= most
}

fn says_something(text: &str) -> bool {
    text.chars().any(|one| !one.is_whitespace() && !one.is_control())
}

fn is_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|octet| octet.is_ascii_digit())
}

fn is_device_id(text: &str) -> bool {
    is_digits(text, 20) && !text.starts_with('0')
}

fn is_mac(text: &str) -> bool {
    text.len() == 17
        && text.bytes().enumerate().all(|(place, octet)| match place % 3 {
            2 => matches!(octet, b':' | b'-'),
            _ => octet.is_ascii_hexdigit(),
        })
}

/// YYYY-MM-DD, of the calendar.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let [year @ .., b'-', m1, m2, b'-', d1, d2] = bytes else { return false };
    if year.len() != 4 || year == b"0000" || ![year, &[*m1, *m2, *d1, *d2]].concat().iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number = |tens: u8, ones: u8| u32::from(tens - b'0') * 10 + u32::from(ones - b'0');
    let (month, day) = (number(*m1, *m2), number(*d1, *d2));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        // The 29th of February is for others to judge.
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// rtsp://host[:port][/path], of the plainest letters.
fn is_address(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("rtsp://").or_else(|| url.strip_prefix("rtsps://")) else { return false };
    if url.len() > 1_024 || !rest.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#') {
        return false;
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port),
        None => (authority, "554"),
    };
    let is_port = port.len() <= 5
        && port.bytes().all(|octet| octet.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    !host.is_empty() && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet)) && is_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_tells_where_its_records_lie() {
        let message = [0x0a, 2, 7, 8, 0x0a, 0, 0x0a, 1, 9, 0x10, 1];
        assert_eq!(batch(&message), Some((vec![2..4, 6..6, 8..9], true)));
        assert_eq!(batch(&message[..9]), Some((vec![2..4, 6..6, 8..9], false)));
        assert_eq!(batch(&[]), Some((vec![], false)));
    }

    #[test]
    fn a_batch_that_holds_more_or_is_cut_short_is_for_others_to_read() {
        for message in [&[0x0a, 2, 7][..], &[0x10, 2], &[0x0a], &[0x08, 1], &[0x1a, 0], &[0x12, 1, 1]] {
            assert_eq!(batch(message), None, "{message:x?}");
        }
    }
}
