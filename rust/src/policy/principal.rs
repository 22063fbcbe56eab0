//! Who asks, for what, and about which camera.

/// What kind of caller it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    User,
    Unit,
    Hub,
    System,
}

impl PrincipalKind {
    pub const ALL: [PrincipalKind; 4] = [Self::User, Self::Unit, Self::Hub, Self::System];

    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Unit => "unit",
            Self::Hub => "hub",
            Self::System => "system",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    pub kind: PrincipalKind,
    /// Name of the user, or id of the unit or hub; empty for the system.
    pub id: String,
    /// Empty for this hub.
    pub hub_id: String,
    /// The unit a person belongs to, or the unit itself.
    pub unit_id: String,
    pub department: String,
    pub roles: Vec<String>,
}

impl Principal {
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }

    /// Of a unit itself: its id.
    pub(super) fn own_unit(&self) -> &str {
        if self.unit_id.is_empty() { &self.id } else { &self.unit_id }
    }
}

/// What is asked for. LIST is to know of the camera; VIEW_LIVE and SNAPSHOT are to see it; PUBLISH is to push it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    List,
    ViewLive,
    Snapshot,
    Publish,
}

impl Action {
    pub const ALL: [Action; 4] = [Self::List, Self::ViewLive, Self::Snapshot, Self::Publish];

    /// As grants and metrics write it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::ViewLive => "view_live",
            Self::Snapshot => "snapshot",
            Self::Publish => "publish",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.word() == word)
    }
}

/// A camera as policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    pub id: &'a str,
    /// Empty for this hub.
    pub hub_id: &'a str,
    pub unit_id: &'a str,
    pub region_code: &'a str,
    pub industry: &'a str,
    pub place_category: u8,
    pub quarantined: bool,
    /// A decision is kept until this moves.
    pub revision: u64,
}
