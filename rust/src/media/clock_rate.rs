//! Whether a camera's clock runs at the rate that the camera says.
//!
//! Some stamp in milliseconds where 90 kHz is announced, or by the picture rate that is set and not the one that is sent;
//! the clocks of some stand. Such a clock is told from a network that slows down for a while, which does not do so evenly
//! for long, and not by much.

use std::time::Duration;

/// How long it is measured.
const MEASURE: Duration = Duration::from_secs(2);
/// Measurements in a row that have to agree: the fewer, where the clock is off by more than `FAR` times.
const AGREED: u32 = 5;
const AGREED_FAR: u32 = 2;
const FAR: f64 = 2.0;
/// One that is off by more than this part is beyond steering.
const WRONG: f64 = 1.0 / 8.0;

/// What was measured of one track's clock.
#[derive(Debug)]
pub struct ClockRate {
    running: Option<Measure>,
    /// Ticks that passed by arrival for one of the camera's, in the last measurement.
    last: f64,
    /// Measurements in a row that were like the last one, which counts.
    agreed: u32,
    /// The same, where enough measurements agree that it is not one.
    scale: Option<f64>,
}

/// Ticks by the camera's stamps since an arrival.
#[derive(Clone, Copy, Debug)]
struct Measure {
    since: Duration,
    ticks: i64,
}

impl Default for ClockRate {
    fn default() -> Self {
        Self { running: None, last: 1.0, agreed: 0, scale: None }
    }
}

impl ClockRate {
    /// The stamps have leapt: what was begun to be measured means nothing.
    pub fn leapt(&mut self) {
        self.running = None;
    }

    pub fn is_wrong(&self) -> bool {
        self.scale.is_some()
    }

    /// A unit whose stamp is `step` ticks after the one before it; how many ticks one of the camera's is, where its rate
    /// is wrong.
    pub fn measure(&mut self, step: i64, rate_hz: u32, arrival: Duration) -> Option<f64> {
        let Some(running) = &mut self.running else {
            self.running = Some(Measure { since: arrival, ticks: 0 });
            return self.scale;
        };
        running.ticks += step;
        let passed = arrival.saturating_sub(running.since);
        if passed >= MEASURE {
            let ratio = passed.as_secs_f64() * f64::from(rate_hz) / running.ticks.max(1) as f64;
            *running = Measure { since: arrival, ticks: 0 };
            let before = std::mem::replace(&mut self.last, ratio);
            self.agreed = if differs(ratio, before) { 1 } else { self.agreed + 1 };
            let enough = if ratio.ln().abs() > FAR.ln() { AGREED_FAR } else { AGREED };
            if differs(ratio, 1.0) && self.agreed >= enough {
                self.scale = Some(ratio);
            } else if !differs(ratio, 1.0) && !differs(before, 1.0) {
                self.scale = None;
            }
        }
        self.scale
    }
}

fn differs(one: f64, other: f64) -> bool {
    (one / other).ln().abs() > WRONG.ln_1p()
}
