//! Ports: where frames come from and go to.
//!
//! One folder each; [`Port`] is all that the worker knows of them. System calls that need `unsafe`
//! are in a folder's `sys.rs` and nowhere else.

pub mod absent;
pub mod af_xdp;
pub mod device;
pub mod mem;
pub mod netns;
pub mod pcap;
pub mod tun;

use pipeline::drops::{Counters, Reason};
use pipeline::frame::{Batch, Frame, Link, Pool};
use pipeline::snapshot::{Caps, PortId};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

/// A device, or one queue of it, that receives and sends frames. Owned by one worker.
pub trait Port: Send {
    /// What frames of this port start with.
    fn link(&self) -> Link;

    /// What it can do itself: super-frames, checksums.
    fn caps(&self) -> Caps;

    /// Adds frames that have arrived to `batch`, at most [`Batch::room`]; never waits. Frames that it
    /// must refuse it counts with [`PortCx::refuse`]. An error means that the device is gone.
    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<()>;

    /// Sends from the front of `queue`; never waits. What does not fit now stays in it; what can never
    /// be sent is taken out and given to [`PortCx::discard`]. Returns how many frames were sent.
    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> io::Result<usize>;

    /// Called each turn, also with nothing to send: reclaim what the kernel is done with, kick what it
    /// has not begun.
    fn poll(&mut self, _cx: &mut PortCx<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Whether frames that were taken still wait for the kernel, so that [`poll`](Self::poll) must be
    /// called again soon though nothing may arrive.
    fn is_pending(&self) -> bool {
        false
    }

    /// What becomes readable when there is something to receive; `None` for a port that must be asked.
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What the kernel dropped before us or after us, since the port was opened.
    fn kernel_drops(&mut self) -> Vec<KernelDrop> {
        Vec::new()
    }

    /// How it works on this machine, for people: `native, copy`, `tun, 1 queue, TSO USO`.
    fn describe(&self) -> String;

    /// Gives back all chunks that it holds and stops; the device goes when the port is dropped.
    fn close(&mut self, _cx: &mut PortCx<'_>) {}
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
        self.counters.dropped(reason);
    }

    /// A frame from the transmit queue can never be sent.
    pub fn discard(&mut self, frame: Frame, reason: Reason) {
        self.counters.dropped(reason);
        frame.free(self.pool);
    }
}
