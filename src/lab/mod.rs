//! A whole overlay on one machine: nodes, pods and what joins them, each a network namespace.
//!
//! ```text
//!   cableway-a1  cableway-a2          cableway-b1  cableway-b2     pods
//!        └──── cableway-a ────┐    ┌──── cableway-b ────┘         nodes: a daemon of ours, or
//!                            eth0  eth0                            the kernel's vxlan
//!                             └ cableway-wire ┘                    underlay: a switch, or a router
//! ```
//!
//! [`topology`] decides every name and address from a file of `configs/lab/`; [`build`], and what
//! it calls, makes it so; [`state`] remembers it, so that [`down`] and whoever comes after a crash
//! can remove it. A node's daemon is met only as a user meets it: through a config file, a signal
//! and the management socket.

pub(crate) mod daemon;
pub mod demo;
pub mod file;
mod kernel;
pub(crate) mod netns;
pub(crate) mod shell;
pub(crate) mod state;
pub mod topology;
mod underlay;

use daemon::Daemon;
use file::Router;
use state::{Home, LAB, Lock, State};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use topology::Topology;

/// How long a process may take to end after SIGTERM before it is killed.
const TERM_WITHIN: Duration = Duration::from_secs(5);

/// Namespaces that are made or removed at once: more would only wait for each other in the kernel.
const AT_A_TIME: usize = 4;

/// Where `ip netns exec` looks for files that a namespace has instead of those in `/etc`.
const HOSTS: &str = "/etc/netns";

/// Why a lab could not be built, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topology file says something that cannot be.
    #[error(transparent)]
    Topology(#[from] topology::Error),
    /// A command failed.
    #[error(transparent)]
    Command(#[from] shell::Error),
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What, as in "read /run/x".
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A daemon did not come up.
    #[error("the daemon of node {node} {what}\n{log}")]
    Daemon {
        /// Whose.
        node: String,
        /// What is wrong with it.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// Not root.
    #[error("this makes network namespaces: root is needed, found uid {0}; run it with sudo")]
    Privilege(u32),
    /// Another command is at work.
    #[error("another `{command}` is at work on this machine; wait for its end")]
    Busy {
        /// The command.
        command: &'static str,
    },
    /// There is a lab.
    #[error("a lab is up, from {file}; `cableway lab down` removes it")]
    IsUp {
        /// Its topology.
        file: String,
    },
    /// There is none.
    #[error("no lab is up; `cableway lab up` builds one")]
    NotUp,
    /// A namespace that is not ours has a name that we need.
    #[error(
        "the namespace {netns} is there and is not of a lab of ours; \
         `ip netns delete {netns}` removes it"
    )]
    Taken {
        /// The namespace.
        netns: String,
    },
    /// No such node or pod.
    #[error("the lab has no {name:?}; it has {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl Error {
    pub(crate) fn io(verb: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing: format!("{verb} {}", path.display()), source }
    }
}

/// What this module's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// Reads a topology file, or the default one.
pub fn read(file: Option<&Path>, overrides: &topology::Overrides) -> Result<Topology> {
    let Some(path) = file else {
        let (name, text) = topology::DEFAULT;
        return Ok(Topology::parse(name, text, overrides)?);
    };
    let text = fs::read_to_string(path).map_err(|source| Error::io("read", path, source))?;
    Ok(Topology::parse(&path.display().to_string(), &text, overrides)?)
}

/// Builds a lab that stays until [`down`]; what a crash left is removed first.
pub fn up(topology: &Topology) -> Result<()> {
    crate::interrupt::catch()
        .map_err(|source| Error::Io { doing: "catch signals".into(), source })?;
    let _lock = prepare(topology)?;
    match build(topology) {
        Ok(_) => LAB.store(&State { builder: None, ..State::of(topology) }),
        Err(error) => {
            remove(&State::of(topology), &mut [])?;
            Err(error)
        }
    }
}

/// Removes the lab; whether there was one.
pub fn down() -> Result<bool> {
    require_root()?;
    let _lock = LAB.lock()?;
    match LAB.load()? {
        Some(state) => remove(&state, &mut []).map(|()| true),
        None => Ok(false),
    }
}

/// Becomes `command` in the namespace of a node or pod; returns only if it can't.
pub fn exec(name: &str, command: &[OsString]) -> Result<std::convert::Infallible> {
    require_root()?;
    let state = LAB.load()?.ok_or(Error::NotUp)?;
    let netns = state.namespace(name)?;
    let source = Command::new("ip").args(["netns", "exec", netns]).args(command).exec();
    Err(Error::Io { doing: format!("run `ip netns exec {netns}`"), source })
}

/// What to do with a lab that is up.
pub fn guide(topology: &Topology) -> String {
    let nodes = topology.nodes.iter().map(|node| {
        let pods: Vec<_> = node.pods.iter().map(|pod| pod.name.as_str()).collect();
        format!("  node {} with pods {}\n", node.name, pods.join(" "))
    });
    let mut text = format!("a lab is up, from {}:\n{}", topology.file, nodes.collect::<String>());
    if let [Some(a), Some(b)] = [0, 1].map(|node| topology.nodes[node].pods.first()) {
        text += &format!("  cableway lab exec {} -- ping {}\n", a.name, b.name);
    }
    if let Some(device) = underlay::tap(topology) {
        text += &format!("  cableway lab exec {} -- tcpdump -ni {device}\n", topology::WIRE);
    }
    text + "  cableway lab down\n"
}

/// Makes sure that the lab can be built, and that nobody else does.
fn prepare(topology: &Topology) -> Result<Lock> {
    require_root()?;
    let lock = LAB.lock()?;
    match LAB.load()? {
        // Whoever builds holds the lock, and we have it.
        Some(crashed) if crashed.builder.is_some() => {
            eprintln!("removing the lab that a crash left, from {}", crashed.file);
            remove(&crashed, &mut [])?;
        }
        Some(state) => return Err(Error::IsUp { file: state.file }),
        None => {}
    }
    let namespaces = topology.namespaces();
    let taken = namespaces.into_iter().find(|(_, netns)| netns::exists(netns));
    taken.map_or(Ok(lock), |(_, netns)| Err(Error::Taken { netns }))
}

/// Builds all of it and waits until every node is ready.
fn build(topology: &Topology) -> Result<Vec<Daemon>> {
    let state = State::of(topology);
    LAB.store(&state)?;
    let hosts = hosts(topology);
    for_each(&state.namespaces, |(_, netns)| {
        netns::create(netns)?;
        write_hosts(&hosts, netns)
    })?;
    underlay::build(topology)?;
    let mut daemons = Vec::new();
    for node in &topology.nodes {
        match node.router {
            Router::Cableway => daemons.push(Daemon::start(topology, node)?),
            Router::KernelVxlan(preset) => kernel::build(topology, node, preset)?,
        }
    }
    daemons.iter_mut().try_for_each(Daemon::wait_ready)?;
    Ok(daemons)
}

/// Removes all that a lab's state names, `daemons` being those of our own children.
fn remove(state: &State, daemons: &mut [Daemon]) -> Result<()> {
    stop(state);
    for daemon in daemons {
        daemon.wait_end();
    }
    dismantle(&LAB, state)
}

/// Removes all that a state names. Works through all of it whatever fails, and then tells the first
/// failure.
pub(crate) fn dismantle(home: &Home, state: &State) -> Result<()> {
    stop(state);
    let outcome = for_each(&state.namespaces, |(_, netns)| {
        let mut outcome = Ok(());
        if netns::exists(netns) {
            let deleted = shell::attempt(&format!("ip netns delete {netns}"));
            outcome = deleted.map(drop).map_err(Error::from);
        }
        let hosts = hosts_directory(netns);
        if hosts.exists() {
            let removed = fs::remove_dir_all(&hosts);
            outcome = outcome.and(removed.map_err(|source| Error::io("remove", &hosts, source)));
        }
        outcome
    });
    // Only when it is empty: others may have files there.
    let _ = fs::remove_dir(HOSTS);
    outcome?;
    home.remove()
}

/// Ends every process in a state's namespaces: asked first, killed when that does not help.
fn stop(state: &State) {
    use rustix::process::{Signal, kill_process};
    let namespaces = || state.namespaces.iter().map(|(_, netns)| netns.as_str());
    let running = || namespaces().flat_map(netns::processes).collect::<Vec<_>>();
    // A process that has ended meanwhile is as good.
    let signal_all = |signal| {
        for pid in running() {
            let _ = kill_process(pid, signal);
        }
    };
    signal_all(Signal::TERM);
    let deadline = Instant::now() + TERM_WITHIN;
    while !running().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    signal_all(Signal::KILL);
}

/// Does a job for each of many, a few at a time. All are done whatever fails; then the first failure
/// is told.
fn for_each<T: Sync>(all: &[T], job: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut outcome = Ok(());
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            outcome = outcome.and(job(one));
        }
        outcome
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        let outcomes = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        outcomes.fold(Ok(()), Result::and)
    })
}

/// An `/etc/hosts` with the names of all nodes and pods.
fn hosts(topology: &Topology) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
    for node in &topology.nodes {
        for net in node.underlay.iter() {
            text += &format!("{} {}\n", net.addr(), node.name);
        }
        for pod in &node.pods {
            for address in pod.addresses.iter() {
                text += &format!("{address} {}\n", pod.name);
            }
        }
    }
    text
}

/// Gives a namespace an `/etc/hosts`; `ip netns exec` mounts it there.
fn write_hosts(text: &str, netns: &str) -> Result<()> {
    let directory = hosts_directory(netns);
    let file = directory.join("hosts");
    fs::create_dir_all(&directory).map_err(|source| Error::io("make", &directory, source))?;
    fs::write(&file, text).map_err(|source| Error::io("write", &file, source))
}

fn hosts_directory(netns: &str) -> PathBuf {
    PathBuf::from(HOSTS).join(netns)
}

pub(crate) fn require_root() -> Result<()> {
    let uid = rustix::process::geteuid();
    if uid.is_root() { Ok(()) } else { Err(Error::Privilege(uid.as_raw())) }
}

impl State {
    /// That of a lab which this process builds.
    fn of(topology: &Topology) -> Self {
        Self {
            file: topology.file.clone(),
            builder: Some(std::process::id()),
            namespaces: topology.namespaces(),
        }
    }
}
