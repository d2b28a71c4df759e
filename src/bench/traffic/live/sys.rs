//! A signal to one thread, for which no crate has a safe wrapper.

use rustix::thread::gettid;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

const SIGNAL: libc::c_int = libc::SIGUSR1;

/// Ends a system call that a thread is in.
#[derive(Debug)]
pub(super) struct Waker {
    /// 0: none.
    thread: AtomicI32,
    // The signal is caught from here on, for the rest of the process's life.
    _signal: Signal,
    _runtime: Runtime,
}

/// As long as it is there, its thread is woken.
pub(super) struct Here<'a>(&'a Waker);

impl Waker {
    pub(super) fn new() -> io::Result<Waker> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let caught = {
            let _context = runtime.enter();
            signal(SignalKind::from_raw(SIGNAL))?
        };
        Ok(Waker { thread: AtomicI32::new(0), _signal: caught, _runtime: runtime })
    }

    /// The calling thread is the one to be woken.
    pub(super) fn here(&self) -> Here<'_> {
        self.thread.store(gettid().as_raw_nonzero().get(), Ordering::Relaxed);
        Here(self)
    }

    /// Wakes the thread, if there is one. One that is just about to enter its system call does not
    /// notice: to be repeated until it has ended.
    pub(super) fn wake(&self) {
        let thread = self.thread.load(Ordering::Relaxed);
        if thread != 0 {
            // SAFETY: it takes three numbers and no memory; the signal has a handler since `new`. A
            // thread of that number is of this process or the call fails.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) };
        }
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.thread.store(0, Ordering::Relaxed);
    }
}
