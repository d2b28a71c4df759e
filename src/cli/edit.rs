//! `cableway add`, `del`, `apply` and `dump`: changes of a running daemon from a shell.
//!
//! All of them ask the daemon, which knows what holds together; only `apply` looks at its file first,
//! for the lines and columns of its errors.

use crate::config::{Config, Kind, LoadError};
use crate::control::desired::AclSections;
use crate::control::management::Done;
use crate::control::management::client::{self, ClientError, Content, escape};
use clap::{ArgAction, Subcommand};
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What all of them take.
#[derive(Debug, clap::Args)]
struct Common {
    /// Print the daemon's answer as JSON; its format is stable
    #[arg(long, global = true)]
    json: bool,
    /// Management socket of the daemon
    #[arg(long, global = true, value_name = "PATH", default_value = crate::control::DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Add a port, peer, route, gateway address or policies to a running daemon, or change them
#[derive(Debug, clap::Args)]
pub struct Add {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

/// Take a port, peer, route, gateway address or policy from a running daemon
#[derive(Debug, clap::Args)]
pub struct Del {
    #[command(subcommand)]
    what: Which,
    #[command(flatten)]
    common: Common,
}

/// Make a running daemon be as a config says, all of it or nothing
///
/// What the daemon has been told by `add` and `del` before is forgotten. (When it reads its own
/// config again, at SIGHUP, that is kept.)
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Apply {
    /// The config
    #[arg(required = true)]
    file: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Only its policies, sets and endpoints: those of a file, and no others
    Policy {
        /// A file with `[[policy]]`, `[[set]]` and `[[endpoint]]` alone
        file: PathBuf,
    },
}

/// Print what a running daemon is configured to be, as a config
#[derive(Debug, clap::Args)]
pub struct Dump {
    /// Management socket of the daemon
    #[arg(long, value_name = "PATH", default_value = crate::control::DEFAULT_SOCKET)]
    socket: PathBuf,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A port, with its device
    Port(Box<Port>),
    /// A remote node
    Peer(Peer),
    /// Routes to the same place
    Route(Route),
    /// An address that pods can use as their gateway
    Gateway {
        /// The address
        address: String,
    },
    /// Policies, and the sets and endpoints that their rules speak of
    Policy {
        /// A file with `[[policy]]`, `[[set]]` and `[[endpoint]]` alone
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Port {
    /// Its name
    name: String,
    /// What kind of device it is
    #[arg(long, value_parser = kind)]
    kind: Kind,
    /// Network namespace of the device: a name of `ip netns`, or a path; the daemon's own when absent
    #[arg(long)]
    netns: Option<String>,
    /// The device's name in its namespace
    #[arg(long)]
    device: String,
    /// Of kind af_xdp: the end of the veth pair that stays with the daemon
    #[arg(long)]
    host_device: Option<String>,
    /// Addresses of the device, as 10.244.1.2/24
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Its MTU in bytes; when absent what uplinks and tunnels leave
    #[arg(long)]
    mtu: Option<u32>,
    /// What is routed to us where the device is, instead of everything
    #[arg(long = "route", value_name = "PREFIX")]
    routes: Option<Vec<String>>,
    /// Of kind af_xdp: how the XDP program is attached
    #[arg(long, value_parser = ["auto", "native", "generic"])]
    attach: Option<String>,
    /// Let it send from any address
    #[arg(long = "no-check-source", action = ArgAction::SetFalse)]
    check_source: bool,
    /// What it is, for policies to select it by
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, Value)>,
}

#[derive(Debug, clap::Args)]
struct Peer {
    /// Its name; of a node that runs Cableway its `node.name`
    name: String,
    /// Its address on the underlay
    #[arg(long)]
    address: String,
    /// The name of the tunnel that leads there
    #[arg(long, required_unless_present = "mode")]
    tunnel: Option<String>,
    /// Which packets to it go through the tunnel; the others go to it as they are
    #[arg(long, value_parser = ["always", "cross-subnet", "never"])]
    mode: Option<String>,
    /// Another tunnel by which its packets may come, or `direct`
    #[arg(long = "accept", value_name = "TUNNEL")]
    accept: Option<Vec<String>>,
    /// The prefixes behind it
    #[arg(long = "subnet", value_name = "PREFIX", required = true)]
    subnets: Vec<String>,
    /// The MAC of its VTEP, when it is not derived from its name
    #[arg(long)]
    vtep_mac: Option<String>,
    /// Have TCP connections agree on segments that fit the way to it
    #[arg(long)]
    clamp_mss: bool,
    /// Which packet is fragmented where one is longer than the way to it: the pod's or the tunnel's
    #[arg(long, value_parser = ["inner", "outer"])]
    fragment: Option<String>,
    /// Let it send from any inner address
    #[arg(long = "no-check-source", action = ArgAction::SetFalse)]
    check_source: bool,
}

#[derive(Debug, clap::Args)]
struct Route {
    /// The destinations
    #[arg(required = true, value_name = "PREFIX")]
    prefixes: Vec<String>,
    #[command(flatten)]
    via: Via,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Via {
    /// To that peer; of several peers and ports, to one that is chosen by the flow
    #[arg(long = "peer", value_name = "NAME")]
    peers: Vec<String>,
    /// By that port
    #[arg(long = "port", value_name = "NAME")]
    ports: Vec<String>,
    /// Nowhere, and the sender is told
    #[arg(long, conflicts_with_all = ["peers", "ports", "blackhole"])]
    unreachable: bool,
    /// Nowhere, silently
    #[arg(long, conflicts_with_all = ["peers", "ports"])]
    blackhole: bool,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// A port, with its device
    Port {
        /// Its name
        name: String,
    },
    /// A remote node
    Peer {
        /// Its name
        name: String,
    },
    /// Routes
    Route {
        /// The destinations
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<String>,
    },
    /// An address that pods can use as their gateway
    Gateway {
        /// The address
        address: String,
    },
    /// A policy
    Policy {
        /// Its name
        name: String,
    },
    /// A set of prefixes
    Set {
        /// Its name
        name: String,
    },
    /// An endpoint elsewhere
    Endpoint {
        /// Its name
        name: String,
    },
}

/// Why nothing was changed, or printed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The daemon did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The file is not a config.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The file can't be read a second time.
    #[error("{}: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Standard output is gone.
    #[error("writing to standard output: {0}")]
    Output(#[from] io::Error),
}

impl Add {
    /// Asks for it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn run(self) -> Result<(), EditError> {
        let put = |list: &str, name: &str| format!("/v1/{list}/{}", escape(name));
        let (method, path, content) = match self.what {
            What::Port(port) => ("PUT", put("ports", &port.name), Content::Json(port.json())),
            What::Peer(peer) => ("PUT", put("peers", &peer.name), Content::Json(peer.json())),
            What::Route(Route { prefixes, via }) => {
                let via = via.json();
                let routes = prefixes.iter().map(|prefix| json!({ "prefix": prefix, "via": via }));
                let routes = json!({ "put": routes.collect::<Value>() });
                ("POST", "/v1/routes".to_owned(), Content::Json(routes))
            }
            What::Gateway { address } => ("PUT", put("gateway/addresses", &address), Content::None),
            What::Policy { file } => ("POST", "/v1/policies".to_owned(), policies(&file)?),
        };
        self.common.edit(method, &path, content)
    }
}

impl Del {
    /// Asks for it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn run(self) -> Result<(), EditError> {
        let path = match self.what {
            Which::Port { name } => format!("/v1/ports/{}", escape(&name)),
            Which::Peer { name } => format!("/v1/peers/{}", escape(&name)),
            Which::Gateway { address } => format!("/v1/gateway/addresses/{}", escape(&address)),
            Which::Policy { name } => format!("/v1/policies/{}", escape(&name)),
            Which::Set { name } => format!("/v1/sets/{}", escape(&name)),
            Which::Endpoint { name } => format!("/v1/endpoints/{}", escape(&name)),
            Which::Route { prefixes } => match &prefixes[..] {
                // One that is not there is an error then.
                [prefix] => format!("/v1/routes/{}", escape(prefix)),
                _ => {
                    let batch = Content::Json(json!({ "delete": prefixes }));
                    return self.common.edit("POST", "/v1/routes", batch);
                }
            },
        };
        self.common.edit("DELETE", &path, Content::None)
    }
}

impl Apply {
    /// Checks the file, and has the daemon take it.
    ///
    /// # Errors
    /// When it is not valid, or refused.
    pub fn run(self) -> Result<(), EditError> {
        let Apply { file, part, common } = self;
        if let Some(Part::Policy { file }) = part {
            return common.edit("PUT", "/v1/policies", policies(&file)?);
        }
        let file = file.expect("clap asks for a file where there is no subcommand");
        Config::load_warned(&file, |warnings| eprintln!("{warnings}"))?;
        let text = std::fs::read_to_string(&file);
        let text = text.map_err(|source| EditError::Read { file: file.clone(), source })?;
        let name = escape(&file.to_string_lossy());
        common.edit("PUT", &format!("/v1/config?file={name}"), Content::Toml(text))
    }
}

impl Dump {
    /// Prints it.
    ///
    /// # Errors
    /// When the daemon does not answer or the output can't be written.
    pub fn run(self) -> Result<(), EditError> {
        print(&client::text(&self.socket, "GET", "/v1/config", Content::None)?)
    }
}

impl Common {
    fn edit(&self, method: &str, path: &str, content: Content) -> Result<(), EditError> {
        let socket: &Path = &self.socket;
        let done: Done = client::call(socket, method, path, content)?;
        let text = match (self.json, done.changed) {
            (true, _) => serde_json::to_string_pretty(&done).expect("it was JSON") + "\n",
            (false, true) => return Ok(()),
            (false, false) => "nothing to do: it is so already\n".to_owned(),
        };
        print(text.as_bytes())
    }
}

impl Port {
    fn json(self) -> Value {
        object([
            ("name", json!(self.name)),
            ("kind", json!(self.kind)),
            ("netns", json!(self.netns)),
            ("device", json!(self.device)),
            ("host-device", json!(self.host_device)),
            ("addresses", json!(self.addresses)),
            ("mtu", json!(self.mtu)),
            ("routes", json!(self.routes)),
            ("attach", json!(self.attach)),
            ("check-source", json!(self.check_source)),
            ("labels", self.labels.into_iter().collect::<Map<_, _>>().into()),
        ])
    }
}

impl Peer {
    fn json(self) -> Value {
        object([
            ("name", json!(self.name)),
            ("address", json!(self.address)),
            ("tunnel", json!(self.tunnel)),
            ("mode", json!(self.mode)),
            ("accept", json!(self.accept)),
            ("subnets", json!(self.subnets)),
            ("vtep-mac", json!(self.vtep_mac)),
            ("clamp-mss", json!(self.clamp_mss)),
            ("fragment", json!(self.fragment)),
            ("check-source", json!(self.check_source)),
        ])
    }
}

impl Via {
    fn json(&self) -> Value {
        let peers = self.peers.iter().map(|name| json!({ "peer": name }));
        let ports = self.ports.iter().map(|name| json!({ "port": name }));
        let mut next_hops: Vec<_> = peers.chain(ports).collect();
        match next_hops.len() {
            0 if self.unreachable => json!("unreachable"),
            0 => json!("blackhole"),
            1 => next_hops.remove(0),
            _ => next_hops.into(),
        }
    }
}

/// Policies of a file, and the sets and endpoints of it.
fn policies(file: &Path) -> Result<Content, EditError> {
    let mut config = Config::load_sections(file, &["policy", "set", "endpoint"])?;
    let sections = AclSections::take(&mut config);
    Ok(Content::Json(serde_json::to_value(sections).expect("sections of a config are JSON")))
}

/// What was not said is left out.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let said = members.into_iter().filter(|(_, value)| !value.is_null());
    said.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn label(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("expected a key, `=` and a value")?;
    Ok((key.to_owned(), value.into()))
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "tun" => Ok(Kind::Tun),
        "tap" => Ok(Kind::Tap),
        "af_xdp" => Ok(Kind::AfXdp),
        _ => Err("expected tun, tap or af_xdp".to_owned()),
    }
}

fn print(bytes: &[u8]) -> Result<(), EditError> {
    match io::stdout().lock().write_all(bytes) {
        // `dump | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
