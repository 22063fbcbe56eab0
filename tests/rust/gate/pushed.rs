//! Cameras that are pushed: who may, who gives way to whom, and what viewers see of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use _core::error::ErrorKind;
use _core::gate::{Door, Ended, Ender, Event, Proof, Publication};
use _core::media::Profile;
use _core::registry::Camera;
use _core::stream::SourceState;
use _core::telemetry::Protocol;

use crate::harness::{self, unit, until, video};
use crate::house::{CAMERA, House, OTHER, PEER, Source, camera, ended, house, quick};

/// A publisher that pushes, as a server would set it up.
struct Pushing {
    publication: Arc<dyn Publication>,
    ended: Ended,
}

impl House {
    /// A house whose first camera has no address to pull from.
    fn pushed(linger: Duration, patience: Duration) -> Self {
        let house = house(Source::Plays, linger, patience);
        house.gate.apply_cameras(2, vec![without_address()], &[]).unwrap();
        house
    }

    fn publish(&self, ticket: &str, protocol: Protocol) -> Pushing {
        let publication = self.gate.publish(CAMERA, Some(Proof::Ticket(ticket)), protocol, PEER).unwrap();
        let (ender, ended) = Ender::task();
        self.runtime.block_on(publication.begin(ender)).unwrap();
        Pushing { publication, ended }
    }

    fn states(&self) -> Vec<(u8, String)> {
        let taken = self.events.take(usize::MAX).into_iter();
        taken
            .filter_map(|(_, event)| match event {
                Event::CameraState { camera, state, reason, .. } if camera == CAMERA => Some((state, reason)),
                _ => None,
            })
            .collect()
    }

    /// Waits for the camera's state; its reason.
    fn until_state(&self, wanted: u8) -> String {
        loop {
            if let Some((_, reason)) = self.states().into_iter().find(|(state, _)| *state == wanted) {
                return reason;
            }
            std::thread::yield_now();
        }
    }
}

impl Pushing {
    fn keyframe(&self) {
        self.publication.stream().describe(vec![video(&[0x68])]);
        self.publication.stream().publish(unit(true, 100));
    }

    fn is_live(&self) -> bool {
        *self.publication.stream().state().borrow() == SourceState::Live
    }

    fn end(&mut self, house: &House) -> &'static str {
        house
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(20), self.ended.wait()).await })
            .unwrap()
    }
}

fn without_address() -> Camera {
    let mut pushed = Camera { revision: 2, ..camera(CAMERA) };
    pushed.streams[0].url = String::new();
    pushed
}

fn index(viewer: &harness::Viewer) -> u64 {
    match viewer.expect(|event| matches!(event, harness::Event::Unit(_))) {
        harness::Event::Unit(unit) => unit.first_sequence(),
        _ => unreachable!(),
    }
}

#[test]
fn a_ticket_is_good_for_its_operation_only() {
    let house = quick(Source::Plays);
    let (watch, push) = (house.open("s1"), house.open_to_push("p1", Profile::Main));
    let other = (ErrorKind::PermissionDenied, "TICKET_OTHER_OPERATION");
    assert_eq!(house.refusal(CAMERA, Some(Proof::Ticket(&push))), other);
    assert_eq!(house.refusal(CAMERA, Some(Proof::RtspUser("user-p1"))), other);
    let refusal = |camera, proof| {
        let error = house.gate.publish(camera, proof, Protocol::RtspTcp, PEER).err().expect("a refusal");
        (error.kind(), error.reason())
    };
    assert_eq!(refusal(CAMERA, Some(Proof::Ticket(&watch))), other);
    assert_eq!(refusal(CAMERA, Some(Proof::RtspUser("user-s1"))), other);
    assert_eq!(refusal(CAMERA, None), (ErrorKind::Unauthenticated, "TICKET_MISSING"));
    let elsewhere = (ErrorKind::PermissionDenied, "TICKET_OTHER_CAMERA");
    assert_eq!(refusal(OTHER, Some(Proof::Ticket(&push))), elsewhere);
}

#[test]
fn who_comes_while_nobody_pushes_waits_and_is_told() {
    let house = House::pushed(Duration::ZERO, Duration::from_millis(50));
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    let error = house.runtime.block_on(admission.ready()).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, "CAMERA_UNREACHABLE"));
    assert!(error.to_string().contains("its unit pushes it, and does not now"), "{error}");
    drop(admission);
    until(|| house.gate.streams() == 0);
}

#[test]
fn who_waits_sees_the_first_keyframe_that_is_pushed() {
    let house = House::pushed(Duration::ZERO, Duration::from_secs(30));
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    let waiting = house.runtime.spawn(async move {
        admission.ready().await.map(drop).unwrap();
        admission
    });
    let pushing = house.publish(&house.open_to_push("p1", Profile::Main), Protocol::RtspTcp);
    pushing.keyframe();
    let admission = house.runtime.block_on(waiting).unwrap();
    assert!(Arc::ptr_eq(&admission.stream(), pushing.publication.stream()));
    assert_eq!(house.until_state(2), "");
}

/// Longer than the cache of `house` has room for.
fn overflow(pushing: &Pushing) {
    pushing.publication.stream().publish(unit(false, 1 << 20));
    assert!(pushing.is_live() && !pushing.publication.stream().has_keyframe());
}

#[test]
fn who_comes_when_the_group_was_too_long_for_the_cache_waits_for_the_next() {
    let house = House::pushed(Duration::ZERO, Duration::from_secs(30));
    let pushing = house.publish(&house.open_to_push("p1", Profile::Main), Protocol::RtspTcp);
    pushing.keyframe();
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    for size in [100, 1 << 20] {
        overflow(&pushing);
        let mut ready = admission.ready();
        let is_ready =
            house.runtime.block_on(std::future::poll_fn(|task| Poll::Ready(ready.as_mut().poll(task).is_ready())));
        assert!(!is_ready);
        // One that has no room in the cache itself is told of as well: who waits would otherwise never be let in.
        pushing.publication.stream().publish(unit(true, size));
        house.runtime.block_on(ready).unwrap();
    }
}

#[test]
fn a_camera_whose_group_never_ends_is_said_to_send_no_keyframe() {
    let house = House::pushed(Duration::ZERO, Duration::from_millis(50));
    let pushing = house.publish(&house.open_to_push("p1", Profile::Main), Protocol::RtspTcp);
    pushing.keyframe();
    overflow(&pushing);
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    let error = house.runtime.block_on(admission.ready()).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, "CAMERA_NO_KEYFRAME"));
    assert!(error.message().contains("switch intra refresh and open groups of pictures off"), "{error}");
}

#[test]
fn viewers_stay_through_an_outage_and_go_on_at_the_next_publishers_keyframe() {
    let house = House::pushed(Duration::ZERO, Duration::from_secs(30));
    let ticket = house.open_to_push("p1", Profile::Main);
    let first = house.publish(&ticket, Protocol::RtspTcp);
    first.keyframe();
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    let viewer = house.play(&admission);
    let before = index(&viewer);
    house.until_state(2);
    drop(first);
    assert_eq!(house.until_state(3), "its unit has stopped pushing it");
    let second = house.publish(&ticket, Protocol::WebrtcUdp);
    second.publication.stream().publish(unit(false, 100));
    second.keyframe();
    assert_eq!(index(&viewer), before + 1, "the sequence goes on, and at the keyframe");
    until(|| second.is_live());
}

#[test]
fn the_newer_of_two_publishers_wins_and_the_older_writes_no_more() {
    let house = House::pushed(Duration::ZERO, Duration::from_secs(30));
    let mut first = house.publish(&house.open_to_push("p1", Profile::Main), Protocol::RtspTcp);
    first.keyframe();
    let ticket = house.open_to_push("p2", Profile::Main);
    let publication = house.gate.publish(CAMERA, Some(Proof::Ticket(&ticket)), Protocol::RtspTcp, PEER).unwrap();
    let (ender, _ended) = Ender::task();
    let begins = house.runtime.spawn({
        let publication = publication.clone();
        async move { publication.begin(ender).await }
    });
    assert_eq!(first.end(&house), "CONNECTION_REPLACED");
    assert!(!begins.is_finished(), "the older one has not let go yet");
    drop(first);
    house.runtime.block_on(begins).unwrap().unwrap();
    assert_eq!(*publication.stream().state().borrow(), SourceState::Connecting);
    assert!(house.ends().is_empty(), "the session of the older one is as good as ever");
}

#[test]
fn two_profiles_are_pushed_side_by_side() {
    let house = House::pushed(Duration::ZERO, Duration::from_secs(30));
    let main = house.publish(&house.open_to_push("p1", Profile::Main), Protocol::RtspTcp);
    let sub = house.publish(&house.open_to_push("p2", Profile::Sub), Protocol::RtspTcp);
    assert!(!Arc::ptr_eq(main.publication.stream(), sub.publication.stream()));
    main.keyframe();
    sub.keyframe();
    house.until_state(2);
    drop(sub);
    until(|| house.gate.streams() == 1);
    assert!(house.states().is_empty(), "the main stream is live");
}

#[test]
fn a_push_goes_before_the_pull_which_takes_over_again_for_who_still_watches() {
    let house = quick(Source::Plays);
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    let viewer = house.play(&admission);
    let before = index(&viewer);
    let pushing = house.publish(&house.open_to_push("p1", Profile::Main), Protocol::RtspTcp);
    assert_eq!(house.stopped.load(SeqCst), 1, "the pull has ended before");
    pushing.keyframe();
    assert_eq!(index(&viewer), before + 1);
    drop(pushing);
    assert_eq!(index(&viewer), before + 2);
    assert_eq!(house.started.load(SeqCst), 2);
    drop((admission, viewer));
    until(|| house.stopped.load(SeqCst) == 2);
}

#[test]
fn a_publisher_alone_is_no_reason_to_pull() {
    let house = house(Source::Plays, Duration::from_secs(3600), Duration::from_secs(30));
    let pushing = house.publish(&house.open_to_push("p1", Profile::Main), Protocol::RtspTcp);
    let mut moved = Camera { revision: 2, ..camera(CAMERA) };
    moved.streams[0].url = "rtsp://192.0.2.2/".into();
    house.gate.apply_cameras(2, vec![moved], &[]).unwrap();
    assert_eq!(house.gate.streams(), 1, "a new address does not end the push");
    drop(pushing);
    assert_eq!((house.gate.streams(), house.started.load(SeqCst)), (1, 0));
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    house.runtime.block_on(admission.ready()).unwrap();
    assert_eq!(house.started.load(SeqCst), 1);
}

#[test]
fn the_end_of_the_session_and_of_the_camera_end_the_push() {
    for (end, reason) in
        [("session", "CERTIFICATE_REVOKED"), ("camera", "CAMERA_RETIRED"), ("law", "CAMERA_QUARANTINED")]
    {
        let house = House::pushed(Duration::ZERO, Duration::from_secs(30));
        let mut pushing = house.publish(&house.open_to_push("p1", Profile::Main), Protocol::RtspTcp);
        match end {
            "session" => assert!(house.gate.sessions.end("p1", "CERTIFICATE_REVOKED")),
            "camera" => house.gate.apply_cameras(3, Vec::new(), &[CAMERA.to_owned()]).unwrap(),
            _ => {
                let shut = Camera { quarantined: true, revision: 3, ..without_address() };
                house.gate.apply_cameras(3, vec![shut], &[]).unwrap();
            }
        }
        assert_eq!(pushing.end(&house), reason);
        assert_eq!(house.ends(), [("p1".to_owned(), reason)]);
        drop(pushing);
        until(|| house.gate.streams() == 0);
    }
}

#[test]
fn viewers_of_a_pushed_camera_that_is_cut_off_are_told() {
    let house = House::pushed(Duration::ZERO, Duration::from_secs(30));
    let pushing = house.publish(&house.open_to_push("p1", Profile::Main), Protocol::RtspTcp);
    pushing.keyframe();
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    let viewer = house.play(&admission);
    house.gate.apply_cameras(3, Vec::new(), &[CAMERA.to_owned()]).unwrap();
    ended(&viewer, "CAMERA_RETIRED");
}
