//! What a registry of 100,000 cameras weighs and how fast it answers. Prints its figures: `cargo test --release --test
//! registry_size -- --nocapture`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use _core::media::Profile;
use _core::registry::{Camera, CameraStream, Candidates, Circle, Filter, MAX_CHANGES, Registry, Scope, State};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator, and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CAMERAS: usize = 100_000;
const UNITS: usize = 1000;

/// A camera with main and sub stream and its own credentials, as a city's registration brings it.
fn camera(number: usize, revision: u64) -> Camera {
    let place = ["胜利路与交通路口", "月湖公园北门停车场", "人民医院门诊大厅", "第一中学操场"][number % 4];
    let host = format!("10.{}.{}.{}", number / 65536, number / 256 % 256, number % 256);
    let password = format!("Kp{:08x}!Z", number.wrapping_mul(2_654_435_761) as u32);
    let stream = |profile, channel| CameraStream {
        profile,
        url: format!("rtsp://{host}:554/Streaming/Channels/{channel}"),
        username: "admin".into(),
        password: password.clone(),
        transport: 1,
    };
    Camera {
        id: format!("36060200{:02}132{:07}", number % 20, number),
        name: format!("{place}{:04}号枪机", number / 16),
        unit_id: format!("unit-{:08x}", number / (CAMERAS / UNITS)),
        region_code: ["360602", "360603", "360681"][number % 3].into(),
        industry: format!("{:02}", number % 20),
        place_category: (number % 12 + 1) as u8,
        latitude: 27.8 + (number % 997) as f64 * 0.0007,
        longitude: 116.7 + (number % 991) as f64 * 0.0007,
        quarantined: false,
        revision,
        streams: vec![stream(Profile::Main, 101), stream(Profile::Sub, 102)],
        home_hub_id: String::new(),
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

#[test]
fn a_camera_costs_at_most_400_bytes_with_all_indexes_and_500_after_a_life() {
    let cameras: Vec<Camera> = (0..CAMERAS).map(|number| camera(number, 1)).collect();
    let registry = Registry::new(1);
    let before = HELD.load(Relaxed);
    let input = cameras.clone();
    let input_bytes = HELD.load(Relaxed) - before;
    let (loaded, load_time) = timed(|| registry.load("e", 1, input, Vec::new()));
    loaded.expect("loads");
    let per_camera = |bytes: usize| bytes as f64 / CAMERAS as f64;
    let loaded_bytes = per_camera(HELD.load(Relaxed) - before);
    println!(
        "{CAMERAS} cameras: {loaded_bytes:.0} bytes each, all indexes included (as values: {:.0})",
        per_camera(input_bytes)
    );
    // The best of three, for what else the machine does.
    let load_time = (0..2).fold(load_time, |best, _| {
        let input = cameras.clone();
        best.min(timed(|| registry.load("e", 1, input, Vec::new()).expect("loads")).1)
    });
    println!("load: {load_time:?}");

    // The same after a life: every row written anew in scattered batches, every state known, both logs full.
    for batch in 0..CAMERAS / 200 {
        let revision = batch as u64 + 2;
        let rows = (0..200).map(|row| camera((batch * 200 + row * 487) % CAMERAS, revision));
        registry.apply(revision, rows.collect(), &[]).expect("applies");
    }
    for camera in &cameras {
        registry.set_state(&camera.id, State::Offline, "CAMERA_SILENT", 1_700_000_000.0);
    }
    let lived_bytes = per_camera(HELD.load(Relaxed) - before);
    println!("after a life, with the log of {MAX_CHANGES} changes and all states: {lived_bytes:.0} bytes each");

    let all = Candidates::All;
    let scopes = Candidates::Scopes(vec![
        Scope {
            region_prefixes: vec!["360602".into()],
            industries: vec!["11".into(), "12".into()],
            ..Scope::default()
        },
        Scope { unit_ids: (0..50).map(|unit| format!("unit-{unit:08x}")).collect(), ..Scope::default() },
    ]);
    let circle = Circle { latitude: 28.1, longitude: 117.0, radius_m: 2000.0 };
    let queries = [
        ("everything", &all, Filter::default()),
        ("a region", &all, Filter { region_prefix: "3606".into(), ..Filter::default() }),
        ("a unit", &all, Filter { unit_ids: vec!["unit-00000011".into()], ..Filter::default() }),
        ("a rare name", &all, Filter { text: "公园北门停车场3011".into(), ..Filter::default() }),
        ("a frequent name", &all, Filter { text: "公园".into(), ..Filter::default() }),
        ("initials", &all, Filter { text: "yhgybm".into(), ..Filter::default() }),
        ("part of an id", &all, Filter { text: "1320001234".into(), ..Filter::default() }),
        ("two kilometres around", &all, Filter { within: Some(circle), ..Filter::default() }),
        ("a state", &all, Filter { states: vec![State::Offline], ..Filter::default() }),
        ("scopes", &scopes, Filter::default()),
    ];
    for (name, candidates, filter) in &queries {
        let best =
            (0..5).map(|_| timed(|| registry.page(candidates, filter, "", 100, &mut |_| true))).min_by_key(|run| run.1);
        let (page, time) = best.expect("five runs");
        println!("{name}: {time:?}, {} found", page.total);
        assert!(!page.rows.is_empty(), "{name}");
    }
    let (_, time) = timed(|| registry.get(&cameras[4711].id).expect("there"));
    println!("by id: {time:?}");
    let (_, time) = timed(|| registry.apply(1_000_000, vec![camera(17, 1_000_000)], &[]));
    println!("one row written: {time:?}");

    assert!(loaded_bytes <= 400.0, "{loaded_bytes}");
    assert!(lived_bytes <= 500.0, "{lived_bytes}");
}
