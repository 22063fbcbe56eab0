//! Players of others, ffmpeg and GStreamer, against the RTSP server with a real clip.

#[path = "rtsp/support.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use _core::camera_sim::{CameraSim, SimCamera};
use _core::media::{AccessUnit, CodecParameters};
use _core::server::rtsp::UdpPair;
use _core::server::tls;
use _core::telemetry::{Direction, Protocol};
use _core::wire::annex_b::split_annex_b;
use support::{Studio, annex_b, sound_track, video_track};

const FRAMES: &str = "60";

/// Runs a tool for at most 40 seconds.
fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new("timeout")
        .arg("40")
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    output
}

/// Three seconds of 25 pictures each, a keyframe every second, made by x264.
fn clip() -> &'static Path {
    static CLIP: OnceLock<PathBuf> = OnceLock::new();
    CLIP.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clip-{}.h264", std::process::id()));
        let name = path.to_str().expect("text");
        let source = "testsrc=size=640x360:rate=25:duration=3";
        let codec = ["-c:v", "libx264", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p"];
        let mut arguments = vec!["-loglevel", "error", "-y", "-f", "lavfi", "-i", source];
        arguments.extend(codec);
        arguments.extend(["-f", "h264", name]);
        run("ffmpeg", &arguments);
        path
    })
}

fn camera(username: &str, password: &str) -> CameraSim {
    let gate = SimCamera { name: "gate".into(), clip: clip().into(), frame_rate: 25.0 };
    CameraSim::start("127.0.0.1:0", &[gate], username, password).expect("the camera starts")
}

/// The checksums of decoded frames (ffmpeg's framemd5), without their times.
fn sums(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit(',').next()?.to_owned()))
        .collect()
}

#[test]
fn ffmpeg_plays_what_the_clip_holds_without_a_warning() {
    let camera = camera("", "");
    let url = format!("rtsp://{}/gate", camera.address());
    let arguments = ["-hide_banner", "-loglevel", "warning", "-rtsp_transport", "tcp", "-i", &url];
    let out = ["-frames:v", FRAMES, "-f", "framemd5", "-"];
    let seen = run("ffmpeg", &[&arguments[..], &out[..]].concat());
    let complaints = String::from_utf8_lossy(&seen.stderr);
    assert!(complaints.trim().is_empty(), "{complaints}");
    let expected =
        sums(&run("ffmpeg", &["-loglevel", "error", "-i", clip().to_str().expect("text"), "-f", "framemd5", "-"]));
    let seen = sums(&seen);
    assert_eq!(seen.len(), 60);
    // It loops, and a viewer starts at some keyframe of it.
    let start = expected.iter().position(|sum| *sum == seen[0]).expect("a picture of the clip");
    assert_eq!(start % 25, 0);
    for (place, sum) in seen.iter().enumerate() {
        assert_eq!(*sum, expected[(start + place) % expected.len()], "picture {place}");
    }
}

#[test]
fn ffmpeg_turns_from_udp_to_tcp_by_itself() {
    let camera = camera("", "");
    let url = format!("rtsp://{}/gate", camera.address());
    run("ffmpeg", &["-loglevel", "error", "-i", &url, "-frames:v", "5", "-f", "null", "-"]);
}

#[test]
fn ffmpeg_and_gstreamer_log_in_by_digest() {
    let camera = camera("viewer", "S3cret");
    let url = format!("rtsp://viewer:S3cret@{}/gate", camera.address());
    run("ffmpeg", &["-loglevel", "error", "-rtsp_transport", "tcp", "-i", &url, "-frames:v", "5", "-f", "null", "-"]);
    gstreamer(&url);
    let wrong = format!("rtsp://viewer:wrong@{}/gate", camera.address());
    let output = Command::new("timeout")
        .args(["20", "ffmpeg", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", &wrong, "-f", "null", "-"])
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("401"));
}

fn gstreamer(url: &str) {
    let location = format!("location={url}");
    let source = ["-q", "rtspsrc", &location, "protocols=tcp", "latency=100"];
    let rest = ["!", "rtph264depay", "!", "h264parse", "!", "identity", "eos-after=40", "!", "fakesink", "sync=true"];
    run("gst-launch-1.0", &[&source[..], &rest[..]].concat());
}

#[test]
fn gstreamer_plays() {
    let camera = camera("", "");
    gstreamer(&format!("rtsp://{}/gate", camera.address()));
}

#[test]
fn the_camera_plays_on_for_the_next_viewer_when_one_leaves() {
    let camera = camera("", "");
    let url = format!("rtsp://{}/gate", camera.address());
    for _ in 0..3 {
        run(
            "ffmpeg",
            &["-loglevel", "error", "-rtsp_transport", "tcp", "-i", &url, "-frames:v", "3", "-f", "null", "-"],
        );
    }
}

/// The clip cut by hand: every picture is one slice here.
fn pictures() -> Vec<AccessUnit> {
    let data = std::fs::read(clip()).expect("clip");
    let mut pictures = Vec::new();
    let mut nals: Vec<&[u8]> = Vec::new();
    for range in split_annex_b(&data) {
        let nal = &data[range];
        nals.push(nal);
        if matches!(nal[0] & 0x1f, 1 | 5) {
            pictures.push(annex_b(&nals, 0, nal[0] & 0x1f == 5));
            nals.clear();
        }
    }
    pictures
}

/// Shows picture and sound in real time while `watch` runs.
fn on_air(studio: &Studio, watch: impl FnOnce() + Send) {
    let (pictures, over) = (pictures(), AtomicBool::new(false));
    let stream = studio.door.stream.clone();
    let mut video = video_track();
    let sets: Vec<_> = pictures[0].nal_units().filter(|nal| matches!(nal[0] & 0x1f, 7 | 8)).collect();
    if let CodecParameters::H264 { sps, pps, .. } = &mut video.parameters {
        [*sps, *pps] = sets.try_into().expect("one of each");
    }
    stream.describe(vec![video, sound_track()]);
    let show = |number: usize| {
        let mut unit = pictures[number % pictures.len()].clone();
        unit.pts = number as i64 * 3_600;
        unit.dts = unit.pts;
        stream.publish(unit);
        for half in 0..2 {
            stream.publish(support::sound_at(number as i64 * 320 + half * 160, 160));
        }
    };
    // The cache holds most of a second when the player comes.
    (0..20).for_each(show);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            for number in 20.. {
                let due = begun + Duration::from_millis((number as u64 - 20) * 40);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if over.load(Relaxed) {
                    break;
                }
                show(number);
            }
        });
        // Also when `watch` fails, or the show goes on for ever.
        let _over = Over(&over);
        watch();
    });
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Seven seconds: past the second round of sender reports, from which players set their clocks.
fn watch_with_ffmpeg(url: &str, transport: &str) {
    let arguments = ["-hide_banner", "-loglevel", "warning", "-rtsp_transport", transport, "-i", url];
    let out = ["-t", "7", "-f", "framecrc", "-"];
    let seen = run("ffmpeg", &[&arguments[..], &out[..]].concat());
    let complaints = String::from_utf8_lossy(&seen.stderr);
    assert!(complaints.trim().is_empty(), "{complaints}");
    let text = String::from_utf8_lossy(&seen.stdout).into_owned();
    // stream, dts, pts, duration, size, checksum
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(',').map(str::trim).collect())
        .collect();
    for track in ["0", "1"] {
        let times: Vec<i64> =
            rows.iter().filter(|row| row[0] == track).map(|row| row[1].parse().expect("dts")).collect();
        assert!(times.len() > 100, "track {track}: {}", times.len());
        assert!(times[0].abs() < 20_000, "track {track} begins at {}", times[0]);
        let back = times.windows(2).position(|pair| pair[0] >= pair[1]);
        assert_eq!(back.map(|place| &times[place.saturating_sub(3)..place + 4]), None, "track {track}");
    }
}

#[test]
fn picture_and_sound_stay_in_step_without_a_warning() {
    let studio = Studio::open(|_| {});
    let url = studio.url("gate?ticket=good");
    on_air(&studio, || {
        watch_with_ffmpeg(&url, "tcp");
        watch_with_gstreamer(&url, &["protocols=tcp"]);
    });
}

fn watch_with_gstreamer(url: &str, how: &[&str]) {
    let location = format!("location={url}");
    let source = ["-q", "rtspsrc", &location, "latency=100", "name=s"];
    let video = ["s.", "!", "rtph264depay", "!", "identity", "eos-after=60", "!", "fakesink", "sync=true"];
    let sound = ["s.", "!", "rtppcmadepay", "!", "identity", "eos-after=60", "!", "fakesink", "sync=true"];
    run("gst-launch-1.0", &[&source[..], how, &video[..], &sound[..]].concat());
}

fn sent(studio: &Studio, protocol: Protocol) -> u64 {
    studio.telemetry.flow(Direction::Out, protocol).packets.load(Relaxed)
}

#[test]
fn udp_plays_the_same() {
    let studio = Studio::open(|options| {
        options.udp = Some(UdpPair::bind("127.0.0.1:0".parse().expect("address")).expect("two free ports"));
    });
    let url = studio.url("gate?ticket=good");
    on_air(&studio, || {
        watch_with_ffmpeg(&url, "udp");
        watch_with_gstreamer(&url, &["protocols=udp"]);
        // Left to itself, each takes UDP too.
        run("ffmpeg", &["-loglevel", "error", "-i", &url, "-frames:v", "5", "-f", "null", "-"]);
        watch_with_gstreamer(&url, &[]);
    });
    assert_eq!(sent(&studio, Protocol::RtspTcp), 0);
    assert!(sent(&studio, Protocol::RtspUdp) > 1_000);
    assert_eq!(studio.telemetry.lost(Protocol::RtspUdp).load(Relaxed), 0, "as the players report");
}

/// The cache is given in a burst, to sockets of the usual size: every picture of it arrives and decodes to what was shown.
#[test]
fn the_burst_at_joining_loses_nothing_by_udp() {
    let studio = Studio::open(|options| {
        options.udp = Some(UdpPair::bind("127.0.0.1:0".parse().expect("address")).expect("two free ports"));
    });
    let expected =
        sums(&run("ffmpeg", &["-loglevel", "error", "-i", clip().to_str().expect("text"), "-f", "framemd5", "-"]));
    let url = studio.url("gate?ticket=good");
    on_air(&studio, || {
        let arguments = ["-hide_banner", "-loglevel", "warning", "-rtsp_transport", "udp", "-i", &url];
        let out = ["-an", "-frames:v", FRAMES, "-f", "framemd5", "-"];
        let seen = run("ffmpeg", &[&arguments[..], &out[..]].concat());
        let complaints = String::from_utf8_lossy(&seen.stderr);
        assert!(complaints.trim().is_empty(), "{complaints}");
        let seen = sums(&seen);
        let start = expected.iter().position(|sum| *sum == seen[0]).expect("a picture of the clip");
        assert_eq!((seen.len(), start % 25), (60, 0), "from the cached keyframe on");
        for (place, sum) in seen.iter().enumerate() {
            assert_eq!(*sum, expected[(start + place) % expected.len()], "picture {place}");
        }
    });
}

#[test]
fn rtsps_plays_the_same() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (certificate, key) = (folder.join("rtsps.pem"), folder.join("rtsps.key"));
    let names = (certificate.to_str().expect("text"), key.to_str().expect("text"));
    let arguments = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let rest = ["-subj", "/CN=localhost", "-out", names.0, "-keyout", names.1];
    run("openssl", &[&arguments[..], &rest[..]].concat());
    let studio = Studio::open(|options| {
        options.tls = Some(tls::server_config(&certificate, &key, &[]).expect("certificate"));
    });
    let url = format!("rtsps://{}/gate?ticket=good", studio.address);
    on_air(&studio, || {
        watch_with_ffmpeg(&url, "tcp");
        watch_with_gstreamer(&url, &["tls-validation-flags=0"]);
    });
    assert!(sent(&studio, Protocol::Rtsps) > 100);
}
