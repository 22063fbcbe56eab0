//! One timeline for all tracks of a source: camera stamps in, stamps out that start near zero, never jump and never
//! run away from real time, whatever the camera's clock does and however often it is reconnected.
//!
//! Time is an argument: `arrival` counts from any fixed moment of the source's life.

use std::collections::BTreeMap;
use std::time::Duration;

use super::MediaKind;
use super::clock_rate::ClockRate;

/// A stamp that leaps this much further than the time that has passed is no stamp.
const MAX_LEAP: Duration = Duration::from_secs(5);
/// A track may be this far from arrival time before it is steered: networks and encoders delay.
const SLACK: Duration = Duration::from_millis(300);
/// Sound may come to be this far from its picture, where sender reports tell, before it is moved: people notice it from
/// 45 ms on (ITU-R BT.1359), and reports of cameras tremble.
const AUDIO_SLACK: Duration = Duration::from_millis(40);
/// When reports tell for the first time, sound that arrival has put this near its picture is left where it is.
const AUDIO_NEAR: Duration = Duration::from_millis(10);
/// How long the distance is watched before it is acted upon: a stalled network delays units, but never brings one early.
const WATCH: Duration = Duration::from_secs(5);
/// Video is steered by at most one part in 16 of the time that passes, so that motion stays smooth.
const STEERING: i64 = 16;
/// Sender reports whose clocks disagree more than this are not believed (RFC 3550 §6.4.1 asks for one wall clock).
const MAX_SKEW: Duration = Duration::from_secs(5);

/// Presentation and decoding time in ticks of the track's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    pub pts: i64,
    pub dts: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub kind: MediaKind,
    pub rate_hz: u32,
}

/// Maps the stamps of a source's tracks onto the stream's timeline.
#[derive(Debug)]
pub struct Timeline {
    tracks: Vec<TrackTime>,
    /// The arrival at which the time out is `start`.
    origin: Option<Duration>,
    start: Duration,
    rebased: u64,
}

#[derive(Debug)]
struct TrackTime {
    clock: Clock,
    /// Last stamp that came in and what it was mapped to; None before the first unit of a connection.
    last: Option<Mapped>,
    /// Latest decoding time given out.
    last_dts: Option<i64>,
    /// Presentation times not yet given out as decoding times (streams with B-frames).
    pending: BTreeMap<i64, u32>,
    pending_len: usize,
    report: Option<Report>,
    /// Reports have told where the track belongs since it began.
    is_led: bool,
    watch: Option<WatchedDistance>,
    /// Ticks still to be steered away.
    correction: i64,
    rate: ClockRate,
}

#[derive(Clone, Copy, Debug)]
struct Mapped {
    stamp: u32,
    out: i64,
    arrival: Duration,
}

/// A sender report (RFC 3550 §6.4.1): this stamp is that moment of the camera's wall clock.
#[derive(Clone, Copy, Debug)]
struct Report {
    stamp: u32,
    ntp: u64,
}

/// The largest distance (out minus due time) since `since`: the one least delayed by the network.
#[derive(Clone, Copy, Debug)]
struct WatchedDistance {
    since: Duration,
    largest: i64,
}

impl Timeline {
    pub fn new(clocks: &[Clock]) -> Self {
        let mut timeline = Self { tracks: Vec::new(), origin: None, start: Duration::ZERO, rebased: 0 };
        timeline.restart(clocks);
        timeline
    }

    /// For a source that takes over from another: at arrival zero the time out is `start`.
    pub fn going_on(clocks: &[Clock], start: Duration) -> Self {
        Self { origin: Some(Duration::ZERO), start, ..Self::new(clocks) }
    }

    /// The source has been connected anew: stamps begin anew, the timeline goes on. Tracks are told apart by their place.
    pub fn restart(&mut self, clocks: &[Clock]) {
        let before = std::mem::take(&mut self.tracks);
        self.tracks = clocks
            .iter()
            .enumerate()
            .map(|(place, clock)| {
                let last_dts = before.get(place).filter(|old| old.clock == *clock).and_then(|old| old.last_dts);
                TrackTime { last_dts, ..TrackTime::empty(*clock) }
            })
            .collect();
    }

    /// How often stamps were so wrong that the timeline went on by arrival time.
    pub fn rebased(&self) -> u64 {
        self.rebased
    }

    /// Takes over a sender report, which says how the tracks belong together.
    pub fn sender_report(&mut self, track: usize, stamp: u32, ntp: u64) {
        if ntp != 0
            && let Some(track) = self.tracks.get_mut(track)
        {
            track.report = Some(Report { stamp, ntp });
        }
    }

    /// Gives one unit, in decoding order, its stamps.
    ///
    /// `reorder_depth`: how many pictures may be out of order. None: the unit belongs to a moment that has been
    /// given out already and is to be dropped; happens to audio only, where time can't be squeezed.
    pub fn place(&mut self, track: usize, stamp: u32, arrival: Duration, reorder_depth: u32) -> Option<Stamps> {
        let origin = *self.origin.get_or_insert(arrival);
        let lead = self.lead_for(track, stamp);
        let time = self.tracks.get_mut(track)?;
        let due = lead.unwrap_or_else(|| time.ticks(self.start + arrival.saturating_sub(origin)));
        let mapped = time.last.map(|last| time.advance(last, stamp, arrival, due, reorder_depth));
        let steered = mapped.flatten().filter(|out| time.steer(*out, due, arrival, lead.is_some()));
        let pts = steered.unwrap_or_else(|| {
            self.rebased += u64::from(mapped.is_some());
            time.begin(due, arrival)
        });
        time.last = Some(Mapped { stamp, out: pts, arrival });
        time.order(pts, reorder_depth)
    }

    /// Where another track's clock puts this stamp, when both tracks' sender reports can be believed.
    fn lead_for(&self, track: usize, stamp: u32) -> Option<i64> {
        // The first video track leads.
        let leader = self.tracks.iter().position(|time| time.clock.kind == MediaKind::Video)?;
        if leader == track {
            return None;
        }
        let (lead, time) = (self.tracks.get(leader)?, self.tracks.get(track)?);
        let (report, last, own) = (lead.report?, lead.last?, time.report?);
        if lead.rate.is_wrong() {
            return None;
        }
        let skew_ns = ntp_to_ns(own.ntp) - ntp_to_ns(report.ntp);
        let own_ns = skew_ns + time.ns(i64::from(stamp.wrapping_sub(own.stamp) as i32));
        let lead_ns = lead.ns(i64::from(last.stamp.wrapping_sub(report.stamp) as i32));
        let apart_ns = own_ns - lead_ns;
        if apart_ns.unsigned_abs() > MAX_SKEW.as_nanos() as u64 {
            return None;
        }
        let out_ns = lead.ns(last.out) + apart_ns;
        Some(time.ticks_of_ns(out_ns))
    }
}

impl TrackTime {
    fn empty(clock: Clock) -> Self {
        Self {
            clock,
            last: None,
            last_dts: None,
            pending: BTreeMap::new(),
            pending_len: 0,
            report: None,
            is_led: false,
            watch: None,
            correction: 0,
            rate: ClockRate::default(),
        }
    }

    fn ticks(&self, time: Duration) -> i64 {
        self.ticks_of_ns(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    }

    fn ticks_of_ns(&self, ns: i64) -> i64 {
        (i128::from(ns) * i128::from(self.clock.rate_hz) / 1_000_000_000) as i64
    }

    fn ns(&self, ticks: i64) -> i64 {
        (i128::from(ticks) * 1_000_000_000 / i128::from(self.clock.rate_hz.max(1))) as i64
    }

    /// Goes on by arrival time: at what is due, and never behind what has been given out.
    fn begin(&mut self, due: i64, arrival: Duration) -> i64 {
        self.watch = None;
        self.is_led = false;
        // What a report said holds for the stamps before the leap. One may come ahead of the first unit.
        if self.last.is_some() {
            self.report = None;
        }
        self.correction = 0;
        self.pending.clear();
        self.pending_len = 0;
        let real_time = self.last.map(|last| last.out + self.ticks(arrival.saturating_sub(last.arrival)));
        let floor = self.last_dts.map(|last| last + 1);
        due.max(real_time.unwrap_or(due)).max(floor.unwrap_or(due))
    }

    /// The stamp mapped like the one before it; None when it has leapt.
    fn advance(&mut self, last: Mapped, stamp: u32, arrival: Duration, due: i64, reorder_depth: u32) -> Option<i64> {
        let step = i64::from(stamp.wrapping_sub(last.stamp) as i32);
        let passed = self.ticks(arrival.saturating_sub(last.arrival));
        let leap = self.ticks(MAX_LEAP);
        // Pictures may go back as far as they are reordered; a second covers that at five pictures a second and more.
        let back = if reorder_depth > 0 { i64::from(self.clock.rate_hz) } else { 0 };
        if step < -back || step > passed.saturating_add(leap) {
            self.rate.leapt();
            return None;
        }
        if self.clock.kind == MediaKind::Video
            && let Some(scale) = self.rate.measure(step, self.clock.rate_hz, arrival)
        {
            return Some(self.near(last.out + (step as f64 * scale) as i64, due));
        }
        let mut out = last.out + step;
        if step > 0 && self.correction != 0 {
            // Sound can't be stretched: it leaps, and what falls behind is dropped by `order`.
            let most = if self.clock.kind == MediaKind::Video { step / STEERING } else { i64::MAX };
            let share = self.correction.clamp(-most, most);
            self.correction -= share;
            out += share;
        }
        Some(out)
    }

    /// Stamps of a wrong rate say what lies between two pictures, but when they are is known by arrival alone.
    fn near(&self, out: i64, due: i64) -> i64 {
        let slack = self.ticks(SLACK);
        out.clamp(due - slack, due + slack)
    }

    /// Watches how far the track is from where it should be, and plans a correction. False: too far to be mended.
    fn steer(&mut self, out: i64, due: i64, arrival: Duration, led: bool) -> bool {
        let distance = out - due;
        if self.rate.is_wrong() {
            self.watch = None;
            self.correction = 0;
            return true;
        }
        if distance > self.ticks(MAX_LEAP) {
            return false;
        }
        if led && !self.is_led {
            // Until now arrival said where it belongs, and that by as much as the camera sends one track later.
            self.is_led = true;
            self.watch = None;
            self.correction = if distance.abs() > self.ticks(AUDIO_NEAR) { -distance } else { 0 };
            return distance > -self.ticks(MAX_LEAP);
        }
        let watch = self.watch.get_or_insert(WatchedDistance { since: arrival, largest: distance });
        watch.largest = watch.largest.max(distance);
        if arrival.saturating_sub(watch.since) < WATCH {
            return true;
        }
        let largest = watch.largest;
        self.watch = None;
        let slack = if led { AUDIO_SLACK } else { SLACK };
        self.correction = if largest.abs() > self.ticks(slack) { -largest } else { 0 };
        largest > -self.ticks(MAX_LEAP)
    }

    /// Decoding times that rise strictly and never pass their presentation times.
    fn order(&mut self, pts: i64, reorder_depth: u32) -> Option<Stamps> {
        if self.clock.kind == MediaKind::Audio {
            if self.last_dts.is_some_and(|last| pts <= last) {
                return None;
            }
            self.last_dts = Some(pts);
            return Some(Stamps { pts, dts: pts });
        }
        // The n-th picture is decoded when the (n - depth)-th of those in presentation order is shown.
        let depth = reorder_depth as usize;
        let mut dts = pts;
        if depth > 0 {
            *self.pending.entry(pts).or_insert(0) += 1;
            self.pending_len += 1;
            dts = self.pending.first_key_value().map_or(pts, |(earliest, _)| *earliest);
            while self.pending_len > depth
                && let Some(mut first) = self.pending.first_entry()
            {
                dts = *first.key();
                *first.get_mut() -= 1;
                if *first.get() == 0 {
                    first.remove();
                }
                self.pending_len -= 1;
            }
        }
        if let Some(last) = self.last_dts {
            dts = dts.max(last + 1);
        }
        self.last_dts = Some(dts);
        let pts = pts.max(dts);
        Some(Stamps { pts, dts })
    }
}

/// Nanoseconds since 1900, in a range where differences are exact enough.
fn ntp_to_ns(ntp: u64) -> i64 {
    let seconds = i64::try_from(ntp >> 32).unwrap_or(0);
    let fraction = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
    seconds * 1_000_000_000 + i64::try_from(fraction).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VIDEO: Clock = Clock { kind: MediaKind::Video, rate_hz: 90_000 };
    const AUDIO: Clock = Clock { kind: MediaKind::Audio, rate_hz: 8_000 };
    const FRAME: u32 = 3600;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// Feeds pictures 40 ms apart with the stamps given; the answer is the stamps out.
    fn play(timeline: &mut Timeline, from_ms: u64, stamps: impl IntoIterator<Item = u32>) -> Vec<i64> {
        (0u64..)
            .zip(stamps)
            .map(|(place, stamp)| timeline.place(0, stamp, ms(from_ms + place * 40), 0).unwrap().dts)
            .collect()
    }

    fn assert_steps(out: &[i64], range: std::ops::RangeInclusive<i64>) {
        for pair in out.windows(2) {
            assert!(range.contains(&(pair[1] - pair[0])), "step {} outside {range:?}", pair[1] - pair[0]);
        }
    }

    #[test]
    fn a_good_clock_passes_unchanged_from_zero_and_over_the_wrap() {
        let mut timeline = Timeline::new(&[VIDEO]);
        let out = play(&mut timeline, 7_000, (0..200).map(|n: u32| (u32::MAX - 100_000).wrapping_add(n * FRAME)));
        assert_eq!(out[0], 0);
        assert_steps(&out, 3600..=3600);
        assert_eq!(timeline.rebased(), 0);
    }

    #[test]
    fn leaps_of_hours_either_way_leave_no_trace() {
        for leap in [3600i64, -3600, 6 * 3600, -20 * 3600, 6, -6] {
            let mut timeline = Timeline::new(&[VIDEO]);
            let leap = (leap * 90_000) as u32;
            let stamps = (0..300u32).map(|n| n * FRAME + 5).map(|stamp| {
                if (100 * FRAME..200 * FRAME).contains(&stamp) { stamp.wrapping_add(leap) } else { stamp }
            });
            let out = play(&mut timeline, 0, stamps);
            assert_steps(&out, 3600..=3600);
            assert_eq!(timeline.rebased(), 2);
        }
    }

    #[test]
    fn a_clock_that_runs_three_percent_off_is_steered_and_stays_with_real_time() {
        for rate in [103u32, 97] {
            let mut timeline = Timeline::new(&[VIDEO]);
            let out = play(&mut timeline, 0, (0..90_000u32).map(|n| n.wrapping_mul(FRAME / 100 * rate)));
            assert_steps(&out, 3200..=4100);
            let apart_ms = (out[out.len() - 1] - 89_999 * 3600).abs() / 90;
            assert!(apart_ms < 1000, "{apart_ms} ms apart after an hour");
            assert_eq!(timeline.rebased(), 0);
        }
    }

    #[test]
    fn sound_of_a_fast_clock_is_thinned_out_not_squeezed() {
        let mut timeline = Timeline::new(&[AUDIO]);
        let out: Vec<i64> = (0..30_000u32)
            .filter_map(|n| timeline.place(0, n * 165, ms(u64::from(n) * 20), 0))
            .map(|stamps| stamps.pts)
            .collect();
        assert!(out.len() < 30_000 && out.len() > 28_500);
        assert!(out.windows(2).all(|pair| pair[1] > pair[0]));
        assert!((out[out.len() - 1] - 29_999 * 160).abs() < 8_000);
    }

    #[test]
    fn a_clock_in_another_unit_does_not_run_away() {
        let mut timeline = Timeline::new(&[VIDEO]);
        let out = play(&mut timeline, 0, (0..1000u32).map(|n| n.wrapping_mul(4 * 90_000)));
        assert!(out[999] < (1000 * 40 + 6_000) * 90);
        assert!(out.windows(2).all(|pair| pair[1] > pair[0]));
        let mut timeline = Timeline::new(&[VIDEO]);
        let out = play(&mut timeline, 0, std::iter::repeat_n(17, 1000));
        assert!(out[999] > (1000 * 40 - 11_000) * 90, "a clock that stands is overtaken");
        assert!(out.windows(2).all(|pair| pair[1] > pair[0]));
    }

    #[test]
    fn a_clock_of_another_rate_than_it_says_is_told_within_seconds_and_then_follows_arrival_smoothly() {
        // Milliseconds; 30 pictures a second set and 25 sent; a clock that stands; half the rate; microseconds, whose
        // first seconds have run ahead by five, which have to pass.
        for (step, within) in [(40u32, 106), (3000, 260), (0, 106), (1800, 260), (40_000, 235)] {
            let mut timeline = Timeline::new(&[VIDEO]);
            let out = play(&mut timeline, 0, (0..2_500u32).map(|n| n.wrapping_mul(step)));
            let apart_ms = |n: usize| out[n] / 90 - n as i64 * 40;
            let late = (0..out.len()).find(|&n| (n..n + 25).all(|n| apart_ms(n).abs() <= 300)).unwrap();
            assert!(late <= within, "{step}: near real time from picture {late} on");
            assert!((within..out.len()).all(|n| apart_ms(n).abs() <= 300), "{step}");
            assert_steps(&out[within + 1..], 3500..=3700);
            assert!(out[..=within].windows(2).all(|pair| pair[1] - pair[0] <= 5 * 90_000), "{step}");
        }
    }

    #[test]
    fn a_clock_that_is_set_right_is_believed_again() {
        let mut timeline = Timeline::new(&[VIDEO]);
        let lies = play(&mut timeline, 0, (0..250u32).map(|n| n * 40));
        let right = play(&mut timeline, 250 * 40, (0..1_000u32).map(|n| n * FRAME));
        assert!(right[0] > lies[249]);
        assert_steps(&right[150..], 3300..=3900);
        assert!((right[999] / 90 - 1_249 * 40).abs() <= 300);
        // Arrival that trembles leaves no trace any more.
        let last = right[999];
        let trembling: Vec<i64> = (1u64..500)
            .map(|n| timeline.place(0, (999 + n as u32) * FRAME, ms((1_249 + n) * 40 + n * 7_919 % 90), 0).unwrap().dts)
            .collect();
        assert!(trembling.iter().zip(1i64..).all(|(out, n)| (out - last - n * 3600).abs() < 90 * 100));
        assert_steps(&trembling, 3300..=3900);
    }

    #[test]
    fn a_network_that_brings_pictures_slowly_for_a_while_is_no_clock_that_lies() {
        let mut timeline = Timeline::new(&[VIDEO]);
        // Three seconds at half the pace, then all that waited at once.
        let arrival = |n: u64| if (100..137).contains(&n) { 4_000 + (n - 100) * 80 } else { (n * 40).max(6_960) };
        let out: Vec<i64> = (0..1_000u64)
            .map(|n| timeline.place(0, n as u32 * FRAME, ms(if n < 100 { n * 40 } else { arrival(n) }), 0).unwrap().dts)
            .collect();
        assert_steps(&out, 3600..=3600);
    }

    #[test]
    fn a_network_that_brings_pictures_evenly_too_slowly_for_some_seconds_is_none_either() {
        let mut timeline = Timeline::new(&[VIDEO]);
        // Seven seconds at three quarters of the pace, then all that waited within one.
        let arrival = |n: u64| match n {
            0..100 => n * 40,
            100..232 => 4_000 + (n - 100) * 53,
            _ => (11_000 + (n - 232) * 10).max(n * 40),
        };
        let out: Vec<i64> =
            (0..1_000u64).map(|n| timeline.place(0, n as u32 * FRAME, ms(arrival(n)), 0).unwrap().dts).collect();
        assert_steps(&out, 3600..=3600);
    }

    #[test]
    fn a_restart_goes_on_after_the_pause_that_viewers_saw() {
        let mut timeline = Timeline::new(&[VIDEO]);
        let before = play(&mut timeline, 0, (0..50u32).map(|n| 1_000_000 + n * FRAME));
        timeline.restart(&[VIDEO]);
        let after = play(&mut timeline, 12_000, (0..50u32).map(|n| n * FRAME));
        assert_eq!(before[49], 49 * 3600);
        assert_eq!(after[0], 12_000 * 90);
        assert_steps(&after, 3600..=3600);
        // A restart within the same instant never goes back.
        timeline.restart(&[VIDEO]);
        assert!(timeline.place(0, 9, ms(12_000), 0).unwrap().dts > after[49]);
    }

    #[test]
    fn doubled_stamps_still_rise() {
        let mut timeline = Timeline::new(&[VIDEO]);
        let out = play(&mut timeline, 0, [0, FRAME, FRAME, FRAME, 2 * FRAME]);
        assert_eq!(out, [0, 3600, 3601, 3602, 7200]);
    }

    #[test]
    fn a_stalled_network_moves_nothing() {
        let mut timeline = Timeline::new(&[VIDEO]);
        let arrival = |n: u64| if (100..150).contains(&n) { 150 * 40 } else { n * 40 };
        let out: Vec<i64> =
            (0..1000u64).map(|n| timeline.place(0, n as u32 * FRAME, ms(arrival(n)), 0).unwrap().dts).collect();
        assert_steps(&out, 3600..=3600);
    }

    #[test]
    fn b_frames_keep_their_presentation_time_and_decode_before_it() {
        let mut timeline = Timeline::new(&[VIDEO]);
        // Decoding order I P B B P B B, …: presentation 0 3 1 2 6 4 5, …
        let mut order = vec![0u32];
        (0..100).for_each(|n| order.extend([3 * n + 3, 3 * n + 1, 3 * n + 2]));
        let out: Vec<Stamps> = (0u64..)
            .zip(&order)
            .map(|(n, place)| timeline.place(0, 77 + place * FRAME, ms(n * 40), 2).unwrap())
            .collect();
        assert!(out.windows(2).all(|pair| pair[1].dts > pair[0].dts));
        assert!(out.iter().all(|stamps| stamps.dts <= stamps.pts));
        assert!(out.iter().zip(&order).skip(3).all(|(stamps, place)| stamps.pts == i64::from(place * FRAME)));
        assert_eq!(timeline.rebased(), 0);
    }

    #[test]
    fn sender_reports_bring_sound_to_its_picture() {
        let mut timeline = Timeline::new(&[VIDEO, AUDIO]);
        let second = 1u64 << 32;
        let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
        for n in 0..2_000u64 {
            // The sound arrives 600 ms late against its picture.
            if n == 50 {
                timeline.sender_report(0, 50 * FRAME, 1000 * second);
                timeline.sender_report(1, 1_000_000 + 50 * 320, 1000 * second);
            }
            pictures.push(timeline.place(0, n as u32 * FRAME, ms(n * 40), 0).unwrap().pts);
            sounds.push(timeline.place(1, 1_000_000 + n as u32 * 320, ms(n * 40 + 600), 0).map(|stamps| stamps.pts));
        }
        let apart_ms = sounds[1999].unwrap() / 8 - pictures[1999] / 90;
        assert!(apart_ms.abs() <= 10, "{apart_ms} ms apart");
        assert_eq!(sounds.iter().filter(|sound| sound.is_none()).count(), 15);
    }

    /// Milliseconds by which each unit of sound is ahead of the picture of the same moment. The sound arrives `late_ms`
    /// after it, or ahead of it; the reports of the `n`-th picture tremble by what `tremble_ms` says.
    fn sound_against_picture(late_ms: i64, reports: &[u64], tremble_ms: impl Fn(u64) -> i64) -> Vec<i64> {
        let mut timeline = Timeline::new(&[VIDEO, AUDIO]);
        let mut apart = Vec::new();
        for n in 0..2_000u64 {
            if reports.contains(&n) {
                let ntp = (1000 << 32) + (n << 32) / 25;
                timeline.sender_report(0, n as u32 * FRAME, ntp);
                timeline.sender_report(1, 1_000_000 + n as u32 * 320 + (tremble_ms(n) * 8) as u32, ntp);
            }
            let picture = timeline.place(0, n as u32 * FRAME, ms(1_000 + n * 40), 0).unwrap();
            let arrival = ms((1_000 + n as i64 * 40 + late_ms) as u64);
            if let Some(sound) = timeline.place(1, 1_000_000 + n as u32 * 320, arrival, 0) {
                apart.push(sound.pts / 8 - picture.pts / 90);
            }
        }
        apart
    }

    #[test]
    fn sound_that_arrives_a_little_late_or_early_is_at_its_picture_as_soon_as_reports_tell() {
        for late_ms in [40, 90, 250] {
            let apart = sound_against_picture(late_ms, &[25], |_| 0);
            assert!(apart[5] >= late_ms - 1, "by arrival at first");
            assert!(apart[27..].iter().all(|ms| ms.abs() <= 1), "{late_ms}: {:?}", &apart[20..40]);
        }
        // Reports may come ahead of everything else.
        assert!(sound_against_picture(90, &[0], |_| 0).iter().all(|ms| ms.abs() <= 1));
    }

    #[test]
    fn reports_that_tremble_move_no_sound() {
        let reports: Vec<u64> = (0..2_000).step_by(125).collect();
        let apart = sound_against_picture(60, &reports, |n| [0, 15, -15, 8][(n / 125 % 4) as usize]);
        assert!(apart.iter().all(|ms| ms.abs() <= 1), "{apart:?}");
    }

    #[test]
    fn sound_whose_clock_drifts_is_moved_in_small_steps() {
        // Three parts in a thousand too fast; the reports say so.
        let mut timeline = Timeline::new(&[VIDEO, AUDIO]);
        for n in 0..10_000u64 {
            if n % 125 == 0 {
                let ntp = (1000 << 32) + (n << 32) / 25;
                timeline.sender_report(0, n as u32 * FRAME, ntp);
                timeline.sender_report(1, (n * 321) as u32, ntp);
            }
            let picture = timeline.place(0, n as u32 * FRAME, ms(n * 40), 0).unwrap();
            if let Some(sound) = timeline.place(1, (n * 321) as u32, ms(n * 40), 0) {
                let apart = sound.pts / 8 - picture.pts / 90;
                assert!(apart.abs() <= 60, "{apart} ms at picture {n}");
            }
        }
    }

    #[test]
    fn reports_that_contradict_are_not_believed() {
        let mut timeline = Timeline::new(&[VIDEO, AUDIO]);
        timeline.sender_report(0, 0, 1 << 32);
        timeline.sender_report(1, 0, 5000 << 32);
        for n in 0..1_000u64 {
            timeline.place(0, n as u32 * FRAME, ms(n * 40), 0).unwrap();
            assert_eq!(timeline.place(1, n as u32 * 320, ms(n * 40), 0).unwrap().pts, n as i64 * 320);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_camera_stamps_decoding_times_rise_and_stay_near_real_time(
            units in prop::collection::vec((any::<u32>(), 0u64..3000, 0u32..4, any::<bool>(), 0u8..20), 1..200)
        ) {
            let mut timeline = Timeline::new(&[VIDEO, AUDIO]);
            let (mut now, mut last) = (0, [i64::MIN; 2]);
            for (stamp, pause, depth, sound, event) in units {
                now += pause;
                let track = usize::from(sound);
                match event {
                    0 => timeline.restart(&[VIDEO, AUDIO]),
                    1 => timeline.sender_report(track, stamp, u64::from(stamp) << 20),
                    _ => {}
                }
                let Some(stamps) = timeline.place(track, stamp, ms(now), depth) else { continue };
                prop_assert!(stamps.dts > last[track] && stamps.pts >= stamps.dts);
                last[track] = stamps.dts;
                let rate = [90, 8][track];
                prop_assert!(stamps.pts / rate <= now as i64 + 11_000, "{} ms at {now} ms", stamps.pts / rate);
            }
        }
    }
}
