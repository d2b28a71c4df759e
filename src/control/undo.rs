//! What the daemon has done to the machine and must undo, newest first: at its end, and when its
//! start fails half-way.
//!
//! What the kernel ties to a descriptor (TUN devices, XDP programs, sockets) needs no entry here:
//! it goes with the workers and with the process.

use super::netlink::Netlink;
use super::workers::Workers;
use std::net::IpAddr;
use std::sync::Arc;

/// The list of what to undo.
#[derive(Default)]
pub struct Undo {
    steps: Vec<Step>,
}

enum Step {
    Link { netlink: Netlink, index: u32 },
    Neighbour { netlink: Netlink, link: u32, address: IpAddr },
    Workers(Arc<Workers>),
}

impl Undo {
    /// A device was made: remove it.
    pub fn link(&mut self, netlink: &Netlink, index: u32) {
        self.steps.push(Step::Link { netlink: netlink.clone(), index });
    }

    /// The kernel was told to keep a neighbour resolved: tell it that it need not.
    pub fn neighbour(&mut self, netlink: &Netlink, link: u32, address: IpAddr) {
        self.steps.push(Step::Neighbour { netlink: netlink.clone(), link, address });
    }

    /// The kernel was told so already.
    pub fn forget_neighbour(&mut self, index: u32, of: IpAddr) {
        let is_it = |step: &Step| matches!(step, Step::Neighbour { link, address, .. } if (*link, *address) == (index, of));
        self.steps.retain(|step| !is_it(step));
    }

    /// Workers were started: stop them, and close their ports with them.
    pub fn workers(&mut self, workers: &Arc<Workers>) {
        self.steps.push(Step::Workers(workers.clone()));
    }

    /// Undoes everything. What fails is logged, and the rest undone.
    pub async fn unwind(mut self) {
        while let Some(step) = self.steps.pop() {
            let result = match step {
                Step::Link { netlink, index } => {
                    netlink.delete_link(index).await.map_err(|e| e.to_string())
                }
                Step::Neighbour { netlink, link, address } => {
                    netlink.release_neighbour(link, address).await.map_err(|e| e.to_string())
                }
                Step::Workers(workers) => workers.stop().map_err(|e| e.to_string()),
            };
            if let Err(error) = result {
                tracing::warn!("while stopping: {error}");
            }
        }
    }
}
