//! Fuzz targets, one for each parser that meets the network.
//!
//! `cargo test` replays what stands in `tests/vectors/NAME/`. `make fuzz` builds this same program with coverage
//! instrumentation (`tools/fuzz_rustc.sh`) and lets libFuzzer look for more:
//!
//! - no argument: replay everything;
//! - `list`: the targets' names;
//! - `run NAME ARGUMENT…`: libFuzzer on one target, with its own arguments.

mod input;
mod media;
mod signalling;

use std::ffi::{CString, c_char, c_int};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

// For what it links.
use libfuzzer_sys as _;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 25] = [
    ("rtsp_request", signalling::rtsp_request),
    ("rtsp_answer", signalling::rtsp_answer),
    ("rtsp_transport", signalling::rtsp_transport),
    ("rtsp_target", signalling::rtsp_target),
    ("sdp", signalling::sdp),
    ("digest", signalling::digest),
    ("challenge", signalling::challenge),
    ("whep", signalling::whep),
    ("whip", signalling::whip),
    ("mse_hello", signalling::mse_hello),
    ("websocket", signalling::websocket),
    ("framed", signalling::framed),
    ("mimes", signalling::mimes),
    ("camera_record", signalling::camera_record),
    ("stun", media::stun),
    ("rtp", media::rtp),
    ("rtcp", media::rtcp),
    ("feedback", media::feedback),
    ("srtcp", media::srtcp),
    ("reorder", media::reorder),
    ("h264", media::h264),
    ("h265", media::h265),
    ("aac", media::aac),
    ("opus", media::opus),
    ("annex_b", media::annex_b),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => TARGETS.iter().for_each(|(name, _)| println!("{name}")),
        ["run", name, ref options @ ..] => match TARGETS.iter().find(|(known, _)| *known == name) {
            Some((_, target)) => return run(*target, options),
            None => {
                eprintln!("there is no target {name}: `list` names them");
                return ExitCode::from(2);
            }
        },
        // What `cargo test` passes on to every test program chooses nothing here.
        _ => TARGETS.iter().for_each(|(name, target)| replay(name, *target)),
    }
    ExitCode::SUCCESS
}

/// Runs a target on each of its vectors. Panics where there is none, and where the target does.
fn replay(name: &str, target: Target) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors")).join(name);
    let mut vectors: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "md"))
        .collect();
    vectors.sort();
    assert!(!vectors.is_empty(), "{name} has no vectors");
    assert!(folder.join("README.md").is_file(), "{name} does not say where its vectors come from");
    for path in &vectors {
        let data = fs::read(path).unwrap();
        if let Err(panic) = std::panic::catch_unwind(|| target(&data)) {
            eprintln!("replay of {} failed", path.display());
            std::panic::resume_unwind(panic);
        }
    }
    println!("{name}: {} vectors", vectors.len());
}

// libFuzzer, as it is linked by libfuzzer-sys.

unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        count: *mut c_int,
        arguments: *mut *mut *mut c_char,
        callback: extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

static CHOSEN: OnceLock<Target> = OnceLock::new();

extern "C" fn one_input(data: *const u8, size: usize) -> c_int {
    // SAFETY: libFuzzer gives a buffer of that size, which lives until this returns; an empty one may be null.
    rust_fuzzer_test_input(if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, size) } })
}

/// The name that libfuzzer-sys looks for.
#[unsafe(no_mangle)]
fn rust_fuzzer_test_input(data: &[u8]) -> c_int {
    if let Some(target) = CHOSEN.get() {
        target(data);
    }
    0
}

fn run(target: Target, options: &[&str]) -> ExitCode {
    CHOSEN.get_or_init(|| target);
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        // libFuzzer keeps the input when the process dies by a signal.
        std::process::abort();
    }));
    let words = std::iter::once("fuzz").chain(options.iter().copied());
    let owned: Vec<CString> = words.map(|word| CString::new(word).expect("arguments hold no zero")).collect();
    let mut pointers: Vec<*mut c_char> = owned.iter().map(|word| word.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    let (mut count, mut arguments) = (owned.len() as c_int, pointers.as_mut_ptr());
    // SAFETY: `count` strings that end in zero, in a list that ends in null, as `main` has them; all live until after the call.
    let status = unsafe { LLVMFuzzerRunDriver(&raw mut count, &raw mut arguments, one_input) };
    ExitCode::from(status.clamp(0, 255) as u8)
}
