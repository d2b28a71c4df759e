//! What a worker does between two turns: nothing, or sleep until a port has something.

use super::Worker;
use crate::io::Port;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// How a worker waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Never: it asks its ports again at once, and uses its core whole.
    Poll,
    /// It spins for a while, then sleeps.
    #[default]
    Adaptive,
    /// It sleeps as soon as there is nothing to do.
    Interrupt,
}

/// How long a worker of a [`Mode`] spins.
#[derive(Clone, Copy, Debug)]
pub struct Pacing {
    /// The mode.
    pub mode: Mode,
    /// How long an adaptive worker goes on asking after the last frame.
    pub spin: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        Pacing { mode: Mode::default(), spin: Duration::from_micros(50) }
    }
}

/// Longest sleep: the kernel's drop counters are looked at now and then.
const SLEEP: Duration = Duration::from_millis(500);
/// Longest sleep while frames wait for a neighbour or for room in a port.
const NAP: Duration = Duration::from_millis(1);
/// The token of the waker; ports have the ones below it.
const WAKE: Token = Token(usize::MAX);

pub(super) struct Pace {
    pacing: Pacing,
    poll: Poll,
    events: Events,
    /// A port without readiness must be asked: then a sleep is never longer than a nap.
    must_ask: bool,
    idle_since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(pacing: Pacing) -> io::Result<(Pace, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let events = Events::with_capacity(64);
        let pace = Pace { pacing, poll, events, must_ask: false, idle_since: None };
        Ok((pace, waker))
    }

    /// Begins to watch a port.
    pub(super) fn watch(&mut self, port: &dyn Port, at: usize) -> io::Result<()> {
        match port.readiness() {
            Some(fd) => {
                let fd = fd.as_raw_fd();
                self.poll.registry().register(&mut SourceFd(&fd), Token(at), Interest::READABLE)
            }
            None => {
                self.must_ask = true;
                Ok(())
            }
        }
    }

    /// Waits, or does not, before the next turn.
    pub(super) fn pause(&mut self, busy: bool, worker: &mut Worker) -> io::Result<()> {
        if busy {
            self.idle_since = None;
            return Ok(());
        }
        match self.pacing.mode {
            Mode::Poll => {
                std::hint::spin_loop();
                return Ok(());
            }
            Mode::Adaptive => {
                let since = *self.idle_since.get_or_insert_with(Instant::now);
                if since.elapsed() < self.pacing.spin {
                    std::hint::spin_loop();
                    return Ok(());
                }
            }
            Mode::Interrupt => {}
        }
        self.sleep(worker)
    }

    /// Sleeps until a port is ready. Readiness is edge-triggered: what arrives between the last turn and
    /// the sleep has made its edge already, and ends the sleep at once.
    fn sleep(&mut self, worker: &mut Worker) -> io::Result<()> {
        let most = if self.must_ask || worker.is_waiting() { NAP } else { SLEEP };
        match self.poll.poll(&mut self.events, Some(most)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}
