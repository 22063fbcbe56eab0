//! Grants are data: who may do what with which cameras, for which purposes, until when.

/// Whom a grant is given to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A person of this hub, by name.
    User(String),
    /// Everybody of a department of this hub.
    Department(String),
    /// A linked hub and its people, by id.
    Hub(String),
}

impl Subject {
    /// `kind`: "user", "department" or "hub".
    pub fn new(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "user" => Some(Self::User(name.to_owned())),
            "department" => Some(Self::Department(name.to_owned())),
            "hub" => Some(Self::Hub(name.to_owned())),
            _ => None,
        }
    }
}

/// Within a list any entry will do; lists given together narrow each other; no list covers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub camera_ids: Vec<String>,
    pub unit_ids: Vec<String>,
    pub region_prefixes: Vec<String>,
    pub industries: Vec<String>,
}

/// One grant. Its actions are words of the API in lower case; every one of them includes "list".
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub id: String,
    pub subject: Subject,
    pub scope: Scope,
    pub actions: Vec<String>,
    pub purposes: Vec<String>,
    /// Seconds since 1970: from `not_before`, and before `not_after`.
    pub not_before: f64,
    pub not_after: f64,
}
