//! The daemon: from a config to running workers, and back to the machine as it was.
//!
//! The order of the start, each step undone if a later one fails:
//!
//! 1. privileges; the management socket's file, which keeps a second daemon out;
//! 2. what the kernel says of the underlay; the tunnels' UDP ports;
//! 3. devices: uplinks taken, ports' devices made, opened, addressed;
//! 4. the snapshot; the worker; the uplinks' XDP programs take our packets;
//! 5. the management socket answers: ready.
//!
//! It runs until SIGTERM or SIGINT, or until a worker fails. What happens between is in [`node`](super::node)
//! and [`orders`].

use super::desired::Desired;
use super::devices::PortError;
use super::management::{self, Socket, SocketError};
use super::netlink::{Netlink, NetlinkError};
use super::node::Node;
use super::orders::{self, Editor, Orders};
use super::outside::OutsideError;
use super::privilege::{self, PrivilegeError};
use super::reserve::ReserveError;
use super::underlay::UnderlayError;
use super::undo::Undo;
use super::workers::WorkerError;
use crate::config::Config;
use crate::io::af_xdp::AfXdpError;
use pipeline::frame::MemoryError;
use std::io;
use std::path::Path;

/// The daemon can't start, or can't go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says itself what it is")]
pub enum DaemonError {
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Underlay(#[from] UnderlayError),
    #[error("uplink {0}")]
    Uplink(#[from] AfXdpError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    #[error(transparent)]
    Outside(#[from] OutsideError),
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
}

/// Runs a node until it is told to end by a signal; `config` is what was read from `file`.
///
/// # Errors
/// When it can't start or a worker fails. The machine is then as it was before, as it is when this
/// returns without an error.
pub fn run(config: Config, file: &Path) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| DaemonError::Io { doing: "starting tokio", source })?;
    runtime.block_on(async {
        let queue = orders::queue(file);
        let (editor, mut orders) =
            queue.map_err(|source| DaemonError::Io { doing: "catching signals", source })?;
        privilege::check()?;
        // Until all is undone it keeps others out.
        let socket = Socket::bind(&config.node)?;
        let mut undo = mend(socket.path()).await?;
        let result = serve(config, &socket, &mut undo, editor, &mut orders).await;
        undo.unwind().await;
        result
    })
}

/// Undoes what a killed daemon left with that management socket; a list of what is to be undone for
/// us.
async fn mend(socket: &Path) -> Result<Undo, DaemonError> {
    let netlink = Netlink::connect(None)?;
    let left = Undo::left(socket, &netlink).await?;
    if !left.is_empty() {
        tracing::info!("undoing what a killed daemon left");
        left.unwind().await;
    }
    Ok(Undo::left(socket, &netlink).await?)
}

/// A start takes a moment and is not interrupted: a signal that comes meanwhile ends the daemon
/// after it.
async fn serve(
    config: Config,
    socket: &Socket,
    undo: &mut Undo,
    editor: Editor,
    orders: &mut Orders,
) -> Result<(), DaemonError> {
    let mut node = Node::start(Desired::new(config), undo).await?;
    let state = node.state();
    let watched = state.clone();
    tracing::info!(
        "node {} is ready: uplinks {}, ports {}, peers {}; management socket {}",
        node.config.node.name,
        node.config.uplink.len(),
        node.config.port.len(),
        node.config.peer.len(),
        socket.path().display()
    );
    tokio::select! {
        result = management::serve(socket, state, editor) => {
            let doing = "serving the management socket";
            result.map_err(|source| DaemonError::Io { doing, source })
        }
        () = node.follow(orders, undo) => Ok(()),
        error = watched.workers.watch(|id| watched.port_name(id)) => Err(error.into()),
    }
}
