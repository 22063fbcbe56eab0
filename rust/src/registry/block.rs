//! Rows packed: 256 cameras in one block, their fixed parts in one array and their texts in one buffer.
//!
//! A block carries a signature of the one- and two-letter pieces of its names, ids and initials, so that a search by text
//! passes over blocks that can't hold what is wanted.

use super::pinyin;
use super::row::{Camera, CameraStream};
use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;

pub const BLOCK: usize = 256;

/// Longest text of a row. The control plane validates far below; this keeps lengths in two bytes.
const MAX_TEXT: usize = 8192;
const MAX_STREAMS: usize = 8;

/// Codes of a row's values in the snapshot's indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codes {
    pub unit: u32,
    pub region: u32,
    pub industry: u32,
    pub hub: u32,
    pub cell: u32,
}

/// The part of a row that has a fixed size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fixed {
    pub latitude: f64,
    pub longitude: f64,
    pub revision: u64,
    pub codes: Codes,
    pub(super) end: u32,
    pub place_category: u8,
    /// Which use of the slot this is: the state log's cell of a former use is not ours.
    pub generation: u8,
    pub quarantined: bool,
    pub live: bool,
}

/// The texts of a camera in one run of bytes, each with its length in front.
pub struct Packed(Vec<u8>);

impl Packed {
    /// Errors: CAMERA_TOO_LONG (InvalidArgument).
    pub fn new(camera: &Camera) -> Result<Self> {
        if camera.streams.len() > MAX_STREAMS {
            return Err(too_long(&camera.id, "streams"));
        }
        let mut writer = Writer { bytes: Vec::with_capacity(192), id: &camera.id };
        let folded = fold(&camera.name);
        writer.text("id", &camera.id)?;
        writer.text("name", &camera.name)?;
        writer.text("name", if folded == camera.name { "" } else { &folded })?;
        writer.text("name", &pinyin::initials(&camera.name))?;
        writer.bytes.push(camera.streams.len() as u8);
        let mut last: Option<&CameraStream> = None;
        for stream in &camera.streams {
            // A sub stream mostly differs from the main one in the last letters of its URL.
            let shared = last.map_or(0, |last| common_prefix(&last.url, &stream.url));
            let same = last.is_some_and(|last| last.username == stream.username && last.password == stream.password);
            let profile = u8::from(stream.profile == Profile::Sub);
            writer.bytes.push(profile | u8::from(same) << 1 | (stream.transport & 3) << 2);
            writer.bytes.extend((shared as u16).to_le_bytes());
            writer.text("url", stream.url.get(shared..).unwrap_or_default())?;
            if !same {
                writer.text("username", &stream.username)?;
                writer.text("password", &stream.password)?;
            }
            last = Some(stream);
        }
        Ok(Self(writer.bytes))
    }
}

struct Writer<'a> {
    bytes: Vec<u8>,
    id: &'a str,
}

impl Writer<'_> {
    /// Seven bits of length in one byte, fifteen in two.
    fn text(&mut self, field: &str, text: &str) -> Result<()> {
        if text.len() > MAX_TEXT {
            return Err(too_long(self.id, field));
        }
        if text.len() < 0x80 {
            self.bytes.push(text.len() as u8);
        } else {
            self.bytes.extend([0x80 | (text.len() >> 8) as u8, text.len() as u8]);
        }
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn too_long(id: &str, field: &str) -> Error {
    let id: String = id.chars().take(64).collect();
    Error::new(ErrorKind::InvalidArgument, "CAMERA_TOO_LONG", format!("camera {id}: {field} is too long"))
}

fn common_prefix(one: &str, other: &str) -> usize {
    let mut shared = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    while !other.is_char_boundary(shared) {
        shared -= 1;
    }
    shared
}

/// Letters without their case, one by one, so that what is folded in part equals a part of what is folded.
pub fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Reads what `Packed` wrote. What can't be read is empty: the bytes are ours, so that does not happen.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn bytes(&mut self) -> &'a [u8] {
        let first = usize::from(self.byte());
        let len = if first < 0x80 { first } else { (first & 0x7f) << 8 | usize::from(self.byte()) };
        self.take(len)
    }

    fn text(&mut self) -> &'a str {
        str::from_utf8(self.bytes()).unwrap_or_default()
    }
}

/// What a search by text looks for.
pub struct Needle {
    folded: String,
    /// As initials, when it could be some.
    initials: Option<String>,
    grams: Vec<u16>,
}

impl Needle {
    /// None when there is nothing to look for.
    pub fn new(text: &str) -> Option<Self> {
        let folded = fold(text.trim());
        if folded.is_empty() {
            return None;
        }
        let initials = folded.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| folded.clone());
        let mut grams = Vec::new();
        each_gram(&folded, &mut |gram| grams.push(gram));
        Some(Self { folded, initials, grams })
    }
}

const GRAM_WORDS: usize = 128;

fn each_gram(text: &str, note: &mut impl FnMut(u16)) {
    let mut last = 0;
    for character in text.chars().map(u32::from) {
        note(gram(0, character));
        if last != 0 {
            note(gram(last, character));
        }
        last = character;
    }
}

/// A place in the signature for a pair of characters; `first` 0 for a single one.
fn gram(first: u32, second: u32) -> u16 {
    let mixed = (u64::from(first) << 32 | u64::from(second)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 51) as u16
}

#[derive(Clone)]
struct Signature(Box<[u64; GRAM_WORDS]>);

impl Signature {
    fn note(&mut self, gram: u16) {
        if let Some(word) = self.0.get_mut(usize::from(gram) / 64) {
            *word |= 1 << (gram % 64);
        }
    }

    fn sign(&mut self, mut row: Reader<'_>) {
        let (id, name, folded, initials) = (row.text(), row.text(), row.text(), row.text());
        let mut note = |gram| self.note(gram);
        each_gram(&id.to_ascii_lowercase(), &mut note);
        each_gram(if folded.is_empty() { name } else { folded }, &mut note);
        let mut last = "";
        for letters in pinyin::readings(initials) {
            for letter in letters.chars().map(|letter| u32::from(letter.to_ascii_lowercase())) {
                note(gram(0, letter));
                last.chars().for_each(|before| note(gram(u32::from(before.to_ascii_lowercase()), letter)));
            }
            last = letters;
        }
    }

    fn holds(&self, gram: u16) -> bool {
        self.0.get(usize::from(gram) / 64).is_some_and(|word| word & 1 << (gram % 64) != 0)
    }
}

#[derive(Clone)]
pub struct Block {
    fixed: Vec<Fixed>,
    bytes: Vec<u8>,
    signature: Signature,
    /// Rows replaced since the signature was made: it only ever gains pieces, so from time to time it is made anew.
    replaced: u16,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            fixed: Vec::with_capacity(BLOCK),
            bytes: Vec::new(),
            signature: Signature(Box::new([0; GRAM_WORDS])),
            replaced: 0,
        }
    }
}

impl Block {
    pub fn fixed(&self, place: usize) -> Option<&Fixed> {
        self.fixed.get(place)
    }

    /// Puts a row at a place; places before it that were never used become empty ones.
    pub fn set(&mut self, place: usize, mut fixed: Fixed, packed: &Packed) {
        let empty = Fixed { end: self.bytes.len() as u32, ..Fixed::default() };
        if place >= self.fixed.len() {
            self.fixed.resize(place + 1, empty);
        }
        let (start, end) = self.range(place);
        self.bytes.splice(start..end, packed.0.iter().copied());
        self.shift(place, packed.0.len() as i64 - (end - start) as i64);
        fixed.live = true;
        if let Some(row) = self.fixed.get_mut(place) {
            fixed.end = row.end;
            *row = fixed;
        }
        if end > start {
            self.replaced += 1;
        }
        if usize::from(self.replaced) >= BLOCK {
            self.sign_anew();
        } else {
            self.sign(place);
        }
    }

    pub fn clear(&mut self, place: usize) {
        let (start, end) = self.range(place);
        self.bytes.drain(start..end);
        self.shift(place, -((end - start) as i64));
        if let Some(row) = self.fixed.get_mut(place) {
            *row = Fixed { end: row.end, ..Fixed::default() };
        }
        self.replaced += 1;
        if usize::from(self.replaced) >= BLOCK {
            self.sign_anew();
        }
    }

    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    fn range(&self, place: usize) -> (usize, usize) {
        let end_of = |place: usize| self.fixed.get(place).map_or(self.bytes.len(), |row| row.end as usize);
        (place.checked_sub(1).map_or(0, end_of), end_of(place))
    }

    fn shift(&mut self, place: usize, by: i64) {
        for row in self.fixed.iter_mut().skip(place) {
            row.end = (i64::from(row.end) + by) as u32;
        }
    }

    fn reader(&self, place: usize) -> Reader<'_> {
        let (start, end) = self.range(place);
        Reader(self.bytes.get(start..end).unwrap_or_default())
    }

    fn sign_anew(&mut self) {
        self.signature.0.fill(0);
        self.replaced = 0;
        (0..self.fixed.len()).for_each(|place| self.sign(place));
    }

    fn sign(&mut self, place: usize) {
        let (start, end) = self.range(place);
        self.signature.sign(Reader(self.bytes.get(start..end).unwrap_or_default()));
    }

    /// False when no row of the block can match.
    pub fn may_match(&self, needle: &Needle) -> bool {
        needle.grams.iter().all(|gram| self.signature.holds(*gram))
    }

    pub fn matches(&self, place: usize, needle: &Needle) -> bool {
        let mut reader = self.reader(place);
        let (id, name, folded, initials) = (reader.bytes(), reader.text(), reader.text(), reader.text());
        let name = if folded.is_empty() { name } else { folded };
        name.contains(needle.folded.as_str())
            || id.windows(needle.folded.len()).any(|part| part.eq_ignore_ascii_case(needle.folded.as_bytes()))
            || needle.initials.as_ref().is_some_and(|wanted| pinyin::matches(initials, wanted))
    }

    pub fn id(&self, place: usize) -> &str {
        self.reader(place).text()
    }

    pub fn name(&self, place: usize) -> &str {
        let mut reader = self.reader(place);
        reader.bytes();
        reader.text()
    }

    pub fn streams(&self, place: usize) -> Vec<CameraStream> {
        let mut reader = self.reader(place);
        for _ in 0..4 {
            reader.bytes();
        }
        let count = usize::from(reader.byte());
        let mut streams: Vec<CameraStream> = Vec::with_capacity(count);
        for _ in 0..count.min(MAX_STREAMS) {
            let flags = reader.byte();
            let shared = usize::from(reader.byte()) | usize::from(reader.byte()) << 8;
            let last = streams.last();
            let mut url = last.and_then(|last| last.url.get(..shared)).unwrap_or_default().to_owned();
            url.push_str(reader.text());
            let (username, password) = match last {
                Some(last) if flags & 2 != 0 => (last.username.clone(), last.password.clone()),
                _ => (reader.text().to_owned(), reader.text().to_owned()),
            };
            let profile = if flags & 1 == 0 { Profile::Main } else { Profile::Sub };
            streams.push(CameraStream { profile, url, username, password, transport: flags >> 2 & 3 });
        }
        streams
    }

    /// Which profiles there are, without unpacking what it takes to dial them.
    pub fn profiles(&self, place: usize) -> Vec<Profile> {
        self.streams(place).into_iter().map(|stream| stream.profile).collect()
    }
}
