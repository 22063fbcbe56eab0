//! H.264 and H.265 from RTP payload to access units (RFC 6184, RFC 7798), whatever protocol brought the packets.

use smallvec::SmallVec;

use super::annex_b::START_CODE;
use super::nal::{NalFormat, Payload, Role};
use super::parameter_sets::ParameterSets;
use super::unit_builder::{PictureUnit, TooLarge, UnitBuilder};

/// One RTP packet, header read.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: &'a [u8],
}

#[derive(Debug)]
pub enum Event {
    Unit(PictureUnit),
    /// A unit, or part of one, is missing. What follows refers to it until the next keyframe.
    Lost(Loss),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Packets are missing.
    Gap,
    /// Packets do not hold what was negotiated.
    Malformed,
    /// The unit is above `MAX_UNIT_BYTES`.
    TooLarge,
}

pub type Events = SmallVec<[Event; 2]>;

/// A packet that is kept until it is known what it is.
#[derive(Debug)]
struct Suspect {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

/// How far back a packet may be and still be one that came late (RFC 3550 §A.1).
const MAX_MISORDER: u16 = 100;
/// Late packets in a row after which the sender is taken to have begun a new count all the same.
const RESTART_AFTER: u32 = 100;

/// Puts access units together.
///
/// Feed packets as they come; older ones and duplicates are passed over. A unit ends with the marker or where the
/// timestamp changes. One that misses a part is never delivered: the gap yields `Lost`, and the packets up to the
/// next beginning of a picture are dropped with it.
#[derive(Debug, Default)]
pub struct Depacketiser<F: NalFormat> {
    pub sets: ParameterSets<F>,
    next_sequence: Option<u16>,
    older_in_a_row: u32,
    /// The last packet that was too far back to be late: the first of a new count, if the next one follows it.
    suspect: Option<Suspect>,
    building: Option<UnitBuilder<F>>,
    /// No gap since a packet that ended a unit: the next packet begins one.
    in_step: bool,
    /// Time of the packets passed over since the gap, which may be the rest of a unit.
    passed_over: Option<u32>,
    /// Packets of this time belong to a unit that is dropped.
    dropping: Option<u32>,
    /// Time of the last unit that a marker ended.
    ended: Option<u32>,
    /// Some cameras set the marker on every slice or NAL unit: then only the timestamp tells.
    markers_lie: bool,
    /// As in `UnitBuilder`.
    packs_many: bool,
    /// Size of the last unit: the next will be about as large.
    usual_bytes: usize,
}

impl<F: NalFormat> Depacketiser<F> {
    /// `sets`: what SDP told.
    pub fn new(sets: ParameterSets<F>) -> Self {
        Self { sets, ..Self::default() }
    }

    pub fn push(&mut self, packet: Packet<'_>) -> Events {
        let mut events = Events::new();
        let Some(first) = self.follows(packet, &mut events) else { return events };
        if let Some(Suspect { sequence, timestamp, marker, payload }) = first {
            self.take(Packet { sequence, timestamp, marker, payload: &payload }, &mut events);
        }
        self.take(packet, &mut events);
        events
    }

    /// Takes a packet that is in its turn.
    fn take(&mut self, packet: Packet<'_>, events: &mut Events) {
        let payload = bare(packet.payload);
        if self.building.as_ref().is_some_and(|unit| unit.timestamp != packet.timestamp) {
            self.finish(events);
        }
        if self.dropping.is_some_and(|timestamp| timestamp != packet.timestamp) {
            self.dropping = None;
        }
        if payload.is_empty() || self.dropping.is_some() {
            return;
        }
        if self.building.is_none() {
            self.in_step |= self.passed_over.is_some_and(|timestamp| timestamp != packet.timestamp);
            if !self.in_step && !begins_unit::<F>(payload) {
                self.passed_over = Some(packet.timestamp);
                return;
            }
            self.in_step = true;
            self.passed_over = None;
            let unit = self.building.insert(UnitBuilder::new(packet.timestamp, self.usual_bytes + 1500));
            unit.packs_many = self.packs_many;
        }
        if let Err(loss) = self.add(payload) {
            self.building = None;
            self.dropping = Some(packet.timestamp);
            events.push(Event::Lost(loss));
            return;
        }
        if self.continues_an_ended_picture(packet.timestamp) {
            self.markers_lie = true;
            self.building = None;
            self.dropping = Some(packet.timestamp);
            events.push(Event::Lost(Loss::Malformed));
            return;
        }
        let complete = self.building.as_ref().is_some_and(UnitBuilder::has_picture);
        if packet.marker && complete && !self.markers_lie {
            self.finish(events);
            self.ended = Some(packet.timestamp);
        }
    }

    /// Ends the unit in progress, where a stream ends.
    pub fn flush(&mut self) -> Events {
        let mut events = Events::new();
        self.finish(&mut events);
        events
    }

    /// None: the packet is not to be looked at. Else a gap before it is settled here, and where it shows that a new count
    /// has begun, the first packet of that comes before it.
    fn follows(&mut self, packet: Packet<'_>, events: &mut Events) -> Option<Option<Suspect>> {
        let sequence = packet.sequence;
        let mut first = None;
        let ahead = self.next_sequence.map_or(0, |next| sequence.wrapping_sub(next));
        if ahead >= 0x8000 {
            self.older_in_a_row += 1;
            let is_far = 0u16.wrapping_sub(ahead) > MAX_MISORDER;
            if is_far {
                first = self.suspect.take().filter(|suspect| suspect.sequence.wrapping_add(1) == sequence);
            }
            if first.is_none() && self.older_in_a_row < RESTART_AFTER {
                if is_far {
                    let Packet { timestamp, marker, payload, .. } = packet;
                    self.suspect = Some(Suspect { sequence, timestamp, marker, payload: payload.to_vec() });
                }
                return None;
            }
        }
        if ahead != 0 {
            self.building = None;
            self.in_step = false;
            self.ended = None;
            self.dropping = None;
            self.passed_over = None;
            events.push(Event::Lost(Loss::Gap));
        }
        self.older_in_a_row = 0;
        self.suspect = None;
        self.next_sequence = Some(sequence.wrapping_add(1));
        Some(first)
    }

    fn add(&mut self, payload: &[u8]) -> Result<(), Loss> {
        let Some(unit) = self.building.as_mut() else { return Ok(()) };
        let payload = F::payload(payload).ok_or(Loss::Malformed)?;
        if unit.in_fragment() && !matches!(payload, Payload::Fragment { .. }) {
            return Err(Loss::Malformed);
        }
        match payload {
            Payload::Single(nal) => unit.push(nal, &mut self.sets)?,
            Payload::Aggregate(rest) => {
                for nal in Aggregate(rest) {
                    let nal = nal?;
                    if !nal.is_empty() && F::role(nal) == Role::Invalid {
                        return Err(Loss::Malformed);
                    }
                    unit.push(nal, &mut self.sets)?;
                }
            }
            Payload::Fragment { header, starts, ends, part } => {
                let header = header.get(..F::HEADER).unwrap_or_default();
                if F::role(header) == Role::Invalid {
                    return Err(Loss::Malformed);
                }
                match (starts, unit.in_fragment()) {
                    (true, false) => unit.begin_fragment(header, part)?,
                    (false, true) => unit.add_fragment(part)?,
                    _ => return Err(Loss::Malformed),
                }
                if ends {
                    unit.end_fragment(&mut self.sets)?;
                }
            }
        }
        self.packs_many = unit.packs_many;
        Ok(())
    }

    /// A slice in the middle of a picture, at the time of a picture that a marker has ended already.
    fn continues_an_ended_picture(&self, timestamp: u32) -> bool {
        self.ended == Some(timestamp) && self.building.as_ref().and_then(UnitBuilder::begins_picture) == Some(false)
    }

    fn finish(&mut self, events: &mut Events) {
        let Some(unit) = self.building.take() else { return };
        if unit.in_fragment() {
            events.push(Event::Lost(Loss::Malformed));
            return;
        }
        if unit.has_picture() {
            self.usual_bytes = unit.byte_len();
        }
        if let Some(unit) = unit.finish(&mut self.sets) {
            events.push(Event::Unit(unit));
        }
    }
}

impl From<TooLarge> for Loss {
    fn from(_: TooLarge) -> Self {
        Self::TooLarge
    }
}

/// The payload without the start code that some cameras put in front of it, as in a byte stream (Annex B). No payload begins
/// so: the type of its NAL unit would be 0 (RFC 6184 §5.2), or its temporal id (RFC 7798 §1.1.4).
fn bare(payload: &[u8]) -> &[u8] {
    payload.strip_prefix(&START_CODE).or_else(|| payload.strip_prefix(&START_CODE[1..])).unwrap_or(payload)
}

/// Whether a payload that follows a gap is the beginning of an access unit: what comes before a picture's first slice
/// is side information, and its parameter sets are known or come again.
fn begins_unit<F: NalFormat>(payload: &[u8]) -> bool {
    match F::payload(payload) {
        Some(Payload::Single(nal)) => begins_picture::<F>(nal),
        Some(Payload::Aggregate(rest)) => matches!(Aggregate(rest).next(), Some(Ok(nal)) if begins_picture::<F>(nal)),
        Some(Payload::Fragment { header, starts, part, .. }) => {
            let header = header.into_iter().take(F::HEADER);
            let head: SmallVec<[u8; 32]> = header.chain(part.iter().copied().take(24)).collect();
            starts && begins_picture::<F>(&head)
        }
        None => false,
    }
}

fn begins_picture<F: NalFormat>(nal: &[u8]) -> bool {
    match F::role(nal) {
        Role::Delimiter | Role::Vps | Role::Sps => true,
        Role::Picture(_) => F::slice(nal).is_some_and(|slice| slice.is_first),
        Role::Pps | Role::Side | Role::LeftOut | Role::Invalid => false,
    }
}

/// NAL units of an aggregate, its header taken off (RFC 6184 §5.7.1, RFC 7798 §4.4.2).
struct Aggregate<'a>(&'a [u8]);

impl<'a> Iterator for Aggregate<'a> {
    type Item = Result<&'a [u8], Loss>;

    fn next(&mut self) -> Option<Self::Item> {
        let (size, rest) = match self.0 {
            [] => return None,
            // A single byte left over is padding of careless senders.
            [_] => return None,
            [high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        };
        match (rest.get(..size), rest.get(size..)) {
            (Some(nal), Some(rest)) => {
                self.0 = rest;
                Some(Ok(nal))
            }
            _ => {
                self.0 = &[];
                Some(Err(Loss::Malformed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::h264::samples::{PPS, SPS};
    use super::super::h264::{H264, NalKind};
    use super::*;

    const MTU: usize = 40;

    /// A camera's packets for one access unit: small NAL units single, large ones in fragments.
    fn packetise(nals: &[Vec<u8>], timestamp: u32, sequence: &mut u16) -> Vec<(u16, u32, bool, Vec<u8>)> {
        let mut payloads = Vec::new();
        for nal in nals {
            if nal.len() <= MTU {
                payloads.push(nal.clone());
                continue;
            }
            let parts: Vec<&[u8]> = nal[1..].chunks(MTU - 2).collect();
            for (place, part) in parts.iter().enumerate() {
                let starts = if place == 0 { 0x80 } else { 0 };
                let ends = if place + 1 == parts.len() { 0x40 } else { 0 };
                payloads.push([&[nal[0] & 0xe0 | 28, starts | ends | nal[0] & 0x1f], *part].concat());
            }
        }
        let last = payloads.len() - 1;
        payloads
            .into_iter()
            .enumerate()
            .map(|(place, payload)| {
                let packet = (*sequence, timestamp, place == last, payload);
                *sequence = sequence.wrapping_add(1);
                packet
            })
            .collect()
    }

    fn feed(depacketiser: &mut Depacketiser<impl NalFormat>, packets: &[(u16, u32, bool, Vec<u8>)]) -> Vec<Event> {
        packets
            .iter()
            .flat_map(|(sequence, timestamp, marker, payload)| {
                depacketiser.push(Packet { sequence: *sequence, timestamp: *timestamp, marker: *marker, payload })
            })
            .collect()
    }

    fn nals(unit: &PictureUnit) -> Vec<Vec<u8>> {
        unit.nals.iter().map(|range| unit.data[range.start as usize..range.end as usize].to_vec()).collect()
    }

    fn units(events: &[Event]) -> Vec<&PictureUnit> {
        events.iter().filter_map(|event| if let Event::Unit(unit) = event { Some(unit) } else { None }).collect()
    }

    fn losses(events: &[Event]) -> Vec<Loss> {
        events.iter().filter_map(|event| if let Event::Lost(loss) = event { Some(*loss) } else { None }).collect()
    }

    /// A slice: header, first_mb_in_slice, slice type, then bytes that hold no start code.
    fn slice(header: u8, first_macroblock: u32, size: usize, seed: u8) -> Vec<u8> {
        let head = if first_macroblock == 0 { 0x88 } else { 0b0100_1000 | (first_macroblock as u8 & 1) << 5 };
        let mut nal = vec![header, head];
        nal.extend((0..size).map(|place| (place as u8).wrapping_mul(31).wrapping_add(seed) | 1));
        nal
    }

    fn keyframe(seed: u8) -> Vec<Vec<u8>> {
        vec![SPS.to_vec(), PPS.to_vec(), slice(0x65, 0, 300, seed), slice(0x65, 1, 200, seed)]
    }

    #[test]
    fn single_units_and_fragments_become_the_units_they_were() {
        let (mut sequence, mut depacketiser) = (65_530, Depacketiser::<H264>::default());
        let originals = [keyframe(1), vec![slice(0x41, 0, 10, 2)], vec![slice(0x41, 0, 500, 3), slice(0x41, 1, 5, 3)]];
        let packets: Vec<_> = originals
            .iter()
            .enumerate()
            .flat_map(|(place, nals)| packetise(nals, 3600 * place as u32, &mut sequence))
            .collect();
        let events = feed(&mut depacketiser, &packets);
        assert_eq!(events.len(), 3);
        let got: Vec<_> = units(&events).into_iter().map(nals).collect();
        assert_eq!(got, originals);
        assert_eq!(units(&events).iter().map(|unit| unit.keyframe).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn an_aggregate_is_taken_apart() {
        let mut payload = vec![24];
        for nal in [SPS, PPS, &[0x65, 0x88, 1, 2]] {
            payload.extend((nal.len() as u16).to_be_bytes());
            payload.extend(nal);
        }
        let mut depacketiser = Depacketiser::<H264>::default();
        let events = feed(&mut depacketiser, &[(1, 0, true, payload.clone())]);
        assert_eq!(nals(units(&events)[0]), [SPS, PPS, &[0x65, 0x88, 1, 2]]);
        payload[2] = 200;
        assert_eq!(losses(&feed(&mut depacketiser, &[(2, 3600, true, payload)])), [Loss::Malformed]);
    }

    #[test]
    fn without_markers_the_timestamp_ends_a_unit() {
        let (mut sequence, mut depacketiser) = (0, Depacketiser::<H264>::default());
        let mut packets = packetise(&keyframe(1), 0, &mut sequence);
        packets.extend(packetise(&[slice(0x41, 0, 100, 2)], 3600, &mut sequence));
        packets.iter_mut().for_each(|packet| packet.2 = false);
        let events = feed(&mut depacketiser, &packets);
        assert_eq!(nals(units(&events)[0]), keyframe(1));
        assert_eq!(units(&depacketiser.flush()).len(), 1);
    }

    #[test]
    fn markers_on_every_packet_are_seen_through() {
        let (mut sequence, mut depacketiser) = (0, Depacketiser::<H264>::default());
        let mut got = Vec::new();
        for place in 0..4 {
            let mut packets = packetise(&keyframe(place), 3600 * u32::from(place), &mut sequence);
            packets.iter_mut().for_each(|packet| packet.2 = packet.3[0] & 0x1f != 28 || packet.3[1] & 0x40 != 0);
            got.extend(feed(&mut depacketiser, &packets));
        }
        // The first picture shows the habit; from the second on units end with the timestamp.
        assert_eq!(losses(&got), [Loss::Malformed]);
        assert_eq!(units(&got)[1..].iter().map(|unit| nals(unit)).collect::<Vec<_>>(), [keyframe(1), keyframe(2)]);
    }

    #[test]
    fn a_gap_drops_the_unit_it_hits_and_a_keyframe_right_after_it_is_kept() {
        let (mut sequence, mut depacketiser) = (0, Depacketiser::<H264>::default());
        let mut packets = packetise(&keyframe(1), 0, &mut sequence);
        packets.extend(packetise(&[slice(0x41, 0, 300, 2)], 3600, &mut sequence));
        packets.extend(packetise(&keyframe(3), 7200, &mut sequence));
        let cut = packets.len() - packetise(&keyframe(3), 7200, &mut 0).len() - 1;
        packets.remove(cut);
        let events = feed(&mut depacketiser, &packets);
        assert_eq!(losses(&events), [Loss::Gap]);
        assert_eq!(units(&events).into_iter().map(nals).collect::<Vec<_>>(), [keyframe(1), keyframe(3)]);
    }

    #[test]
    fn joining_in_the_middle_of_a_picture_yields_no_half_picture() {
        let mut depacketiser = Depacketiser::<H264>::default();
        let packets = packetise(&keyframe(1), 0, &mut 0);
        assert!(units(&feed(&mut depacketiser, &packets[4..])).is_empty());
    }

    #[test]
    fn a_sender_that_counts_anew_is_followed_from_its_second_packet_on() {
        let mut depacketiser = Depacketiser::<H264>::default();
        let mut sequence = 40_000;
        let mut packets = packetise(&keyframe(1), 0, &mut sequence);
        sequence = 20_000;
        for place in 1..60 {
            packets.extend(packetise(&keyframe(place), 3600 * u32::from(place), &mut sequence));
        }
        let events = feed(&mut depacketiser, &packets);
        assert_eq!(losses(&events), [Loss::Gap]);
        assert_eq!(units(&events).len(), 60);
    }

    #[test]
    fn a_keyframe_that_a_new_count_begins_with_is_whole_though_its_first_packet_proves_nothing() {
        let (mut sequence, mut depacketiser) = (40_000, Depacketiser::<H264>::default());
        let mut packets = packetise(&keyframe(1), 0, &mut sequence);
        // Its sets come out of band: the first packet is the first of the slice.
        let bare = keyframe(2).split_off(2);
        packets.extend(packetise(&bare, 3600, &mut { 20_000 }));
        let events = feed(&mut depacketiser, &packets);
        assert_eq!(losses(&events), [Loss::Gap]);
        assert_eq!(units(&events).iter().map(|unit| unit.keyframe).collect::<Vec<_>>(), [true, true]);
        assert!(nals(units(&events)[1]).ends_with(&bare));
    }

    #[test]
    fn start_codes_in_front_of_a_payload_and_between_parameter_sets_are_no_part_of_it() {
        for code in [&START_CODE[..], &START_CODE[1..]] {
            let (mut sequence, mut depacketiser) = (0, Depacketiser::<H264>::default());
            let sets = [code, SPS, &START_CODE, PPS].concat();
            let small = [slice(0x65, 0, 20, 1), slice(0x65, 1, 10, 1)];
            let packets = [&sets, &[code, &small[0]].concat(), &[code, &small[1]].concat()].map(|payload| {
                sequence += 1;
                (sequence, 0, sequence == 3, payload.clone())
            });
            let events = feed(&mut depacketiser, &packets);
            assert!(losses(&events).is_empty());
            assert_eq!(nals(units(&events)[0]), [SPS, PPS, &small[0], &small[1]]);
        }
    }

    #[test]
    fn a_whole_byte_stream_in_fragments_is_cut_apart_and_so_is_what_the_camera_sends_from_then_on() {
        let (mut sequence, mut depacketiser) = (0, Depacketiser::<H264>::default());
        let whole = |nals: &[Vec<u8>]| vec![nals.join(&START_CODE[..])];
        let inter = |seed| vec![slice(0x41, 0, 100, seed), slice(0x41, 1, 90, seed)];
        let small = vec![slice(0x41, 0, 5, 4), slice(0x41, 1, 5, 4)];
        let mut packets = packetise(&whole(&inter(1)), 0, &mut sequence);
        for (place, nals) in [keyframe(2), inter(3), small.clone(), keyframe(5)].into_iter().enumerate() {
            packets.extend(packetise(&whole(&nals), 3600 * (place as u32 + 1), &mut sequence));
        }
        let events = feed(&mut depacketiser, &packets);
        assert!(losses(&events).is_empty());
        let got: Vec<_> = units(&events).into_iter().map(nals).collect();
        // Nothing is delivered before a keyframe, so the first need not be looked through.
        assert_eq!(got[1..], [keyframe(2), inter(3), small, keyframe(5)]);
        assert_eq!(got[0], whole(&inter(1)));
        let keyframes: Vec<_> = units(&events).iter().map(|unit| unit.keyframe).collect();
        assert_eq!(keyframes, [false, true, false, false, true]);
    }

    #[test]
    fn single_packets_from_long_ago_are_passed_over() {
        let (mut sequence, mut depacketiser) = (40_000, Depacketiser::<H264>::default());
        let mut packets = packetise(&keyframe(1), 0, &mut sequence);
        for stray in [20_000, 20_005, 39_000] {
            packets.extend(packetise(&[slice(0x41, 0, 300, 2)], 77, &mut { stray }).into_iter().take(1));
            packets.extend(packetise(&[slice(0x41, 0, 300, 2)], 3600, &mut sequence));
        }
        assert!(losses(&feed(&mut depacketiser, &packets)).is_empty());
    }

    #[test]
    fn a_unit_without_end_is_cut_off() {
        let mut depacketiser = Depacketiser::<H264>::default();
        let part = vec![1u8; 60_000];
        let mut events = feed(&mut depacketiser, &[(0, 0, false, [&[0x7c, 0x85, 0x88], part.as_slice()].concat())]);
        for sequence in 1..200 {
            events.extend(feed(&mut depacketiser, &[(sequence, 0, false, [&[0x7c, 0x05], part.as_slice()].concat())]));
        }
        assert_eq!(losses(&events), [Loss::TooLarge]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_packets_make_it_panic(packets in prop::collection::vec(
            (0u16..40, 0u32..4, any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..60)
        ) {
            let mut depacketiser = Depacketiser::<H264>::default();
            for event in feed(&mut depacketiser, &packets) {
                if let Event::Unit(unit) = event {
                    prop_assert!(unit.nals.iter().all(|range| range.start < range.end && range.end as usize <= unit.data.len()));
                }
            }
        }

        /// Whatever is lost, doubled or out of order: each unit that comes out has every slice of its original.
        #[test]
        fn no_unit_comes_out_damaged(
            shapes in prop::collection::vec((any::<bool>(), prop::collection::vec(1usize..300, 1..4), any::<bool>()), 2..12),
            faults in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3), 0..12),
            first in any::<u16>(),
        ) {
            let mut sequence = first;
            let mut originals = Vec::new();
            let mut packets = Vec::new();
            for (place, (key, sizes, delimited)) in shapes.iter().enumerate() {
                let header = if *key { 0x65 } else { 0x41 };
                let slices: Vec<_> = sizes.iter().enumerate().map(|(n, size)| slice(header, n as u32, *size, place as u8)).collect();
                let mut nals = Vec::new();
                if *delimited { nals.push(vec![9, 0x10]); }
                if *key { nals.extend([SPS.to_vec(), PPS.to_vec()]); }
                nals.extend(slices.iter().cloned());
                packets.extend(packetise(&nals, 3600 * place as u32, &mut sequence));
                originals.push(slices);
            }
            for (index, fault) in &faults {
                if packets.len() < 2 { break }
                let at = index.index(packets.len() - 1);
                match fault {
                    0 => { packets.remove(at); }
                    1 => { let twin = packets[at].clone(); packets.insert(at + 1, twin); }
                    _ => packets.swap(at, at + 1),
                }
            }
            let mut depacketiser = Depacketiser::<H264>::default();
            let mut events = feed(&mut depacketiser, &packets);
            events.extend(depacketiser.flush());
            let delivered = units(&events);
            if faults.is_empty() {
                prop_assert_eq!(delivered.len(), originals.len());
            }
            let mut last = None;
            for unit in delivered {
                let slices: Vec<_> = nals(unit).into_iter().filter(|nal| NalKind::of(nal[0]).is_picture()).collect();
                let place = (unit.timestamp / 3600) as usize;
                prop_assert!(last < Some(place));
                last = Some(place);
                // The very last unit may end without its marker, which only the stream's end shows.
                if place + 1 < originals.len() {
                    prop_assert_eq!(&slices, &originals[place]);
                }
            }
        }
    }
}
