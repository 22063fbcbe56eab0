//! The hub: builds the parts, binds the ports, drains and stops. Owns every thread of the core.

mod options;

pub use options::HubOptions;
