//! The floor of many cameras with a reader each: one thread reads what has come from a camera and writes it to its reader,
//! whatever it is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::clip::FRAME_NS;
use crate::clock::{now_ns, pin, seconds, sleep_until, thread_cpu_ns};
use crate::fanout_limit::{Configuration, Drain, Floor, Packets, interleaved};

/// What was written last gets through within this.
const SETTLES_NS: u64 = 100_000_000;
/// Place of camera N in the clip, as the cameras of `camera.rs` have it.
const APART: usize = 37;

pub fn run(configuration: &Configuration, pictures: &[Packets]) -> Floor {
    let frames: Vec<Vec<u8>> = pictures.iter().map(interleaved).collect();
    let counts: Vec<u64> = pictures.iter().map(|packets| packets.len() as u64).collect();
    let cameras = configuration.receivers;
    let (mut from, mut to, mut writers, mut readers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..cameras {
        let (writer, camera) = pair();
        let (sender, reader) = pair();
        camera.set_nonblocking(true).expect("a socket");
        reader.set_nonblocking(true).expect("a socket");
        from.push(camera);
        to.push(sender);
        writers.push(writer);
        readers.push(reader);
    }
    let drain = Drain::start(configuration.receive_core, readers, None, |mut socket, room| socket.read(room));
    let (packets, octets) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let is_over = Arc::new(AtomicBool::new(false));
    let (counted, written, over) = (packets.clone(), octets.clone(), is_over.clone());
    let (core, length) = (configuration.receive_core, configuration.seconds);
    let feeding = std::thread::spawn(move || {
        pin(core);
        let begun = now_ns();
        for round in 0u64.. {
            for (number, writer) in writers.iter_mut().enumerate() {
                sleep_until(begun + round * FRAME_NS + number as u64 * FRAME_NS / cameras as u64);
                if seconds(now_ns() - begun) >= length {
                    sleep_until(now_ns() + SETTLES_NS);
                    over.store(true, Relaxed);
                    return;
                }
                let place = (round as usize + number * APART) % frames.len();
                writer.write_all(&frames[place]).expect("the relay is there");
                counted.fetch_add(counts[place], Relaxed);
                written.fetch_add(frames[place].len() as u64, Relaxed);
            }
        }
    });
    let cpu = thread_cpu_ns();
    relay(&from, &to, &is_over);
    let cpu_ns = thread_cpu_ns() - cpu;
    feeding.join().expect("the cameras do not panic");
    let sent_octets = octets.load(Relaxed);
    let (received, _) = drain.stop(sent_octets);
    Floor { packets: packets.load(Relaxed), cpu_ns, sent_octets, received, delays_ns: Vec::new() }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let one = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (other, _) = listener.accept().expect("accepts");
    one.set_nodelay(true).expect("a socket");
    other.set_nodelay(true).expect("a socket");
    (one, other)
}

fn relay(from: &[TcpStream], to: &[TcpStream], is_over: &AtomicBool) {
    let mut poll = Poll::new().expect("epoll");
    for (place, socket) in from.iter().enumerate() {
        let mut source = SourceFd(&socket.as_raw_fd());
        poll.registry().register(&mut source, Token(place), Interest::READABLE).expect("a socket");
    }
    let mut events = Events::with_capacity(1024);
    let mut room = vec![0; 1 << 20];
    while !is_over.load(Relaxed) {
        // A wait cut short is as good as one that was not.
        let _ = poll.poll(&mut events, Some(Duration::from_millis(50)));
        for event in &events {
            let place = event.token().0;
            // A read that does not fill the room has taken all there was.
            if let Ok(length) = (&from[place]).read(&mut room) {
                (&to[place]).write_all(&room[..length]).expect("the reader is there");
            }
        }
    }
}
