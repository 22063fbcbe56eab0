//! How many cameras are being dialled at once, and which play: a wall of sixteen must not knock over one recorder with
//! sixteen channels, and a camera that plays need not be asked whether it is there.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds what is being dialled, in all and per host, and knows the cameras that play.
#[derive(Debug)]
pub struct Dials {
    all: Arc<Semaphore>,
    /// Streams that play, by camera: main and sub may both.
    playing: Mutex<HashMap<Arc<str>, usize>>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    per_host: usize,
}

/// Held while a camera is dialled.
#[derive(Debug)]
pub struct Dial<'a> {
    dials: &'a Dials,
    host: String,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

/// Says that a camera plays.
#[derive(Debug)]
pub struct Playing {
    dials: Arc<Dials>,
    camera: Arc<str>,
}

impl Drop for Playing {
    fn drop(&mut self) {
        let mut playing = self.dials.playing.lock();
        if let Some(streams) = playing.get_mut(&self.camera) {
            *streams -= 1;
            if *streams == 0 {
                playing.remove(&self.camera);
            }
        }
    }
}

impl Dials {
    pub fn new(all: usize, per_host: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), playing: Mutex::default(), hosts: Mutex::default(), per_host }
    }

    /// The camera plays for as long as the answer lives.
    pub fn plays(self: &Arc<Self>, camera: Arc<str>) -> Playing {
        *self.playing.lock().entry(camera.clone()).or_insert(0) += 1;
        Playing { dials: self.clone(), camera }
    }

    pub fn is_playing(&self, camera: &str) -> bool {
        self.playing.lock().contains_key(camera)
    }

    /// Waits for a place; first come, first served.
    pub async fn admit(&self, host: &str) -> Dial<'_> {
        let of_host = {
            let mut hosts = self.hosts.lock();
            hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.per_host))).clone()
        };
        // The entry of the host outlives us, also when this future is dropped while it waits.
        let mut dial = Dial { dials: self, host: host.to_owned(), permits: None };
        // A place at the host comes first: who waits for a slow recorder must not hold a place of everybody's.
        if let Ok(of_host) = of_host.acquire_owned().await
            && let Ok(of_all) = self.all.clone().acquire_owned().await
        {
            dial.permits = Some((of_host, of_all));
        }
        dial
    }
}

impl Drop for Dial<'_> {
    fn drop(&mut self) {
        self.permits = None;
        let mut hosts = self.dials.hosts.lock();
        if hosts.get(&self.host).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            hosts.remove(&self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_host_is_dialled_no_more_often_than_allowed_and_is_forgotten_after() {
        let dials = Dials::new(3, 2);
        let first = dials.admit("a").await;
        let second = dials.admit("a").await;
        let mut third = Box::pin(dials.admit("a"));
        assert!(third.as_mut().now_or_never().is_none());
        let other = dials.admit("b").await;
        assert!(Box::pin(dials.admit("c")).as_mut().now_or_never().is_none(), "three in all");
        drop(first);
        let third = third.await;
        drop((second, third, other));
        assert!(dials.hosts.lock().is_empty());
    }

    #[test]
    fn a_camera_plays_until_its_last_stream_ends() {
        let dials = Arc::new(Dials::new(1, 1));
        let main = dials.plays("a".into());
        let sub = dials.plays("a".into());
        drop(main);
        assert!(dials.is_playing("a") && !dials.is_playing("b"));
        drop(sub);
        assert!(!dials.is_playing("a"));
    }
}
