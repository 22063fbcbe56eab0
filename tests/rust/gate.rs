//! The door: who is let in, what a session's end does to its connections, and when a camera's stream runs.

#[path = "gate/foreign.rs"]
mod foreign;
#[path = "stream/harness.rs"]
#[expect(dead_code, reason = "shared with the tests of the stream")]
mod harness;
#[path = "gate/house.rs"]
mod house;
#[path = "gate/pushed.rs"]
mod pushed;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use _core::error::ErrorKind;
use _core::gate::{self, Door, Event, Proof};
use _core::media::Profile;
use _core::policy::{Grant, Scope};
use _core::registry::{Camera, CameraStream};
use _core::telemetry::Protocol;
use harness::{sink, until};
use house::{CAMERA, OTHER, PEER, Source, camera, ended, grant, house, quick};

#[test]
fn each_wrong_proof_has_its_own_answer() {
    let house = quick(Source::Plays);
    let ticket = house.open("s1");
    let late = house.gate.issue_ticket("s1", gate::now() - 1.0).unwrap();
    let unauthenticated = |reason| (ErrorKind::Unauthenticated, reason);
    assert_eq!(house.refusal(CAMERA, None), unauthenticated("TICKET_MISSING"));
    assert_eq!(house.refusal(CAMERA, Some(Proof::Ticket("forged"))), unauthenticated("TICKET_INVALID"));
    assert_eq!(house.refusal(CAMERA, Some(Proof::Ticket(&late))), unauthenticated("TICKET_EXPIRED"));
    assert_eq!(house.refusal(CAMERA, Some(Proof::RtspUser("nobody"))), unauthenticated("SESSION_UNKNOWN"));
    let other = (ErrorKind::PermissionDenied, "TICKET_OTHER_CAMERA");
    assert_eq!(house.refusal(OTHER, Some(Proof::Ticket(&ticket))), other);
    assert_eq!(house.refusal(OTHER, Some(Proof::RtspUser("user-s1"))), other);
    let nowhere = (ErrorKind::NotFound, "CAMERA_NOT_FOUND");
    assert_eq!(house.refusal("36060200001320009999", Some(Proof::Ticket(&ticket))), nowhere);
    house.gate.sessions.end("s1", "SESSION_CLOSED");
    assert_eq!(house.refusal(CAMERA, Some(Proof::Ticket(&ticket))), unauthenticated("SESSION_UNKNOWN"));
    assert_eq!(house.started.load(SeqCst), 0, "nobody who is refused makes the hub dial");
}

#[test]
fn a_ticket_that_is_late_for_a_first_use_still_names_its_session() {
    let house = quick(Source::Plays);
    house.open("s1");
    let late = house.gate.issue_ticket("s1", gate::now() - 1.0).unwrap();
    assert_eq!(house.gate.session_of(&late).unwrap(), "s1");
    house.gate.sessions.end("s1", "SESSION_CLOSED");
    assert_eq!(house.gate.session_of(&late).unwrap_err().reason(), "SESSION_UNKNOWN");
}

#[test]
fn who_is_refused_is_told_to_the_control_plane_with_the_session_of_the_ticket() {
    let house = quick(Source::Plays);
    let late = {
        house.open("s1");
        house.gate.issue_ticket("s1", gate::now() - 1.0).unwrap()
    };
    let tell = |ticket: Option<&str>| {
        let error = house.gate.admit(CAMERA, ticket.map(Proof::Ticket), Protocol::RtspTcp, PEER).err().unwrap();
        let refusal = gate::Refusal { camera: CAMERA, ticket, error: &error, protocol: Protocol::RtspTcp, peer: PEER };
        house.gate.refused(&refusal);
    };
    tell(Some(&late));
    tell(Some("forged"));
    tell(None);
    let told: Vec<_> = house
        .events
        .take(usize::MAX)
        .into_iter()
        .filter_map(|(_, event)| match event {
            Event::MediaRefused { camera, session, reason, protocol, address } => {
                assert_eq!((camera.as_str(), protocol, address), (CAMERA, "rtsp_tcp", PEER.ip()));
                Some((session, reason))
            }
            _ => None,
        })
        .collect();
    let expected = [("s1", "TICKET_EXPIRED"), ("", "TICKET_INVALID"), ("", "TICKET_MISSING")];
    assert_eq!(told, expected.map(|(session, reason)| (session.to_owned(), reason)));
}

#[test]
fn a_revoked_grant_ends_its_sessions_on_every_protocol_once() {
    let house = quick(Source::Plays);
    let ticket = house.open("s1");
    let admissions = [house.admit(&ticket, Protocol::RtspTcp), house.admit(&ticket, Protocol::WebrtcUdp)];
    let viewers = admissions.each_ref().map(|admission| house.play(admission));
    assert_eq!(house.gate.remove_grant("g1", "GRANT_REVOKED"), 1);
    for viewer in &viewers {
        ended(viewer, "GRANT_REVOKED");
    }
    assert_eq!(house.ends(), [("s1".to_owned(), "GRANT_REVOKED")]);
    assert!(!house.gate.sessions.end("s1", "SESSION_CLOSED"));
}

#[test]
fn a_second_connection_of_a_protocol_replaces_the_first_and_leaves_the_other_protocol_alone() {
    let house = quick(Source::Plays);
    let ticket = house.open("s1");
    let (first, other) = (house.admit(&ticket, Protocol::RtspTcp), house.admit(&ticket, Protocol::WebrtcUdp));
    let (old, stays) = (house.play(&first), house.play(&other));
    let second = house.admit(&ticket, Protocol::RtspTcp);
    let new = house.play(&second);
    ended(&old, "CONNECTION_REPLACED");
    house.gate.sessions.end("s1", "SESSION_TERMINATED");
    ended(&new, "SESSION_TERMINATED");
    ended(&stays, "SESSION_TERMINATED");
}

#[test]
fn rtsp_is_one_protocol_whichever_way_it_goes() {
    let house = quick(Source::Plays);
    let ticket = house.open("s1");
    let mut playing = None;
    for protocol in [Protocol::RtspUdp, Protocol::RtspTcp, Protocol::Rtsps] {
        let admission = house.admit(&ticket, Protocol::RtspTcp);
        admission.carried_by(protocol);
        let viewer = house.play(&admission);
        if let Some((older, _)) = playing.replace((viewer, admission)) {
            ended(&older, "CONNECTION_REPLACED");
        }
    }
    house.gate.sessions.end("s1", "SESSION_TERMINATED");
    ended(&playing.expect("the last one").0, "SESSION_TERMINATED");
}

#[test]
fn a_sink_that_arrives_after_the_end_is_ended_at_once() {
    let house = quick(Source::Plays);
    let ticket = house.open("s1");
    let admission = house.admit(&ticket, Protocol::RtspTcp);
    house.gate.sessions.end("s1", "GRANT_REVOKED");
    let (sink, viewer) = sink();
    admission.connected(house.shards.attach(admission.stream(), Box::new(sink), true));
    ended(&viewer, "GRANT_REVOKED");
}

#[test]
fn attempts_of_one_session_are_bounded_and_given_back() {
    let house = quick(Source::Plays);
    let ticket = house.open("s1");
    let waiting: Vec<_> = (0..8).map(|_| house.admit(&ticket, Protocol::RtspTcp)).collect();
    let full = (ErrorKind::ResourceExhausted, "LIMIT_CONNECTIONS");
    assert_eq!(house.refusal(CAMERA, Some(Proof::Ticket(&ticket))), full);
    drop(waiting);
    house.admit(&ticket, Protocol::RtspTcp);
}

#[test]
fn a_session_ends_when_its_time_is_over_and_renewing_puts_it_off() {
    let house = quick(Source::Plays);
    house.open_until("short", gate::now() + 10.0);
    house.open_until("renewed", gate::now() + 10.0);
    house.gate.sessions.renew("renewed", gate::moment(gate::now() + 100.0)).unwrap();
    let later = |seconds| Instant::now() + Duration::from_secs_f64(seconds);
    assert!(house.gate.sessions.expire(later(5.0)).is_some());
    assert!(house.ends().is_empty());
    house.gate.sessions.expire(later(20.0));
    assert_eq!(house.ends(), [("short".to_owned(), "SESSION_EXPIRED")]);
    assert_eq!(house.gate.sessions.expire(later(200.0)), None);
    assert_eq!(house.ends(), [("renewed".to_owned(), "SESSION_EXPIRED")]);
}

#[test]
fn a_retired_and_a_quarantined_camera_cut_their_viewers() {
    for (change, reason) in [("retire", "CAMERA_RETIRED"), ("quarantine", "CAMERA_QUARANTINED")] {
        let house = quick(Source::Plays);
        let ticket = house.open("s1");
        let admission = house.admit(&ticket, Protocol::RtspTcp);
        let viewer = house.play(&admission);
        match change {
            "retire" => house.gate.apply_cameras(2, Vec::new(), &[CAMERA.to_owned()]).unwrap(),
            _ => {
                let shut = Camera { quarantined: true, revision: 2, ..camera(CAMERA) };
                house.gate.apply_cameras(2, vec![shut], &[]).unwrap();
            }
        }
        ended(&viewer, reason);
        until(|| house.stopped.load(SeqCst) == 1);
    }
}

#[test]
fn a_camera_that_leaves_the_grant_ends_its_session_as_policy_changed() {
    let house = quick(Source::Plays);
    let ticket = house.open("s1");
    let admission = house.admit(&ticket, Protocol::RtspTcp);
    let viewer = house.play(&admission);
    let moved = Camera { region_code: "110101".into(), revision: 2, ..camera(CAMERA) };
    house.gate.apply_cameras(2, vec![moved], &[]).unwrap();
    ended(&viewer, "POLICY_CHANGED");
}

#[test]
fn many_who_come_at_once_share_one_start_and_the_last_who_leaves_ends_it() {
    let house = quick(Source::Plays);
    let tickets: Vec<_> = (0..50).map(|number| house.open(&format!("s{number}"))).collect();
    let admissions: Vec<_> = tickets.iter().map(|ticket| house.admit(ticket, Protocol::RtspTcp)).collect();
    for admission in &admissions {
        house.runtime.block_on(admission.ready()).unwrap();
    }
    assert_eq!(house.started.load(SeqCst), 1);
    assert_eq!(house.stopped.load(SeqCst), 0);
    drop(admissions);
    until(|| house.stopped.load(SeqCst) == 1);
    until(|| house.gate.streams() == 0);
}

#[test]
fn whoever_comes_back_while_it_lingers_finds_the_stream_running() {
    let house = house(Source::Plays, Duration::from_secs(3600), Duration::from_secs(30));
    let ticket = house.open("s1");
    let first = house.admit(&ticket, Protocol::RtspTcp);
    house.runtime.block_on(first.ready()).unwrap();
    drop(first);
    let second = house.admit(&ticket, Protocol::RtspTcp);
    house.runtime.block_on(second.ready()).unwrap();
    assert_eq!((house.started.load(SeqCst), house.stopped.load(SeqCst)), (1, 0));
}

#[test]
fn a_camera_that_fails_says_why_and_its_state_is_news() {
    let house = quick(Source::Refuses);
    let ticket = house.open("s1");
    let admission = house.admit(&ticket, Protocol::RtspTcp);
    let error = house.runtime.block_on(admission.ready()).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, "CAMERA_REFUSED_LOGIN"));
    let is_refused = |event: &Event| matches!(event, Event::CameraState { camera, state: 4, .. } if camera == CAMERA);
    until(|| house.events.take(16).iter().any(|(_, event)| is_refused(event)));
}

#[test]
fn a_silent_camera_is_waited_for_no_longer_than_the_patience() {
    let house = house(Source::Silent, Duration::ZERO, Duration::from_millis(50));
    let ticket = house.open("s1");
    let admission = house.admit(&ticket, Protocol::RtspTcp);
    assert_eq!(house.runtime.block_on(admission.ready()).unwrap_err().reason(), "CAMERA_SILENT");
}

#[test]
fn who_comes_and_goes_while_it_lingers_puts_the_end_off() {
    let house = house(Source::Plays, Duration::from_millis(600), Duration::from_secs(30));
    let ticket = house.open("s1");
    drop(house.admit(&ticket, Protocol::RtspTcp));
    std::thread::sleep(Duration::from_millis(400));
    drop(house.admit(&ticket, Protocol::RtspTcp));
    let left = std::time::Instant::now();
    until(|| house.stopped.load(SeqCst) == 1);
    assert!(left.elapsed() >= Duration::from_millis(600), "{:?}", left.elapsed());
}

#[test]
fn a_session_that_ends_while_its_camera_is_waited_for_ends_the_wait() {
    let house = quick(Source::Silent);
    let waiting = house.admit(&house.open("s1"), Protocol::WebrtcUdp);
    let ready = house.runtime.spawn(async move { waiting.ready().await.map(drop) });
    house.gate.sessions.end("s1", "GRANT_REVOKED");
    let ended = house.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), ready).await });
    assert_eq!(ended.expect("at once").unwrap().unwrap_err().reason(), "SESSION_UNKNOWN");
}

#[test]
fn what_was_admitted_knows_that_its_session_has_ended_before_it_plays() {
    let house = quick(Source::Plays);
    let admission = house.admit(&house.open("s1"), Protocol::RtspTcp);
    assert!(admission.is_open());
    house.gate.sessions.end("s1", "GRANT_REVOKED");
    assert!(!admission.is_open());
    let late = house.runtime.block_on(admission.ready());
    assert_eq!(late.unwrap_err().reason(), "SESSION_UNKNOWN", "nothing of the camera is told any more");
}

/// The camera with a main stream at 192.0.2.1 and a sub stream at 192.0.2.3.
fn with_sub() -> Camera {
    let mut both = Camera { revision: 2, ..camera(CAMERA) };
    let sub = CameraStream { profile: Profile::Sub, url: "rtsp://192.0.2.3/".into(), ..both.streams[0].clone() };
    both.streams.push(sub);
    both
}

#[test]
fn a_session_that_asked_for_one_stream_never_gets_the_other() {
    let house = quick(Source::Plays);
    let sub = house.open_profile("s1", Some(Profile::Sub));
    let (kind, reason) = house.refusal(CAMERA, Some(Proof::Ticket(&sub)));
    assert_eq!((kind, reason), (ErrorKind::NotFound, "CAMERA_PROFILE_MISSING"), "there is a main one only");
    let alone = house.admit(&house.open_profile("s0", Some(Profile::Main)), Protocol::WebrtcUdp);
    assert_eq!(alone.other().err().unwrap().reason(), "CAMERA_PROFILE_MISSING", "AUTO would be no help");
    house.gate.apply_cameras(2, vec![with_sub()], &[]).unwrap();
    assert_eq!(alone.other().err().unwrap().reason(), "PROFILE_FIXED");
    let admission = house.admit(&sub, Protocol::WebrtcUdp);
    assert_eq!(admission.profile(), Profile::Sub);
    assert_eq!(admission.other().err().unwrap().reason(), "PROFILE_FIXED");
    let main = house.admit(&house.open("s2"), Protocol::WebrtcUdp);
    assert_eq!((main.profile(), main.other().err().unwrap().reason()), (Profile::Main, "PROFILE_FIXED"));
    let mut only_sub = with_sub();
    only_sub.revision = 3;
    only_sub.streams.remove(0);
    house.gate.apply_cameras(3, vec![only_sub], &[]).unwrap();
    let ticket = house.gate.issue_ticket("s2", gate::now() + 60.0).unwrap();
    assert_eq!(house.refusal(CAMERA, Some(Proof::Ticket(&ticket))).1, "CAMERA_PROFILE_MISSING");
    let any = house.admit(&house.open_profile("s3", None), Protocol::WebrtcUdp);
    assert_eq!(any.profile(), Profile::Sub, "the only one there is");
    assert_eq!(any.other().err().unwrap().reason(), "CAMERA_PROFILE_MISSING");
}

#[test]
fn where_the_main_stream_can_not_be_carried_the_sub_stream_is_played_and_the_reason_told() {
    for cause in ["CAMERA_NO_PICTURE", "CAMERA_INVALID", "CAMERA_NO_KEYFRAME"] {
        let house = quick(Source::MainFails(cause));
        house.gate.apply_cameras(2, vec![with_sub()], &[]).unwrap();
        let mut admissions = Vec::new();
        for protocol in [Protocol::WebrtcUdp, Protocol::RtspTcp, Protocol::Mse] {
            let id = format!("{cause}-{}", protocol.word());
            let admission = house.admit(&house.open_profile(&id, None), protocol);
            assert_eq!((admission.profile(), admission.instead()), (Profile::Main, ""));
            let main = admission.stream();
            house.runtime.block_on(admission.ready()).unwrap();
            assert_eq!((admission.profile(), admission.instead()), (Profile::Sub, cause));
            assert!(!Arc::ptr_eq(&admission.stream(), &main));
            assert_eq!(admission.other().unwrap().profile(), Profile::Main);
            admissions.push(admission);
        }
        until(|| house.gate.streams() == 1);
        let fixed = house.admit(&house.open_profile("fixed", Some(Profile::Main)), Protocol::WebrtcUdp);
        let error = house.runtime.block_on(fixed.ready()).unwrap_err();
        assert_eq!((error.reason(), error.message()), ("CAMERA_UNREACHABLE", "the main stream is no use"));
        assert_eq!((fixed.profile(), fixed.instead()), (Profile::Main, ""));
    }
}

#[test]
fn who_waits_for_a_keyframe_in_vain_is_given_the_sub_stream_too() {
    let house = house(Source::MainHasNoKeyframe, Duration::from_millis(50), Duration::from_millis(300));
    house.gate.apply_cameras(2, vec![with_sub()], &[]).unwrap();
    let admission = house.admit(&house.open_profile("s1", None), Protocol::WebrtcUdp);
    house.runtime.block_on(admission.ready()).unwrap();
    assert_eq!((admission.profile(), admission.instead()), (Profile::Sub, "CAMERA_NO_KEYFRAME"));
}

#[test]
fn a_camera_that_does_not_answer_is_not_tried_again_by_its_sub_stream() {
    let house = quick(Source::MainFails("CAMERA_UNREACHABLE"));
    house.gate.apply_cameras(2, vec![with_sub()], &[]).unwrap();
    let admission = house.admit(&house.open_profile("s1", None), Protocol::WebrtcUdp);
    assert_eq!(house.runtime.block_on(admission.ready()).unwrap_err().message(), "the main stream is no use");
    assert_eq!((admission.profile(), house.started.load(SeqCst)), (Profile::Main, 1));
}

#[test]
fn a_viewer_goes_over_to_the_other_stream_and_the_first_is_dropped() {
    let house = quick(Source::Plays);
    house.gate.apply_cameras(2, vec![with_sub()], &[]).unwrap();
    let admission = house.admit(&house.open_profile("s1", None), Protocol::WebrtcUdp);
    assert_eq!(admission.profile(), Profile::Main);
    let viewer = house.play(&admission);
    let other = admission.other().unwrap();
    assert_eq!((other.profile(), house.gate.streams()), (Profile::Sub, 2));
    house.runtime.block_on(other.ready()).unwrap();
    assert!(other.now().is_some_and(|now| now.is_ok()));
    drop(other);
    until(|| house.gate.streams() == 1);

    let other = admission.other().unwrap();
    let sub = other.stream().clone();
    admission.switched(other);
    assert_eq!(admission.profile(), Profile::Sub);
    assert!(Arc::ptr_eq(&admission.stream(), &sub));
    until(|| house.gate.streams() == 1);
    // The main stream may move as it likes now; the end of the sub stream is the viewer's end.
    let mut moved = Camera { revision: 3, ..with_sub() };
    moved.streams[0].url = "rtsp://192.0.2.2/".into();
    house.gate.apply_cameras(3, vec![moved.clone()], &[]).unwrap();
    assert_eq!(admission.other().unwrap().profile(), Profile::Main, "and back again");
    moved.revision = 4;
    moved.streams[1].url = "rtsp://192.0.2.4/".into();
    house.gate.apply_cameras(4, vec![moved], &[]).unwrap();
    ended(&viewer, "STREAM_CHANGED");
}

#[test]
fn a_camera_that_moves_ends_who_watches_the_old_address_and_keeps_their_session() {
    let house = quick(Source::Plays);
    let ticket = house.open("s1");
    let old = house.admit(&ticket, Protocol::RtspTcp);
    let viewer = house.play(&old);
    let renamed = Camera { name: "other".into(), revision: 2, ..camera(CAMERA) };
    house.gate.apply_cameras(2, vec![renamed], &[]).unwrap();
    assert_eq!(house.gate.streams(), 1, "a new name moves nothing");
    let mut moved = Camera { revision: 3, ..camera(CAMERA) };
    moved.streams[0].url = "rtsp://192.0.2.2/".into();
    house.gate.apply_cameras(3, vec![moved], &[]).unwrap();
    ended(&viewer, "STREAM_CHANGED");
    house.play(&house.admit(&ticket, Protocol::RtspTcp));
    assert_eq!(house.started.load(SeqCst), 2);
    assert!(house.ends().is_empty());
}

#[test]
fn who_waits_for_a_stream_that_is_stopped_is_told_at_once() {
    let house = quick(Source::Silent);
    let waiting = house.admit(&house.open("s1"), Protocol::RtspTcp);
    let ready = house.runtime.spawn(async move { waiting.ready().await.map(drop) });
    let mut moved = Camera { revision: 2, ..camera(CAMERA) };
    moved.streams[0].url = "rtsp://192.0.2.2/".into();
    house.gate.apply_cameras(2, vec![moved], &[]).unwrap();
    let ended = house.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), ready).await });
    assert_eq!(ended.expect("at once").unwrap().unwrap_err().reason(), "CAMERA_UNREACHABLE");
}

#[test]
fn a_grant_that_is_replaced_ends_what_it_carries_no_more_and_nothing_else() {
    let house = quick(Source::Plays);
    house.open("s1");
    // A narrower one would carry it as well; the session stands on its own.
    let narrow = Scope { camera_ids: vec![CAMERA.into()], ..Scope::default() };
    house.gate.apply_grant(Grant { scope: narrow, ..grant("g2") });
    let wider = || Grant { purposes: vec!["patrol".into(), "traffic".into()], ..grant("g1") };
    house.gate.apply_grant(wider());
    assert_eq!(house.ends(), []);
    house.gate.apply_grant(Grant { purposes: vec!["traffic".into()], ..wider() });
    assert_eq!(house.ends(), [("s1".to_owned(), "GRANT_REVOKED")]);
    house.open("s2");
    house.gate.apply_grant(Grant { not_after: gate::now() - 1.0, ..wider() });
    assert_eq!(house.ends(), [("s2".to_owned(), "GRANT_REVOKED")]);
}
