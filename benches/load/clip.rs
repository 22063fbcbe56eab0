//! The clip as a list of pictures, and the send time that travels inside some of them.

use std::ops::Range;
use std::path::Path;

use _core::wire::annex_b::split_annex_b;
use _core::wire::h264::{NalKind, SliceStart};

/// Pictures a second.
pub const FRAME_RATE: u64 = 25;
pub const FRAME_NS: u64 = 1_000_000_000 / FRAME_RATE;
/// Every so many pictures one holds its send time. Not each: the message takes a packet of its own, which none of the
/// cameras that we know sends with every picture.
pub const CLOCK_EVERY: u64 = 12;

/// Marks our message among the user data of a supplemental enhancement information (H.264 §D.2.7).
const UUID: &[u8; 16] = b"vidhubBENCHclock";

/// One picture: its NAL units without start codes.
pub struct Picture {
    pub nals: Vec<Vec<u8>>,
    pub is_key: bool,
}

/// Reads an Annex B file; delimiters, filler and the encoder's own messages are left out.
pub fn read(path: &Path) -> Vec<Picture> {
    let data = std::fs::read(path).expect("the clip is readable");
    let mut pictures = Vec::new();
    let mut nals: Vec<Vec<u8>> = Vec::new();
    for range in split_annex_b(&data) {
        let nal = &data[range];
        let kind = NalKind::of(nal[0]);
        if matches!(kind, NalKind::AccessUnitDelimiter | NalKind::Sei) || nal[0] & 0x1f == 12 {
            continue;
        }
        let has_picture = nals.iter().any(|nal| NalKind::of(nal[0]).is_picture());
        let begins = !kind.is_picture() || SliceStart::read(nal).is_some_and(|slice| slice.first_macroblock == 0);
        if has_picture && begins {
            pictures.push(picture(std::mem::take(&mut nals)));
        }
        nals.push(nal.to_vec());
    }
    pictures.push(picture(nals));
    let first = pictures.iter().position(|picture| picture.is_key).expect("the clip has a keyframe");
    pictures.drain(..first);
    pictures
}

fn picture(nals: Vec<Vec<u8>>) -> Picture {
    let is_key = nals.iter().any(|nal| NalKind::of(nal[0]) == NalKind::Idr);
    Picture { nals, is_key }
}

/// The picture in Annex B and where its NAL units stand, as the hub holds it.
pub fn annex_b(picture: &Picture) -> (Vec<u8>, Vec<Range<u32>>) {
    let mut data = Vec::new();
    let mut places = Vec::new();
    for nal in &picture.nals {
        data.extend_from_slice(&[0, 0, 0, 1]);
        places.push(data.len() as u32..(data.len() + nal.len()) as u32);
        data.extend_from_slice(nal);
    }
    (data, places)
}

/// A NAL unit that holds a send time; hexadecimal, so that no octets need escaping.
pub fn clock_nal(ns: u64) -> Vec<u8> {
    // Type 5, user data unregistered; 32 octets; the stop bit behind them.
    let mut nal = vec![6, 5, 32];
    nal.extend_from_slice(UUID);
    nal.extend_from_slice(format!("{ns:016x}").as_bytes());
    nal.push(0x80);
    nal
}

/// What an H.264 payload (RFC 6184) tells.
pub struct Told {
    /// It begins an IDR picture.
    pub is_key: bool,
    /// The send time in it.
    pub sent_ns: Option<u64>,
}

pub fn inspect(payload: &[u8]) -> Told {
    let mut told = Told { is_key: false, sent_ns: None };
    match payload {
        [first, second, ..] if first & 0x1f == 28 => told.is_key = second & 0x80 != 0 && second & 0x1f == 5,
        [first, rest @ ..] if first & 0x1f == 24 => {
            let mut rest = rest;
            while let [high, low, behind @ ..] = rest {
                let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
                let (nal, behind) = behind.split_at(length);
                look(nal, &mut told);
                rest = behind;
            }
        }
        _ => look(payload, &mut told),
    }
    told
}

fn look(nal: &[u8], told: &mut Told) {
    match nal.first().map(|first| first & 0x1f) {
        Some(5) => told.is_key = true,
        Some(6) if nal.get(3..19) == Some(UUID) => {
            let digits = nal.get(19..35).and_then(|digits| std::str::from_utf8(digits).ok());
            told.sent_ns = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        }
        _ => {}
    }
}
