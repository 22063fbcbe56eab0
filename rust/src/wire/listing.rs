//! A page of cameras as callers get it: the field `cameras` of `vidhub.v1.ListCamerasResponse`.
//!
//! What is told is what the registry holds, no addresses and no legal record. `tests/unit/api/test_listing.py` holds it to what
//! `api/convert.py` makes of the same cameras.

use super::protobuf::Writer;

/// Past the last second that a calendar has: 10000-01-01.
const END_OF_TIME_S: f64 = 253_402_300_800.0;

/// One camera. The numbers are those of the enums in `protos/`.
pub struct Listed<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub unit_id: &'a str,
    pub region_code: &'a str,
    pub industry: &'a str,
    pub place_category: u8,
    /// WGS-84 degrees.
    pub latitude: f64,
    pub longitude: f64,
    pub profiles: Vec<u8>,
    pub state: u8,
    /// Seconds since 1970; 0 while nothing is known.
    pub state_time: f64,
    pub state_reason: &'a str,
    pub epoch: &'a str,
    pub revision: u64,
    /// Empty for this hub.
    pub home_hub_id: &'a str,
    pub is_stale: bool,
    pub unit_name: &'a str,
    pub region_name: &'a str,
}

impl Listed<'_> {
    pub fn write(&self, page: &mut Writer) {
        page.message(1, |camera| {
            camera.text(1, self.id);
            camera.text(2, self.name);
            camera.text(3, self.unit_id);
            camera.text(4, self.region_code);
            camera.text(5, self.industry);
            camera.unsigned(6, self.place_category);
            camera.message(7, |location| {
                location.double(1, self.latitude);
                location.double(2, self.longitude);
            });
            for profile in &self.profiles {
                camera.message(8, |stream| stream.unsigned(1, *profile));
            }
            camera.unsigned(20, self.state);
            if let Some((seconds, micros)) = moment(self.state_time) {
                camera.message(21, |time| {
                    time.unsigned(1, seconds);
                    time.unsigned(2, micros * 1_000);
                });
            }
            camera.text(22, self.state_reason);
            camera.message(23, |revision| {
                revision.text(1, self.epoch);
                revision.unsigned(2, self.revision);
            });
            camera.text(26, self.home_hub_id);
            camera.unsigned(27, self.is_stale);
            camera.text(28, self.unit_name);
            camera.text(29, self.region_name);
        });
    }
}

/// (seconds, microseconds) as the control plane rounds them; None for 0 and for what no calendar holds.
fn moment(time: f64) -> Option<(u64, u32)> {
    if !(time > 0.0 && time < END_OF_TIME_S) {
        return None;
    }
    let micros = (time.fract() * 1e6).round_ties_even() as u32;
    let seconds = time.trunc() as u64 + u64::from(micros / 1_000_000);
    ((seconds as f64) < END_OF_TIME_S).then_some((seconds, micros % 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_rounded_to_microseconds() {
        assert_eq!(moment(1.5), Some((1, 500_000)));
        assert_eq!(moment(1_780_000_000.999_999_9), Some((1_780_000_001, 0)));
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY, END_OF_TIME_S, END_OF_TIME_S - 1e-5] {
            assert_eq!(moment(none), None, "{none}");
        }
    }
}
