//! How cameras are asked for: a filter, the scopes it may search, and pages in order of id.

use std::sync::Arc;

use super::row::{Row, State};

/// A place and how far around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circle {
    /// WGS-84 degrees.
    pub latitude: f64,
    pub longitude: f64,
    pub radius_m: f64,
}

/// All given conditions hold together; within a list any entry will do; an empty one asks nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub region_prefix: String,
    pub unit_ids: Vec<String>,
    pub industries: Vec<String>,
    pub place_categories: Vec<u8>,
    pub states: Vec<State>,
    /// Part of the name, the id, or pinyin initials, in any case.
    pub text: String,
    pub within: Option<Circle>,
}

/// Within a list any entry will do; lists given together narrow each other; no list covers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub camera_ids: Vec<String>,
    pub unit_ids: Vec<String>,
    pub region_prefixes: Vec<String>,
    pub industries: Vec<String>,
}

/// Where a query may look at all.
#[derive(Clone, Debug)]
pub enum Candidates {
    All,
    /// The union of the scopes.
    Scopes(Vec<Scope>),
}

/// Cameras in order of id, read from one snapshot.
#[derive(Clone, Debug)]
pub struct Page {
    pub rows: Vec<Row>,
    /// The id to go on from; None when this was the last page.
    pub next_after: Option<String>,
    /// All candidates that match.
    pub total: usize,
    pub epoch: Arc<str>,
    pub revision: u64,
}
