//! Values of the media plane: codecs, tracks, access units and time. No bytes of any protocol, no sockets, no clock.

mod clock_rate;
mod codec;
pub mod timeline;
mod track;
mod unit;

pub use codec::{Codec, MediaKind};
pub use track::{CodecParameters, Profile, Track};
pub use unit::AccessUnit;
