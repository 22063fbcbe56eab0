//! What happened, on its way to the control plane: a bounded queue and a file descriptor that says there is something.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::bell::Bell;

/// How many notices of connections, refusals and media may wait. Ends of sessions and camera states are not counted against it: the
/// first are bounded by the number of sessions, the second by the number of cameras; and so are streams wanted and released.
/// Relays are bounded by the control plane's own orders.
const NOTICES: usize = 16_384;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    SessionEnded {
        session: String,
        reason: &'static str,
    },
    SessionConnected {
        session: String,
        protocol: &'static str,
    },
    SessionDisconnected {
        session: String,
        protocol: &'static str,
    },
    /// `state` as in `vidhub.v1.CameraState`; `number` is its place in the state log.
    CameraState {
        camera: String,
        number: u64,
        state: u8,
        reason: String,
    },
    /// Somebody was turned away at a media port. `session`: whose ticket they showed, if it is one of ours.
    MediaRefused {
        camera: String,
        session: String,
        reason: &'static str,
        protocol: &'static str,
        address: IpAddr,
    },
    /// What the hub saw of a camera's stream; `profile` as in `vidhub.v1.StreamProfile`.
    StreamMedia {
        camera: String,
        profile: u8,
        codec: &'static str,
        width: u32,
        height: u32,
    },
    /// Of a camera of another hub. `is_wanted`: somebody watches it and nothing brings it; `reason` and `message` tell why
    /// not the last time. Else nobody has watched it for a while. `profile` as in `vidhub.v1.StreamProfile`.
    StreamNeed {
        camera: String,
        profile: u8,
        is_wanted: bool,
        reason: &'static str,
        message: String,
    },
    /// The other hub takes what this relay brings.
    RelayLive {
        relay: String,
    },
    RelayEnded {
        relay: String,
        reason: &'static str,
        message: String,
    },
}

/// Of a stream: whether it is wanted, and what went wrong the last time.
type Need = (SystemTime, bool, &'static str, String);

struct Queue {
    waiting: VecDeque<(SystemTime, Event)>,
    notices: usize,
    /// The newest state of each camera that changed: a storm folds into one event a camera.
    states: HashMap<String, (SystemTime, u64, u8, String)>,
    /// The newest of each stream, by camera and profile.
    needs: HashMap<(String, u8), Need>,
    dropped: u64,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.states.is_empty() && self.needs.is_empty()
    }
}

/// The queue. Producers never block; the reader drains it when the descriptor is readable.
pub struct Events {
    queue: Mutex<Queue>,
    ready: Bell,
}

impl Events {
    pub fn new() -> std::io::Result<Self> {
        let (states, needs) = (HashMap::new(), HashMap::new());
        let queue = Queue { waiting: VecDeque::new(), notices: 0, states, needs, dropped: 0 };
        Ok(Self { queue: Mutex::new(queue), ready: Bell::new()? })
    }

    /// Readable while events wait.
    pub fn fd(&self) -> RawFd {
        self.ready.fd()
    }

    pub fn push(&self, event: Event) {
        let now = SystemTime::now();
        let mut queue = self.queue.lock();
        let was_empty = queue.is_empty();
        match event {
            Event::StreamNeed { camera, profile, is_wanted, reason, message } => {
                queue.needs.insert((camera, profile), (now, is_wanted, reason, message));
            }
            Event::CameraState { camera, number, state, reason } => {
                queue.states.insert(camera, (now, number, state, reason));
            }
            Event::SessionEnded { .. } | Event::RelayLive { .. } | Event::RelayEnded { .. } => {
                queue.waiting.push_back((now, event));
            }
            Event::SessionConnected { .. }
            | Event::SessionDisconnected { .. }
            | Event::MediaRefused { .. }
            | Event::StreamMedia { .. } => {
                if queue.notices >= NOTICES {
                    queue.dropped += 1;
                } else {
                    queue.notices += 1;
                    queue.waiting.push_back((now, event));
                }
            }
        }
        drop(queue);
        if was_empty {
            self.ready.ring();
        }
    }

    /// Many states at once: (time since 1970, camera, number, state, reason).
    pub fn push_states(&self, states: Vec<(f64, String, u64, u8, String)>) {
        let mut queue = self.queue.lock();
        let was_empty = queue.is_empty();
        queue.states.reserve(states.len());
        for (time, camera, number, state, reason) in states {
            queue.states.insert(camera, (super::moment(time), number, state, reason));
        }
        let is_news = was_empty && !queue.is_empty();
        drop(queue);
        if is_news {
            self.ready.ring();
        }
    }

    /// Up to `limit` events; the descriptor stays readable while more wait.
    pub fn take(&self, limit: usize) -> Vec<(SystemTime, Event)> {
        self.ready.silence();
        let mut queue = self.queue.lock();
        let mut taken = Vec::new();
        let needs: Vec<(String, u8)> = queue.needs.keys().take(limit).cloned().collect();
        for key in needs {
            if let Some((time, is_wanted, reason, message)) = queue.needs.remove(&key) {
                let (camera, profile) = key;
                taken.push((time, Event::StreamNeed { camera, profile, is_wanted, reason, message }));
            }
        }
        while taken.len() < limit {
            let Some((time, event)) = queue.waiting.pop_front() else { break };
            match event {
                Event::SessionEnded { .. } | Event::RelayLive { .. } | Event::RelayEnded { .. } => {}
                _ => queue.notices -= 1,
            }
            taken.push((time, event));
        }
        let room = limit - taken.len();
        let cameras: Vec<String> = queue.states.keys().take(room).cloned().collect();
        for camera in cameras {
            if let Some((time, number, state, reason)) = queue.states.remove(&camera) {
                taken.push((time, Event::CameraState { camera, number, state, reason }));
            }
        }
        let more = !queue.is_empty();
        drop(queue);
        if more {
            self.ready.ring();
        }
        taken
    }

    /// Notices that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.queue.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(events: &Events) -> bool {
        let mut poll = libc::pollfd { fd: events.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    fn state(camera: &str, number: u64) -> Event {
        Event::CameraState { camera: camera.into(), number, state: 2, reason: String::new() }
    }

    #[test]
    fn the_descriptor_is_readable_while_events_wait() {
        let events = Events::new().unwrap();
        assert!(!is_readable(&events));
        for number in 0..3 {
            events.push(Event::SessionEnded { session: format!("s{number}"), reason: "SESSION_CLOSED" });
        }
        assert!(is_readable(&events));
        assert_eq!(events.take(2).len(), 2);
        assert!(is_readable(&events));
        assert_eq!(events.take(2).len(), 1);
        assert!(!is_readable(&events));
    }

    #[test]
    fn a_storm_of_states_folds_into_the_newest_per_camera() {
        let events = Events::new().unwrap();
        for number in 0..1000 {
            events.push(state("34020000001320000001", number));
        }
        let taken = events.take(100);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].1, state("34020000001320000001", 999));
    }

    #[test]
    fn of_a_stream_the_newest_need_counts_and_goes_first() {
        let events = Events::new().unwrap();
        let need = |is_wanted| Event::StreamNeed {
            camera: "34020000001320000001".into(),
            profile: 1,
            is_wanted,
            reason: "",
            message: String::new(),
        };
        events.push(Event::SessionEnded { session: "s".into(), reason: "SESSION_CLOSED" });
        for is_wanted in [true, false, true] {
            events.push(need(is_wanted));
        }
        assert!(is_readable(&events));
        assert_eq!(events.take(1)[0].1, need(true));
        assert!(is_readable(&events));
        assert!(matches!(events.take(9)[..], [(_, Event::SessionEnded { .. })]));
        assert!(!is_readable(&events));
    }

    #[test]
    fn notices_are_bounded_and_ends_of_sessions_are_never_lost() {
        let events = Events::new().unwrap();
        for _ in 0..NOTICES + 10 {
            events.push(Event::SessionConnected { session: "s".into(), protocol: "rtsp_tcp" });
        }
        events.push(Event::SessionEnded { session: "s".into(), reason: "SESSION_EXPIRED" });
        assert_eq!(events.dropped(), 10);
        let taken = events.take(usize::MAX);
        assert_eq!(taken.len(), NOTICES + 1);
        assert!(matches!(taken.last().unwrap().1, Event::SessionEnded { .. }));
    }
}
