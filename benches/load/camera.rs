//! Cameras by the dozen: an RTSP server of a few lines, which plays one clip on each path as a live camera does: who
//! comes gets the picture of the moment, and waits for the next keyframe.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::clip::{self, FRAME_NS, Picture};
use crate::clock::{now_ns, pin, raise_open_files, sleep_until};

/// Octets of a packet's payload, as cameras cut them for Ethernet.
const PAYLOAD: usize = 1400;
const TICKS_PER_FRAME: u64 = 90_000 / clip::FRAME_RATE;

#[derive(Deserialize)]
pub struct Configuration {
    clip: PathBuf,
    core: usize,
    /// Each so many pictures one says when it was written.
    #[serde(default = "seldom")]
    clock_every: u64,
}

fn seldom() -> u64 {
    clip::CLOCK_EVERY
}

struct Studio {
    pictures: Vec<Picture>,
    sdp: String,
    begun: u64,
    clock_every: u64,
}

/// Serves `rtsp://…/N` until the driver goes.
pub fn run(configuration: &Configuration) {
    raise_open_files();
    pin(configuration.core);
    let pictures = clip::read(&configuration.clip);
    let clock_every = configuration.clock_every.max(1);
    let studio = Arc::new(Studio { sdp: sdp(&pictures), pictures, begun: now_ns(), clock_every });
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    crate::say(&json!({"ready": listener.local_addr().expect("bound").to_string(), "pictures": studio.pictures.len()}));
    for connection in listener.incoming().flatten() {
        let studio = studio.clone();
        std::thread::spawn(move || {
            // A reader that leaves ends its connection, and that is all.
            let _ = serve(&studio, connection);
        });
    }
}

fn sdp(pictures: &[Picture]) -> String {
    let set = |kind: u8| {
        let nals = pictures.iter().flat_map(|picture| &picture.nals);
        nals.into_iter().find(|nal| nal[0] & 0x1f == kind).expect("the clip has parameter sets").clone()
    };
    let (sps, pps) = (set(7), set(8));
    format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n\
         m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;\
         profile-level-id={:02x}{:02x}{:02x};sprop-parameter-sets={},{}\r\na=control:track\r\n",
        sps[1],
        sps[2],
        sps[3],
        STANDARD.encode(&sps),
        STANDARD.encode(&pps)
    )
}

fn serve(studio: &Arc<Studio>, connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let writer = Arc::new(Mutex::new(connection.try_clone()?));
    let mut reader = BufReader::new(connection);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.starts_with('$') {
            // A report; its octets hold no line that reads like a request.
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(method), Some(url)) = (words.next(), words.next()) else { continue };
        let (mut cseq, mut transport) = (String::new(), String::new());
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 {
                return Ok(());
            }
            match header.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("cseq") => cseq = value.trim().to_owned(),
                Some((name, value)) if name.eq_ignore_ascii_case("transport") => transport = value.trim().to_owned(),
                Some(_) => {}
                None => break,
            }
        }
        let mut headers = format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: 1;timeout=60\r\n");
        let mut body = "";
        match method {
            "OPTIONS" => headers += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n",
            "DESCRIBE" => {
                body = &studio.sdp;
                headers += &format!(
                    "Content-Base: {url}/\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n",
                    body.len()
                );
            }
            "SETUP" => headers += &format!("Transport: {transport}\r\n"),
            _ => {}
        }
        write!(writer.lock().expect("no panic while writing"), "{headers}\r\n{body}")?;
        if method == "PLAY" {
            let number = url.trim_end_matches('/').rsplit('/').next().and_then(|name| name.parse().ok()).unwrap_or(0);
            let (studio, writer) = (studio.clone(), writer.clone());
            std::thread::spawn(move || play(&studio, number, &writer));
        }
        if method == "TEARDOWN" {
            return Ok(());
        }
    }
}

/// Writes pictures as they fall due, each in one write, until the reader goes.
fn play(studio: &Studio, number: u64, writer: &Mutex<TcpStream>) {
    // Cameras stand at different places of the clip and of the frame's time, so that nothing falls together.
    let begun = studio.begun + number * 7_919_000 % FRAME_NS;
    let ahead = number * 37;
    let mut sequence = 0u16;
    let mut frame = (now_ns() - begun) / FRAME_NS + 1;
    loop {
        sleep_until(begun + frame * FRAME_NS);
        let picture = &studio.pictures[(frame + ahead) as usize % studio.pictures.len()];
        let clock = frame.is_multiple_of(studio.clock_every).then(|| clip::clock_nal(now_ns()));
        let pictures = picture.nals.iter().filter(|nal| is_slice(nal));
        let nals = picture.nals.iter().filter(|nal| !is_slice(nal)).chain(clock.as_ref()).chain(pictures);
        let mut packets =
            Packets { out: Vec::new(), sequence: &mut sequence, timestamp: (frame * TICKS_PER_FRAME) as u32 };
        nals.for_each(|nal| packets.add(nal));
        let out = packets.finish();
        if writer.lock().expect("no panic while writing").write_all(&out).is_err() {
            return;
        }
        frame += 1;
    }
}

fn is_slice(nal: &[u8]) -> bool {
    (1..=5).contains(&(nal[0] & 0x1f))
}

/// One picture in interleaved RTP packets.
struct Packets<'a> {
    out: Vec<u8>,
    sequence: &'a mut u16,
    timestamp: u32,
}

impl Packets<'_> {
    fn add(&mut self, nal: &[u8]) {
        if nal.len() <= PAYLOAD {
            self.packet(&[nal]);
            return;
        }
        let pieces = nal[1..].chunks(PAYLOAD - 2);
        let last = pieces.len() - 1;
        for (place, piece) in pieces.enumerate() {
            let edge = (u8::from(place == 0) << 7) | (u8::from(place == last) << 6);
            self.packet(&[&[nal[0] & 0xe0 | 28, nal[0] & 0x1f | edge], piece]);
        }
    }

    fn packet(&mut self, parts: &[&[u8]]) {
        let length = 12 + parts.iter().map(|part| part.len()).sum::<usize>();
        self.out.extend_from_slice(&[b'$', 0]);
        self.out.extend_from_slice(&(length as u16).to_be_bytes());
        self.out.extend_from_slice(&[0x80, 96]);
        self.out.extend_from_slice(&self.sequence.to_be_bytes());
        self.out.extend_from_slice(&self.timestamp.to_be_bytes());
        self.out.extend_from_slice(b"cam1");
        parts.iter().for_each(|part| self.out.extend_from_slice(part));
        *self.sequence = self.sequence.wrapping_add(1);
    }

    /// The last packet is marked as the picture's end.
    fn finish(mut self) -> Vec<u8> {
        let mut place = 0;
        while let Some(&[high, low]) = self.out.get(place + 2..place + 4).and_then(|length| length.first_chunk()) {
            let next = place + 4 + usize::from(u16::from_be_bytes([high, low]));
            if next >= self.out.len() {
                self.out[place + 5] |= 0x80;
            }
            place = next;
        }
        self.out
    }
}
