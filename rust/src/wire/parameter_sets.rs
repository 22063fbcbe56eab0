//! The parameter sets of a track, learned in band or from SDP.

use bytes::Bytes;
use smallvec::SmallVec;

use super::nal::{NalFormat, Role};
use crate::media::CodecParameters;

const MAX_PPS: usize = 8;
/// Real sets have some dozen octets, a few hundred with scaling lists. They are kept, put before keyframes and written
/// into descriptions, so one of megabytes would cost many times its size.
const MAX_SET_BYTES: usize = 4096;

/// The parameter sets learned so far.
#[derive(Clone, Debug)]
pub struct ParameterSets<F: NalFormat> {
    vps: Option<Bytes>,
    sps: Option<(Bytes, F::Sps)>,
    pps: SmallVec<[(u32, Bytes); 2]>,
    b_slices_seen: bool,
}

impl<F: NalFormat> Default for ParameterSets<F> {
    fn default() -> Self {
        Self { vps: None, sps: None, pps: SmallVec::new(), b_slices_seen: false }
    }
}

impl<F: NalFormat> ParameterSets<F> {
    /// Takes over a parameter set; anything else, and what can't be read, is left out.
    pub fn learn(&mut self, nal: &[u8]) {
        if nal.len() > MAX_SET_BYTES {
            return;
        }
        match F::role(nal) {
            Role::Vps if self.vps.as_deref() != Some(nal) => self.vps = Some(Bytes::copy_from_slice(nal)),
            Role::Sps => {
                if self.sps.as_ref().is_some_and(|(known, _)| known == nal) {
                    return;
                }
                if let Some(summary) = F::read_sps(nal) {
                    // Picture parameter sets belong to the SPS they came after.
                    self.pps.clear();
                    self.b_slices_seen = false;
                    self.sps = Some((Bytes::copy_from_slice(nal), summary));
                }
            }
            Role::Pps => {
                let Some(id) = F::pps_id(nal) else { return };
                if let Some((_, known)) = self.pps.iter_mut().find(|(known, _)| *known == id) {
                    if known != nal {
                        *known = Bytes::copy_from_slice(nal);
                    }
                } else if self.pps.len() < MAX_PPS {
                    self.pps.push((id, Bytes::copy_from_slice(nal)));
                }
            }
            Role::Vps | Role::Picture(_) | Role::Side | Role::Delimiter | Role::LeftOut | Role::Invalid => {}
        }
    }

    pub fn is_complete(&self) -> bool {
        (self.vps.is_some() || !F::HAS_VPS) && self.sps.is_some() && !self.pps.is_empty()
    }

    /// Every known set, in the order in which a decoder needs them.
    pub fn known(&self) -> impl Iterator<Item = &Bytes> {
        self.vps.iter().chain(self.sps.iter().map(|(sps, _)| sps)).chain(self.pps.iter().map(|(_, pps)| pps))
    }

    pub fn has_b_slices(&self) -> bool {
        self.b_slices_seen
    }

    pub(super) fn saw_b_slices(&mut self) {
        self.b_slices_seen = true;
    }

    /// How many pictures may be out of order between decoding and output.
    pub fn reorder_depth(&self) -> u32 {
        self.sps.as_ref().map_or(0, |(_, summary)| F::reorder_depth(summary, self.b_slices_seen))
    }

    /// What the stream is described by; None while a set is missing.
    pub fn parameters(&self) -> Option<CodecParameters> {
        let (sps, summary) = self.sps.as_ref()?;
        let (_, pps) = self.pps.first()?;
        F::parameters(self.vps.as_ref(), (sps, summary), pps, self.reorder_depth() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::h264::H264;
    use super::super::h264::samples::{PPS, SPS};
    use super::super::h265::{H265, samples};
    use super::*;

    #[test]
    fn a_parameter_set_of_megabytes_is_not_learned() {
        let mut sets = ParameterSets::<H264>::default();
        sets.learn(SPS);
        sets.learn(&[PPS, &vec![0xff; MAX_SET_BYTES]].concat());
        assert!(!sets.is_complete());
        sets.learn(PPS);
        assert!(sets.is_complete());
    }

    #[test]
    fn another_sps_lets_go_the_picture_sets_of_the_one_before() {
        let mut sets = ParameterSets::<H264>::default();
        [SPS, PPS, SPS].iter().for_each(|set| sets.learn(set));
        assert!(sets.is_complete(), "the same again changes nothing");
        let mut other = SPS.to_vec();
        other[3] += 1;
        sets.learn(&other);
        assert!(!sets.is_complete());
    }

    #[test]
    fn h265_needs_three_kinds_of_set() {
        let mut sets = ParameterSets::<H265>::default();
        [samples::SPS, samples::PPS].iter().for_each(|set| sets.learn(set));
        assert!(!sets.is_complete() && sets.parameters().is_none());
        sets.learn(samples::VPS);
        assert_eq!(sets.known().map(|set| &set[..]).collect::<Vec<_>>(), [samples::VPS, samples::SPS, samples::PPS]);
        assert_eq!(sets.parameters().and_then(|parameters| parameters.picture()), Some((640, 360, false)));
    }
}
