//! How a connection is ended from elsewhere: by its session's end, by a newer one, by its camera's.

use tokio::sync::watch;

use crate::stream::SinkHandle;

/// Ends one connection, with a reason; a second end changes nothing.
#[derive(Clone)]
pub enum Ender {
    /// On its shard.
    Sink(SinkHandle),
    /// Served by a task, which waits for it by `Ended`.
    Task(watch::Sender<Option<&'static str>>),
}

/// Hears of the end.
pub struct Ended(watch::Receiver<Option<&'static str>>);

impl Ender {
    /// For a connection that a task serves.
    pub fn task() -> (Self, Ended) {
        let (sender, receiver) = watch::channel(None);
        (Self::Task(sender), Ended(receiver))
    }

    pub fn end(&self, reason: &'static str) {
        match self {
            Self::Sink(sink) => sink.end(reason),
            Self::Task(sender) => {
                sender.send_if_modified(|known| {
                    let is_first = known.is_none();
                    known.get_or_insert(reason);
                    is_first
                });
            }
        }
    }
}

impl Ended {
    /// Returns with the reason once the connection is to end.
    pub async fn wait(&mut self) -> &'static str {
        loop {
            if let Some(reason) = *self.0.borrow_and_update() {
                return reason;
            }
            if self.0.changed().await.is_err() {
                // Nobody is left who could end it.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_counts_and_is_heard_also_afterwards() {
        let (ender, mut ended) = Ender::task();
        ender.end("CONNECTION_REPLACED");
        ender.clone().end("SESSION_CLOSED");
        assert_eq!(ended.wait().await, "CONNECTION_REPLACED");
        assert_eq!(ended.wait().await, "CONNECTION_REPLACED");
    }
}
