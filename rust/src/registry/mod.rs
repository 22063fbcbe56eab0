//! Which cameras there are: every row packed in memory, found by any of its properties, read by snapshot.

mod block;
mod cameras;
mod changes;
mod chunked;
mod counts;
mod index;
mod pinyin;
#[cfg(test)]
mod plain;
mod query;
mod row;
mod snapshot;
mod states;

pub use cameras::Registry;
pub use changes::{Change, ChangeKind, MAX_CHANGES};
pub use counts::{Count, Counts, Grouping, MOST_GROUPS};
pub use query::{Candidates, Circle, Filter, Page, Scope};
pub use row::{Camera, CameraStream, Row, State, Status};
pub use states::{MAX_STATES, StateChange};
