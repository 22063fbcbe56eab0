//! Fragmented MP4 (ISO 14496-12) for Media Source Extensions: an initialisation segment, and one fragment per access unit.
//!
//! A fragment belongs to no viewer: it carries its own time and number, so the same octets serve whoever joins where.

use bytes::Bytes;
use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
use mp4_atom::{
    Audio, Avc1, Avcc, AvccExt, Codec as SampleEntry, Dinf, Dops, Dref, DrefEntry, Encode, Esds, FourCC, Ftyp, Hdlr,
    Hvc1, HvcCArray, Hvcc, Mdhd, Mdia, Mfhd, Minf, Moof, Moov, Mp4a, Mvex, Mvhd, Opus, Smhd, Stbl, Stco, Stsd, Tfdt,
    Tfhd, Tkhd, Traf, Trak, Trex, Trun, TrunEntry, Url, Visual, Vmhd,
};

use super::h265::SpsSummary;
use crate::media::{CodecParameters, MediaKind, Track};

/// Octets of every `moof` of ours: one track, one sample.
const MOOF_LEN: usize = 104;
/// `mdat` and its length.
const MDAT_HEADER: usize = 8;
/// What a fragment adds to its access unit.
pub const OVERHEAD: usize = MOOF_LEN + MDAT_HEADER;
/// `sample_depends_on` 2: decoding may start here (ISO 14496-12 §8.6.4.3).
const SYNC: u32 = 0x0200_0000;
/// `sample_depends_on` 1, `sample_is_non_sync_sample`.
const NON_SYNC: u32 = 0x0101_0000;
/// Samples of one AAC frame, and of the Opus packets that everybody sends (20 ms).
const AAC_FRAME: u32 = 1024;
const OPUS_FRAME: u32 = 960;
/// Silence that an Opus decoder gives at its start; a live stream is joined anywhere, so nothing is cut off.
const OPUS_PRE_SKIP: u16 = 0;
/// AudioStream, MPEG-4 audio (ISO 14496-1 §7.2.6.6).
const STREAM_TYPE_AUDIO: u8 = 5;
const OBJECT_TYPE_AUDIO: u8 = 0x40;

/// How long a unit lasts when nothing else is known, in ticks of the track's clock.
pub fn usual_duration(track: &Track) -> u32 {
    match track.parameters {
        CodecParameters::H264 { .. } | CodecParameters::H265 { .. } => track.clock_rate_hz / 25,
        CodecParameters::Aac { .. } => AAC_FRAME,
        CodecParameters::Opus { .. } => OPUS_FRAME,
        CodecParameters::G711 { .. } => track.clock_rate_hz / 50,
    }
}

/// `ftyp` and `moov` for some tracks, each with its place in the stream. None when one of them can't be described.
///
/// H.264 goes as `avc1` and H.265 as `hvc1`, which every browser knows; the parameter sets stand in front of each keyframe
/// as well, as the camera sent them.
pub fn init(tracks: &[(usize, &Track)]) -> Option<Bytes> {
    let brands = [b"iso6", b"cmfc", b"mp41"];
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 0,
        compatible_brands: brands.into_iter().map(FourCC::new).collect(),
    };
    let moov = Moov {
        mvhd: Mvhd { timescale: 1000, rate: 1.into(), volume: 1.into(), next_track_id: u32::MAX, ..mvhd() },
        mvex: Some(Mvex { mehd: None, trex: tracks.iter().map(|(place, _)| trex(*place)).collect() }),
        trak: tracks.iter().map(|(place, track)| trak(*place, track)).collect::<Option<_>>()?,
        ..Moov::default()
    };
    let mut out = Vec::with_capacity(1024);
    ftyp.encode(&mut out).ok()?;
    moov.encode(&mut out).ok()?;
    Some(out.into())
}

/// What a fragment says of its access unit, in ticks of the track's clock.
///
/// A live unit goes out before the next is there, so how long it will last is not known. It is said to last as long as
/// the one before it, and its decoding time lies that much early, at the end of the one before: decoding times have no
/// gaps, whatever the camera's rate does, and no player takes a slow picture for a broken stream. Presentation times
/// are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub decode: u64,
    pub duration: u32,
    /// From decoding to presentation.
    pub offset: i32,
}

impl Timing {
    /// `lasts`: from the unit before to this one. `start`: where the timeline's zero lies.
    pub fn new(kind: MediaKind, pts: i64, dts: i64, lasts: u32, usual: u32, start: u32) -> Self {
        let decode = dts + i64::from(start) - i64::from(lasts);
        let (decode, offset) = match kind {
            MediaKind::Video => (decode, pts - dts + i64::from(lasts)),
            // Players of sound have no use for a second time: its frames are all alike, so it is late as much as early.
            MediaKind::Audio => (decode + i64::from(usual), 0),
        };
        Self { decode: u64::try_from(decode).unwrap_or(0), duration: lasts, offset: i32::try_from(offset).unwrap_or(0) }
    }
}

/// Appends `moof` and `mdat` with one access unit. `nals`: where the NAL units stand in `data`, each behind a start code of
/// four octets that gives way to its length; empty for sound.
pub fn put_fragment(
    out: &mut Vec<u8>,
    sequence: u32,
    place: usize,
    timing: Timing,
    is_sync: bool,
    data: &[u8],
    nals: &[std::ops::Range<u32>],
) {
    // A unit has 8 MiB at most.
    let (size, length) = (data.len() as u32, (data.len() + MDAT_HEADER) as u32);
    let sample = TrunEntry {
        duration: Some(timing.duration),
        size: Some(size),
        flags: Some(if is_sync { SYNC } else { NON_SYNC }),
        cts: Some(i64::from(timing.offset)),
    };
    let moof = Moof {
        mfhd: Mfhd { sequence_number: sequence },
        traf: vec![Traf {
            tfhd: Tfhd { track_id: track_id(place), default_base_is_moof: true, ..Tfhd::default() },
            tfdt: Some(Tfdt { base_media_decode_time: timing.decode }),
            trun: vec![Trun { data_offset: Some(OVERHEAD as i32), samples: vec![sample].into() }],
            ..Traf::default()
        }],
    };
    let start = out.len();
    if moof.encode(out).is_err() {
        out.truncate(start);
        return;
    }
    debug_assert_eq!(out.len() - start, MOOF_LEN);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(b"mdat");
    let body = out.len();
    out.extend_from_slice(data);
    for range in nals {
        let at = body + range.start as usize;
        let length = range.end.saturating_sub(range.start);
        if let Some(code) = at.checked_sub(4).and_then(|from| out.get_mut(from..at)) {
            code.copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// MP4 counts tracks from 1.
fn track_id(place: usize) -> u32 {
    place as u32 + 1
}

fn mvhd() -> Mvhd {
    Mvhd {
        creation_time: 0,
        modification_time: 0,
        timescale: 0,
        duration: 0,
        rate: 0.into(),
        volume: 0.into(),
        matrix: Default::default(),
        next_track_id: 0,
    }
}

fn trex(place: usize) -> Trex {
    Trex { track_id: track_id(place), default_sample_description_index: 1, ..Trex::default() }
}

fn trak(place: usize, track: &Track) -> Option<Trak> {
    let kind = track.kind();
    let (width, height, _) = track.parameters.picture().unwrap_or_default();
    let (handler, volume) = match kind {
        MediaKind::Video => (b"vide", 0),
        MediaKind::Audio => (b"soun", 1),
    };
    Some(Trak {
        tkhd: Tkhd {
            track_id: track_id(place),
            enabled: true,
            in_movie: true,
            volume: volume.into(),
            width: (u16::try_from(width).ok()?).into(),
            height: (u16::try_from(height).ok()?).into(),
            ..Tkhd::default()
        },
        mdia: Mdia {
            mdhd: Mdhd { timescale: track.clock_rate_hz, language: "und".into(), ..Mdhd::default() },
            hdlr: Hdlr { handler: FourCC::new(handler), name: String::new() },
            minf: Minf {
                vmhd: (kind == MediaKind::Video).then(Vmhd::default),
                smhd: (kind == MediaKind::Audio).then(Smhd::default),
                dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } },
                stbl: Stbl {
                    stsd: Stsd { codecs: vec![sample_entry(track)?] },
                    stco: Some(Stco::default()),
                    ..Stbl::default()
                },
                ..Minf::default()
            },
        },
        ..Trak::default()
    })
}

fn sample_entry(track: &Track) -> Option<SampleEntry> {
    match &track.parameters {
        CodecParameters::H264 { sps, pps, width, height, .. } => {
            let avcc = Avcc { ext: high_profile(sps), ..Avcc::new(sps, pps).ok()? };
            Some(Avc1 { visual: visual(*width, *height)?, avcc, ..Avc1::default() }.into())
        }
        CodecParameters::H265 { vps, sps, pps, width, height, .. } => {
            let array = |nal_unit_type, nal: &Bytes| HvcCArray {
                // More may stand in the stream.
                completeness: false,
                nal_unit_type,
                nalus: vec![nal.to_vec()],
            };
            let summary = SpsSummary::read(sps)?;
            let (luma, chroma) = summary.bit_depths;
            let hvcc = Hvcc {
                general_profile_space: summary.profile.space,
                general_tier_flag: summary.profile.is_high_tier,
                general_profile_idc: summary.profile.idc,
                general_profile_compatibility_flags: summary.profile.compatibility.to_be_bytes(),
                general_constraint_indicator_flags: summary.profile.constraints,
                general_level_idc: summary.profile.level_idc,
                chroma_format_idc: summary.chroma_format,
                bit_depth_luma_minus8: luma.saturating_sub(8),
                bit_depth_chroma_minus8: chroma.saturating_sub(8),
                num_temporal_layers: summary.temporal_layers,
                temporal_id_nested: summary.is_temporally_nested,
                length_size_minus_one: 3,
                arrays: vec![array(32, vps), array(33, sps), array(34, pps)],
                ..Hvcc::new()
            };
            Some(Hvc1 { visual: visual(*width, *height)?, hvcc, ..Hvc1::default() }.into())
        }
        CodecParameters::Aac { config, channels } => {
            let dec_config = DecoderConfig {
                object_type_indication: OBJECT_TYPE_AUDIO,
                stream_type: STREAM_TYPE_AUDIO,
                dec_specific: Some(DecoderSpecific { raw: config.to_vec(), ..DecoderSpecific::default() }),
                ..DecoderConfig::default()
            };
            let es_desc = EsDescriptor { dec_config, sl_config: SLConfig::default(), ..EsDescriptor::default() };
            Some(Mp4a { audio: audio(track, *channels), esds: Esds { es_desc }, btrt: None, taic: None }.into())
        }
        CodecParameters::Opus { channels } => {
            let dops = Dops {
                output_channel_count: *channels,
                pre_skip: OPUS_PRE_SKIP,
                input_sample_rate: track.clock_rate_hz,
                output_gain: 0,
                channel_mapping: None,
            };
            Some(Opus { audio: audio(track, *channels), dops, btrt: None }.into())
        }
        CodecParameters::G711 { .. } => None,
    }
}

/// What High profiles add to `avcC` (ISO 14496-15 §5.3.3.1.2). Cameras send 4:2:0 of 8 bits; what else there is stands in the
/// SPS, which decoders read.
fn high_profile(sps: &[u8]) -> Option<AvccExt> {
    matches!(sps.get(1), Some(100 | 110 | 122 | 144)).then(AvccExt::default)
}

fn visual(width: u32, height: u32) -> Option<Visual> {
    let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    Some(Visual { data_reference_index: 1, width, height, ..Visual::default() })
}

fn audio(track: &Track, channels: u8) -> Audio {
    Audio {
        data_reference_index: 1,
        channel_count: u16::from(channels),
        sample_size: 16,
        // 16 bits; above 65,535 Hz the decoder's own configuration says it.
        sample_rate: u16::try_from(track.clock_rate_hz).unwrap_or(0).into(),
    }
}

#[cfg(test)]
mod tests {
    use mp4_atom::{Any, DecodeMaybe};

    use super::*;
    use crate::media::Codec;
    use crate::wire::h264::samples::{PPS, SPS};
    use crate::wire::h265::samples as h265;

    fn video() -> Track {
        let (sps, pps) = (Bytes::from_static(SPS), Bytes::from_static(PPS));
        let parameters = CodecParameters::H264 { sps, pps, width: 640, height: 360, has_b_frames: false };
        Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }
    }

    fn atoms(mut bytes: &[u8]) -> Vec<Any> {
        std::iter::from_fn(|| Any::decode_maybe(&mut bytes).unwrap()).collect()
    }

    #[test]
    fn the_initialisation_names_each_track_by_its_place() {
        let opus =
            Track { codec: Codec::Opus, clock_rate_hz: 48_000, parameters: CodecParameters::Opus { channels: 2 } };
        let init = init(&[(0, &video()), (3, &opus)]).unwrap();
        let found = atoms(&init);
        let [Any::Ftyp(_), Any::Moov(moov)] = &found[..] else { panic!("{found:?}") };
        let ids: Vec<u32> = moov.trak.iter().map(|trak| trak.tkhd.track_id).collect();
        assert_eq!(ids, [1, 4]);
        assert_eq!(moov.mvex.as_ref().unwrap().trex.iter().map(|trex| trex.track_id).collect::<Vec<_>>(), ids);
        let SampleEntry::Avc1(entry) = &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] else { panic!("{moov:?}") };
        assert_eq!((entry.visual.width, entry.visual.height), (640, 360));
        assert_eq!(entry.avcc.sequence_parameter_sets, [SPS]);
    }

    #[test]
    fn h265_is_described_by_its_own_words() {
        let parameters = CodecParameters::H265 {
            vps: Bytes::from_static(h265::VPS),
            sps: Bytes::from_static(h265::SPS_1080P_10_BIT),
            pps: Bytes::from_static(h265::PPS),
            width: 1920,
            height: 1080,
            has_b_frames: true,
        };
        let init = init(&[(0, &Track { codec: Codec::H265, clock_rate_hz: 90_000, parameters })]).unwrap();
        let [_, Any::Moov(moov)] = &atoms(&init)[..] else { panic!("no moov") };
        let SampleEntry::Hvc1(entry) = &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] else { panic!("{moov:?}") };
        let hvcc = &entry.hvcc;
        assert_eq!((hvcc.general_profile_idc, hvcc.general_level_idc), (2, 120));
        assert_eq!((hvcc.chroma_format_idc, hvcc.bit_depth_luma_minus8, hvcc.bit_depth_chroma_minus8), (1, 2, 2));
        assert_eq!(hvcc.arrays.iter().map(|array| array.nal_unit_type).collect::<Vec<_>>(), [32, 33, 34]);
    }

    #[test]
    fn what_can_not_be_described_is_refused() {
        let g711 = CodecParameters::G711 { channels: 1 };
        assert_eq!(init(&[(0, &Track { codec: Codec::Pcma, clock_rate_hz: 8_000, parameters: g711 })]), None);
        let parameters = CodecParameters::H264 {
            sps: Bytes::from_static(&[0x67]),
            pps: Bytes::new(),
            width: 640,
            height: 360,
            has_b_frames: false,
        };
        assert_eq!(init(&[(0, &Track { parameters, ..video() })]), None);
    }

    #[test]
    fn a_fragment_holds_lengths_where_start_codes_were() {
        let data = [0, 0, 0, 1, 0x65, 7, 7, 0, 0, 0, 1, 0x65, 9];
        let timing = Timing { decode: 90_000, duration: 3600, offset: 7200 };
        let mut out = vec![0x55];
        put_fragment(&mut out, 77, 2, timing, true, &data, &[4..7, 11..13]);
        assert_eq!(out.len(), 1 + OVERHEAD + data.len());
        let found = atoms(&out[1..]);
        let [Any::Moof(moof), Any::Mdat(mdat)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(mdat.data, [0, 0, 0, 3, 0x65, 7, 7, 0, 0, 0, 2, 0x65, 9]);
        assert_eq!(moof.mfhd.sequence_number, 77);
        let [traf] = &moof.traf[..] else { panic!("{moof:?}") };
        assert_eq!((traf.tfhd.track_id, traf.tfhd.default_base_is_moof), (3, true));
        assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, 90_000);
        assert_eq!(traf.trun[0].data_offset, Some(OVERHEAD as i32));
        let sample = traf.trun[0].samples.get(0).unwrap();
        assert_eq!((sample.duration, sample.size, sample.cts), (Some(3600), Some(13), Some(7200)));
    }

    #[test]
    fn decoding_times_have_no_gaps_and_presentation_times_are_exact() {
        // B-frames, and a camera that halves its rate for a while.
        let stamps = [(0_i64, 0_i64), (7200, 3600), (3600, 7200), (18_000, 14_400), (21_600, 21_600)];
        let (mut before, mut end) = (None, None);
        for (pts, dts) in stamps {
            let lasts = before.map_or(3600, |before| (dts - before) as u32);
            let timing = Timing::new(MediaKind::Video, pts, dts, lasts, 3600, 90_000);
            assert_eq!(i64::try_from(timing.decode).unwrap() + i64::from(timing.offset), pts + 90_000);
            assert!(end.is_none_or(|end| end == timing.decode), "{timing:?}");
            end = Some(timing.decode + u64::from(timing.duration));
            before = Some(dts);
        }
        // A frame of sound was lost before this one: it begins where the one before ended, and lasts for two.
        let sound = Timing::new(MediaKind::Audio, 4096, 4096, 2048, 1024, 48_000);
        assert_eq!(sound, Timing { decode: 51_072, duration: 2048, offset: 0 });
        let steady = Timing::new(MediaKind::Audio, 5120, 5120, 1024, 1024, 48_000);
        assert_eq!(steady, Timing { decode: 53_120, duration: 1024, offset: 0 });
    }
}
