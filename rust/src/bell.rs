//! A file descriptor that says that something waits: how the core's threads wake Python's loop without its lock.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// An eventfd. Rung by whoever puts something in an empty queue; silenced by whoever is about to look into it, and rung
/// again by them when something is left.
pub struct Bell {
    descriptor: OwnedFd,
}

impl Bell {
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: eventfd takes no pointer; the descriptor it returns is owned by nobody else.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: see above.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    /// Readable from `ring` to `silence`.
    pub fn fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    pub fn ring(&self) {
        let one: u64 = 1;
        // SAFETY: writes eight bytes of a live local to a descriptor we own. A full counter (EAGAIN) is readable anyway.
        unsafe { libc::write(self.fd(), (&raw const one).cast(), 8) };
    }

    pub fn silence(&self) {
        let mut count: u64 = 0;
        // SAFETY: reads at most eight bytes into a live local from a descriptor we own.
        unsafe { libc::read(self.fd(), (&raw mut count).cast(), 8) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_readable_from_the_first_ring_until_it_is_silenced() {
        let bell = Bell::new().unwrap();
        let is_readable = || {
            let mut poll = libc::pollfd { fd: bell.fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one live pollfd.
            unsafe { libc::poll(&mut poll, 1, 0) == 1 }
        };
        assert!(!is_readable());
        bell.silence();
        (0..3).for_each(|_| bell.ring());
        assert!(is_readable());
        bell.silence();
        assert!(!is_readable());
    }
}
