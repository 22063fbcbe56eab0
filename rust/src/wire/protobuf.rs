//! The fields of a message of Protocol Buffers, read where they lie and written one after the other: prost's own messages
//! would copy each before it is looked at, or sent.

use std::str;

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// One field's value, by its wire type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

impl<'a> Value<'a> {
    pub fn text(self) -> Option<&'a str> {
        self.bytes().and_then(|bytes| str::from_utf8(bytes).ok())
    }

    pub fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub fn unsigned(self) -> Option<u32> {
        if let Self::Varint(number) = self { u32::try_from(number).ok() } else { None }
    }

    pub fn double(self) -> Option<f64> {
        if let Self::Fixed64(bytes) = self { Some(f64::from_le_bytes(bytes)) } else { None }
    }
}

/// The fields of one message, in the order they stand there: (number, value). Ends with None at the first octet that is
/// out of place.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Octets after the last field that was given.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let (number, kind) = decode_key(&mut self.rest).ok()?;
        let value = match kind {
            WireType::Varint => Value::Varint(decode_varint(&mut self.rest).ok()?),
            WireType::SixtyFourBit => Value::Fixed64(self.take()?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut self.rest).ok()?).ok()?;
                let (head, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                Value::Bytes(head)
            }
            WireType::ThirtyTwoBit => Value::Fixed32(self.take()?),
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        Some((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u32, Value<'a>)>;

    /// Some(None), once, where the message is broken.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let found = self.field();
        if found.is_none() {
            self.rest = &[];
        }
        Some(found)
    }
}

/// Writes a message, field by field in order of their numbers; what is empty or zero is left out, as proto3 has it.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.as_bytes());
        }
    }

    /// Of every whole type without a sign, enums and booleans too.
    pub fn unsigned(&mut self, number: u32, value: impl Into<u64>) {
        let value = value.into();
        if value != 0 {
            encode_key(number, WireType::Varint, &mut self.0);
            encode_varint(value, &mut self.0);
        }
    }

    pub fn double(&mut self, number: u32, value: f64) {
        if value.to_bits() != 0 {
            encode_key(number, WireType::SixtyFourBit, &mut self.0);
            self.0.extend(value.to_le_bytes());
        }
    }

    /// A message within: there even when nothing is in it.
    pub fn message(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(number, &inner.0);
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        encode_varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_zeros_are_left_out() {
        let mut writer = Writer::default();
        writer.text(1, "月湖");
        writer.text(2, "");
        writer.unsigned(3, u64::MAX);
        writer.unsigned(4, false);
        writer.double(5, -0.0);
        writer.double(6, 0.0);
        writer.message(7, |inner| inner.unsigned(1, 7u8));
        writer.message(2_000, |_| {});
        let message = writer.finish();
        let found = read(&message).unwrap();
        let expected = [
            (1, Value::Bytes("月湖".as_bytes())),
            (3, Value::Varint(u64::MAX)),
            (5, Value::Fixed64((-0.0f64).to_le_bytes())),
            (7, Value::Bytes(&[8, 7])),
            (2_000, Value::Bytes(&[])),
        ];
        assert_eq!(found, expected);
    }

    fn read(message: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
        Fields::new(message).collect()
    }

    #[test]
    fn each_wire_type_is_read() {
        let message = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x12, 0x02, b'h', b'i', // 2: text
            0x19, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, // 3: 1.5
            0x25, 1, 2, 3, 4, // 4: fixed32
        ];
        let found = read(&message).unwrap();
        assert_eq!(found[0].1.unsigned(), Some(150));
        assert_eq!(found[1].1.text(), Some("hi"));
        assert_eq!(found[2].1.double(), Some(1.5));
        assert_eq!(found[3], (4, Value::Fixed32([1, 2, 3, 4])));
        assert_eq!(read(&[]).unwrap(), []);
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_broken() {
        for message in [
            &[0x08][..],                                                               // a key alone
            &[0x12, 5, b'h'],                                                          // less than it says
            &[0x19, 0, 0],                                                             // half a double
            &[0x0b],                                                                   // a group
            &[0x00, 0x01],                                                             // field 0
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],       // 65 bits
            &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], // eleven octets
        ] {
            assert_eq!(read(message), None, "{message:x?}");
        }
        assert_eq!(
            read(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).unwrap()[0].1,
            Value::Varint(u64::MAX)
        );
    }
}
