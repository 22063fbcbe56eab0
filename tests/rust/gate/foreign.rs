//! Cameras of other hubs: asked for by an event, brought by that hub, and let go when nobody watches.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use _core::error::ErrorKind;
use _core::gate::{Door, Ended, Ender, Event, Proof, Publication, SessionSpec, for_hubs};
use _core::media::Profile;
use _core::peer::Peer;
use _core::policy::{Principal, PrincipalKind};
use _core::registry::{Camera, CameraStream, State};
use _core::telemetry::{Direction, Protocol};
use base64::Engine as _;

use crate::harness::{self, unit, until, video};
use crate::house::{CAMERA, House, OTHER, PEER, Source, camera, ended, house, spec};

const LINGER: Duration = Duration::from_millis(50);

fn foreign(id: &str) -> Camera {
    let mut foreign = Camera { revision: 2, home_hub_id: "lower".into(), ..camera(id) };
    foreign.streams[0].url = String::new();
    foreign
}

/// A house whose first camera is another hub's.
fn guesthouse(linger: Duration, patience: Duration) -> House {
    guesthouse_of(Source::Plays, linger, patience)
}

fn guesthouse_of(source: Source, linger: Duration, patience: Duration) -> House {
    let house = house(source, linger, patience);
    house.gate.apply_cameras(2, vec![foreign(CAMERA)], &[]).unwrap();
    house.events.take(usize::MAX);
    house
}

impl House {
    /// What was asked for and let go since the last time: whether it is wanted, and why it was not brought.
    fn needs(&self) -> Vec<(bool, &'static str)> {
        let taken = self.events.take(usize::MAX).into_iter();
        taken
            .filter_map(|(_, event)| match event {
                Event::StreamNeed { camera, profile: 1, is_wanted, reason, .. } => {
                    assert_eq!(camera, CAMERA);
                    Some((is_wanted, reason))
                }
                _ => None,
            })
            .collect()
    }

    fn until_need(&self) -> (bool, &'static str) {
        loop {
            if let [need, ..] = self.needs()[..] {
                return need;
            }
            std::thread::yield_now();
        }
    }

    fn open_to_bring(&self, id: &str) -> String {
        let principal = Principal { kind: PrincipalKind::Hub, id: "lower".into(), ..spec(id).principal };
        let principal = Principal { hub_id: "lower".into(), roles: Vec::new(), ..principal };
        self.gate.sessions.open(SessionSpec { principal, purpose: "publish".into(), ..spec(id) }).unwrap();
        self.gate.issue_ticket(id, _core::gate::now() + 60.0).unwrap()
    }

    fn bring(&self, id: &str) -> (Arc<dyn Publication>, Ended) {
        let ticket = self.open_to_bring(id);
        let publication = self.gate.publish(CAMERA, Some(Proof::Ticket(&ticket)), Protocol::Rtsps, PEER).unwrap();
        let (ender, ended) = Ender::task();
        self.runtime.block_on(publication.begin(ender)).unwrap();
        publication.stream().describe(vec![video(&[0x68])]);
        publication.stream().publish(unit(true, 100));
        (publication, ended)
    }

    fn reason_of_waiting(&self, session: &str) -> (ErrorKind, &'static str) {
        let admission = self.admit(&self.open(session), Protocol::RtspTcp);
        let error = self.runtime.block_on(admission.ready()).unwrap_err();
        (error.kind(), error.reason())
    }
}

#[test]
fn however_many_watch_it_is_asked_for_once_and_let_go_after_the_last() {
    let house = guesthouse(LINGER, Duration::from_secs(30));
    let admissions: Vec<_> =
        (0..20).map(|number| house.admit(&house.open(&format!("s{number}")), Protocol::RtspTcp)).collect();
    assert_eq!(house.needs(), [(true, "")]);
    let (publication, mut end) = house.bring("p1");
    assert_eq!(publication.link().map(|_| ()), Some(()), "counted as the link's");
    let viewers: Vec<_> = admissions.iter().map(|admission| house.play(admission)).collect();
    for viewer in &viewers {
        viewer.expect(|event| matches!(event, harness::Event::Unit(_)));
    }
    assert_eq!((house.started.load(SeqCst), house.needs()), (0, Vec::new()), "nothing is dialled, nothing asked again");
    drop((admissions, viewers));
    house.gate.sessions.end_where(|spec| (spec.purpose == "patrol").then_some("SESSION_CLOSED"));
    assert_eq!(house.until_need(), (false, ""));
    let reason = house.runtime.block_on(end.wait());
    assert_eq!(reason, "STREAM_RELEASED", "who brings it hears that it is wanted no more");
    drop(publication);
    until(|| house.gate.streams() == 0);
    assert_eq!(house.needs(), []);
}

#[test]
fn who_waits_for_what_is_refused_is_told_why_and_the_next_asks_no_sooner_than_it_is_time() {
    let house = guesthouse(Duration::from_secs(30), Duration::from_secs(30));
    let gate = &house.gate;
    let refuse = || gate.refuse_stream(CAMERA, Profile::Main, "LINK_DOWN", "the link to lower is down".into());
    assert!(!refuse(), "nobody waits");
    let waiting = house.admit(&house.open("s1"), Protocol::RtspTcp);
    assert_eq!(house.needs(), [(true, "")]);
    assert!(refuse());
    let error = house.runtime.block_on(waiting.ready()).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, "LINK_DOWN"));
    assert_eq!(error.message(), "the link to lower is down");
    for number in 0..50 {
        assert_eq!(house.reason_of_waiting(&format!("w{number}")), (ErrorKind::Unavailable, "LINK_DOWN"));
    }
    assert_eq!(house.needs(), [], "fifty impatient people make no fifty orders");
    assert_eq!(house.until_need(), (true, ""), "but it is asked for again in time");
    let ready = house.admit(&house.open("s2"), Protocol::RtspTcp);
    let _pushing = house.bring("p1");
    house.runtime.block_on(ready.ready()).unwrap();
    assert!(!refuse(), "it comes");
}

#[test]
fn where_another_hubs_main_stream_can_not_be_carried_its_sub_stream_is_asked_for() {
    let with_both = || {
        let house = guesthouse(Duration::from_secs(30), Duration::from_secs(30));
        let mut camera = Camera { revision: 3, ..foreign(CAMERA) };
        camera.streams.push(CameraStream { profile: Profile::Sub, ..camera.streams[0].clone() });
        house.gate.apply_cameras(3, vec![camera], &[]).unwrap();
        house
    };
    for cause in ["CAMERA_NO_PICTURE", "CAMERA_INVALID", "CAMERA_NO_KEYFRAME"] {
        let house = with_both();
        let admission = house.admit(&house.open_profile("s1", None), Protocol::RtspTcp);
        assert!(house.gate.refuse_stream(CAMERA, Profile::Main, cause, "lower: no use".into()));
        let refuse_sub = async {
            while !house.gate.refuse_stream(CAMERA, Profile::Sub, "LINK_DOWN", "lower is away".into()) {
                tokio::task::yield_now().await;
            }
        };
        let (ready, ()) = house.runtime.block_on(async { tokio::join!(admission.ready(), refuse_sub) });
        let error = ready.unwrap_err();
        let word = if cause == "CAMERA_NO_KEYFRAME" { cause } else { "CAMERA_UNREACHABLE" };
        assert_eq!(error.reason(), word, "viewers have four words");
        assert_eq!(error.message(), "lower: no use. Its sub stream can't be had either: lower is away");
        assert_eq!(for_hubs(error).reason(), cause, "the hub above hears the cause");
    }
    // A hub orders the one and then the other: it is told of the one.
    let house = with_both();
    let principal = Principal { kind: PrincipalKind::Hub, id: "above".into(), ..spec("pull").principal };
    house.gate.sessions.open(SessionSpec { principal, profile: None, ..spec("pull") }).unwrap();
    let ticket = house.gate.issue_ticket("pull", _core::gate::now() + 60.0).unwrap();
    let admission = house.admit(&ticket, Protocol::Rtsps);
    house.gate.refuse_stream(CAMERA, Profile::Main, "CAMERA_NO_PICTURE", "lower: no use".into());
    let error = house.runtime.block_on(admission.ready()).unwrap_err();
    assert_eq!((error.reason(), error.message()), ("CAMERA_NO_PICTURE", "lower: no use"));
}

#[test]
fn who_watches_a_stream_that_the_other_hub_has_no_more_is_told_to_ask_again() {
    let house = guesthouse(LINGER, Duration::from_secs(30));
    let both = |revision| {
        let mut camera = Camera { revision, ..foreign(CAMERA) };
        camera.streams.push(CameraStream { profile: Profile::Sub, ..camera.streams[0].clone() });
        camera
    };
    house.gate.apply_cameras(3, vec![both(3)], &[]).unwrap();
    let viewer_of = |id: &str, profile| {
        let admission = house.admit(&house.open_profile(id, profile), Protocol::RtspTcp);
        (house.attach(&admission), admission)
    };
    let (sub, _sub) = viewer_of("s1", Some(Profile::Sub));
    let (main, _main) = viewer_of("s2", None);
    let mut main_alone = both(4);
    main_alone.streams.pop();
    house.gate.apply_cameras(4, vec![main_alone], &[]).unwrap();
    sub.expect(|event| matches!(event, harness::Event::End("STREAM_CHANGED")));
    let ticket = house.gate.issue_ticket("s1", _core::gate::now() + 60.0).unwrap();
    assert_eq!(house.refusal(CAMERA, Some(Proof::Ticket(&ticket))).1, "CAMERA_PROFILE_MISSING");
    let mut sub_alone = both(5);
    sub_alone.streams.remove(0);
    house.gate.apply_cameras(5, vec![sub_alone], &[]).unwrap();
    main.expect(|event| matches!(event, harness::Event::End("STREAM_CHANGED")));
    let ticket = house.gate.issue_ticket("s2", _core::gate::now() + 60.0).unwrap();
    assert_eq!(house.admit(&ticket, Protocol::RtspTcp).profile(), Profile::Sub, "AUTO is given the other");
}

#[test]
fn who_waits_for_another_attempt_is_told_why_the_last_one_failed() {
    let house = guesthouse_of(Source::Refuses, Duration::from_secs(30), Duration::from_millis(200));
    let _first = house.admit(&house.open("s1"), Protocol::RtspTcp);
    assert_eq!(house.until_need(), (true, ""));
    let authority = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&authority).unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(ca.der());
    let ca = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let peer = Peer::new("lower", &format!("rtsps://127.0.0.1:1/{CAMERA}"), "ticket", &ca).unwrap();
    house.gate.supply_stream(CAMERA, Profile::Main, peer).unwrap();
    assert_eq!(house.until_need(), (true, "CAMERA_REFUSED_LOGIN"), "asked for again at once");
    // This time nobody brings it.
    assert_eq!(house.reason_of_waiting("s2"), (ErrorKind::Unavailable, "CAMERA_REFUSED_LOGIN"));
}

#[test]
fn nobody_waits_for_ever() {
    let house = guesthouse(LINGER, Duration::from_millis(50));
    assert_eq!(house.reason_of_waiting("s1"), (ErrorKind::Unavailable, "LINK_NO_MEDIA"));
    until(|| house.gate.streams() == 0);
    assert_eq!(house.needs(), [(false, "")], "asked for and let go: the newest counts");
}

#[test]
fn what_is_brought_too_late_is_not_kept() {
    let house = guesthouse(LINGER, Duration::from_secs(30));
    let (publication, mut end) = house.bring("p1");
    assert_eq!(house.runtime.block_on(end.wait()), "STREAM_RELEASED");
    drop(publication);
    assert_eq!((house.gate.streams(), house.needs()), (0, Vec::new()), "it was not asked for either");
}

#[test]
fn a_push_that_ends_is_asked_for_at_once_and_its_viewers_stay() {
    let house = guesthouse(LINGER, Duration::from_secs(30));
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    house.needs();
    let first = house.bring("p1");
    let viewer = house.play(&admission);
    viewer.expect(|event| matches!(event, harness::Event::Unit(_)));
    drop(first);
    assert_eq!(house.needs(), [(true, "")]);
    let _second = house.bring("p2");
    viewer.expect(|event| matches!(event, harness::Event::Unit(_)));
}

#[test]
fn a_camera_that_goes_or_comes_home_ends_what_was_brought() {
    let house = guesthouse(LINGER, Duration::from_secs(30));
    for (number, home) in [(0, false), (1, true)] {
        house.gate.apply_cameras(2, vec![foreign(CAMERA)], &[]).unwrap();
        let admission = house.admit(&house.open(&format!("s{number}")), Protocol::RtspTcp);
        house.needs();
        let (_publication, mut end) = house.bring(&format!("p{number}"));
        let viewer = house.play(&admission);
        let (upserts, removed) = if home { (vec![camera(CAMERA)], vec![]) } else { (vec![], vec![CAMERA.to_owned()]) };
        house.gate.apply_cameras(2, upserts, &removed).unwrap();
        // No hub pushes a camera of ours.
        let (push_ends, viewer_ends) =
            if home { ("POLICY_CHANGED", "STREAM_CHANGED") } else { ("CAMERA_RETIRED", "CAMERA_RETIRED") };
        assert_eq!(house.runtime.block_on(end.wait()), push_ends);
        ended(&viewer, viewer_ends);
        assert_eq!(house.until_need(), (false, ""));
    }
}

#[test]
fn how_it_is_tells_its_own_hub_alone() {
    let house = guesthouse(LINGER, Duration::from_secs(30));
    let told = |camera: &str, state, time| vec![(camera.to_owned(), state, time, "dark".to_owned())];
    let status = |camera: &str| house.gate.registry.get(camera).unwrap().status().clone();
    assert_eq!(house.gate.apply_states(told(CAMERA, State::Offline, 1000.0)), 1);
    assert_eq!(house.gate.apply_states(told(CAMERA, State::Offline, 1001.0)), 0, "no news");
    assert_eq!(house.gate.apply_states(told(OTHER, State::Offline, 1000.0)), 0, "ours");
    assert_eq!(house.gate.apply_states(told("36060200001320009999", State::Offline, 1000.0)), 0, "unknown");
    assert_eq!((status(CAMERA).state, status(CAMERA).time, &*status(CAMERA).reason), (State::Offline, 1000.0, "dark"));
    assert_eq!(status(OTHER).state, State::Unknown);
    let taken = house.events.take(9);
    assert!(matches!(&taken[..], [(_, Event::CameraState { camera, state: 3, .. })] if camera == CAMERA), "{taken:?}");
    // That it plays here, and stops, is no word of its own hub.
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    let pushing = house.bring("p1");
    house.runtime.block_on(admission.ready()).unwrap();
    drop(pushing);
    house.needs();
    assert_eq!(status(CAMERA).state, State::Offline);
    // A time to come, or none, is now.
    for (time, state) in [(f64::INFINITY, State::Online), (f64::NAN, State::Offline), (-1.0, State::Online)] {
        house.gate.apply_states(told(CAMERA, state, time));
        assert!((_core::gate::now() - status(CAMERA).time).abs() < 60.0);
    }
}

#[test]
fn a_hubs_own_session_is_counted_and_a_persons_is_not() {
    let house = guesthouse(LINGER, Duration::from_secs(30));
    let person = house.admit(&house.open("s1"), Protocol::Rtsps);
    assert!(person.link().is_none());
    let principal = Principal { kind: PrincipalKind::Hub, id: "upper".into(), ..spec("h1").principal };
    house.gate.sessions.open(SessionSpec { principal, ..spec("h1") }).unwrap();
    let ticket = house.gate.issue_ticket("h1", _core::gate::now() + 60.0).unwrap();
    house.admit(&ticket, Protocol::Rtsps).link().unwrap().add(7);
    let counted = house.telemetry.links();
    assert!(counted.contains(&("upper".to_owned(), Direction::Out, 7)), "{counted:?}");
}
