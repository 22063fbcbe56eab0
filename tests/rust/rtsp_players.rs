//! Players of others, ffmpeg and GStreamer, against the RTSP server with a real clip.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use _core::camera_sim::{CameraSim, SimCamera};

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
