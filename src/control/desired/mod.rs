//! What the node shall be: the config file and what came through the API since, as one value.
//!
//! It is never changed: an edit makes the next one, which shares with its predecessor all that it
//! did not touch (a route is one among a million). What has become of it is checked like a config
//! file and in the same words; then [`plan`] compares the two, and the node makes the difference
//! so. A reader, such as a dump, keeps the one that it began with.
//!
//! Where things came from matters for one thing only: when the daemon reads its file again, what
//! came from the file is replaced by what it says now, and what came through the API stays. A
//! name, prefix or address that both have must mean the same in both.

pub mod acl;
mod edit;
pub mod plan;
mod saved;
#[cfg(test)]
mod tests;

pub use acl::{AclName, AclSections, Acls};
pub use edit::{Edit, RouteEdits};
pub use saved::Saved;

use crate::config::edit::Problem;
use crate::config::{self, Config, Name, Peer, Port, Unicast, Via};
use imbl::OrdMap;
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// Where a thing came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The config file, or `cableway apply`.
    File,
    /// The API.
    Api,
}

/// A thing and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<T> {
    /// The thing.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

/// The desired state.
#[derive(Clone, Debug)]
pub struct Desired {
    /// A digest of the config file as it was last read, by which it is seen whether it is another
    /// one now. It does not change when another file is applied.
    read: Arc<str>,
    /// What only another file changes, if anything does: a config without what is below.
    base: Arc<Config>,
    gateways: Vec<Entry<Unicast>>,
    ports: OrdMap<Name, Entry<Arc<Port>>>,
    peers: OrdMap<Name, Entry<Arc<Peer>>>,
    routes: OrdMap<IpNet, Entry<Via>>,
    /// How many routes there are by each way.
    uses: OrdMap<Via, usize>,
    acls: Acls,
}

/// An edit that is not made, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What is asked for makes no sense.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
    /// What is to be edited is not there.
    #[error("{0}")]
    Missing(String),
    /// Others refer to what is to go, or something else holds its place.
    #[error("{}", lines(.0))]
    Conflict(Vec<Problem>),
    /// It can't be changed so while the daemon runs.
    #[error("{}", .0.iter().map(|fixed| fixed.message.as_str()).collect::<Vec<_>>().join("\n"))]
    Fixed(Vec<plan::Fixed>),
    /// It would have been fine, but the machine did not let us.
    #[error("{0}")]
    Failed(String),
    /// Nobody does anything any more.
    #[error("the daemon is ending; ask again when it is back, whether this was done")]
    Ending,
}

/// What tells one config from another, whatever its comments and blanks.
fn digest(config: &Config) -> Arc<str> {
    let text = serde_json::to_vec(config).expect("a config is written as JSON");
    let mut digest = String::new();
    for byte in Sha256::digest(text) {
        let _ = write!(digest, "{byte:02x}");
    }
    digest.into()
}

fn lines(problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| match problem.pointer.as_str() {
        "" => problem.message.clone(),
        pointer => format!("{pointer}: {}", problem.message),
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl Desired {
    /// What a config file says, checked already.
    pub fn new(config: Config) -> Desired {
        let read = digest(&config);
        Desired::of(config, read)
    }

    /// What a file says that is not the daemon's own.
    fn applied(&self, config: Config) -> Desired {
        Desired::of(config, self.read.clone())
    }

    fn of(mut config: Config, read: Arc<str>) -> Desired {
        fn from_file<T>(value: T) -> Entry<T> {
            Entry { value, origin: Origin::File }
        }
        let ports = std::mem::take(&mut config.port).into_iter();
        let peers = std::mem::take(&mut config.peer).into_iter();
        let routes = std::mem::take(&mut config.route);
        let gateways = std::mem::take(&mut config.gateway.addresses);
        let acls = Acls::new(AclSections::take(&mut config), Origin::File);
        let mut desired = Desired {
            read,
            base: Arc::new(config),
            gateways: gateways.into_iter().map(from_file).collect(),
            ports: ports.map(|port| (port.name.clone(), from_file(Arc::new(port)))).collect(),
            peers: peers.map(|peer| (peer.name.clone(), from_file(Arc::new(peer)))).collect(),
            routes: OrdMap::new(),
            uses: OrdMap::new(),
            acls,
        };
        for route in routes {
            desired.insert_route(route.prefix.net(), route.via, Origin::File);
        }
        desired
    }

    /// The same as a config, but for the routes, of which there may be very many.
    pub fn config(&self) -> Config {
        let mut config = (*self.base).clone();
        config.gateway.addresses = self.gateways.iter().map(|entry| entry.value).collect();
        config.port = self.ports.values().map(|entry| (*entry.value).clone()).collect();
        config.peer = self.peers.values().map(|entry| (*entry.value).clone()).collect();
        self.acls.sections(|_| true).put(&mut config);
        config
    }

    /// All of it as a config. It takes a while where there are many routes.
    pub fn whole_config(&self) -> Config {
        let mut config = self.config();
        let routes = self
            .routes
            .iter()
            .map(|(net, entry)| config::Route { prefix: (*net).into(), via: entry.value.clone() });
        config.route = routes.collect();
        config
    }

    /// The node's name and what else is changed by another file alone, if at all: a config without gateways'
    /// addresses, ports, peers, routes, and policies with what they speak of.
    pub fn base(&self) -> &Config {
        &self.base
    }

    /// The gateway's addresses, the first ones preferred.
    pub fn gateways(&self) -> &[Entry<Unicast>] {
        &self.gateways
    }

    /// Ports by name.
    pub fn ports(&self) -> &OrdMap<Name, Entry<Arc<Port>>> {
        &self.ports
    }

    /// Peers by name.
    pub fn peers(&self) -> &OrdMap<Name, Entry<Arc<Peer>>> {
        &self.peers
    }

    /// Routes by prefix: those that were asked for, without those to ports' addresses and to peers'
    /// subnets.
    pub fn routes(&self) -> &OrdMap<IpNet, Entry<Via>> {
        &self.routes
    }

    /// Policies, and what their rules speak of.
    pub fn acls(&self) -> &Acls {
        &self.acls
    }

    /// How many routes there are by each way of which `via` is one.
    fn uses_of<'a>(&'a self, via: &'a Via) -> impl Iterator<Item = usize> + 'a {
        self.uses.iter().filter(|(used, _)| used.each().contains(via)).map(|(_, count)| *count)
    }

    /// The prefixes that are routed by `via`, alone or among others; it takes long only when there are some.
    fn prefixes_by<'a>(&'a self, via: &'a Via) -> impl Iterator<Item = IpNet> + 'a {
        let routes = self.uses_of(via).next().map(|_| &self.routes);
        let routes = routes.into_iter().flatten();
        routes.filter(|(_, entry)| entry.value.each().contains(via)).map(|(net, _)| *net)
    }

    /// The ways of routes that have several next hops.
    pub fn groups(&self) -> impl Iterator<Item = &Via> {
        self.uses.keys().filter(|via| matches!(via, Via::Any(_)))
    }

    /// The prefixes that are routed by any port; it takes long only when there are some.
    pub fn prefixes_by_ports(&self) -> impl Iterator<Item = IpNet> + '_ {
        let is_port = |via: &Via| via.each().iter().any(|via| matches!(via, Via::Port(_)));
        let routes = self.uses.keys().any(is_port).then_some(&self.routes);
        let routes = routes.into_iter().flatten();
        routes.filter(move |(_, entry)| is_port(&entry.value)).map(|(net, _)| *net)
    }

    fn set_port(&mut self, port: Arc<Port>) {
        self.ports.insert(port.name.clone(), Entry { value: port, origin: Origin::Api });
    }

    fn set_peer(&mut self, peer: Arc<Peer>) {
        self.peers.insert(peer.name.clone(), Entry { value: peer, origin: Origin::Api });
    }

    fn add_gateway(&mut self, address: Unicast) {
        if !self.gateways.iter().any(|entry| entry.value == address) {
            self.gateways.push(Entry { value: address, origin: Origin::Api });
        }
    }

    fn remove_gateway(&mut self, address: IpAddr) {
        self.gateways.retain(|entry| entry.value.ip() != address);
    }

    /// A route that is there already stays whose it is.
    fn set_route(&mut self, net: IpNet, via: Via) {
        if self.routes.get(&net).is_none_or(|old| old.value != via) {
            self.insert_route(net, via, Origin::Api);
        }
    }

    fn insert_route(&mut self, net: IpNet, via: Via, origin: Origin) {
        // Shares the text of the name with what has it.
        let via = match via {
            Via::Peer(name) => match self.peers.get_key_value(&name) {
                Some((known, _)) => Via::Peer(known.clone()),
                None => Via::Peer(name),
            },
            Via::Port(name) => match self.ports.get_key_value(&name) {
                Some((known, _)) => Via::Port(known.clone()),
                None => Via::Port(name),
            },
            Via::Any(_) => match self.uses.get_key_value(&via) {
                Some((known, _)) => known.clone(),
                None => via,
            },
            via => via,
        };
        *self.uses.entry(via.clone()).or_insert(0) += 1;
        if let Some(old) = self.routes.insert(net, Entry { value: via, origin }) {
            self.release(&old.value);
        }
    }

    fn remove_route(&mut self, net: &IpNet) -> Option<Entry<Via>> {
        let old = self.routes.remove(net)?;
        self.release(&old.value);
        Some(old)
    }

    fn release(&mut self, via: &Via) {
        match self.uses.get_mut(via) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.uses.remove(via)),
        }
    }
}
