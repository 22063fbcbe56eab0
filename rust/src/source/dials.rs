//! How many cameras are being dialled at once: a wall of sixteen must not knock over one recorder with sixteen channels.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds what is being dialled, in all and per host.
#[derive(Debug)]
pub struct Dials {
    all: Arc<Semaphore>,
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

impl Dials {
    pub fn new(all: usize, per_host: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), hosts: Mutex::default(), per_host }
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
}
