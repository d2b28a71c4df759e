//! What the daemon has done to the machine and must undo, newest first: at its end, and when its
//! start fails half-way.
//!
//! What the kernel ties to a descriptor (TUN devices, XDP programs, sockets) needs no entry here:
//! it goes with the workers and with the process.

use super::netlink::Netlink;
use super::workers::Workers;
use pipeline::snapshot::PortId;
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
    Port { id: PortId, undo: Undo },
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

    /// A port was opened, by what `undo` undoes. That is done when no worker has it any more.
    pub fn port(&mut self, id: PortId, undo: Undo) {
        let mut steps = self.steps.iter();
        let at = steps.position(|step| matches!(step, Step::Workers(_)));
        self.steps.insert(at.unwrap_or(self.steps.len()), Step::Port { id, undo });
    }

    /// What is to be undone for one port, which is then no longer here.
    pub fn take_port(&mut self, port: PortId) -> Option<Undo> {
        let is_it = |step: &Step| matches!(step, Step::Port { id, .. } if *id == port);
        let at = self.steps.iter().position(is_it)?;
        match self.steps.remove(at) {
            Step::Port { undo, .. } => Some(undo),
            _ => None,
        }
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
                Step::Port { undo, .. } => {
                    Box::pin(undo.unwind()).await;
                    Ok(())
                }
            };
            if let Err(error) = result {
                tracing::warn!("while stopping: {error}");
            }
        }
    }
}
