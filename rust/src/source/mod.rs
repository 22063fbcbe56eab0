//! What brings media in: one file per protocol.

mod target;

pub use target::Target;
