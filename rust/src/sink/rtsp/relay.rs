//! A stream on its way to another hub: the sink of a connection of our own, from RECORD on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::announce::Recorded;
use super::{Play, RtspSink};
use crate::stream::{Description, Flow, Message, Sink, Stream, WireUnit};
use crate::telemetry::{Meter, Protocol, Telemetry};

/// Bound of the backlog of one relay: with what waits in TLS and in the kernel, a hub that takes nothing costs 1 MiB.
const MAX_QUEUE_BYTES: usize = 512 * 1024;

/// Pushes a stream to another hub. It is bounded, and skips to the next keyframe, as any viewer's connection.
pub struct Relay {
    sink: RtspSink,
    /// Hears why it has ended.
    ended: Option<oneshot::Sender<&'static str>>,
}

impl Relay {
    /// The receiver hears why it has ended, once; it is closed without a word when the shards have stopped.
    pub fn new(
        recorded: Recorded,
        stream: Arc<Stream>,
        description: Arc<Description>,
        queue_bytes: usize,
        link: Meter,
        telemetry: Arc<Telemetry>,
        now: Instant,
    ) -> (Self, oneshot::Receiver<&'static str>) {
        let Recorded { transport, parser, session, base, wall } = recorded;
        let play = Play {
            transport,
            ports: None,
            parser,
            cseq: None,
            session,
            base,
            stream,
            tracks: vec![true; description.tracks.len()],
            description,
            protocol: Protocol::Rtsps,
            queue_bytes: queue_bytes.min(MAX_QUEUE_BYTES),
            telemetry,
            link: Some(link),
            wall,
            first_picture: Box::new(|| {}),
            keep: Box::new(()),
        };
        let (sender, receiver) = oneshot::channel();
        (Self { sink: RtspSink::pushing(play, now), ended: Some(sender) }, receiver)
    }

    /// Says why it ends, if it does.
    fn heard(&mut self, flow: Flow) -> Flow {
        if let Flow::Close(reason) = flow {
            self.say(reason);
        }
        flow
    }

    fn say(&mut self, reason: &'static str) {
        if let Some(ended) = self.ended.take() {
            // Whoever waited may have gone first.
            let _ = ended.send(reason);
        }
    }
}

impl Sink for Relay {
    fn socket(&mut self) -> Option<&mut dyn mio::event::Source> {
        self.sink.socket()
    }

    fn on_start(&mut self, now: Instant) -> Flow {
        // What came behind the answer to RECORD wakes nobody.
        let flow = self.sink.read(now);
        self.heard(flow)
    }

    fn on_unit(&mut self, unit: &Arc<WireUnit>, now: Instant) -> Flow {
        let flow = self.sink.on_unit(unit, now);
        self.heard(flow)
    }

    fn on_flush(&mut self, now: Instant) -> Flow {
        let flow = self.sink.on_flush(now);
        self.heard(flow)
    }

    fn on_ready(&mut self, readable: bool, writable: bool, now: Instant) -> Flow {
        let flow = self.sink.on_ready(readable, writable, now);
        self.heard(flow)
    }

    fn on_datagram(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8], now: Instant) -> Flow {
        self.sink.on_datagram(from, to, data, now)
    }

    fn on_timer(&mut self, now: Instant) -> Flow {
        let flow = self.sink.on_timer(now);
        self.heard(flow)
    }

    fn deadline(&self) -> Option<Instant> {
        self.sink.deadline()
    }

    fn on_message(&mut self, message: Message, now: Instant) -> Flow {
        self.sink.on_message(message, now)
    }

    fn on_end(&mut self, reason: &'static str, now: Instant) {
        self.sink.on_end(reason, now);
        self.say(reason);
    }
}
