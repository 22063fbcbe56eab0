//! The threads that sources run on.
//!
//! Each has a runtime of its own. Workers that share one wake each other for every packet that comes, to find that there
//! is nothing left to do; here the thread that waits for a camera's packets is the one that takes them. And where many
//! cameras send, to be woken costs more than to take a picture in: then a thread looks now and then, and finds several.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A thread that is woken sooner than this after it has looked for packets waits for the rest of it. A camera or two with
/// 25 pictures a second never get there; of a hundred, several pictures are then taken at once, later by half of it.
const BREATH: Duration = Duration::from_millis(2);

/// Threads that sources are spread over, one after another.
pub struct Threads {
    runtimes: Vec<Handle>,
    next: AtomicUsize,
    stop: CancellationToken,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Starts so many, and at least one.
    pub fn start(count: usize) -> io::Result<Self> {
        let mut threads = Self {
            runtimes: Vec::new(),
            next: AtomicUsize::new(0),
            stop: CancellationToken::new(),
            threads: Mutex::default(),
        };
        for _ in 0..count.max(1) {
            let looked = Mutex::new(Instant::now());
            let breathe = move || {
                let mut looked = looked.lock();
                thread::sleep(BREATH.saturating_sub(looked.elapsed()));
                *looked = Instant::now();
            };
            let runtime = Builder::new_current_thread().enable_all().on_thread_park(breathe).build()?;
            threads.runtimes.push(runtime.handle().clone());
            let stop = threads.stop.clone();
            let thread = thread::Builder::new().name("vidhub-source".into()).spawn(move || {
                runtime.block_on(stop.cancelled());
                // A name that is being resolved is not waited for.
                runtime.shutdown_background();
            })?;
            threads.threads.get_mut().push(thread);
        }
        Ok(threads)
    }

    /// Runs a source on one of the threads; it ends with the future that is given back.
    pub fn run<S>(&self, source: S) -> impl Future<Output = ()> + Send + use<S>
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let place = self.next.fetch_add(1, Relaxed) % self.runtimes.len().max(1);
        let runtime = self.runtimes.get(place).cloned();
        async move {
            if let Some(runtime) = runtime {
                AbortOnDropHandle::new(runtime.spawn(source)).await.ok();
            }
        }
    }

    /// Ends the threads and whatever still runs on them.
    pub fn stop(&self) {
        self.stop.cancel();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            thread.join().ok();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_comes_in_quick_succession_is_taken_together() {
        let threads = Threads::start(1).unwrap();
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        let to = receiver.local_addr().unwrap();
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = looks.clone();
        let (done, mut heard) = mpsc::channel::<()>(1);
        let taking = tokio::spawn(threads.run(async move {
            let receiver = tokio::net::UdpSocket::from_std(receiver).unwrap();
            let mut buffer = [0; 8];
            loop {
                receiver.readable().await.unwrap();
                counted.fetch_add(1, Relaxed);
                while let Ok(length) = receiver.try_recv(&mut buffer) {
                    if length == 0 {
                        done.send(()).await.unwrap();
                    }
                }
            }
        }));
        let began = Instant::now();
        tokio::task::spawn_blocking(move || {
            let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            for number in 0..500 {
                sender.send_to(&[0; 8][..if number == 499 { 0 } else { 8 }], to).unwrap();
                thread::sleep(Duration::from_micros(200));
            }
        });
        heard.recv().await.unwrap();
        let (looks, most) = (looks.load(Relaxed), began.elapsed().div_duration_f64(BREATH) as usize);
        assert!(looks <= most + 3, "{looks} looks in the time of {most}");
        taking.abort();
    }

    #[tokio::test]
    async fn sources_are_spread_over_the_threads_and_end_with_who_waits_for_them_or_with_the_threads() {
        let threads = Threads::start(2).unwrap();
        let (sender, mut names) = mpsc::unbounded_channel();
        // Gone with the last source that holds it.
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (sender, alive) = (sender.clone(), alive.clone());
            waiting.spawn(threads.run(async move {
                sender.send(thread::current().id()).unwrap();
                tokio::time::sleep(Duration::from_secs(3600)).await;
                drop(alive);
            }));
        }
        drop(alive);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(names.recv().await.unwrap());
        }
        assert_eq!(seen.iter().collect::<std::collections::HashSet<_>>().len(), 2);
        waiting.abort_all();
        assert_eq!(gone.recv().await, None, "each ends with the one who waits for it");

        let (alive, mut gone) = mpsc::channel::<()>(1);
        let last = tokio::spawn(threads.run(async move {
            sender.send(thread::current().id()).unwrap();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            drop(alive);
        }));
        names.recv().await.unwrap();
        threads.stop();
        last.await.unwrap();
        assert_eq!(gone.recv().await, None);
    }
}
