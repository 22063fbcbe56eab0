//! Keeps the prober in step with the registry, and the registry's states in step with what the prober finds.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::options::ProbeOptions;
use crate::gate::{self, Event, Events};
use crate::media::Profile;
use crate::registry::{Camera, CameraStream, Candidates, Filter, Registry, Row, State};
use crate::source::{self, ProbeResult, ProbeState, Prober, Target};

/// Rows taken from the registry at a time when probing begins.
const ROWS: usize = 1000;

/// The prober, once the hub listens: a hub that only answers commands dials nobody.
pub struct Probing {
    begin: Box<dyn Fn() -> Prober + Send + Sync>,
    prober: Mutex<Option<Prober>>,
}

impl Probing {
    pub fn new(
        options: &ProbeOptions,
        dialling: &source::Options,
        registry: &Arc<Registry>,
        events: &Arc<Events>,
        runtime: &Handle,
    ) -> Self {
        let options = source::ProbeOptions {
            interval: Duration::from_secs_f64(options.interval_s),
            dial: dialling.clone(),
            ..source::ProbeOptions::default()
        };
        let (registry, events, runtime) = (registry.clone(), events.clone(), runtime.clone());
        let begin = move || {
            let (registry, events) = (registry.clone(), events.clone());
            Prober::new(options.clone(), Arc::new(move |result| note(&registry, &events, &result)), &runtime)
        };
        Self { begin: Box::new(begin), prober: Mutex::new(None) }
    }

    /// Starts to probe every camera of the registry.
    pub fn begin(&self, registry: &Registry) {
        let prober = (self.begin)();
        let mut after = String::new();
        loop {
            let page = registry.page(&Candidates::All, &Filter::default(), &after, ROWS, &mut |_| true);
            let is_probed = |row: &&Row| !row.is_quarantined() && row.home_hub_id().is_empty();
            for row in page.rows.iter().filter(is_probed) {
                let stream = row.stream(Profile::Main).or_else(|| row.stream(Profile::Sub));
                if let Some(target) = stream.and_then(|stream| target(row.id(), stream)) {
                    prober.upsert(target);
                }
            }
            match page.next_after {
                Some(next) => after = next,
                None => break,
            }
        }
        *self.prober.lock() = Some(prober);
    }

    /// Follows a change of the registry; a camera without a target is no longer probed.
    pub fn changed(&self, upserts: Vec<(String, Option<Arc<Target>>)>, removed: &[String]) {
        let prober = self.prober.lock();
        let Some(prober) = prober.as_ref() else { return };
        for (camera, target) in upserts {
            match target {
                Some(target) => prober.upsert(target),
                None => prober.remove(&camera),
            }
        }
        for camera in removed {
            prober.remove(camera);
        }
    }

    pub fn probe_now(&self, camera: &str) {
        if let Some(prober) = self.prober.lock().as_ref() {
            prober.probe_now(camera);
        }
    }

    /// A running stream counts as a probe.
    pub fn note_live(&self, camera: &str) {
        if let Some(prober) = self.prober.lock().as_ref() {
            prober.note_live(camera);
        }
    }

    pub fn end(&self) {
        drop(self.prober.lock().take());
    }
}

/// What to probe of a camera: its main stream, or its only one. How another hub's is, that hub tells.
pub fn target_of(camera: &Camera) -> Option<Arc<Target>> {
    let of = |profile| camera.streams.iter().find(|stream| stream.profile == profile);
    let stream = of(Profile::Main).or_else(|| of(Profile::Sub))?;
    if camera.quarantined || !camera.home_hub_id.is_empty() { None } else { target(&camera.id, stream.clone()) }
}

fn target(camera: &str, stream: CameraStream) -> Option<Arc<Target>> {
    // A camera that its unit pushes has no address.
    if stream.url.is_empty() {
        return None;
    }
    let CameraStream { url, username, password, transport, .. } = stream;
    Some(Arc::new(Target { camera: camera.into(), url, username, password, transport, peer: None }))
}

fn note(registry: &Registry, events: &Events, result: &ProbeResult) {
    let state = match result.state {
        ProbeState::Online => State::Online,
        ProbeState::Offline => State::Offline,
        ProbeState::Refused => State::Refused,
        ProbeState::Invalid => State::Invalid,
    };
    gate::note_state(registry, events, &result.camera, state, &result.message);
    if let Some(seen) = &result.seen {
        events.push(Event::StreamMedia {
            camera: result.camera.to_string(),
            profile: 1,
            codec: seen.codec.name(),
            width: seen.width,
            height: seen.height,
        });
    }
}
