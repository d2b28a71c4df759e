//! What the daemon has done to the machine and must undo, newest first: at its end, and when its
//! start fails half-way.
//!
//! What the kernel ties to a descriptor (TUN devices, XDP programs, sockets) needs no entry here:
//! it goes with the workers and with the process. What outlives the process without a mark of ours
//! is written down, for those who come after a daemon that was killed; see [`left`](super::left).

use super::left::{Left, LeftFile};
use super::netlink::{Netlink, NetlinkError};
use super::outside::setting::{ROOT, Setting};
use super::outside::table;
use super::workers::Workers;
use pipeline::snapshot::PortId;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// The list of what to undo.
#[derive(Default)]
pub struct Undo {
    steps: Vec<Step>,
    /// Where it is written down, if it is.
    file: Option<LeftFile>,
}

enum Step {
    Link { netlink: Netlink, index: u32 },
    Neighbour { netlink: Netlink, link: u32, address: IpAddr },
    Setting(Setting),
    Table,
    Workers(Arc<Workers>),
    Port { id: PortId, undo: Undo },
}

impl Undo {
    /// What a killed daemon left that had the management socket at `socket`, and is to be undone.
    /// From now on it is written down there.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn left(socket: &Path, netlink: &Netlink) -> Result<Undo, NetlinkError> {
        let (file, left) = LeftFile::open(socket);
        let mut undo = Undo { steps: Vec::new(), file: Some(file) };
        let known =
            if left.neighbours.is_empty() { Vec::new() } else { netlink.neighbours().await? };
        for (link, address) in left.neighbours {
            // To say of one that is gone that it is an ordinary one would make it anew.
            if known.iter().any(|there| there.link == link && there.address == address) {
                undo.neighbour(netlink, link, address);
            }
        }
        if left.table {
            undo.table();
        }
        left.settings.into_iter().for_each(|setting| undo.setting(setting));
        Ok(undo)
    }

    /// Whether there is nothing to undo.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What there is to undo that would outlive us, in words.
    pub fn describe(&self) -> Vec<String> {
        let words = self.steps.iter().filter_map(|step| match step {
            Step::Neighbour { address, .. } => Some(format!("keeping {address} resolved")),
            Step::Setting(Setting { name, was, ours: Some(ours) }) => {
                Some(format!("setting {} = {ours}; it is {was} again", name.display()))
            }
            Step::Table => Some("nftables table inet cableway".to_owned()),
            _ => None,
        });
        words.collect()
    }

    /// Writes down what would be left if we were killed: before a step is taken.
    pub fn save(&mut self) {
        let Some(file) = &mut self.file else { return };
        let mut left = Left::default();
        for step in &self.steps {
            match step {
                Step::Neighbour { link, address, .. } => left.neighbours.push((*link, *address)),
                Step::Setting(setting) => left.settings.push(setting.clone()),
                Step::Table => left.table = true,
                Step::Link { .. } | Step::Workers(_) | Step::Port { .. } => {}
            }
        }
        file.write(left);
    }

    /// A setting of the kernel is changed: put it back.
    pub fn setting(&mut self, setting: Setting) {
        self.steps.push(Step::Setting(setting));
    }

    /// The nftables table is made: remove it.
    pub fn table(&mut self) {
        self.steps.push(Step::Table);
    }

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

    /// Stops the workers, and leaves all else as it is to a next life that goes on with it.
    pub fn leave(self) {
        for step in self.steps {
            if let Step::Workers(workers) = step
                && let Err(error) = workers.stop()
            {
                tracing::warn!("while stopping: {error}");
            }
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
                Step::Setting(setting) => setting
                    .put_back(Path::new(ROOT))
                    .map_err(|e| format!("putting {} back: {e}", setting.name.display())),
                Step::Table => table::remove().await.map_err(|e| e.to_string()),
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
        if let Some(file) = self.file {
            file.remove();
        }
    }
}
