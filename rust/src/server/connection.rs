//! One HTTP connection: HTTP/1.1 or HTTP/2, told apart by its first bytes, bounded in time and size.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::limits::{HEADER_TIMEOUT, IDLE_TIMEOUT, MAX_HEADER_BYTES, MAX_HEADERS, MAX_STREAMS};

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const READ_BUFFER_BYTES: usize = 64 << 10;
/// A peer that has gone without a word is noticed by that.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that are being told they are one too many; more are closed without a word.
const MAX_REFUSALS: usize = 64;
const REFUSAL_TIME: Duration = Duration::from_secs(1);
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
    retry-after: 2\r\nconnection: close\r\ncontent-length: 183\r\n\r\n\
    {\"type\":\"/problems/limit-connections\",\"title\":\"Service unavailable\",\"status\":503,\
    \"detail\":\"too many connections, in all or from your address; close some\",\"reason\":\"LIMIT_CONNECTIONS\"}";

/// What a client may still send after an answer that came before the end of its request, and for how long.
const LINGER_BYTES: usize = 16 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How connections hear that the server stops.
#[derive(Clone)]
pub struct Stop {
    /// No new requests; those under way may end.
    pub gently: CancellationToken,
    /// Nothing more.
    pub now: CancellationToken,
}

/// Serves one connection to its end.
pub async fn serve<IO, S>(stream: IO, service: S, stop: Stop)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let opened = tokio::select! {
        () = stop.gently.cancelled() => return,
        opened = tokio::time::timeout(HEADER_TIMEOUT, Opened::read(stream)) => opened,
    };
    let Ok(Ok(Some((opened, is_http2)))) = opened else { return };
    let lingers = Arc::clone(&opened.lingers);
    let io = TokioIo::new(opened);
    let busy = Arc::new(AtomicUsize::new(0));
    let service = Arc::new(service);
    let counted = {
        let busy = Arc::clone(&busy);
        service_fn(move |request| {
            let (service, guard, lingers) = (Arc::clone(&service), Busy::new(&busy), Arc::clone(&lingers));
            async move {
                let has_body = !hyper::body::Body::is_end_stream(Request::body(&request));
                let response = service.call(request).await?;
                lingers.store(has_body && !response.status().is_success(), Relaxed);
                // Busy until the last byte of the answer.
                Ok::<_, Infallible>(response.map(|body| {
                    body.map_frame(move |frame| {
                        let _ = &guard;
                        frame
                    })
                }))
            }
        })
    };
    if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES as u32)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        let connection = builder.serve_connection(io, counted);
        drive(connection, |connection| connection.graceful_shutdown(), Some(busy), stop).await;
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEADER_BYTES)
            .max_buf_size(READ_BUFFER_BYTES);
        let connection = builder.serve_connection(io, counted).with_upgrades();
        drive(connection, |connection| connection.graceful_shutdown(), None, stop).await;
    }
}

/// Runs a connection until it ends, is idle for too long (where `busy` is watched), or the server stops.
async fn drive<C>(connection: C, close: impl Fn(Pin<&mut C>), busy: Option<Arc<AtomicUsize>>, stop: Stop)
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut closing = false;
    loop {
        let idle = async {
            match &busy {
                Some(busy) => {
                    tokio::time::sleep(IDLE_TIMEOUT).await;
                    busy.load(Relaxed) == 0
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(cause) = ended {
                    debug!(%cause, "HTTP connection broke");
                }
                return;
            }
            () = stop.now.cancelled() => return,
            () = stop.gently.cancelled(), if !closing => {
                closing = true;
                close(connection.as_mut());
            }
            idle = idle, if !closing => if idle {
                closing = true;
                close(connection.as_mut());
            },
        }
    }
}

/// Tells a client that there is no room for its connection, if that can be said in clear.
pub fn refuse(mut stream: TcpStream, is_tls: bool, tracker: &TaskTracker, stop: &Stop) {
    if is_tls || REFUSALS.fetch_add(1, Relaxed) >= MAX_REFUSALS {
        if !is_tls {
            REFUSALS.fetch_sub(1, Relaxed);
        }
        return;
    }
    let stop = stop.now.clone();
    tracker.spawn(async move {
        let told = async {
            stream.write_all(REFUSAL).await?;
            stream.shutdown().await?;
            // Closing with unread bytes would reset the connection and take the answer back.
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = tokio::time::timeout(REFUSAL_TIME, told) => {}
        }
        REFUSALS.fetch_sub(1, Relaxed);
    });
}

static REFUSALS: AtomicUsize = AtomicUsize::new(0);

struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A stream whose first bytes have been read already.
pub(super) struct Opened<IO> {
    first: Bytes,
    stream: IO,
    /// The client may still be sending what was refused. Closing with unread bytes would reset the connection and take
    /// the answer back, so what comes is taken for a while.
    lingers: Arc<AtomicBool>,
    linger: Option<(Pin<Box<tokio::time::Sleep>>, usize)>,
}

impl<IO> Opened<IO> {
    /// What was read already and is not yet taken, and the stream behind it.
    pub(super) fn into_parts(self) -> (Bytes, IO) {
        (self.first, self.stream)
    }
}

impl<IO: AsyncRead + Unpin> Opened<IO> {
    /// Reads until it is clear whether this is HTTP/2, which starts with a fixed preface. None: the client has left.
    async fn read(mut stream: IO) -> io::Result<Option<(Self, bool)>> {
        let mut first = BytesMut::with_capacity(1024);
        loop {
            if stream.read_buf(&mut first).await? == 0 {
                return Ok(None);
            }
            let common = first.len().min(HTTP2_PREFACE.len());
            let same = first.get(..common) == HTTP2_PREFACE.get(..common);
            if !same || common == HTTP2_PREFACE.len() {
                return Ok(Some((Self { first: first.freeze(), stream, lingers: Arc::default(), linger: None }, same)));
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Opened<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..length]);
        self.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Opened<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, lingers, linger, .. } = &mut *self;
        if linger.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        if !lingers.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let (until, left) = linger.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER_TIME)), LINGER_BYTES));
        let mut scratch = [0; 16 << 10];
        while *left > 0 && until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *left = left.saturating_sub(buffer.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_its_own_length() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }

    #[tokio::test]
    async fn http2_is_known_by_its_preface_however_it_is_cut() {
        for cut in 1..HTTP2_PREFACE.len() {
            let (mut near, far) = tokio::io::duplex(64);
            let write = async {
                near.write_all(&HTTP2_PREFACE[..cut]).await.unwrap();
                near.write_all(&HTTP2_PREFACE[cut..]).await.unwrap();
            };
            let (read, ()) = tokio::join!(Opened::read(far), write);
            let (mut opened, is_http2) = read.unwrap().unwrap();
            assert!(is_http2);
            let mut again = [0; 24];
            opened.read_exact(&mut again).await.unwrap();
            assert_eq!(again, HTTP2_PREFACE);
        }
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(b"PRI /x").await.unwrap();
        assert!(!Opened::read(far).await.unwrap().unwrap().1);
    }
}
