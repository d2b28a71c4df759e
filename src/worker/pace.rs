//! What a worker does between two turns: nothing, or sleep until a port has something.

use super::Worker;
use super::handle::Inside;
use crate::io::Port;
use mio::unix::SourceFd;
use mio::{Events, Poll, Registry, Token, Waker};
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
/// Time between two looks for readiness of a busy worker, nanoseconds: how much later it learns of
/// a port that was quiet.
const LOOK: u64 = 20_000;
/// Ports that one look tells of; the next look tells of the others.
const EVENTS: usize = 128;
/// The token of the waker; ports have their keys.
const WAKE: Token = Token(usize::MAX);

/// What a worker waits with.
pub(super) struct Pace {
    pacing: Pacing,
    poll: Poll,
    events: Events,
    /// Ports without readiness, which must be asked: with one a sleep is never longer than a nap.
    must_ask: usize,
    idle_since: Option<Instant>,
    /// When a busy worker looks for readiness again, in nanoseconds of its clock.
    next_look: u64,
}

impl Pace {
    pub(super) fn new(pacing: Pacing) -> io::Result<(Pace, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let events = Events::with_capacity(EVENTS);
        let pace = Pace { pacing, poll, events, must_ask: 0, idle_since: None, next_look: 0 };
        Ok((pace, waker))
    }

    /// Where ports are registered, their keys as tokens.
    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// There is a port more, registered if it has readiness.
    pub(super) fn begin(&mut self, port: &dyn Port) {
        self.must_ask += usize::from(port.readiness().is_none());
    }

    /// A port goes.
    pub(super) fn end(&mut self, port: &dyn Port) -> io::Result<()> {
        match port.readiness() {
            Some(fd) => self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd())),
            None => {
                self.must_ask -= 1;
                Ok(())
            }
        }
    }

    /// Waits, or does not, before the next turn; learns which ports are ready.
    pub(super) fn pause(
        &mut self,
        busy: bool,
        worker: &mut Worker,
        inside: &Inside,
    ) -> io::Result<()> {
        if busy {
            self.idle_since = None;
            if worker.now >= self.next_look {
                self.next_look = worker.now + LOOK;
                self.look(worker, Duration::ZERO)?;
            }
            return Ok(());
        }
        let spins = match self.pacing.mode {
            Mode::Poll => true,
            Mode::Adaptive => {
                let since = *self.idle_since.get_or_insert_with(Instant::now);
                since.elapsed() < self.pacing.spin
            }
            Mode::Interrupt => false,
        };
        if spins { self.look(worker, Duration::ZERO) } else { self.sleep(worker, inside) }
    }

    /// Sleeps until a port is ready or somebody calls. Readiness is edge-triggered: what arrives
    /// between the last turn and the sleep has made its edge already, and ends the sleep at once.
    fn sleep(&mut self, worker: &mut Worker, inside: &Inside) -> io::Result<()> {
        let most = if self.must_ask > 0 || worker.is_waiting() { NAP } else { SLEEP };
        let bell = &inside.door.bell;
        bell.doze();
        // Once more, now that those who have something for us will find us asleep.
        let most =
            if worker.hands.is_empty() && !inside.is_commanded() { most } else { Duration::ZERO };
        let result = self.look(worker, most);
        bell.rise();
        result
    }

    /// Marks the ports that have become ready; waits for one for `most`.
    fn look(&mut self, worker: &mut Worker, most: Duration) -> io::Result<()> {
        if let Err(error) = self.poll.poll(&mut self.events, Some(most)) {
            let interrupted = error.kind() == io::ErrorKind::Interrupted;
            return if interrupted { Ok(()) } else { Err(error) };
        }
        for event in &self.events {
            // Not the waker's, nor of a port that has left, or is registered and not with us yet.
            let Token(key) = event.token();
            if worker.ports.get(key).is_some_and(Option::is_some) {
                worker.ready.set(key);
            }
        }
        Ok(())
    }
}
