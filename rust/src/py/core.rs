//! `Core`: the hub's core as Python sees it. Calls give a command or read a figure, and return at once.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::frames::FrameReader;
use super::pages::CameraPage;
use super::records::PlainRecord;
use super::values::{
    self, CameraBasic, CameraCounts, CameraPoints, CameraRow, ChangeRow, Decision, Event, FilterRow, GrantRow,
    Principal, StateRow,
};
use crate::error::{Error, ErrorKind, reason_word};
use crate::gate::{self, SessionSpec};
use crate::hub::{Hub, HubOptions};
use crate::peer::Peer;
use crate::policy::Action;
use crate::telemetry::{self, DropReason, FIRST_PICTURE_BUCKETS_S, Protocol, SinkKind, SourceKind, Verdict};

#[pyclass(frozen, module = "vidhub._core")]
pub struct Core {
    hub: Hub,
}

#[pymethods]
impl Core {
    #[new]
    fn new(py: Python<'_>, options_json: &str) -> PyResult<Self> {
        let options = HubOptions::parse(options_json)?;
        Ok(Self { hub: py.detach(|| Hub::new(options))? })
    }

    fn start(&self, py: Python<'_>) -> PyResult<HashMap<&'static str, Option<String>>> {
        Ok(py.detach(|| self.hub.start())?)
    }

    #[pyo3(signature = (ready, /))]
    fn set_ready(&self, ready: bool) {
        self.hub.set_ready(ready);
    }

    #[pyo3(signature = (timeout_s, /))]
    fn drain(&self, py: Python<'_>, timeout_s: f64) {
        let timeout = if timeout_s.is_nan() { 0.0 } else { timeout_s.clamp(0.0, 3600.0) };
        py.detach(|| self.hub.drain(Duration::from_secs_f64(timeout)));
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.hub.stop());
    }

    fn event_fd(&self) -> i32 {
        self.hub.gate().events.fd()
    }

    #[pyo3(signature = (limit, /))]
    fn next_events(&self, py: Python<'_>, limit: usize) -> Vec<Event> {
        py.detach(|| self.hub.gate().events.take(limit)).into_iter().map(Event::from).collect()
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let figures = self.hub.telemetry();
        let all = PyDict::new(py);
        let streams: Vec<_> =
            SourceKind::ALL.iter().map(|kind| (kind.word(), figures.streams(*kind).load(Relaxed))).collect();
        let sinks: Vec<_> =
            SinkKind::ALL.iter().map(|kind| (kind.word(), figures.sinks(*kind).load(Relaxed))).collect();
        let mut flows = Vec::new();
        for direction in telemetry::Direction::ALL {
            for protocol in Protocol::ALL {
                let flow = figures.flow(*direction, *protocol);
                flows.push((direction.word(), protocol.word(), flow.bytes.load(Relaxed), flow.packets.load(Relaxed)));
            }
        }
        let dropped: Vec<_> =
            DropReason::ALL.iter().map(|reason| (reason.word(), figures.dropped(*reason).load(Relaxed))).collect();
        let mut authorisations = Vec::new();
        for verdict in Verdict::ALL {
            for action in telemetry::Action::ALL {
                let count = figures.authorisations(*verdict, *action).load(Relaxed);
                authorisations.push((verdict.word(), action.word(), count));
            }
        }
        let (buckets, sum) = figures.first_picture.read();
        all.set_item("streams", streams)?;
        all.set_item("sinks", sinks)?;
        all.set_item("flows", flows)?;
        all.set_item("dropped", dropped)?;
        let lost: Vec<_> =
            Protocol::ALL.iter().map(|protocol| (protocol.word(), figures.lost(*protocol).load(Relaxed))).collect();
        all.set_item("lost", lost)?;
        all.set_item("authorisations", authorisations)?;
        let links = figures.links().into_iter().map(|(hub, direction, octets)| (hub, direction.word(), octets));
        all.set_item("links", links.collect::<Vec<_>>())?;
        all.set_item("source_reconnects", figures.source_reconnects.load(Relaxed))?;
        all.set_item("first_picture", (FIRST_PICTURE_BUCKETS_S.to_vec(), buckets, sum))?;
        Ok(all)
    }

    // The registry.

    #[pyo3(signature = (epoch, revision, cameras, changes, /))]
    fn load(
        &self,
        py: Python<'_>,
        epoch: &str,
        revision: u64,
        cameras: Vec<CameraRow>,
        changes: Vec<ChangeRow>,
    ) -> PyResult<()> {
        Ok(py.detach(|| {
            let changes = changes.into_iter().map(values::change).collect::<Result<_, _>>()?;
            self.hub.load(epoch, revision, values::cameras(cameras)?, changes)
        })?)
    }

    #[pyo3(signature = (revision, upserts, removed, /))]
    fn apply_cameras(
        &self,
        py: Python<'_>,
        revision: u64,
        upserts: Vec<CameraRow>,
        removed: Vec<String>,
    ) -> PyResult<()> {
        Ok(py.detach(|| self.hub.apply_cameras(revision, values::cameras(upserts)?, &removed))?)
    }

    #[pyo3(signature = (revision, records, ids, unit_id, upserts, /))]
    fn apply_records(
        &self,
        py: Python<'_>,
        revision: u64,
        records: Vec<Py<PlainRecord>>,
        ids: Vec<String>,
        unit_id: &str,
        upserts: Vec<CameraRow>,
    ) -> PyResult<()> {
        Ok(py.detach(|| {
            let mut all = values::cameras(upserts)?;
            all.extend(super::records::cameras(&records, ids, unit_id, revision)?);
            self.hub.apply_cameras(revision, all, &[])
        })?)
    }

    #[expect(clippy::too_many_arguments, reason = "each is a keyword of the Python call")]
    #[pyo3(signature = (principal, /, *, region_prefix = String::new(), unit_ids = Vec::new(), industries = Vec::new(),
        place_categories = Vec::new(), states = Vec::new(), text = String::new(), within = None, limit = 100, after = ""))]
    fn list_cameras(
        &self,
        py: Python<'_>,
        principal: &Principal,
        region_prefix: String,
        unit_ids: Vec<String>,
        industries: Vec<String>,
        place_categories: Vec<u8>,
        states: Vec<i64>,
        text: String,
        within: Option<(f64, f64, f64)>,
        limit: usize,
        after: &str,
    ) -> CameraPage {
        let filter = values::filter((region_prefix, unit_ids, industries, place_categories, states, text, within));
        py.detach(|| self.hub.gate().list(&principal.inner, &filter, after, limit)).into()
    }

    #[pyo3(signature = (principal, wanted, grouping, region_digits, stale, /))]
    fn count_cameras(
        &self,
        py: Python<'_>,
        principal: &Principal,
        wanted: FilterRow,
        grouping: &str,
        region_digits: usize,
        stale: Vec<String>,
    ) -> PyResult<CameraCounts> {
        let filter = values::filter(wanted);
        let grouping = values::grouping(grouping, region_digits)?;
        Ok(py.detach(|| self.hub.gate().count(&principal.inner, &filter, grouping, &stale)).into())
    }

    #[pyo3(signature = (principal, wanted, limit, after, /))]
    fn list_points(
        &self,
        py: Python<'_>,
        principal: &Principal,
        wanted: FilterRow,
        limit: usize,
        after: &str,
    ) -> CameraPoints {
        let filter = values::filter(wanted);
        py.detach(|| CameraPoints::from(self.hub.gate().list_alike(&principal.inner, &filter, after, limit)))
    }

    #[pyo3(signature = (principal, camera_id, /))]
    fn get_camera(&self, principal: &Principal, camera_id: &str) -> PyResult<CameraBasic> {
        // Attached, like all that takes microseconds: an interpreter that is let go of comes back in its turn only.
        let row = self.hub.gate().get(&principal.inner, camera_id)?;
        Ok(CameraBasic::from(&row))
    }

    #[pyo3(signature = (camera_id, /))]
    fn is_foreign(&self, camera_id: &str) -> PyResult<bool> {
        Ok(self.hub.gate().is_of_other_hub(camera_id)?)
    }

    #[pyo3(signature = (epoch, revision, limit, /))]
    fn changes_since(
        &self,
        py: Python<'_>,
        epoch: &str,
        revision: u64,
        limit: usize,
    ) -> PyResult<Vec<(u64, &'static str, String)>> {
        let changes = py.detach(|| self.hub.gate().registry.changes_since(epoch, revision, limit))?;
        Ok(changes.into_iter().map(|change| (change.revision, change.kind.word(), change.id)).collect())
    }

    #[pyo3(signature = (number, limit, /))]
    fn states_since(&self, py: Python<'_>, number: u64, limit: usize) -> (Vec<(u64, String, u8, String)>, bool) {
        let (states, is_complete) = py.detach(|| self.hub.gate().registry.states_since(number, limit));
        let rows = states
            .into_iter()
            .map(|change| (change.number, change.id, change.state.number(), change.reason.to_string()))
            .collect();
        (rows, is_complete)
    }

    #[pyo3(signature = (camera_id, /))]
    fn probe_now(&self, camera_id: &str) {
        self.hub.probe_now(camera_id);
    }

    #[pyo3(signature = (camera_id, profile, /))]
    fn examine_camera(
        &self,
        py: Python<'_>,
        camera_id: &str,
        profile: u8,
    ) -> PyResult<Vec<(&'static str, &'static str, String)>> {
        let profile = values::profile(profile)?;
        let hops = py.detach(|| self.hub.examine_camera(camera_id, profile))?;
        Ok(hops.into_iter().map(|hop| (hop.name, hop.reason, hop.message)).collect())
    }

    #[pyo3(signature = (states, /))]
    fn apply_states(&self, py: Python<'_>, states: Vec<StateRow>) -> PyResult<usize> {
        Ok(py.detach(|| {
            let states = states.into_iter().map(values::state).collect::<Result<_, _>>()?;
            Ok::<_, Error>(self.hub.gate().apply_states(states))
        })?)
    }

    fn counts(&self) -> HashMap<&'static str, usize> {
        self.hub.counts()
    }

    fn camera_counts(&self, py: Python<'_>) -> Vec<(u8, String, String, usize)> {
        let counts = py.detach(|| self.hub.gate().registry.camera_counts());
        counts
            .into_iter()
            .map(|(state, region, industry, cameras)| {
                (state.number(), region.to_string(), industry.to_string(), cameras)
            })
            .collect()
    }

    // Policy.

    #[pyo3(signature = (grants, /))]
    fn load_grants(&self, py: Python<'_>, grants: Vec<GrantRow>) -> PyResult<()> {
        let grants = grants.into_iter().map(values::grant).collect::<Result<_, _>>()?;
        py.detach(|| self.hub.gate().load_grants(grants));
        Ok(())
    }

    #[pyo3(signature = (grant, /))]
    fn apply_grant(&self, py: Python<'_>, grant: GrantRow) -> PyResult<()> {
        let grant = values::grant(grant)?;
        py.detach(|| self.hub.gate().apply_grant(grant));
        Ok(())
    }

    #[pyo3(signature = (grant_id, reason, /))]
    fn remove_grant(&self, py: Python<'_>, grant_id: &str, reason: &str) {
        py.detach(|| self.hub.gate().remove_grant(grant_id, gate::end_reason(reason)));
    }

    #[pyo3(signature = (principal, action, camera_id, purpose, /))]
    fn authorise(&self, principal: &Principal, action: &str, camera_id: &str, purpose: &str) -> PyResult<Decision> {
        let action = Action::from_word(action).ok_or_else(|| {
            Error::new(ErrorKind::Unimplemented, "ACTION_NOT_SERVED", format!("no action {action:?} here yet"))
        })?;
        Ok(self.hub.gate().authorise(&principal.inner, action, camera_id, purpose)?.into())
    }

    #[pyo3(signature = (principal, subject_user, subject_department, /))]
    fn may_grant(
        &self,
        py: Python<'_>,
        principal: &Principal,
        subject_user: &str,
        subject_department: &str,
    ) -> Decision {
        py.detach(|| self.hub.gate().policy.may_grant(&principal.inner, subject_user, subject_department)).into()
    }

    // Sessions and tickets.

    #[expect(clippy::too_many_arguments, reason = "each is a keyword of the Python call")]
    #[pyo3(signature = (session_id, principal, camera_id, *, profile, purpose, grant_id, expire_time, rtsp_user,
        rtsp_password, connections = 1))]
    fn open_session(
        &self,
        session_id: String,
        principal: &Principal,
        camera_id: String,
        profile: u8,
        purpose: String,
        grant_id: String,
        expire_time: f64,
        rtsp_user: String,
        rtsp_password: String,
        connections: usize,
    ) -> PyResult<()> {
        let spec = SessionSpec {
            id: session_id,
            principal: principal.inner.clone(),
            camera: camera_id,
            profile: values::wanted(profile)?,
            purpose,
            grant: grant_id,
            expires: gate::moment(expire_time),
            rtsp_user,
            rtsp_password,
            connections,
        };
        Ok(self.hub.gate().sessions.open(spec)?)
    }

    #[pyo3(signature = (session_id, expire_time, /))]
    fn renew_session(&self, session_id: &str, expire_time: f64) -> PyResult<()> {
        Ok(self.hub.gate().sessions.renew(session_id, gate::moment(expire_time))?)
    }

    #[pyo3(signature = (session_id, ttl_s, /))]
    fn issue_ticket(&self, session_id: &str, ttl_s: f64) -> PyResult<(String, f64)> {
        let expires = gate::now() + ttl_s;
        Ok((self.hub.gate().issue_ticket(session_id, expires)?, expires))
    }

    #[pyo3(signature = (session_id, reason, /))]
    fn end_session(&self, py: Python<'_>, session_id: &str, reason: &str) -> bool {
        py.detach(|| self.hub.gate().sessions.end(session_id, gate::end_reason(reason)))
    }

    #[pyo3(signature = (camera_ids, reason, /))]
    fn cut_cameras(&self, py: Python<'_>, camera_ids: Vec<String>, reason: &str) {
        let reason = gate::end_reason(reason);
        py.detach(|| camera_ids.iter().for_each(|camera| self.hub.gate().cut_camera(camera, reason)));
    }

    #[pyo3(signature = (principal_kind, principal_id, reason, /))]
    fn end_sessions_of(&self, py: Python<'_>, principal_kind: &str, principal_id: &str, reason: &str) -> usize {
        let reason = gate::end_reason(reason);
        py.detach(|| {
            self.hub.gate().sessions.end_where(|spec| {
                let is_theirs = spec.principal.kind.word() == principal_kind && spec.principal.id == principal_id;
                is_theirs.then_some(reason)
            })
        })
    }

    // Media between hubs.

    #[expect(clippy::too_many_arguments, reason = "each is a keyword of the Python call")]
    #[pyo3(signature = (camera_id, profile, *, peer, url, ticket, ca_pem))]
    fn supply_stream(
        &self,
        py: Python<'_>,
        camera_id: &str,
        profile: u8,
        peer: &str,
        url: &str,
        ticket: &str,
        ca_pem: &str,
    ) -> PyResult<()> {
        let profile = values::profile(profile)?;
        Ok(py.detach(|| {
            let peer = Peer::new(peer, url, ticket, ca_pem)?;
            self.hub.gate().supply_stream(camera_id, profile, peer)
        })?)
    }

    #[pyo3(signature = (camera_id, profile, reason, /))]
    fn withdraw_stream(&self, py: Python<'_>, camera_id: &str, profile: u8, reason: &str) -> PyResult<bool> {
        let profile = values::profile(profile)?;
        Ok(py.detach(|| self.hub.gate().withdraw_stream(camera_id, profile, of_link(reason))))
    }

    #[pyo3(signature = (camera_id, profile, reason, message, /))]
    fn refuse_stream(
        &self,
        py: Python<'_>,
        camera_id: &str,
        profile: u8,
        reason: &str,
        message: String,
    ) -> PyResult<bool> {
        let profile = values::profile(profile)?;
        Ok(py.detach(|| self.hub.gate().refuse_stream(camera_id, profile, of_link(reason), message)))
    }

    #[expect(clippy::too_many_arguments, reason = "each is a keyword of the Python call")]
    #[pyo3(signature = (relay_id, camera_id, profile, *, peer, url, ticket, ca_pem))]
    fn start_relay(
        &self,
        py: Python<'_>,
        relay_id: &str,
        camera_id: &str,
        profile: u8,
        peer: &str,
        url: &str,
        ticket: &str,
        ca_pem: &str,
    ) -> PyResult<()> {
        let profile = values::profile(profile)?;
        Ok(py.detach(|| {
            let peer = Peer::new(peer, url, ticket, ca_pem)?;
            self.hub.start_relay(relay_id, camera_id, profile, peer)
        })?)
    }

    #[pyo3(signature = (relay_id, reason, /))]
    fn stop_relay(&self, py: Python<'_>, relay_id: &str, reason: &str) -> bool {
        py.detach(|| self.hub.stop_relay(relay_id, of_link(reason)))
    }

    // Frames.

    #[pyo3(signature = (session_id, wanted, /))]
    fn open_frames(&self, py: Python<'_>, session_id: &str, wanted: &str) -> PyResult<FrameReader> {
        let wanted = super::frames::wanted(wanted)?;
        Ok(py.detach(|| self.hub.open_frames(session_id, wanted))?.into())
    }
}

/// The reason of a link, for those who wait or are ended.
fn of_link(reason: &str) -> &'static str {
    reason_word(reason).unwrap_or("LINK_MEDIA_REFUSED")
}

#[pyfunction]
pub fn validate_policies() -> Vec<String> {
    crate::policy::validate_policies()
}
