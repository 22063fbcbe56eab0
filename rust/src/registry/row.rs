//! What a camera is to the core: the values that come in, and a row read back from a snapshot.

use std::fmt;
use std::sync::Arc;

use super::block::{Block, Fixed};
use super::snapshot::Snapshot;
use super::states::StateLog;
use crate::media::Profile;

/// Numbers as in `vidhub.v1.CameraState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    #[default]
    Unknown = 1,
    Online = 2,
    Offline = 3,
    /// It answers, but refuses our credentials.
    Refused = 4,
    /// It answers, but not with a usable stream.
    Invalid = 5,
    /// Cut off by law or by its owner: a property of the row, never of the state log.
    Quarantined = 6,
}

impl State {
    pub const ALL: [State; 6] =
        [Self::Unknown, Self::Online, Self::Offline, Self::Refused, Self::Invalid, Self::Quarantined];

    pub const fn number(self) -> u8 {
        self as u8
    }

    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| i64::from(state.number()) == number)
    }
}

/// How a camera is, since when, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub state: State,
    pub reason: Arc<str>,
    /// Seconds since 1970; 0 while nothing is known.
    pub time: f64,
}

/// One stream of a camera, with what it takes to dial it.
#[derive(Clone, PartialEq, Eq)]
pub struct CameraStream {
    pub profile: Profile,
    /// Without credentials; empty when the unit pushes.
    pub url: String,
    pub username: String,
    pub password: String,
    /// 0 unspecified, 1 TCP, 2 UDP.
    pub transport: u8,
}

impl fmt::Debug for CameraStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CameraStream")
            .field("profile", &self.profile)
            .field("url", &self.url)
            .field("username", &self.username)
            .field("password", &if self.password.is_empty() { "" } else { "…" })
            .field("transport", &self.transport)
            .finish()
    }
}

/// A camera as the control plane hands it over.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    pub id: String,
    pub name: String,
    pub unit_id: String,
    pub region_code: String,
    pub industry: String,
    pub place_category: u8,
    /// WGS-84 degrees.
    pub latitude: f64,
    pub longitude: f64,
    pub quarantined: bool,
    pub revision: u64,
    pub streams: Vec<CameraStream>,
    /// Empty for this hub.
    pub home_hub_id: String,
}

/// A camera as a snapshot of the registry holds it. It keeps the whole snapshot alive: take what you need and drop it.
#[derive(Clone)]
pub struct Row {
    snapshot: Arc<Snapshot>,
    block: Arc<Block>,
    place: usize,
    fixed: Fixed,
    status: Status,
}

impl Row {
    /// None for an empty slot.
    pub(super) fn new(snapshot: &Arc<Snapshot>, slot: u32, states: &StateLog) -> Option<Self> {
        let (block, place) = snapshot.row(slot)?;
        let fixed = *block.fixed(place).filter(|fixed| fixed.live)?;
        let mut status = states.status(slot, fixed.generation);
        if fixed.quarantined {
            status.state = State::Quarantined;
        }
        Some(Self { snapshot: snapshot.clone(), block: block.clone(), place, fixed, status })
    }

    pub fn id(&self) -> &str {
        self.block.id(self.place)
    }

    pub fn name(&self) -> &str {
        self.block.name(self.place)
    }

    pub fn unit_id(&self) -> &str {
        self.snapshot.units.value(self.fixed.codes.unit).map_or("", |value| value)
    }

    pub fn region_code(&self) -> &str {
        self.snapshot.regions.value(self.fixed.codes.region).map_or("", |value| value)
    }

    pub fn industry(&self) -> &str {
        self.snapshot.industries.value(self.fixed.codes.industry).map_or("", |value| value)
    }

    pub fn place_category(&self) -> u8 {
        self.fixed.place_category
    }

    pub fn latitude(&self) -> f64 {
        self.fixed.latitude
    }

    pub fn longitude(&self) -> f64 {
        self.fixed.longitude
    }

    pub fn is_quarantined(&self) -> bool {
        self.fixed.quarantined
    }

    pub fn revision(&self) -> u64 {
        self.fixed.revision
    }

    /// Empty for this hub.
    pub fn home_hub_id(&self) -> &str {
        self.snapshot.hubs.value(self.fixed.codes.hub).map_or("", |value| value)
    }

    pub fn profiles(&self) -> Vec<Profile> {
        self.block.profiles(self.place)
    }

    /// What to dial for a profile.
    pub fn stream(&self, profile: Profile) -> Option<CameraStream> {
        self.block.streams(self.place).into_iter().find(|stream| stream.profile == profile)
    }

    /// How it was when the row was read; QUARANTINED when the row says so.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// All of it, unpacked.
    pub fn camera(&self) -> Camera {
        Camera {
            id: self.id().to_owned(),
            name: self.name().to_owned(),
            unit_id: self.unit_id().to_owned(),
            region_code: self.region_code().to_owned(),
            industry: self.industry().to_owned(),
            place_category: self.place_category(),
            latitude: self.latitude(),
            longitude: self.longitude(),
            quarantined: self.is_quarantined(),
            revision: self.revision(),
            streams: self.block.streams(self.place),
            home_hub_id: self.home_hub_id().to_owned(),
        }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("id", &self.id()).field("status", &self.status).finish_non_exhaustive()
    }
}
