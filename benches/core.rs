//! Figures of the core alone: what 100,000 cameras weigh, how fast lists and decisions are. One line of JSON.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use _core::media::Profile;
use _core::policy::{Action, Grant, Policy, Principal, PrincipalKind, Resource, Scope, Subject};
use _core::registry::{self, Camera, CameraStream, Candidates, Filter, Registry, Row, State};
use serde_json::json;

/// Counts what is held, as long as it is asked to.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(true);
static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator, and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Relaxed) {
            HELD.fetch_add(layout.size(), Relaxed);
        }
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if COUNTS.load(Relaxed) {
            HELD.fetch_sub(layout.size(), Relaxed);
        }
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CAMERAS: usize = 100_000;
const UNITS: usize = 1000;
const GRANTS: usize = 1000;
const NOW: f64 = 1_700_000_000.0;

/// A camera with main and sub stream and its own credentials, as a city's registration brings it.
fn camera(number: usize) -> Camera {
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
        id: format!("36060200{:02}132{number:07}", number % 20),
        name: format!("{place}{:04}号枪机", number / 16),
        unit_id: format!("unit-{:08x}", number / (CAMERAS / UNITS)),
        region_code: ["360602", "360603", "360681"][number % 3].into(),
        industry: format!("{:02}", number % 20),
        place_category: (number % 12 + 1) as u8,
        latitude: 27.8 + (number % 997) as f64 * 0.0007,
        longitude: 116.7 + (number % 991) as f64 * 0.0007,
        quarantined: false,
        revision: 1,
        streams: vec![stream(Profile::Main, 101), stream(Profile::Sub, 102)],
        home_hub_id: String::new(),
    }
}

/// A person's grant for one region and a few industries.
fn grant(number: usize) -> Grant {
    Grant {
        id: format!("grant-{number}"),
        subject: Subject::User(format!("user{number}")),
        scope: Scope {
            region_prefixes: vec![["360602", "360603", "360681"][number % 3].into()],
            industries: (0..20).map(|industry| format!("{industry:02}")).collect(),
            ..Scope::default()
        },
        actions: vec!["view_live".into(), "snapshot".into()],
        purposes: vec!["patrol".into(), "incident".into()],
        not_before: NOW - 1e6,
        not_after: NOW + 1e6,
    }
}

fn operator(number: usize) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        id: format!("user{number}"),
        hub_id: String::new(),
        unit_id: String::new(),
        department: "指挥中心".into(),
        roles: vec!["operator".into()],
    }
}

fn resource(row: &Row) -> Resource<'_> {
    Resource {
        id: row.id(),
        hub_id: "",
        unit_id: row.unit_id(),
        region_code: row.region_code(),
        industry: row.industry(),
        place_category: row.place_category(),
        quarantined: row.is_quarantined(),
        revision: row.revision(),
    }
}

/// CPU seconds of this thread: what else the machine does counts little.
fn cpu_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Seconds of one call: the median of `runs` rounds of `calls`.
fn timed(runs: usize, calls: usize, mut call: impl FnMut(usize)) -> f64 {
    let mut rounds: Vec<f64> = (0..runs)
        .map(|run| {
            let begun = cpu_s();
            (0..calls).for_each(|number| call(run * calls + number));
            (cpu_s() - begun) / calls as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[runs / 2]
}

fn main() {
    let registry = Registry::new(1);
    let before = HELD.load(Relaxed);
    registry.load("e", 1, (0..CAMERAS).map(camera).collect(), Vec::new()).expect("loads");
    let bytes = (HELD.load(Relaxed) - before) as f64 / CAMERAS as f64;
    for number in 0..CAMERAS {
        registry.set_state(&camera(number).id, State::Online, "", NOW);
    }
    let bytes_known = (HELD.load(Relaxed) - before) as f64 / CAMERAS as f64;
    COUNTS.store(false, Relaxed);

    let load_s = {
        let cameras: Vec<Camera> = (0..CAMERAS).map(camera).collect();
        let begun = cpu_s();
        Registry::new(1).load("e", 1, cameras, Vec::new()).expect("loads");
        cpu_s() - begun
    };

    let policy = Policy::new("hub").expect("the policies are valid");
    policy.load_grants((0..GRANTS).map(grant).collect());
    let rows = registry.page(&Candidates::All, &Filter::default(), "", 2000, &mut |_| true).rows;
    let mine: Vec<&Row> = rows.iter().filter(|row| row.region_code() == "360602").collect();
    let somebody = operator(0);
    let decide = |row: &Row, now| policy.decide(&somebody, Action::ViewLive, &resource(row), "patrol", now);
    assert!(decide(mine[0], NOW).allowed, "{:?}", decide(mine[0], NOW));
    let fresh = timed(5, 1000, |number| {
        let row = resource(mine[number % mine.len()]);
        black_box(policy.decide_uncached(&somebody, Action::ViewLive, &row, "patrol", NOW));
    });
    let kept = timed(5, 20_000, |number| {
        black_box(decide(mine[number % mine.len()], NOW));
    });

    let scopes = Candidates::Scopes(vec![registry::Scope {
        region_prefixes: vec!["360602".into()],
        industries: (0..20).map(|industry| format!("{industry:02}")).collect(),
        ..registry::Scope::default()
    }]);
    let page = |candidates: &Candidates, filter: &Filter, now: f64| {
        let mut allowed = |row: &Row| policy.decide(&somebody, Action::List, &resource(row), "", now).allowed;
        let page = registry.page(candidates, filter, "", 100, &mut allowed);
        assert_eq!(page.rows.len(), 100);
        black_box(page);
    };
    let first_page = timed(5, 20, |_| page(&scopes, &Filter::default(), NOW));
    // Each call a millisecond earlier than the last: what was decided later does not count.
    let first_page_fresh = timed(5, 20, |number| page(&scopes, &Filter::default(), NOW - number as f64 / 1e3 - 1.0));
    let text = Filter { text: "公园".into(), ..Filter::default() };
    let searched = timed(5, 20, |_| page(&scopes, &text, NOW));
    let all_rows = timed(5, 50, |_| {
        black_box(registry.page(&Candidates::All, &Filter::default(), "", 100, &mut |_| true));
    });
    let by_id = timed(5, 20_000, |number| {
        black_box(registry.get(rows[number % rows.len()].id()));
    });

    println!(
        "{}",
        json!({
            "cameras": CAMERAS,
            "bytes_per_camera": bytes,
            "bytes_per_camera_states_known": bytes_known,
            "load_s": load_s,
            "grants": GRANTS,
            "decisions_per_s": 1.0 / fresh,
            "decisions_kept_per_s": 1.0 / kept,
            "list_page_ms": first_page * 1e3,
            "list_page_undecided_ms": first_page_fresh * 1e3,
            "list_page_search_ms": searched * 1e3,
            "list_page_unjudged_ms": all_rows * 1e3,
            "lookups_per_s": 1.0 / by_id,
        })
    );
}
