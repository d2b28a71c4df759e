//! Ports: where frames come from and go to.
//!
//! One folder each; [`Port`] is all that the worker knows of them. System calls that need `unsafe`
//! are in a folder's `sys.rs` and nowhere else.

pub mod af_xdp;
pub mod device;
pub mod mem;
pub mod netns;
pub mod pcap;
pub mod reassembled;
pub mod tun;

use pipeline::drops::{Counters, Reason};
use pipeline::frame::{Batch, Frame, Link, Pool};
use pipeline::snapshot::{Caps, PortId};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

/// One queue of a device, which receives and sends frames. Owned by one worker.
pub trait Port: Send {
    /// What frames of this port start with.
    fn link(&self) -> Link;

    /// What it can do itself: super-frames, checksums.
    fn caps(&self) -> Caps;

    /// Called once by the worker that owns it, before anything else: what arrives from when it
    /// returns is received. An error means that the device is gone.
    fn begin(&mut self, _cx: &mut PortCx<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Adds frames that have arrived to `batch`, at most [`Batch::room`]; never waits. Frames that it
    /// must refuse it counts with [`PortCx::refuse`]. Returns whether there may be more; if not, what
    /// comes later makes it [ready](Self::readiness) anew; `true` and no frame says that it lacks chunks. An error means that the device is gone.
    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<bool>;

    /// Sends from the front of `queue`; never waits. What does not fit now stays in it; what can never
    /// be sent is taken out and given to [`PortCx::discard`]. Returns how many frames were sent.
    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> io::Result<usize>;

    /// Called each turn in which nothing is sent, for as long as something is [`pending`](Self::pending):
    /// reclaim what the kernel is done with, kick what it has not begun.
    fn poll(&mut self, _cx: &mut PortCx<'_>) -> io::Result<()> {
        Ok(())
    }

    /// What is left of the frames that were taken.
    fn pending(&self) -> Pending {
        Pending::Nothing
    }

    /// What becomes readable when there is something to receive, by an edge for each arrival; `None` for
    /// a port that must be asked.
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whether asking it is a look at memory and no system call.
    fn is_memory(&self) -> bool {
        false
    }

    /// Called about once a second: what need not be done sooner. An error means that the device is gone.
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What reads the kernel's counters of it, for whoever keeps them; called once. `None` where there
    /// are none.
    fn meter(&mut self) -> Option<Box<dyn Meter>> {
        None
    }

    /// Chunks that it holds or has lent to the kernel.
    fn chunks(&self) -> usize {
        0
    }

    /// How it works on this machine, for people: `native XDP, copy`, `tun, TSO USO`.
    fn describe(&self) -> String;

    /// Gives back all chunks that it holds and stops; the device goes when the port is dropped.
    fn close(&mut self, _cx: &mut PortCx<'_>) {}
}

/// What a port still has to do with frames that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing.
    Nothing,
    /// Their chunks come back some time.
    Chunks,
    /// They wait for the kernel, and [`Port::poll`] must be called again soon though nothing may arrive.
    Frames,
}

/// Reads what the kernel counts of a port, on any thread, while the port is at work elsewhere.
pub trait Meter: Send {
    /// What the kernel dropped before us or after us, since the port was opened.
    fn kernel_drops(&mut self) -> Vec<KernelDrop>;
}

/// A kernel counter of frames that never reached us or never left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelDrop {
    /// The kernel's name for it, such as `rx_ring_full`.
    pub name: &'static str,
    /// Frames.
    pub count: u64,
}

/// What a worker lends to its ports.
#[derive(Debug)]
pub struct PortCx<'a> {
    /// The port's own id, to be put into received frames.
    pub id: PortId,
    /// The worker's chunks.
    pub pool: &'a mut Pool,
    /// The worker's counters. Ports touch them only through the methods below.
    pub counters: &'a Counters,
}

impl PortCx<'_> {
    /// A frame arrived that cannot even be received: counts it as received and dropped.
    pub fn refuse(&mut self, reason: Reason) {
        self.counters.received.add(1);
        self.counters.refused(self.id, reason);
    }

    /// A frame from the transmit queue can never be sent.
    pub fn discard(&mut self, frame: Frame, reason: Reason) {
        self.counters.dropped(&frame, reason);
        frame.free(self.pool);
    }
}
