//! A playing camera: packets handed on as they come, keep-alives and reports when they are due, and the end.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::super::datagrams::Came;
use super::super::{Failure, FailureKind};
use super::session::{Lane, Requests, is_success};
use super::{Camera, no_answer, refusal};
use crate::wire::rtcp::{self, Report, SenderInfo};
use crate::wire::rtp;
use crate::wire::rtsp::{Answer, Input};

/// The longest pause between keep-alives, whatever time the camera gives a session, and the shortest.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Until the first, which asks what the camera understands.
const FIRST_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Between receiver reports over UDP (RFC 3550 §6.2: 5 s for few participants).
const REPORT: Duration = Duration::from_secs(5);
/// How long a camera may hold us up when we leave.
const LEAVE: Duration = Duration::from_millis(500);

/// What a playing camera brings.
#[derive(Debug)]
pub enum Media<'a> {
    /// Of the offer with this place. `at` counts from the moment that `play` was given.
    Packet {
        place: usize,
        packet: rtp::Packet<'a>,
        at: Duration,
    },
    Report {
        place: usize,
        info: SenderInfo,
    },
}

/// What came together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    pub packets: u64,
    /// Of RTP.
    pub octets: u64,
    pub malformed: u64,
    /// Datagrams that the kernel had no room for.
    pub overflown: u64,
}

/// What is under way while a camera plays.
pub struct Playing {
    began: Instant,
    /// PLAY is to be answered by then, unless packets come.
    answer_by: Option<Instant>,
    play: Option<u32>,
    has_media: bool,
    /// A keep-alive that is not answered yet.
    keep_alive: Option<u32>,
    ping: Ping,
    keep_alive_every: Duration,
    keep_alive_at: Instant,
    /// The next receiver report, where there is UDP.
    report_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// What a keep-alive is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ping {
    /// OPTIONS, which also tells what the camera understands.
    Options,
    GetParameter,
    /// GET_PARAMETER was refused, whatever the camera has said.
    OnlyOptions,
}

impl Playing {
    pub(super) fn new(began: Instant, session_timeout: Duration, answer_by: Instant, by_udp: bool) -> Self {
        let keep_alive_every = (session_timeout / 2).clamp(KEEP_ALIVE.0, KEEP_ALIVE.1);
        let now = Instant::now();
        let keep_alive_at = now + FIRST_KEEP_ALIVE.min(keep_alive_every);
        // The first after half the time (RFC 3550 §6.2).
        let report_at = by_udp.then_some(now + REPORT / 2);
        let first = report_at.into_iter().fold(answer_by.min(keep_alive_at), Instant::min);
        Self {
            began,
            answer_by: Some(answer_by),
            play: None,
            has_media: false,
            keep_alive: None,
            ping: Ping::Options,
            keep_alive_every,
            keep_alive_at,
            report_at,
            timer: Box::pin(sleep_until(first)),
        }
    }

    pub(super) fn awaits_play(&mut self, cseq: u32) {
        self.play = Some(cseq);
    }
}

impl Camera {
    /// Waits until something has come and hands it on, all that came together at once.
    pub async fn advance(&mut self, mut take: impl FnMut(Media<'_>)) -> Result<Arrivals, Failure> {
        poll_fn(|cx| self.poll_advance(cx, &mut take)).await
    }

    /// Why nothing may have come at all, where something is known.
    pub fn silence(&self) -> Option<&'static str> {
        let mut lanes = self.lanes.iter().filter_map(|lane| match lane {
            Lane::Datagrams(datagrams) => Some(datagrams),
            Lane::Interleaved { .. } => None,
        });
        let first = lanes.next()?;
        if first.has_heard() {
            None
        } else if first.strangers() > 0 {
            Some("its UDP packets come from another address or port than it has announced: register transport TCP")
        } else {
            Some("UDP from it does not get through, so a firewall or NAT may be in between: register transport TCP")
        }
    }

    /// Takes leave: the camera has its session back before it is asked for a new one. Waits for that, but not long.
    pub async fn end(mut self) {
        if let Some(playing) = &self.playing {
            let now = playing.began.elapsed();
            for lane in &mut self.lanes {
                if let Lane::Datagrams(datagrams) = lane {
                    datagrams.bye(now);
                }
            }
        }
        if self.has_session() && self.send_about_all("TEARDOWN").is_ok() {
            // Whatever it answers; or it hangs up.
            timeout(LEAVE, self.answer()).await.ok();
        }
    }

    fn poll_advance(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut impl FnMut(Media<'_>),
    ) -> Poll<Result<Arrivals, Failure>> {
        let mut arrivals = Arrivals::default();
        let mut has_news = false;
        loop {
            let Some(playing) = &mut self.playing else { return Poll::Ready(Err(no_answer("PLAY"))) };
            if playing.timer.as_mut().poll(cx).is_pending() {
                break;
            }
            if let Err(failure) = self.on_time(take, &mut arrivals) {
                return Poll::Ready(Err(failure));
            }
        }
        match self.poll_connection(cx, take, &mut arrivals) {
            Poll::Ready(Ok(())) => has_news = true,
            Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
            Poll::Pending => {}
        }
        has_news |= self.poll_datagrams(cx, take, &mut arrivals);
        if let Some(playing) = &mut self.playing {
            playing.has_media |= arrivals.packets > 0;
        }
        if has_news || arrivals != Arrivals::default() {
            return Poll::Ready(Ok(arrivals));
        }
        Poll::Pending
    }

    fn poll_connection(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut impl FnMut(Media<'_>),
        arrivals: &mut Arrivals,
    ) -> Poll<Result<(), Failure>> {
        let Some(playing) = &self.playing else { return Poll::Pending };
        let at = playing.began.elapsed();
        let lanes = &self.lanes;
        let mut answers: Vec<Answer> = Vec::new();
        let mut requests = Requests::new();
        let polled = self.connection.poll(cx, |input| match input {
            Input::Frame { channel, data } => {
                for (place, lane) in lanes.iter().enumerate() {
                    match lane {
                        Lane::Interleaved { rtp, .. } if *rtp == channel => {
                            let Some(packet) = rtp::Packet::parse(data) else {
                                arrivals.malformed += 1;
                                return;
                            };
                            arrivals.packets += 1;
                            arrivals.octets += data.len() as u64;
                            return take(Media::Packet { place, packet, at });
                        }
                        Lane::Interleaved { rtcp, .. } if *rtcp == channel => {
                            for report in rtcp::parse(data) {
                                if let Report::Sender { info, .. } = report {
                                    take(Media::Report { place, info });
                                }
                            }
                            return;
                        }
                        Lane::Interleaved { .. } | Lane::Datagrams(_) => {}
                    }
                }
            }
            Input::Answer(answer) if answer.status >= 200 => answers.push(answer),
            Input::Answer(_) => {}
            Input::Request { method, headers } => requests.push((method, headers)),
        });
        let settled = match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(polled) => polled.and_then(|()| self.obey(&requests)).map_err(|why| why.explain("playing")),
        };
        // An answer that came before the end says more than the end.
        for answer in &answers {
            if let Err(failure) = self.answered(answer) {
                return Poll::Ready(Err(failure));
            }
        }
        Poll::Ready(settled)
    }

    fn poll_datagrams(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut impl FnMut(Media<'_>),
        arrivals: &mut Arrivals,
    ) -> bool {
        let Some(playing) = &mut self.playing else { return false };
        let mut has_news = false;
        let mut earliest: Option<Duration> = None;
        for (place, lane) in self.lanes.iter_mut().enumerate() {
            let Lane::Datagrams(datagrams) = lane else { continue };
            let tally = datagrams.poll(cx, playing.began.elapsed(), |came| take(at_place(place, came)));
            arrivals.packets += tally.packets;
            arrivals.octets += tally.octets;
            arrivals.malformed += tally.malformed;
            has_news |= tally.has_more;
            earliest = earliest.into_iter().chain(datagrams.deadline()).min();
        }
        // Rarely: a packet is missing, and the timer is set further off.
        if let Some(due) = earliest.map(|earliest| playing.began + earliest)
            && due < playing.timer.deadline()
        {
            playing.timer.as_mut().reset(due);
            has_news = true;
        }
        has_news
    }

    /// Does what is due and sets the timer anew.
    fn on_time(&mut self, take: &mut impl FnMut(Media<'_>), arrivals: &mut Arrivals) -> Result<(), Failure> {
        let Some(playing) = &mut self.playing else { return Ok(()) };
        let now = Instant::now();
        let at = now.saturating_duration_since(playing.began);
        if playing.answer_by.is_some_and(|by| by <= now) {
            playing.answer_by = None;
            if playing.play.is_some() && !playing.has_media {
                return Err(no_answer("PLAY"));
            }
        }
        let is_report_due = playing.report_at.is_some_and(|due| due <= now);
        let mut earliest: Option<Duration> = None;
        for (place, lane) in self.lanes.iter_mut().enumerate() {
            let Lane::Datagrams(datagrams) = lane else { continue };
            datagrams.expire(at, |came| take(at_place(place, came)));
            if is_report_due {
                arrivals.overflown += u64::from(datagrams.report(at));
            }
            earliest = earliest.into_iter().chain(datagrams.deadline()).min();
        }
        if is_report_due {
            playing.report_at = Some(now + REPORT);
        }
        let dues = [playing.answer_by, playing.report_at, earliest.map(|earliest| playing.began + earliest)];
        if playing.keep_alive_at <= now {
            playing.keep_alive_at = now + playing.keep_alive_every;
            self.keep_alive()?;
        }
        let Some(playing) = &mut self.playing else { return Ok(()) };
        let next = dues.into_iter().flatten().fold(playing.keep_alive_at, Instant::min);
        playing.timer.as_mut().reset(next);
        Ok(())
    }

    /// Keeps the session from being forgotten. That it is answered is not asked for: a camera is alive while it sends.
    fn keep_alive(&mut self) -> Result<(), Failure> {
        let by_parameter = self.playing.as_ref().is_some_and(|playing| playing.ping == Ping::GetParameter);
        let method = if by_parameter { "GET_PARAMETER" } else { "OPTIONS" };
        let cseq = self.send_about_all(method).map_err(|broken| broken.explain(method))?;
        if let Some(playing) = &mut self.playing {
            playing.keep_alive = Some(cseq);
        }
        Ok(())
    }

    /// An answer in mid-play: to PLAY as long as that is not answered, then to a keep-alive. Cameras count as they
    /// like, so the CSeq only tells when it is that of the keep-alive.
    fn answered(&mut self, answer: &Answer) -> Result<(), Failure> {
        let Some(playing) = &mut self.playing else { return Ok(()) };
        let cseq: Option<u32> = answer.headers.get("CSeq").and_then(|cseq| cseq.parse().ok());
        let is_of_keep_alive = playing.play.is_none() || (playing.keep_alive.is_some() && playing.keep_alive == cseq);
        if is_of_keep_alive {
            playing.keep_alive = None;
            return self.kept_alive(answer);
        }
        match answer.status {
            401 => {
                self.login.challenged(answer)?;
                self.send_play()
            }
            454 if self.tries_other_session() => self.send_play(),
            status if is_success(status) => {
                if let Some(playing) = &mut self.playing {
                    playing.play = None;
                }
                self.learn(answer);
                self.login.accepted(answer);
                Ok(())
            }
            status => Err(refusal(status, "PLAY")),
        }
    }

    fn kept_alive(&mut self, answer: &Answer) -> Result<(), Failure> {
        let Some(playing) = &mut self.playing else { return Ok(()) };
        match answer.status {
            // A nonce that was renewed: the keep-alive is said once more. A refusal is none while media flows.
            401 => match self.login.challenged(answer) {
                Ok(()) => self.keep_alive(),
                Err(_) => Ok(()),
            },
            454 => Err(Failure::new(
                FailureKind::Unreachable,
                "the camera has forgotten the session: it may have restarted",
            )),
            405 | 501 | 551 => {
                playing.ping = Ping::OnlyOptions;
                Ok(())
            }
            status => {
                if is_success(status) {
                    self.learn(answer);
                    self.login.accepted(answer);
                }
                Ok(())
            }
        }
    }

    fn learn(&mut self, answer: &Answer) {
        let Some(methods) = answer.headers.get("Public") else { return };
        if let Some(playing) = self.playing.as_mut().filter(|playing| playing.ping == Ping::Options)
            && methods.split(',').any(|method| method.trim().eq_ignore_ascii_case("GET_PARAMETER"))
        {
            playing.ping = Ping::GetParameter;
        }
    }
}

fn at_place(place: usize, came: Came<'_>) -> Media<'_> {
    match came {
        Came::Packet { packet, at } => Media::Packet { place, packet, at },
        Came::Report(info) => Media::Report { place, info },
    }
}
