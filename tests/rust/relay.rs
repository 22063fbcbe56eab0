//! Media between hubs: one copy of a stream goes to another hub, pushed on order or pulled with a ticket, while somebody
//! there watches.

#[path = "relay/hubs.rs"]
mod hubs;

use std::time::{Duration, Instant};

use _core::error::ErrorKind;
use _core::gate::{self, Event};
use _core::media::Profile;
use _core::peer::Peer;
use _core::policy::{Action, Grant, Scope, Subject};
use _core::telemetry::{Direction, SourceKind};

use hubs::{CAMERA, Place, camera, certificates, deaf_upper, end_of, frames, hub, order, person, two, until};

const MAIN: Profile = Profile::Main;

fn streams(place: &Place, kind: SourceKind) -> i64 {
    place.hub.telemetry().streams(kind).load(std::sync::atomic::Ordering::Relaxed)
}

fn ended(event: &Event) -> bool {
    matches!(event, Event::RelayEnded { .. })
}

#[test]
fn twenty_viewers_above_cost_one_copy_and_begin_at_the_cached_keyframe() {
    let (upper, lower, _camera) = two();
    // The camera's next keyframe is ten seconds away.
    frames(&lower.watch("local"), 10);
    let first = upper.watch("s0");
    assert_eq!(upper.wanted(), "");
    order(&upper, &lower, "r1", "guest");
    lower.relay_live("r1");
    let live = Instant::now();
    let seen = frames(&first, 10);
    assert!(seen[0].starts_gop && live.elapsed() < Duration::from_secs(5), "{:?}", live.elapsed());
    assert!(seen.windows(2).all(|pair| pair[0].unit.pts < pair[1].unit.pts));
    let others: Vec<_> = (1..20).map(|number| upper.watch(&format!("s{number}"))).collect();
    for viewer in &others {
        assert!(frames(viewer, 5)[0].starts_gop);
    }
    assert_eq!((lower.sinks(), lower.hub.gate().streams()), (1, 1), "one relay, one connection to the camera");
    assert_eq!((streams(&upper, SourceKind::Hub), streams(&lower, SourceKind::RtspPull)), (1, 1));
    assert!(!upper.has(|event| matches!(event, Event::StreamNeed { .. })));
    drop((first, others));
    upper.released();
    assert_eq!(lower.relay_ended("r1").0, "STREAM_RELEASED");
    until("the relay leaves nothing behind", || lower.sinks() == 0 && upper.hub.gate().streams() == 0);
    let (sent, taken) = (lower.counted("upper", Direction::Out), upper.counted("lower", Direction::In));
    assert!(taken > 10_000 && taken <= sent, "{taken} of {sent}");
    assert_eq!((lower.counted("upper", Direction::In), upper.counted("lower", Direction::Out)), (0, 0));
}

#[test]
fn the_last_guests_end_ends_the_relay_and_those_above_are_told_why() {
    let (upper, lower, _camera) = two();
    let viewer = upper.watch("s1");
    upper.wanted();
    lower.open("other", person("li", "upper"), "patrol");
    order(&upper, &lower, "r1", "guest");
    frames(&viewer, 5);
    lower.close("guest");
    // One of them is still there.
    frames(&viewer, 25);
    lower.close("other");
    let (reason, message) = lower.relay_ended("r1");
    assert_eq!(reason, "RELAY_NOT_WANTED");
    assert!(message.contains("upper"), "{message}");
    assert_eq!(upper.wanted(), "", "asked for at once, for somebody still watches");
    assert!(upper.hub.gate().refuse_stream(CAMERA, MAIN, "PURPOSE_NOT_GRANTED", "not for this".into()));
    assert_eq!(end_of(&upper.watch("s2")), "PURPOSE_NOT_GRANTED");
    // A later supply makes it good again.
    order(&upper, &lower, "r2", "again");
    lower.relay_live("r2");
    frames(&upper.watch("s3"), 5);
    assert!(!upper.hub.gate().refuse_stream(CAMERA, MAIN, "LINK_DOWN", String::new()), "it comes");
}

#[test]
fn a_grant_that_is_narrowed_or_taken_back_ends_the_guests_session_and_the_relay() {
    let (upper, lower, _camera) = two();
    let grant = |purposes: &[&str]| Grant {
        id: "g1".into(),
        subject: Subject::Hub("upper".into()),
        scope: Scope { camera_ids: vec![CAMERA.into()], ..Scope::default() },
        actions: vec!["view_live".into()],
        purposes: purposes.iter().map(|purpose| (*purpose).to_owned()).collect(),
        not_before: 0.0,
        not_after: gate::now() + 3600.0,
    };
    let gate = lower.hub.gate();
    let asked = || gate.authorise(&person("zhang", "upper"), Action::ViewLive, CAMERA, "patrol").unwrap();
    assert_eq!(asked().reason, "NO_GRANT");
    gate.apply_grant(grant(&["patrol", "traffic"]));
    assert_eq!((asked().grant_id.as_str(), asked().allowed), ("g1", true));
    let decision = gate.authorise(&hub("upper"), Action::ViewLive, CAMERA, "traffic").unwrap();
    assert!(decision.allowed, "a hub pulls for its own");
    let viewer = upper.watch("s1");
    for (relay, end) in [("r1", true), ("r2", false)] {
        upper.wanted();
        gate.apply_grant(grant(&["patrol"]));
        order(&upper, &lower, relay, relay);
        frames(&viewer, 5);
        gate.apply_grant(grant(&["patrol", "traffic"]));
        frames(&viewer, 5);
        if end {
            gate.apply_grant(grant(&["traffic"]));
        } else {
            assert_eq!(gate.remove_grant("g1", "GRANT_REVOKED"), 1);
        }
        assert_eq!(lower.relay_ended(relay).0, "RELAY_NOT_WANTED");
        lower.expect("the session was to end", |event| match event {
            Event::SessionEnded { session, reason } => (session == relay && *reason == "GRANT_REVOKED").then_some(()),
            _ => None,
        });
    }
}

#[test]
fn a_relay_is_for_guests_of_its_hub_alone_and_one_copy_goes_there() {
    let (upper, lower, _camera) = two();
    let peer = || upper.peer("none");
    let refused = |id: &str| {
        let error = lower.hub.start_relay(id, CAMERA, MAIN, peer()).unwrap_err();
        (error.kind(), error.reason())
    };
    let not_wanted = (ErrorKind::FailedPrecondition, "RELAY_NOT_WANTED");
    assert_eq!(refused("r1"), not_wanted);
    lower.open("local", person("zhang", ""), "patrol");
    lower.open("elsewhere", person("zhang", "another"), "patrol");
    lower.open("push", hub("upper"), "publish");
    assert_eq!(refused("r1"), not_wanted, "nobody of these watches from there");
    let error = lower.hub.start_relay("r1", "36060200001320009999", MAIN, peer()).unwrap_err();
    assert_eq!(error.reason(), "CAMERA_NOT_FOUND");
    lower.open("guest", hub("upper"), "patrol");
    let error = lower.hub.start_relay("r1", CAMERA, Profile::Sub, peer()).unwrap_err();
    assert_eq!(error.reason(), "CAMERA_PROFILE_MISSING");
    assert!(!lower.has(ended) && !lower.hub.stop_relay("r1", "LINK_ENDED"));

    let viewer = upper.watch("s1");
    upper.wanted();
    let ticket = upper.ticket("p1", "lower", "publish");
    lower.hub.start_relay("r1", CAMERA, MAIN, upper.peer(&ticket)).unwrap();
    assert_eq!(refused("r1"), (ErrorKind::AlreadyExists, "RELAY_EXISTS"));
    frames(&viewer, 5);
    lower.hub.start_relay("r2", CAMERA, MAIN, upper.peer(&ticket)).unwrap();
    assert_eq!(lower.relay_ended("r1").0, "RELAY_REPLACED");
    lower.relay_live("r2");
    frames(&viewer, 5);
    until("one copy", || lower.sinks() == 1);
    assert!(lower.hub.stop_relay("r2", "LINK_ENDED"));
    assert_eq!(lower.relay_ended("r2").0, "LINK_ENDED");
    until("none", || lower.sinks() == 0);
    assert!(!lower.has(ended), "each end is told once");
}

#[test]
fn what_can_not_be_pushed_ends_by_name_and_is_not_tried_again() {
    let (upper, lower, _camera) = two();
    lower.open("guest", person("zhang", "upper"), "patrol");
    let ticket = upper.ticket("p1", "lower", "publish");
    let expired = upper.hub.gate().issue_ticket("p1", gate::now() - 1.0).unwrap();
    let to_watch = upper.ticket("w1", "lower", "patrol");
    let url = format!("rtsps://{}/{CAMERA}", upper.rtsps);
    let nobody = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("rtsps://{}/{CAMERA}", free.local_addr().unwrap())
    };
    let elsewhere = format!("rtsps://{}/36060200001320009999", upper.rtsps);
    let (other_ca, ..) = certificates();
    let cases = [
        (&url, ticket.as_str(), &other_ca, "LINK_CERTIFICATE_REFUSED"),
        (&nobody, ticket.as_str(), &upper.ca, "LINK_MEDIA_UNREACHABLE"),
        (&"rtsps://no-such-hub.invalid:8322/1".to_owned(), ticket.as_str(), &upper.ca, "LINK_MEDIA_UNREACHABLE"),
        (&url, "forged", &upper.ca, "TICKET_INVALID"),
        (&url, expired.as_str(), &upper.ca, "TICKET_EXPIRED"),
        (&url, to_watch.as_str(), &upper.ca, "TICKET_OTHER_OPERATION"),
        (&elsewhere, ticket.as_str(), &upper.ca, "CAMERA_NOT_FOUND"),
    ];
    for (number, (url, ticket, ca, wanted)) in cases.into_iter().enumerate() {
        let id = format!("r{number}");
        let peer = Peer::new("upper", url, ticket, ca).unwrap();
        lower.hub.start_relay(&id, CAMERA, MAIN, peer).unwrap();
        let (reason, message) = lower.relay_ended(&id);
        assert_eq!(reason, wanted, "{message}");
        assert!(message.contains("upper") && !message.contains(ticket), "{message}");
    }
    assert!(!lower.has(|event| ended(event) || matches!(event, Event::RelayLive { .. })));
    until("the camera is let go", || lower.hub.gate().streams() == 0);
    assert_eq!(upper.hub.gate().streams(), 0);
}

#[test]
fn a_camera_that_can_not_be_had_ends_its_relay_by_its_own_reason() {
    let (upper, lower, camera) = two();
    camera.stop();
    let viewer = upper.watch("s1");
    upper.wanted();
    order(&upper, &lower, "r1", "guest");
    let (reason, message) = lower.relay_ended("r1");
    assert_eq!(reason, "CAMERA_UNREACHABLE", "{message}");
    assert!(upper.hub.gate().refuse_stream(CAMERA, MAIN, reason, message));
    assert_eq!(end_of(&viewer), "CAMERA_UNREACHABLE");
}

#[test]
fn an_upper_that_goes_in_mid_relay_leaves_nothing_behind() {
    let (upper, lower, _camera) = two();
    let viewer = upper.watch("s1");
    upper.wanted();
    order(&upper, &lower, "r1", "guest");
    frames(&viewer, 5);
    upper.hub.stop();
    let (reason, _) = lower.relay_ended("r1");
    assert!(["CLIENT_CLOSED", "CONNECTION_LOST", "HUB_DRAINING"].contains(&reason), "{reason}");
    until("all is given back", || lower.sinks() == 0 && lower.hub.gate().streams() == 0);
    assert!(!lower.hub.stop_relay("r1", "LINK_ENDED"));
}

#[test]
fn a_hub_that_stops_tells_of_its_relays() {
    let (upper, lower, _camera) = two();
    let viewer = upper.watch("s1");
    upper.wanted();
    order(&upper, &lower, "r1", "guest");
    frames(&viewer, 5);
    lower.hub.drain(Duration::from_secs(5));
    assert_eq!(lower.relay_ended("r1").0, "HUB_DRAINING");
    assert_eq!(upper.wanted(), "", "its viewers wait for another");
}

#[test]
fn a_hub_in_between_passes_one_copy_on_and_all_ends_with_the_viewer_above() {
    let (top, middle, bottom) = (Place::new("top"), Place::new("middle"), Place::new("bottom"));
    let (_camera, url) = camera();
    bottom.knows(&url, "");
    middle.knows("", "bottom");
    top.knows("", "bottom");
    let viewers: Vec<_> = (0..5).map(|number| top.watch(&format!("s{number}"))).collect();
    top.wanted();
    order(&top, &middle, "up", "guest");
    middle.wanted();
    order(&middle, &bottom, "first", "guest");
    for viewer in &viewers {
        assert!(frames(viewer, 5)[0].starts_gop);
    }
    let here = middle.watch("s1");
    frames(&here, 5);
    assert_eq!((bottom.sinks(), middle.sinks()), (1, 1));
    drop(viewers);
    top.released();
    assert_eq!(middle.relay_ended("up").0, "STREAM_RELEASED");
    frames(&here, 5);
    drop(here);
    middle.released();
    assert_eq!(bottom.relay_ended("first").0, "STREAM_RELEASED");
    until("nothing is left", || bottom.hub.gate().streams() + middle.hub.gate().streams() == 0);
}

/// A lower hub that watches a camera of the upper's.
fn pulling() -> (Place, Place, _core::camera_sim::CameraSim) {
    let (upper, lower) = (Place::new("upper"), Place::new("lower"));
    let (camera, url) = camera();
    upper.knows(&url, "");
    lower.knows("", "upper");
    (upper, lower, camera)
}

#[test]
fn a_lower_hub_pulls_one_copy_with_a_ticket_and_is_wanted_again_when_it_ends() {
    let (upper, lower, _camera) = pulling();
    let supply = |ticket: &str| lower.hub.gate().supply_stream(CAMERA, MAIN, upper.peer(ticket));
    let error = supply("none").unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::FailedPrecondition, "STREAM_NOT_WANTED"));
    let error = upper.hub.gate().supply_stream(CAMERA, MAIN, lower.peer("none")).unwrap_err();
    assert_eq!(error.reason(), "CAMERA_NOT_FOREIGN");

    let viewers: Vec<_> = (0..20).map(|number| lower.watch(&format!("s{number}"))).collect();
    lower.wanted();
    supply(&upper.ticket("pull", "lower", "patrol")).unwrap();
    for viewer in &viewers {
        assert!(frames(viewer, 5)[0].starts_gop);
    }
    assert_eq!((upper.sinks(), streams(&lower, SourceKind::Hub)), (1, 1));
    // The other side ends it: it is wanted again at once, and comes with another ticket.
    upper.close("pull");
    assert_eq!(lower.wanted(), "SESSION_CLOSED");
    supply(&upper.ticket("pull2", "lower", "patrol")).unwrap();
    frames(&viewers[0], 30);
    assert!(lower.hub.gate().withdraw_stream(CAMERA, MAIN, "LINK_DOWN"));
    assert!(!lower.hub.gate().withdraw_stream(CAMERA, MAIN, "LINK_DOWN"));
    assert_eq!(end_of(&lower.watch("late")), "LINK_DOWN");
    lower.wanted();
    supply(&upper.ticket("pull3", "lower", "patrol")).unwrap();
    frames(&viewers[0], 30);
    drop(viewers);
    lower.released();
    until("the upper is left", || upper.sinks() == 0 && lower.hub.gate().streams() == 0);
    let (sent, taken) = (upper.counted("lower", Direction::Out), lower.counted("upper", Direction::In));
    assert!(taken > 10_000 && taken <= sent, "{taken} of {sent}");
}

#[test]
fn what_can_not_be_pulled_is_told_by_name_and_not_tried_for_ever() {
    let (upper, lower, _camera) = pulling();
    let url = format!("rtsps://{}/{CAMERA}", upper.rtsps);
    let (other_ca, ..) = certificates();
    let supply = |ticket: &str, ca: &str| {
        lower.hub.gate().supply_stream(CAMERA, MAIN, Peer::new("upper", &url, ticket, ca).unwrap()).unwrap();
    };
    let waiting = lower.watch("s1");
    assert_eq!(lower.wanted(), "");
    supply("forged", &upper.ca);
    assert_eq!(end_of(&waiting), "TICKET_INVALID");
    until("nobody waits", || lower.hub.gate().streams() == 0);
    lower.released();

    let viewer = lower.watch("s2");
    assert_eq!(lower.wanted(), "");
    let ticket = upper.ticket("pull", "lower", "patrol");
    let expired = upper.hub.gate().issue_ticket("pull", gate::now() - 1.0).unwrap();
    supply(&ticket, &upper.ca);
    frames(&viewer, 5);
    upper.close("pull");
    assert_eq!(lower.wanted(), "SESSION_CLOSED");
    upper.ticket("pull2", "lower", "patrol");
    let mut asked = Vec::new();
    for (ticket, ca, wanted) in
        [(&ticket, &other_ca, "LINK_CERTIFICATE_REFUSED"), (&expired, &upper.ca, "TICKET_EXPIRED")]
    {
        supply(ticket, ca);
        let start = Instant::now();
        assert_eq!(lower.wanted(), wanted);
        asked.push(start.elapsed());
    }
    assert!(asked[0] > Duration::from_secs(1) && asked[1] > Duration::from_secs(3), "with growing pauses: {asked:?}");
}

#[test]
fn a_stalled_upper_is_left_after_ten_seconds_and_holds_nobody_up() {
    let lower = Place::new("lower");
    let (_camera, url) = camera();
    lower.knows(&url, "");
    lower.open("guest", person("zhang", "upper"), "patrol");
    let (peer, hold, upper) = deaf_upper();
    let local = lower.watch("local");
    frames(&local, 5);
    lower.hub.start_relay("r1", CAMERA, MAIN, peer).unwrap();
    lower.relay_live("r1");
    let start = Instant::now();
    let mut seen = 0;
    let (reason, message) = loop {
        for frame in frames(&local, 5) {
            seen += 1;
            assert_eq!(frame.dropped_before, 0);
        }
        let end = lower.has(ended).then(|| lower.relay_ended("r1"));
        if let Some(end) = end {
            break end;
        }
        assert!(start.elapsed() < Duration::from_secs(40));
    };
    assert!(["READER_STALLED", "CONNECTION_LOST"].contains(&reason), "{reason}: {message}");
    assert!(start.elapsed() >= Duration::from_secs(9) && seen > 200, "{seen} in {:?}", start.elapsed());
    until("its place is free", || lower.sinks() == 0);
    drop(hold);
    upper.join().unwrap();
}
