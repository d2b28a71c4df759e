//! A thread that closes ports which workers gave away.
//!
//! The kernel takes tens of milliseconds to let go of a device, in which a worker would lose the
//! frames of its other ports.

use super::stats::{PortStats, Stats};
use crate::io::{Port, PortCx};
use pipeline::frame::{Memory, Pool};
use pipeline::snapshot::PortId;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// A port that nobody serves any more.
pub(super) struct Leaving {
    pub(super) id: PortId,
    pub(super) port: Box<dyn Port>,
    pub(super) stats: Arc<PortStats>,
    /// When it was given away, by the workers' clock.
    pub(super) since: u64,
}

/// What the thread is sent: the next port, or that it is to end.
pub(super) type ToCloser = mpsc::Sender<Option<Leaving>>;

/// The thread.
pub(super) struct Closer {
    pub(super) sender: ToCloser,
    /// What became of frames that a port still had.
    pub(super) stats: Arc<Stats>,
    thread: JoinHandle<()>,
}

impl Closer {
    pub(super) fn start(memory: &'static Memory) -> io::Result<Closer> {
        let (sender, receiver) = mpsc::channel();
        let stats = Arc::new(Stats::default());
        let shared = stats.clone();
        let thread = std::thread::Builder::new()
            .name("cableway-close".to_owned())
            .spawn(move || run(&receiver, memory, &shared))?;
        Ok(Closer { sender, stats, thread })
    }

    /// Ends it, once all that was sent to it is closed.
    pub(super) fn stop(self) -> io::Result<()> {
        let _ = self.sender.send(None);
        self.thread.join().map_err(|_| io::Error::other("closing a port panicked"))
    }
}

fn run(ports: &mpsc::Receiver<Option<Leaving>>, memory: &'static Memory, stats: &Stats) {
    let mut pool = Pool::new(memory);
    while let Ok(Some(Leaving { id, mut port, stats: port_stats, since })) = ports.recv() {
        stats.counters.clock.set(since);
        port.close(&mut PortCx { id, pool: &mut pool, counters: &stats.counters });
        drop(port);
        pool.flush();
        stats.chunks.set(pool.idle() as u64);
        port_stats.close();
    }
}
