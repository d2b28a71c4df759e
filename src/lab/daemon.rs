//! A node whose router is Cableway: its config, its process, its management socket.

use super::state::DIRECTORY;
use super::topology::{Node, Pod, Topology};
use super::{Error, Result, netns, shell, underlay};
use crate::control::report::Ready;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take from its start to being ready, where many start at once.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long an answer of the management socket may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Lines of a log that go into an error.
const TAIL: usize = 15;

/// A daemon that was started.
pub(crate) struct Daemon {
    node: String,
    files: Files,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// Writes the node's config and starts its daemon in the node's namespace.
    pub(super) fn start(topology: &Topology, node: &Node) -> Result<Self> {
        let config = self::config(topology, node);
        Self::spawn(&node.name, &node.netns, Files::of(DIRECTORY, &node.name), &config)
    }

    /// The same with any config, which names the socket of `files`.
    pub(crate) fn spawn(node: &str, netns: &str, files: Files, text: &str) -> Result<Self> {
        let (config, log) = (files.config(), files.log());
        fs::write(&config, text).map_err(|source| Error::io("write", &config, source))?;
        let output = File::create(&log).map_err(|source| Error::io("write", &log, source))?;
        let spawn = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("run").arg("--config").arg(&config).stdin(Stdio::null());
            // A Ctrl-C is for the lab, which then stops its daemons.
            command.stdout(output.try_clone()?).stderr(output).process_group(0).spawn()
        };
        let child = netns::within(netns, spawn)?.map_err(|source| Error::Io {
            doing: format!("start the daemon of node {node}"),
            source,
        })?;
        Ok(Self { node: node.to_owned(), files, child, ended: None })
    }

    /// Waits until the daemon says that it is ready.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            shell::check_interrupt()?;
            let exited = self.child.try_wait().ok().flatten();
            if let Some(status) = exited {
                return Err(self.error(format!("has ended: {status}")));
            }
            let error = match self.get::<Ready>("ready") {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                return Err(self.error(format!("is not ready after {READY_WITHIN:?}: {error}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for a daemon that was told to stop, so that nothing of it is left.
    pub(crate) fn wait_end(&mut self) {
        self.ended = self.child.wait().ok();
    }

    /// Ends it: asked first, killed when that does not help.
    pub(crate) fn stop(&mut self) {
        let deadline = Instant::now() + super::TERM_WITHIN;
        let pid = rustix::process::Pid::from_child(&self.child);
        // One that has ended meanwhile is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How it ended, if not as it should.
    pub(super) fn unclean_end(&self) -> Option<String> {
        let status = self.ended.filter(|status| !status.success())?;
        Some(format!("the daemon of node {} ended with {status}", self.node))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `GET /v1/<path>` answers.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        ask(&self.files.socket(), path)
    }

    fn error(&self, what: String) -> Error {
        Error::Daemon { node: self.node.clone(), what, log: self.files.log_tail() }
    }
}

/// What `GET /v1/<path>` of a lab's node's daemon answers.
pub(super) fn get<T: DeserializeOwned>(node: &str, path: &str) -> Result<T> {
    ask(&Files::of(DIRECTORY, node).socket(), path)
}

fn ask<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    let fail = |source| Error::io("ask", socket, source);
    let mut stream = UnixStream::connect(socket).map_err(fail)?;
    let ask = |stream: &mut UnixStream| {
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        write!(stream, "GET /v1/{path} HTTP/1.0\r\nHost: cableway\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer: String = ask(&mut stream).map_err(fail)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split_whitespace().nth(1) != Some("200") {
        return Err(fail(std::io::Error::other(format!("{status}: {}", body.trim()))));
    }
    serde_json::from_str(body).map_err(|e| fail(std::io::Error::other(e)))
}

/// The management socket of a lab's node's daemon.
pub(super) fn socket(node: &str) -> PathBuf {
    Files::of(DIRECTORY, node).socket()
}

/// The last lines of the log of a lab's node.
pub(super) fn log_tail(node: &str) -> String {
    Files::of(DIRECTORY, node).log_tail()
}

/// Where the files of a daemon are.
pub(crate) struct Files(PathBuf);

impl Files {
    /// Those of a node in `directory`.
    pub(crate) fn of(directory: &str, node: &str) -> Self {
        Self(Path::new(directory).join(node))
    }

    /// Its management socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.with_added_extension("sock")
    }

    fn config(&self) -> PathBuf {
        self.0.with_added_extension("toml")
    }

    fn log(&self) -> PathBuf {
        self.0.with_added_extension("log")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

/// The node's config, as a user would write it.
fn config(topology: &Topology, node: &Node) -> String {
    let mut text = String::new();
    write_node(&mut text, topology, node).expect("writing to a string");
    text
}

fn write_node(out: &mut String, topology: &Topology, node: &Node) -> std::fmt::Result {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    writeln!(out, "# Node {} of {}.\n\n[node]\nname = {:?}", node.name, topology.file, node.name)?;
    writeln!(out, "socket = {:?}", Files::of(DIRECTORY, &node.name).socket())?;
    let mut workers = toml::Table::try_from(&topology.workers).expect("it was read from TOML");
    workers.insert("cores".into(), vec![(node.index % cores) as i64].into());
    write!(out, "\n[workers]\n{workers}")?;
    let memory = toml::to_string(&topology.memory).expect("it was read from TOML");
    write!(out, "\n[memory]\n{memory}")?;
    writeln!(out, "\n[[uplink]]\ndevice = {:?}", underlay::DEVICE)?;
    if let Some(tunnel) = &topology.tunnel {
        let mut table = tunnel.table.clone();
        if topology.has_kernel_node() {
            // What kernel nodes are programmed with; between daemons the derived ones do.
            table.insert("mac".into(), node.vtep_mac.clone().into());
        }
        write!(out, "\n[[tunnel.{}]]\n{table}", tunnel.kind())?;
    }
    let gateways = node.gateway.iter().map(|a| a.to_string());
    let gateways: Vec<_> = gateways.chain(["169.254.1.1".into(), "fe80::1".into()]).collect();
    writeln!(out, "\n[gateway]\naddresses = {gateways:?}")?;
    node.pods.iter().try_for_each(|pod| write_pod(out, topology, node, pod))?;
    write_host(out, topology, node)?;
    let others = topology.nodes.iter().filter(|other| other.index != node.index);
    others.clone().try_for_each(|other| write_peer(out, topology, other))?;
    let others = others.flat_map(|other| &other.pods).filter(|pod| !pod.labels.is_empty());
    others.into_iter().try_for_each(|pod| write_endpoint(out, pod))?;
    let policies = toml::to_string(&topology.policies).expect("they were read from TOML");
    write!(out, "\n{policies}")
}

/// A pod of another node.
fn write_endpoint(out: &mut String, pod: &Pod) -> std::fmt::Result {
    let addresses: Vec<_> = pod.addresses.iter().map(|address| address.to_string()).collect();
    writeln!(out, "\n[[endpoint]]\nname = {:?}\naddresses = {addresses:?}", pod.name)?;
    write_labels(out, pod)
}

fn write_labels(out: &mut String, pod: &Pod) -> std::fmt::Result {
    let labels: Vec<_> =
        pod.labels.iter().map(|(key, value)| format!("{key:?} = {value:?}")).collect();
    if labels.is_empty() { Ok(()) } else { writeln!(out, "labels = {{ {} }}", labels.join(", ")) }
}

fn write_pod(out: &mut String, topology: &Topology, node: &Node, pod: &Pod) -> std::fmt::Result {
    let addresses = pod.addresses.iter().zip(node.subnets.iter());
    let addresses: Vec<_> = addresses.map(|(a, net)| format!("{a}/{}", net.prefix_len())).collect();
    writeln!(out, "\n[[port]]\nname = {:?}\nkind = {:?}", pod.name, topology.io.name())?;
    writeln!(out, "netns = {:?}\ndevice = \"eth0\"", pod.netns)?;
    writeln!(out, "addresses = {addresses:?}")?;
    if let Some(mtu) = pod.mtu {
        writeln!(out, "mtu = {mtu}")?;
    }
    write_labels(out, pod)
}

/// The node's own way to all pods.
fn write_host(out: &mut String, topology: &Topology, node: &Node) -> std::fmt::Result {
    let addresses: Vec<_> = node.host.iter().map(|a| ipnet::IpNet::from(a).to_string()).collect();
    let routes = topology.nodes.iter().flat_map(|n| n.subnets.iter());
    let routes: Vec<_> = routes.map(|net| net.to_string()).collect();
    writeln!(out, "\n[[port]]\nname = \"host\"\nkind = \"tun\"\ndevice = \"cableway0\"")?;
    writeln!(out, "addresses = {addresses:?}\nroutes = {routes:?}")
}

fn write_peer(out: &mut String, topology: &Topology, other: &Node) -> std::fmt::Result {
    let subnets: Vec<_> = other.subnets.iter().map(|net| net.to_string()).collect();
    let address = other.underlay_address(topology.family);
    writeln!(out, "\n[[peer]]\nname = {:?}\naddress = \"{address}\"", other.name)?;
    match &topology.tunnel {
        Some(tunnel) => writeln!(out, "tunnel = {:?}", tunnel.name)?,
        None => writeln!(out, "mode = \"never\"")?,
    }
    writeln!(out, "subnets = {subnets:?}")?;
    if topology.has_kernel_node() {
        writeln!(out, "vtep-mac = {:?}", other.vtep_mac)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::file::{Io, Router};
    use super::super::topology::Overrides;
    use super::*;

    #[test]
    fn every_nodes_config_is_one_that_the_daemon_reads() {
        let labs = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/lab");
        let mut nodes = 0;
        for entry in fs::read_dir(labs).unwrap() {
            let (path, overrides) = (entry.unwrap().path(), Overrides::default());
            let topology = super::super::read(Some(&path), &overrides).unwrap();
            for node in topology.nodes.iter().filter(|node| node.router == Router::Cableway) {
                let config = crate::config::Config::parse(&config(&topology, node), &node.name);
                let config = config.unwrap_or_else(|errors| panic!("{errors}"));
                assert_eq!(config.port.len(), node.pods.len() + 1);
                assert_eq!(config.peer.len(), topology.nodes.len() - 1);
                nodes += 1;
            }
        }
        assert!(nodes > 1);
    }

    #[test]
    fn pods_are_attached_by_the_kind_asked_for() {
        let overrides = Overrides { io: Some(Io::AfXdp), ..Overrides::default() };
        let topology = super::super::read(None, &overrides).unwrap();
        let text = config(&topology, &topology.nodes[0]);
        assert_eq!(text.matches("kind = \"af_xdp\"").count(), 2, "{text}");
    }
}
