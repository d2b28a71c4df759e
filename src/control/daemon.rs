//! The daemon: from a config to running workers, and back to the machine as it was.
//!
//! The order of the start, each step undone if a later one fails:
//!
//! 1. privileges; the management socket's file, which keeps a second daemon out; what an earlier life
//!    has left, and what it was told through the API;
//! 2. what the kernel says of the underlay; the tunnels' UDP ports;
//! 3. devices: uplinks taken, ports' devices made, opened, addressed;
//! 4. the snapshot; the worker; the uplinks' XDP programs take our packets;
//! 5. the management socket answers: ready.
//!
//! It runs until SIGTERM or SIGINT, or until a worker fails; at SIGUSR2 a new version goes on with it
//! (see [`upgrade`](super::upgrade)). What happens between is in [`node`](super::node)
//! and [`orders`].

use super::desired::{Desired, Saved};
use super::devices::PortError;
use super::handover;
use super::journal::Journal;
use super::management::{self, Socket, SocketError};
use super::netlink::{Netlink, NetlinkError};
use super::node::Node;
use super::notes;
use super::orders::{self, Editor, Orders};
use super::outside::OutsideError;
use super::privilege::{self, PrivilegeError};
use super::reserve::ReserveError;
use super::state::State;
use super::supervisor::{self, Held};
use super::sys;
use super::underlay::UnderlayError;
use super::undo::Undo;
use super::upgrade::Upgrade;
use super::workers::WorkerError;
use crate::config::Config;
use crate::io::af_xdp::AfXdpError;
use pipeline::frame::MemoryError;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long a thread for what takes a while, such as to list a million routes, waits for more of it.
const SPARE_THREADS: Duration = Duration::from_secs(1);

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
    #[error(
        "the new version could not be executed ({0}); what this one left is for the next start"
    )]
    Upgrade(io::Error),
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
}

/// Runs a node until it is told to end by a signal; `config` is what was read from `file`.
///
/// # Errors
/// When it can't start or a worker fails. The machine is then as it was before, as it is when this
/// returns without an error.
pub fn run(config: Config, file: &Path) -> Result<(), DaemonError> {
    sys::share_heap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().thread_keep_alive(SPARE_THREADS).build();
    let runtime = runtime.map_err(|source| DaemonError::Io { doing: "starting tokio", source })?;
    supervisor::inherit();
    runtime.block_on(async {
        let mut upgrade = Upgrade::new(file)
            .map_err(|source| DaemonError::Io { doing: "catching SIGUSR2", source })?;
        let queue = orders::queue(file);
        let (editor, mut orders) =
            queue.map_err(|source| DaemonError::Io { doing: "catching signals", source })?;
        privilege::check()?;
        // Until all is undone it keeps others out.
        let socket = match Socket::given(&config.node.socket) {
            Some(socket) => socket,
            None => Socket::bind(&config.node)?,
        };
        privilege::reduce()
            .map_err(|source| DaemonError::Io { doing: "giving capabilities up", source })?;
        let mut undo = mend(socket.path()).await?;
        match serve(config, &socket, &mut undo, editor, &mut orders, &mut upgrade).await {
            Ok(End::Upgrade(held)) => {
                undo.leave();
                Err(DaemonError::Upgrade(upgrade.go(&held)))
            }
            result => {
                supervisor::stopping();
                if result.is_ok() {
                    Journal::remove(socket.path());
                }
                undo.unwind().await;
                result.map(drop)
            }
        }
    })
}

/// Undoes what a daemon before us left with that management socket, as it was killed or has become us;
/// a list of what is to be undone for us.
async fn mend(socket: &Path) -> Result<Undo, DaemonError> {
    let netlink = Netlink::connect(None)?;
    let left = Undo::left(socket, &netlink).await?;
    if !left.is_empty() {
        let what = match supervisor::is_given(handover::NAME) {
            true => "taking over: undoing what the version before had the kernel do, to do it anew",
            false => "undoing what a killed daemon left",
        };
        tracing::info!("{what}");
        left.unwind().await;
    }
    Ok(Undo::left(socket, &netlink).await?)
}

/// Why a daemon's life ends that nothing has gone wrong with.
enum End {
    /// It was told to.
    Told,
    /// A new version goes on with this.
    Upgrade(Vec<Held>),
}

/// All that the next life begins with.
fn hand_on(socket: &Socket, state: &State) -> io::Result<Vec<Held>> {
    let mut held = supervisor::hold()?;
    held.push(handover::write(&Saved::of(&state.desired.load()))?);
    held.push(socket.hand_on()?);
    Ok(held)
}

/// What the node shall be at first, and whether that is not what the config file says alone.
fn begin(config: Config, journal: &Journal) -> (Desired, bool) {
    if let Some(state) = handover::given() {
        let desired = state.into_state().next_unread(config);
        let goes_on = journal.is_there() || desired.has_api_entries();
        return (desired, goes_on);
    }
    match journal.read() {
        Some(state) => (state.next(config), true),
        None => (Desired::new(config), false),
    }
}

/// A start takes a moment and is not interrupted: a signal that comes meanwhile ends the daemon
/// after it.
async fn serve(
    config: Config,
    socket: &Socket,
    undo: &mut Undo,
    editor: Editor,
    orders: &mut Orders,
    upgrade: &mut Upgrade,
) -> Result<End, DaemonError> {
    let journal = Journal::beside(socket.path());
    let (desired, goes_on) = begin(config, &journal);
    let mut node = Node::start(desired, journal, undo).await?;
    if goes_on {
        node.go_on().await;
    }
    supervisor::close_rest();
    let state = node.state();
    let watched = state.clone();
    let ready = format!(
        "node {} is ready: uplinks {}, ports {}, peers {}; management socket {}",
        node.config.node.name,
        node.config.uplink.len(),
        node.config.port.len(),
        node.config.peer.len(),
        socket.path().display()
    );
    supervisor::ready(&ready);
    tracing::info!("{ready}");
    tokio::select! {
        result = management::serve(socket, state, editor) => {
            let doing = "serving the management socket";
            result.map(|()| End::Told).map_err(|source| DaemonError::Io { doing, source })
        }
        () = node.follow(orders, undo) => Ok(End::Told),
        error = watched.workers.watch(|id| watched.port_name(id)) => Err(error.into()),
        never = supervisor::attend(&watched.workers) => match never {},
        never = notes::write_down(&watched) => match never {},
        () = upgrade.asked() => {
            let held = hand_on(socket, &watched);
            held.map(End::Upgrade).map_err(|source| DaemonError::Io { doing: "upgrading", source })
        }
    }
}
