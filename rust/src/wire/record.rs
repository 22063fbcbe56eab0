//! A camera's record (`vidhub.v1.Camera`) that beyond doubt keeps every rule, read in one go.
//!
//! An import is thousands of good records and a few bad ones. `read` knows the good ones cheaply and says nothing of the
//! others: those go the long way through the rules of `protos/` and `catalogue/rules.py`, which find what is wrong with
//! them or that nothing is. So this is stricter than the rules, never laxer; `tests/unit/catalogue/test_plain.py` holds
//! the two together.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::ops::Range;

use smallvec::SmallVec;

use super::protobuf::{Fields, Value};

const PLACES: std::ops::RangeInclusive<u32> = 1..=12;
/// Order 799, Article 17.
const RETENTION_DAYS: std::ops::RangeInclusive<u32> = 30..=36_500;
/// More than the names of a device's fields and what JSON puts around them take.
const JSON_OCTETS: usize = 512;

/// Where a text lies among those of its record.
#[derive(Clone, Copy, Default)]
struct Text {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Default)]
struct Stream {
    profile: u8,
    url: Text,
    username: Text,
    password: Text,
    transport: u8,
}

/// One stream: the profile is 1 (main) or 2 (sub).
pub struct RecordStream<'a> {
    pub profile: u8,
    pub url: &'a str,
    pub username: &'a str,
    pub password: &'a str,
    pub transport: u8,
}

/// All texts of a record lie in one piece of memory: a string for each of thirty cost more than reading them.
#[derive(Default)]
pub struct Record {
    texts: String,
    id: Text,
    name: Text,
    region_code: Text,
    industry: Text,
    pub place_category: u8,
    pub latitude: f64,
    pub longitude: f64,
    address: Text,
    streams: SmallVec<[Stream; 2]>,
    place_basis: Text,
    purpose: Text,
    scope: Text,
    pub retention_days: u32,
    signage_text: Text,
    signage_date: Text,
    device_json: Text,
}

impl Record {
    /// Empty: the hub is to give one.
    pub fn id(&self) -> &str {
        self.text(self.id)
    }

    pub fn name(&self) -> &str {
        self.text(self.name)
    }

    pub fn region_code(&self) -> &str {
        self.text(self.region_code)
    }

    pub fn industry(&self) -> &str {
        self.text(self.industry)
    }

    pub fn address(&self) -> &str {
        self.text(self.address)
    }

    pub fn streams(&self) -> impl ExactSizeIterator<Item = RecordStream<'_>> {
        self.streams.iter().map(|stream| RecordStream {
            profile: stream.profile,
            url: self.text(stream.url),
            username: self.text(stream.username),
            password: self.text(stream.password),
            transport: stream.transport,
        })
    }

    pub fn place_basis(&self) -> &str {
        self.text(self.place_basis)
    }

    pub fn purpose(&self) -> &str {
        self.text(self.purpose)
    }

    pub fn scope(&self) -> &str {
        self.text(self.scope)
    }

    pub fn signage_text(&self) -> &str {
        self.text(self.signage_text)
    }

    pub fn signage_date(&self) -> &str {
        self.text(self.signage_date)
    }

    /// What is set of the device, as an object of JSON in order of the names.
    pub fn device_json(&self) -> &str {
        self.text(self.device_json)
    }

    fn text(&self, text: Text) -> &str {
        self.texts.get(text.start as usize..text.end as usize).unwrap_or_default()
    }

    fn keep(&mut self, text: &str) -> Text {
        let start = self.texts.len() as u32;
        self.texts.push_str(text);
        Text { start, end: self.texts.len() as u32 }
    }
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
    let mut record = Record { texts: String::with_capacity(message.len() + JSON_OCTETS), ..Record::default() };
    let mut last = 0;
    for field in Fields::new(message) {
        let (number, value) = field?;
        // One after the other and each once, as serialisers write them; only streams repeat.
        if number < last || (number == last && number != 8) {
            return None;
        }
        last = number;
        match number {
            1 => record.id = record.keep(value.text().filter(|id| is_device_id(id))?),
            2 => record.name = record.keep(value.text().filter(|name| is_line(name, 128) && name.trim() == *name)?),
            3 => value.text().filter(|unit| *unit == unit_id).map(drop)?,
            4 => record.region_code = record.keep(value.text().filter(|code| is_digits(code, 6))?),
            5 => record.industry = record.keep(value.text().filter(|code| is_digits(code, 2))?),
            6 => record.place_category = value.unsigned().filter(|place| PLACES.contains(place))? as u8,
            7 => location(value.bytes()?, &mut record)?,
            8 => {
                let stream = stream(value.bytes()?, &mut record)?;
                record.streams.push(stream);
            }
            9 => legal(value.bytes()?, &mut record)?,
            10 => record.device_json = device(value.bytes()?, &mut record)?,
            _ => return None,
        }
    }
    if last < 10 {
        record.device_json = record.keep("{}");
    }
    let profiles: SmallVec<[u8; 2]> = record.streams.iter().map(|stream| stream.profile).collect();
    let is_whole = !record.name().is_empty()
        && !record.region_code().is_empty()
        && !record.industry().is_empty()
        && record.place_category != 0
        && (record.latitude != 0.0 || record.longitude != 0.0)
        && matches!(profiles[..], [1] | [2] | [1, 2] | [2, 1])
        && [record.place_basis(), record.purpose(), record.scope()].into_iter().all(says_something)
        && RETENTION_DAYS.contains(&record.retention_days);
    is_whole.then_some(record)
}

fn location(message: &[u8], record: &mut Record) -> Option<()> {
    for field in Fields::new(message) {
        match field? {
            (1, value) => record.latitude = value.double().filter(|degrees| degrees.abs() <= 90.0)?,
            (2, value) => record.longitude = value.double().filter(|degrees| degrees.abs() <= 180.0)?,
            (3, value) => record.address = record.keep(line(value, 256)?),
            _ => return None,
        }
    }
    Some(())
}

fn stream(message: &[u8], record: &mut Record) -> Option<Stream> {
    let mut stream = Stream::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => stream.profile = value.unsigned().filter(|profile| matches!(profile, 1 | 2))? as u8,
            (2, value) => {
                stream.url = record.keep(value.text().filter(|url| url.is_empty() || is_address(url))?);
            }
            (3, value) => stream.username = record.keep(line(value, 128)?),
            (4, value) => stream.password = record.keep(line(value, 256)?),
            (5, value) => stream.transport = value.unsigned().filter(|transport| *transport <= 2)? as u8,
            _ => return None,
        }
    }
    let has_user = record.text(stream.password).is_empty() || !record.text(stream.username).is_empty();
    (stream.profile != 0 && has_user).then_some(stream)
}

fn legal(message: &[u8], record: &mut Record) -> Option<()> {
    let mut keep = |value: Value<'_>, most| {
        let text = value.text().filter(|text| is_at_most(text, most))?;
        Some(record.keep(text))
    };
    let (mut basis, mut purpose, mut scope, mut sign, mut date) = Default::default();
    let mut retention_days = 0;
    for field in Fields::new(message) {
        match field? {
            (1, value) => basis = keep(value, 500)?,
            (2, value) => purpose = keep(value, 500)?,
            (3, value) => scope = keep(value, 500)?,
            (4, value) => retention_days = value.unsigned()?,
            (5, value) => sign = keep(value, 1_000)?,
            (6, value) => {
                value.text().filter(|date| date.is_empty() || is_date(date))?;
                date = keep(value, 10)?;
            }
            _ => return None,
        }
    }
    (record.place_basis, record.purpose, record.scope) = (basis, purpose, scope);
    (record.retention_days, record.signage_text, record.signage_date) = (retention_days, sign, date);
    Some(())
}

#[derive(Clone, Copy)]
enum DeviceValue<'a> {
    Text(&'a str),
    Count(u32),
    Measure(f64),
}

/// The fields of `vidhub.v1.DeviceRecord`, in order of the name: (number, name).
const DEVICE: [(usize, &str); 20] = [
    (11, "capture_position_type"),
    (16, "contact_info"),
    (6, "direction_type"),
    (19, "height_m"),
    (12, "horizontal_field_angle"),
    (18, "industrial_classification"),
    (14, "install_time"),
    (4, "ip_address"),
    (3, "mac"),
    (15, "management_unit"),
    (1, "manufacturer"),
    (13, "max_view_distance_m"),
    (2, "model"),
    (10, "point_common_name"),
    (9, "point_type"),
    (20, "pole_number"),
    (5, "ptz_type"),
    (17, "record_save_days"),
    (7, "room_type"),
    (8, "supply_light_type"),
];

/// Keeps the device as JSON, without what is empty or zero.
fn device(message: &[u8], record: &mut Record) -> Option<Text> {
    let mut found: [Option<DeviceValue<'_>>; DEVICE.len() + 1] = [None; DEVICE.len() + 1];
    let mut last = 0;
    for field in Fields::new(message) {
        let (number, value) = field?;
        if number <= last {
            return None;
        }
        last = number;
        let value = device_value(number, value)?;
        let is_set = match value {
            DeviceValue::Text(text) => !text.is_empty(),
            DeviceValue::Count(number) => number != 0,
            DeviceValue::Measure(number) => number != 0.0,
        };
        *found.get_mut(number as usize)? = is_set.then_some(value);
    }
    let start = record.texts.len() as u32;
    let json = &mut record.texts;
    json.push('{');
    for (number, name) in DEVICE {
        let Some(value) = found.get(number).copied().flatten() else { continue };
        // Names need no escape.
        json.push_str(if json.len() == start as usize + 1 { "\"" } else { ",\"" });
        json.push_str(name);
        json.push_str("\":");
        // Writing to a string does not fail.
        let _ = match value {
            DeviceValue::Text(text) => {
                json.push('"');
                escape(text, json);
                json.write_char('"')
            }
            DeviceValue::Count(number) => write!(json, "{number}"),
            // With its fraction, as in 4.0: what it is read as again is a double too.
            DeviceValue::Measure(number) => write!(json, "{number:?}"),
        };
    }
    json.push('}');
    Some(Text { start, end: json.len() as u32 })
}

fn device_value(number: u32, value: Value<'_>) -> Option<DeviceValue<'_>> {
    let text = |most| line(value, most).map(DeviceValue::Text);
    let exact = |is_right: fn(&str) -> bool| {
        value.text().filter(|text| text.is_empty() || is_right(text)).map(DeviceValue::Text)
    };
    let count = |most| value.unsigned().filter(|number| *number <= most).map(DeviceValue::Count);
    let measure = |most| value.double().filter(|number| (0.0..=most).contains(number)).map(DeviceValue::Measure);
    match number {
        1 | 2 | 10 | 15 | 16 => text(128),
        3 => exact(is_mac),
        4 => exact(|text| text.parse::<Ipv4Addr>().is_ok()),
        5..=9 => count(99),
        11 | 20 => text(64),
        12 => measure(360.0),
        13 => measure(100_000.0),
        14 => exact(is_date),
        17 => count(36_500),
        18 => text(16),
        19 => measure(10_000.0),
        _ => None,
    }
}

/// A text without control characters, within the quotes of JSON.
fn escape(text: &str, json: &mut String) {
    let mut rest = text;
    while let Some(place) = rest.bytes().position(|octet| matches!(octet, b'"' | b'\\')) {
        let (plain, special) = rest.split_at(place);
        let (special, after) = special.split_at(1);
        json.push_str(plain);
        json.push('\\');
        json.push_str(special);
        rest = after;
    }
    json.push_str(rest);
}

fn line(value: Value<'_>, most: usize) -> Option<&str> {
    value.text().filter(|text| is_line(text, most))
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
    if year.len() != 4 || year == b"0000" || !year.iter().chain([m1, m2, d1, d2]).all(u8::is_ascii_digit) {
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
    fn a_device_is_kept_as_json_of_what_is_set() {
        let mut writer = super::super::protobuf::Writer::default();
        writer.text(1, r#"a"\b"#);
        writer.unsigned(5, 3u32);
        writer.text(16, "月湖");
        writer.double(19, 4.0);
        let mut record = Record::default();
        record.device_json = device(&writer.finish(), &mut record).unwrap();
        let json = r#"{"contact_info":"月湖","height_m":4.0,"manufacturer":"a\"\\b","ptz_type":3}"#;
        assert_eq!(record.device_json(), json);
        record.device_json = device(&[], &mut record).unwrap();
        assert_eq!(record.device_json(), "{}");
    }

    #[test]
    fn the_fields_of_a_device_stand_in_order_of_their_names() {
        assert!(DEVICE.is_sorted_by_key(|(_, name)| *name));
        let mut numbers: Vec<usize> = DEVICE.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(1..=DEVICE.len()));
    }

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
