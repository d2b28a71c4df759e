//! What the kernel counts of a queue's socket, and of its device.

use crate::io::device::{self, Statistics};
use crate::io::{KernelDrop, Meter};
use rustix::net::sockopt::xdp_statistics;
use std::os::fd::OwnedFd;
use std::sync::Weak;

/// Counters of a socket, which are gone with it but for what was last read; with a device's first
/// queue the device's own too.
#[derive(Debug)]
pub(super) struct Gauge {
    socket: Weak<OwnedFd>,
    device: u32,
    statistics: Option<Statistics>,
    drops: Vec<KernelDrop>,
}

impl Gauge {
    pub(super) fn new(socket: Weak<OwnedFd>, device: u32, statistics: Option<Statistics>) -> Gauge {
        let names = ["rx_dropped", "rx_ring_full", "rx_invalid_descs", "tx_invalid_descs"];
        let own = statistics.is_some().then_some("tx_dropped");
        let drops = names.into_iter().chain(own).map(|name| KernelDrop { name, count: 0 });
        Gauge { socket, device, statistics, drops: drops.collect() }
    }
}

impl Meter for Gauge {
    fn kernel_drops(&mut self) -> Vec<KernelDrop> {
        if let Some(s) = self.socket.upgrade().and_then(|fd| xdp_statistics(&fd).ok()) {
            // An empty fill ring is counted as rx_dropped, and once more by its own name.
            let full = s.rx_ring_full.unwrap_or(0);
            let counts = [s.rx_dropped, full, s.rx_invalid_descs, s.tx_invalid_descs];
            for (drop, count) in self.drops.iter_mut().zip(counts) {
                drop.count = count;
            }
        }
        if let (Some(statistics), Some(drop)) = (&mut self.statistics, self.drops.get_mut(4)) {
            if let Ok(name) = device::name(self.device) {
                statistics.rename(name);
            }
            drop.count = statistics.dropped().tx;
        }
        self.drops.clone()
    }
}
