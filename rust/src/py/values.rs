//! The small frozen values that cross the boundary, and their reading from rows of plain ones.

use pyo3::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::gate;
use crate::media::Profile;
use crate::policy::{self, PrincipalKind, Subject};
use crate::registry;

/// (profile, url, username, password, transport)
pub type StreamRow = (u8, String, String, String, u8);

/// As `CameraRow` in `_core.pyi`.
pub type CameraRow = (String, String, String, String, String, u8, f64, f64, bool, u64, Vec<StreamRow>, String);

/// As `GrantRow` in `_core.pyi`.
pub type GrantRow =
    (String, String, String, Vec<String>, Vec<String>, Vec<String>, Vec<String>, Vec<String>, Vec<String>, f64, f64);

fn invalid(what: &'static str, message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, what, message)
}

/// Which of a camera's streams this is.
pub fn profile(number: u8) -> Result<Profile> {
    match number {
        // A camera registered with one nameless stream has a main one.
        0 | 1 => Ok(Profile::Main),
        2 => Ok(Profile::Sub),
        other => Err(invalid("PROFILE_UNKNOWN", format!("a camera's stream is main or sub, not {other}"))),
    }
}

pub fn profile_numbers(row: &registry::Row) -> Vec<u8> {
    row.profiles().into_iter().map(|profile| if profile == Profile::Main { 1 } else { 2 }).collect()
}

/// Which of a camera's streams a session asks for; None: AUTO.
pub fn wanted(number: u8) -> Result<Option<Profile>> {
    match number {
        0 | 3 => Ok(None),
        1 => Ok(Some(Profile::Main)),
        2 => Ok(Some(Profile::Sub)),
        other => Err(invalid("PROFILE_UNKNOWN", format!("no stream profile {other}"))),
    }
}

pub fn camera(row: CameraRow) -> Result<registry::Camera> {
    let (
        id,
        name,
        unit_id,
        region_code,
        industry,
        place_category,
        latitude,
        longitude,
        quarantined,
        revision,
        streams,
        home_hub_id,
    ) = row;
    let streams = streams
        .into_iter()
        .map(|(number, url, username, password, transport)| {
            Ok(registry::CameraStream { profile: profile(number)?, url, username, password, transport })
        })
        .collect::<Result<_>>()?;
    Ok(registry::Camera {
        id,
        name,
        unit_id,
        region_code,
        industry,
        place_category,
        latitude,
        longitude,
        quarantined,
        revision,
        streams,
        home_hub_id,
    })
}

pub fn cameras(rows: Vec<CameraRow>) -> Result<Vec<registry::Camera>> {
    rows.into_iter().map(camera).collect()
}

pub fn grant(row: GrantRow) -> Result<policy::Grant> {
    let (
        id,
        kind,
        subject,
        camera_ids,
        unit_ids,
        region_prefixes,
        industries,
        actions,
        purposes,
        not_before,
        not_after,
    ) = row;
    let subject = Subject::new(&kind, &subject)
        .ok_or_else(|| invalid("SUBJECT_KIND_UNKNOWN", format!("no kind of subject {kind:?}")))?;
    let scope = policy::Scope { camera_ids, unit_ids, region_prefixes, industries };
    Ok(policy::Grant { id, subject, scope, actions, purposes, not_before, not_after })
}

/// (revision, "upserted" | "removed", camera id)
pub type ChangeRow = (u64, String, String);

pub fn change((revision, kind, id): ChangeRow) -> Result<registry::Change> {
    let kind = registry::ChangeKind::from_word(&kind)
        .ok_or_else(|| invalid("CHANGE_KIND_UNKNOWN", format!("no kind of change {kind:?}")))?;
    Ok(registry::Change { revision, kind, id })
}

/// (camera id, state, time, reason)
pub type StateRow = (String, u8, f64, String);

pub fn state((camera, number, time, reason): StateRow) -> Result<(String, registry::State, f64, String)> {
    let state = registry::State::from_number(number.into()).filter(|state| *state != registry::State::Quarantined);
    let state = state.ok_or_else(|| {
        invalid("STATE_UNKNOWN", format!("{number} is no state that a camera is found in: UNKNOWN to INVALID, 1 to 5"))
    })?;
    Ok((camera, state, time, reason))
}

/// (region prefix, unit ids, industries, place categories, states, text, (latitude, longitude, radius in metres))
pub type FilterRow = (String, Vec<String>, Vec<String>, Vec<u8>, Vec<i64>, String, Option<(f64, f64, f64)>);

pub fn filter(row: FilterRow) -> registry::Filter {
    let (region_prefix, unit_ids, industries, place_categories, states, text, within) = row;
    registry::Filter {
        region_prefix,
        unit_ids,
        industries,
        place_categories,
        states: states.into_iter().filter_map(registry::State::from_number).collect(),
        text,
        within: within.map(|(latitude, longitude, radius_m)| registry::Circle { latitude, longitude, radius_m }),
    }
}

pub fn grouping(word: &str, region_digits: usize) -> Result<registry::Grouping> {
    match word {
        "none" => Ok(registry::Grouping::None),
        "region" => Ok(registry::Grouping::Region(region_digits)),
        "unit" => Ok(registry::Grouping::Unit),
        "industry" => Ok(registry::Grouping::Industry),
        other => Err(invalid("GROUPING_UNKNOWN", format!("cameras are not grouped by {other:?}"))),
    }
}

#[pyclass(frozen, module = "vidhub._core")]
pub struct Principal {
    pub inner: policy::Principal,
}

#[pymethods]
impl Principal {
    #[new]
    #[pyo3(signature = (kind, id, *, hub_id = String::new(), unit_id = String::new(), department = String::new(), roles = Vec::new()))]
    fn new(
        kind: &str,
        id: String,
        hub_id: String,
        unit_id: String,
        department: String,
        roles: Vec<String>,
    ) -> PyResult<Self> {
        let kind = PrincipalKind::from_word(kind)
            .ok_or_else(|| invalid("PRINCIPAL_KIND_UNKNOWN", format!("no kind of principal {kind:?}")))?;
        Ok(Self { inner: policy::Principal { kind, id, hub_id, unit_id, department, roles } })
    }
}

#[pyclass(frozen, get_all, module = "vidhub._core")]
pub struct CameraBasic {
    id: String,
    name: String,
    unit_id: String,
    region_code: String,
    industry: String,
    place_category: u8,
    latitude: f64,
    longitude: f64,
    state: u8,
    state_time: f64,
    state_reason: String,
    revision: u64,
    home_hub_id: String,
    profiles: Vec<u8>,
}

impl From<&registry::Row> for CameraBasic {
    fn from(row: &registry::Row) -> Self {
        let status = row.status();
        Self {
            id: row.id().to_owned(),
            name: row.name().to_owned(),
            unit_id: row.unit_id().to_owned(),
            region_code: row.region_code().to_owned(),
            industry: row.industry().to_owned(),
            place_category: row.place_category(),
            latitude: row.latitude(),
            longitude: row.longitude(),
            state: status.state.number(),
            state_time: status.time,
            state_reason: status.reason.to_string(),
            revision: row.revision(),
            home_hub_id: row.home_hub_id().to_owned(),
            profiles: profile_numbers(row),
        }
    }
}

/// (key, least camera id, [(state, cameras)], stale)
type CountRow = (String, String, Vec<(u8, u64)>, u64);

fn count_row(count: registry::Count) -> CountRow {
    let states = registry::State::ALL.iter().zip(count.states).filter(|(_, cameras)| *cameras > 0);
    (count.key, count.first, states.map(|(state, cameras)| (state.number(), cameras)).collect(), count.stale)
}

#[pyclass(frozen, get_all, module = "vidhub._core")]
pub struct CameraCounts {
    groups: Vec<CountRow>,
    left_out: usize,
    total: CountRow,
    epoch: String,
    revision: u64,
}

impl From<registry::Counts> for CameraCounts {
    fn from(counts: registry::Counts) -> Self {
        Self {
            groups: counts.groups.into_iter().map(count_row).collect(),
            left_out: counts.left_out,
            total: count_row(counts.total),
            epoch: counts.epoch.to_string(),
            revision: counts.revision,
        }
    }
}

/// Columns of one length.
#[pyclass(frozen, get_all, module = "vidhub._core")]
pub struct CameraPoints {
    ids: Vec<String>,
    latitudes_e6: Vec<i32>,
    longitudes_e6: Vec<i32>,
    states: Vec<u8>,
    next_after: Option<String>,
    total: usize,
    epoch: String,
    revision: u64,
}

impl From<registry::Page> for CameraPoints {
    fn from(page: registry::Page) -> Self {
        // Saturates, and what is no number becomes 0: positions are validated long before.
        let millionths = |degrees: f64| (degrees * 1e6).round() as i32;
        Self {
            ids: page.rows.iter().map(|row| row.id().to_owned()).collect(),
            latitudes_e6: page.rows.iter().map(|row| millionths(row.latitude())).collect(),
            longitudes_e6: page.rows.iter().map(|row| millionths(row.longitude())).collect(),
            states: page.rows.iter().map(|row| row.status().state.number()).collect(),
            next_after: page.next_after,
            total: page.total,
            epoch: page.epoch.to_string(),
            revision: page.revision,
        }
    }
}

#[pyclass(frozen, get_all, module = "vidhub._core")]
pub struct Decision {
    allowed: bool,
    reason: &'static str,
    rules: Vec<String>,
    grant_id: String,
    valid_until: f64,
}

impl From<policy::Decision> for Decision {
    fn from(decision: policy::Decision) -> Self {
        let policy::Decision { allowed, reason, rules, grant_id, valid_until } = decision;
        Self { allowed, reason, rules, grant_id, valid_until }
    }
}

#[pyclass(frozen, get_all, module = "vidhub._core")]
pub struct Event {
    kind: &'static str,
    subject: String,
    reason: String,
    detail: String,
    number: u64,
    state: u8,
    time: f64,
}

impl From<(std::time::SystemTime, gate::Event)> for Event {
    fn from((time, event): (std::time::SystemTime, gate::Event)) -> Self {
        let time = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let plain = |kind, subject| Self {
            kind,
            subject,
            reason: String::new(),
            detail: String::new(),
            number: 0,
            state: 0,
            time,
        };
        match event {
            gate::Event::SessionEnded { session, reason } => {
                Self { reason: reason.to_owned(), ..plain("session_ended", session) }
            }
            gate::Event::SessionConnected { session, protocol } => {
                Self { detail: protocol.to_owned(), ..plain("session_connected", session) }
            }
            gate::Event::SessionDisconnected { session, protocol } => {
                Self { detail: protocol.to_owned(), ..plain("session_disconnected", session) }
            }
            gate::Event::MediaRefused { camera, session, reason, protocol, address } => {
                let detail = serde_json::json!({ "protocol": protocol, "address": address, "session": session });
                Self { reason: reason.to_owned(), detail: detail.to_string(), ..plain("media_refused", camera) }
            }
            gate::Event::CameraState { camera, number, state, reason } => {
                Self { reason, number, state, ..plain("camera_state", camera) }
            }
            gate::Event::StreamNeed { camera, profile, is_wanted, reason, message } => {
                let detail = serde_json::json!({ "profile": profile, "message": message });
                let kind = if is_wanted { "stream_wanted" } else { "stream_released" };
                Self { reason: reason.to_owned(), detail: detail.to_string(), ..plain(kind, camera) }
            }
            gate::Event::RelayLive { relay } => plain("relay_live", relay),
            gate::Event::RelayEnded { relay, reason, message } => {
                Self { reason: reason.to_owned(), detail: message, ..plain("relay_ended", relay) }
            }
            gate::Event::StreamMedia { camera, profile, codec, width, height } => {
                let detail = serde_json::json!({
                    "profile": profile, "codec": codec, "width": width, "height": height, "frame_rate": 0.0
                });
                Self { detail: detail.to_string(), ..plain("stream_media", camera) }
            }
        }
    }
}
