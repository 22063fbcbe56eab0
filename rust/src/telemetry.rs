//! Counters that the core bumps and the scraper reads. Labels are enums, so no series can grow with cameras or viewers.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

/// Declares a label as a closed set with its words.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($variant),+ }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }
    };
}

label!(
    /// How media comes in.
    SourceKind { RtspPull => "rtsp_pull", RtspPush => "rtsp_push", Whip => "whip", Hub => "hub" }
);
label!(
    /// How media goes out.
    SinkKind { Rtsp => "rtsp", Whep => "whep", Mse => "mse", Frames => "frames" }
);
label!(Direction { In => "in", Out => "out" });
label!(
    /// What carries media, in or out.
    Protocol {
        RtspTcp => "rtsp_tcp",
        RtspUdp => "rtsp_udp",
        Rtsps => "rtsps",
        WebrtcUdp => "webrtc_udp",
        WebrtcTcp => "webrtc_tcp",
        Mse => "mse",
        Frames => "frames",
    }
);
impl Protocol {
    /// The kind of sink that it reaches a viewer by; a session has one connection of each.
    pub const fn sink(self) -> SinkKind {
        match self {
            Self::RtspTcp | Self::RtspUdp | Self::Rtsps => SinkKind::Rtsp,
            Self::WebrtcUdp | Self::WebrtcTcp => SinkKind::Whep,
            Self::Mse => SinkKind::Mse,
            Self::Frames => SinkKind::Frames,
        }
    }
}
label!(
    /// Why media was dropped.
    DropReason { SlowViewer => "slow_viewer", SourceGap => "source_gap", Malformed => "malformed", OverBudget => "over_budget" }
);
label!(Verdict { Allow => "allow", Deny => "deny" });
label!(Action { List => "list", ViewLive => "view_live", Snapshot => "snapshot" });

/// Upper bounds of the buckets of `first_picture`, in seconds.
pub const FIRST_PICTURE_BUCKETS_S: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0];

#[derive(Default)]
pub struct Flow {
    pub bytes: AtomicU64,
    pub packets: AtomicU64,
}

/// Other hubs whose links are told apart; the rest is counted as one.
pub const MAX_LINKS: usize = 64;
const OTHER_LINKS: &str = "other";

/// RTP payload octets over the link to one other hub, by direction.
#[derive(Debug, Default)]
struct LinkFlow([AtomicU64; Direction::ALL.len()]);

/// Counts the RTP payload that one connection moves over a link, without any header.
#[derive(Clone, Debug)]
pub struct Meter {
    flow: Arc<LinkFlow>,
    direction: Direction,
}

impl Meter {
    pub fn add(&self, octets: u64) {
        if let Some(counter) = self.flow.0.get(self.direction as usize) {
            counter.fetch_add(octets, Relaxed);
        }
    }
}

/// A histogram of seconds with fixed buckets.
#[derive(Default)]
pub struct Histogram {
    buckets: [AtomicU64; FIRST_PICTURE_BUCKETS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, value: Duration) {
        let seconds = value.as_secs_f64();
        let place =
            FIRST_PICTURE_BUCKETS_S.iter().position(|bound| seconds <= *bound).unwrap_or(FIRST_PICTURE_BUCKETS_S.len());
        self.buckets[place].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(u64::try_from(value.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Observations per bucket (not cumulative; the last is above every bound) and their sum in seconds.
    pub fn read(&self) -> (Vec<u64>, f64) {
        (self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(), self.sum_us.load(Relaxed) as f64 / 1e6)
    }
}

/// Every figure of the core. One instance lives in the hub and is shared by all parts.
#[derive(Default)]
pub struct Telemetry {
    streams: [AtomicI64; SourceKind::ALL.len()],
    sinks: [AtomicI64; SinkKind::ALL.len()],
    flows: [[Flow; Protocol::ALL.len()]; Direction::ALL.len()],
    dropped: [AtomicU64; DropReason::ALL.len()],
    lost: [AtomicU64; Protocol::ALL.len()],
    authorisations: [[AtomicU64; Action::ALL.len()]; Verdict::ALL.len()],
    links: Mutex<Vec<(Box<str>, Arc<LinkFlow>)>>,
    pub source_reconnects: AtomicU64,
    pub first_picture: Histogram,
}

impl Telemetry {
    pub fn streams(&self, source: SourceKind) -> &AtomicI64 {
        &self.streams[source as usize]
    }

    pub fn sinks(&self, sink: SinkKind) -> &AtomicI64 {
        &self.sinks[sink as usize]
    }

    pub fn flow(&self, direction: Direction, protocol: Protocol) -> &Flow {
        &self.flows[direction as usize][protocol as usize]
    }

    /// Counts RTP packets and their octets.
    pub fn moved(&self, direction: Direction, protocol: Protocol, packets: u64, bytes: u64) {
        let flow = self.flow(direction, protocol);
        flow.packets.fetch_add(packets, Relaxed);
        flow.bytes.fetch_add(bytes, Relaxed);
    }

    /// What counts the media that goes to the hub `peer`, or comes from it.
    pub fn link(&self, peer: &str, direction: Direction) -> Meter {
        let mut links = self.links.lock();
        let of = |links: &[(Box<str>, Arc<LinkFlow>)], peer: &str| {
            links.iter().find(|(known, _)| **known == *peer).map(|(_, flow)| flow.clone())
        };
        let named = if of(&links, peer).is_some() || links.len() < MAX_LINKS { peer } else { OTHER_LINKS };
        let flow = of(&links, named).unwrap_or_else(|| {
            let flow = Arc::new(LinkFlow::default());
            links.push((named.into(), flow.clone()));
            flow
        });
        Meter { flow, direction }
    }

    /// (hub, direction, RTP payload octets).
    pub fn links(&self) -> Vec<(String, Direction, u64)> {
        let links = self.links.lock();
        let each = |(peer, flow): &(Box<str>, Arc<LinkFlow>)| {
            let counted = Direction::ALL.iter().zip(&flow.0);
            let counted = counted.map(|(direction, octets)| (peer.to_string(), *direction, octets.load(Relaxed)));
            counted.collect::<Vec<_>>()
        };
        links.iter().flat_map(each).collect()
    }

    pub fn dropped(&self, reason: DropReason) -> &AtomicU64 {
        &self.dropped[reason as usize]
    }

    /// RTP packets that viewers report as lost on their way.
    pub fn lost(&self, protocol: Protocol) -> &AtomicU64 {
        &self.lost[protocol as usize]
    }

    pub fn authorisations(&self, verdict: Verdict, action: Action) -> &AtomicU64 {
        &self.authorisations[verdict as usize][action as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(40));
        histogram.observe(Duration::from_secs(60));
        let (buckets, sum) = histogram.read();
        assert_eq!(buckets[2], 1);
        assert_eq!(buckets[FIRST_PICTURE_BUCKETS_S.len()], 1);
        assert!((sum - 60.04).abs() < 1e-6);
    }

    #[test]
    fn links_are_counted_by_hub_and_the_hubs_told_apart_are_bounded() {
        let telemetry = Telemetry::default();
        telemetry.link("city", Direction::Out).add(7);
        telemetry.link("city", Direction::Out).add(1);
        telemetry.link("city", Direction::In).add(5);
        let city = |direction| ("city".to_owned(), direction);
        let counted: Vec<_> =
            telemetry.links().into_iter().map(|(hub, direction, octets)| ((hub, direction), octets)).collect();
        assert_eq!(counted, [(city(Direction::In), 5), (city(Direction::Out), 8)]);
        for number in 0..2 * MAX_LINKS {
            telemetry.link(&format!("h{number}"), Direction::In).add(1);
        }
        let links = telemetry.links();
        assert_eq!(links.len(), 2 * (MAX_LINKS + 1));
        assert!(links.contains(&("other".to_owned(), Direction::In, MAX_LINKS as u64 + 1)));
    }
}
