//! The one door: what a caller may list and open is settled here, for the API and for every media protocol.

mod door;

pub use door::{Admission, BoxFuture, Door, Proof};
