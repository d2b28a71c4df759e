//! A port whose device is gone for now: nothing arrives, and what is sent is dropped and counted.

use super::{Port, PortCx};
use pipeline::frame::{Batch, Frame, Link};
use pipeline::snapshot::Caps;
use pipeline::stages::port::GONE;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Stands in for a port until its device comes back.
#[derive(Debug)]
pub struct Absent {
    link: Link,
    /// Never readable, as nobody has another end of it: a worker need not ask.
    never: OwnedFd,
}

impl Absent {
    /// In the place of a port whose frames start with `link`.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(link: Link) -> io::Result<Absent> {
        Ok(Absent { link, never: eventfd(0, EventfdFlags::CLOEXEC)? })
    }
}

impl Port for Absent {
    fn link(&self) -> Link {
        self.link
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn rx(&mut self, _batch: &mut Batch, _cx: &mut PortCx<'_>) -> io::Result<()> {
        Ok(())
    }

    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> io::Result<usize> {
        for frame in queue.drain(..) {
            cx.discard(frame, GONE);
        }
        Ok(0)
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.never.as_fd())
    }

    fn describe(&self) -> String {
        "absent".to_owned()
    }
}
