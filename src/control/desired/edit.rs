//! Edits: from one desired state to the next, or to what is wrong with that.

use super::{AclName, AclSections, Acls, Desired, Entry, Origin, Refused};
use crate::config::edit::{self, Problem};
use crate::config::{Config, Kind, Name, Peer, Port, Prefix, Route, Unicast, Via};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

/// How many of many are named in a message.
const NAMED: usize = 3;

/// What may be asked for. Each is done as a whole or not at all, and may be asked for again.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// Let there be this port, in the place of one of its name.
    PutPort(Box<Port>),
    /// Let there be no port of this name.
    DeletePort(Name),
    /// Let there be this peer, in the place of one of its name.
    PutPeer(Box<Peer>),
    /// Let there be no peer of this name.
    DeletePeer(Name),
    /// Let pods reach their router by this address.
    PutGateway(Unicast),
    /// Let them no longer.
    DeleteGateway(IpAddr),
    /// Let there be no route to this prefix.
    DeleteRoute(Prefix),
    /// Many routes at once.
    Routes(RouteEdits),
    /// Let there be these policies, sets and endpoints, in the place of those of their names.
    PutAcls(Box<AclSections>),
    /// Let there be these and no others.
    ReplaceAcls(Box<AclSections>),
    /// Let there be no policy, set or endpoint of this name.
    DeleteAcl(AclName),
    /// Let everything be as this file says.
    Apply(Box<Config>),
    /// Let what came from the file be as it says now, and keep what came through the API.
    Reload(Box<Config>),
}

/// Changes of routes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RouteEdits {
    /// Routes to add, or to change.
    pub put: Vec<Route>,
    /// Prefixes that shall have none of their own; these go first.
    pub delete: Vec<Prefix>,
}

impl Desired {
    /// The state after an edit.
    ///
    /// # Errors
    /// When it asks for what is not there or makes no sense; this state is as it was.
    pub fn edit(&self, edit: Edit) -> Result<Desired, Refused> {
        match edit {
            Edit::PutPort(port) => self.put_port(*port),
            Edit::DeletePort(name) => self.delete_port(&name),
            Edit::PutPeer(peer) => self.put_peer(*peer),
            Edit::DeletePeer(name) => self.delete_peer(&name),
            Edit::PutGateway(address) => self.put_gateway(address),
            Edit::DeleteGateway(address) => self.delete_gateway(address),
            Edit::DeleteRoute(prefix) => self.delete_route(prefix),
            Edit::Routes(edits) => self.edit_routes(edits),
            Edit::PutAcls(sections) => self.with_acls(|acls| acls.put(*sections, Origin::Api)),
            Edit::ReplaceAcls(sections) => {
                self.with_acls(|acls| *acls = acls.replaced_by(*sections))
            }
            Edit::DeleteAcl(name) => self.delete_acl(&name),
            Edit::Apply(config) => Ok(self.applied(*config)),
            Edit::Reload(config) => self.reload(*config),
        }
    }

    /// Makes an edit again that was made once upon what this is, and so makes sense.
    pub fn redo(&mut self, edit: Edit) {
        match edit {
            Edit::PutPort(port) => self.set_port(Arc::new(*port)),
            Edit::DeletePort(name) => drop(self.ports.remove(&name)),
            Edit::PutPeer(peer) => self.set_peer(Arc::new(*peer)),
            Edit::DeletePeer(name) => drop(self.peers.remove(&name)),
            Edit::PutGateway(address) => self.add_gateway(address),
            Edit::DeleteGateway(address) => self.remove_gateway(address),
            Edit::DeleteRoute(prefix) => drop(self.remove_route(&prefix.net())),
            Edit::Routes(edits) => {
                for prefix in &edits.delete {
                    self.remove_route(&prefix.net());
                }
                for route in edits.put {
                    self.set_route(route.prefix.net(), route.via);
                }
            }
            Edit::PutAcls(sections) => self.acls.put(*sections, Origin::Api),
            Edit::ReplaceAcls(sections) => self.acls = self.acls.replaced_by(*sections),
            Edit::DeleteAcl(name) => drop(self.acls.remove(&name)),
            Edit::Apply(config) => *self = self.applied(*config),
            Edit::Reload(config) => *self = self.reload(*config).unwrap_or_else(|_| self.clone()),
        }
    }

    fn put_port(&self, port: Port) -> Result<Desired, Refused> {
        let mut new = self.clone();
        let (name, kind) = (port.name.clone(), port.kind);
        let port = Arc::new(port);
        if self.ports.get(&name).is_some_and(|old| old.value == port) {
            return Ok(new);
        }
        new.set_port(port.clone());
        let mut problems = new.judge(|config| {
            let at = config.port.iter().position(|port| port.name == name)?;
            let edited = config.port.remove(at);
            config.port.push(edited);
            Some(("port", config.port.len() - 1))
        });
        for (i, own) in port.addresses.iter().enumerate() {
            problems.extend(new.routed_already(own.host(), format!("/addresses/{i}")));
        }
        let via = Via::Port(name);
        if kind != Kind::Tun {
            let stranded = new.prefixes_by(&via).find_map(|net| edit::no_station(&port, net));
            problems
                .extend(stranded.map(|message| Problem { pointer: "/addresses".into(), message }));
        }
        valid(new, problems)
    }

    fn delete_port(&self, name: &Name) -> Result<Desired, Refused> {
        let mut new = self.clone();
        if new.ports.remove(name).is_none() {
            return Err(self.no_port(name));
        }
        self.unused(&Via::Port(name.clone()), format!("port `{name}`"))?;
        // A policy may name it.
        match new.judge(|_| None) {
            problems if problems.is_empty() => Ok(new),
            problems => Err(Refused::Conflict(problems)),
        }
    }

    fn put_peer(&self, peer: Peer) -> Result<Desired, Refused> {
        let mut new = self.clone();
        let name = peer.name.clone();
        let peer = Arc::new(peer);
        if self.peers.get(&name).is_some_and(|old| old.value == peer) {
            return Ok(new);
        }
        new.set_peer(peer.clone());
        let mut problems = new.judge(|config| {
            let at = config.peer.iter().position(|peer| peer.name == name)?;
            let edited = config.peer.remove(at);
            config.peer.push(edited);
            Some(("peer", config.peer.len() - 1))
        });
        for (i, subnet) in peer.subnets.iter().enumerate() {
            problems.extend(new.routed_already(subnet.net(), format!("/subnets/{i}")));
        }
        valid(new, problems)
    }

    fn delete_peer(&self, name: &Name) -> Result<Desired, Refused> {
        let mut new = self.clone();
        if new.peers.remove(name).is_none() {
            return Err(self.no_peer(name));
        }
        self.unused(&Via::Peer(name.clone()), format!("peer `{name}`"))?;
        Ok(new)
    }

    fn put_gateway(&self, address: Unicast) -> Result<Desired, Refused> {
        let mut new = self.clone();
        new.add_gateway(address);
        let problems = new.judge(|_| None);
        valid(new, problems)
    }

    fn delete_gateway(&self, address: IpAddr) -> Result<Desired, Refused> {
        let mut new = self.clone();
        new.remove_gateway(address);
        if new.gateways.len() == self.gateways.len() {
            return Err(self.no_gateway(address));
        }
        match new.judge(|_| None) {
            problems if problems.is_empty() => Ok(new),
            problems => Err(Refused::Conflict(problems)),
        }
    }

    fn with_acls(&self, change: impl FnOnce(&mut Acls)) -> Result<Desired, Refused> {
        let mut new = self.clone();
        change(&mut new.acls);
        let problems = new.judge(|_| None);
        valid(new, problems)
    }

    fn delete_acl(&self, name: &AclName) -> Result<Desired, Refused> {
        let mut new = self.clone();
        if !new.acls.remove(name) {
            return Err(match name {
                AclName::Set(name) => self.no_such("set", name),
                AclName::Endpoint(name) => self.no_such("endpoint", name),
                AclName::Policy(name) => self.no_such("policy", name),
            });
        }
        match new.judge(|_| None) {
            problems if problems.is_empty() => Ok(new),
            problems => Err(Refused::Conflict(problems)),
        }
    }

    fn edit_routes(&self, edits: RouteEdits) -> Result<Desired, Refused> {
        let mut new = self.clone();
        let mut problems = Vec::new();
        for prefix in &edits.delete {
            new.remove_route(&prefix.net());
        }
        let taken = self.destinations();
        let mut seen = HashMap::with_capacity(edits.put.len());
        for (i, route) in edits.put.into_iter().enumerate() {
            let net = route.prefix.net();
            let first = seen.insert(net, i).map(|first| format!("/put/{first}"));
            let place = first.as_ref().or_else(|| taken.get(&net));
            if let Some(place) = place {
                let message = edit::elsewhere(net, place);
                problems.push(Problem { pointer: format!("/put/{i}/prefix"), message });
            }
            problems.extend(self.wrong_ways(net, &route.via, &format!("/put/{i}/via")));
            new.set_route(net, route.via);
        }
        valid(new, problems)
    }

    fn delete_route(&self, prefix: Prefix) -> Result<Desired, Refused> {
        let mut new = self.clone();
        match new.remove_route(&prefix.net()) {
            Some(_) => Ok(new),
            None => Err(self.no_route(&prefix)),
        }
    }

    /// There is no port of that name.
    pub fn no_port(&self, name: impl Display) -> Refused {
        let known: Vec<_> = self.ports.keys().map(Name::as_str).collect();
        Refused::Missing(edit::unknown("port", name, &known))
    }

    /// There is no peer of that name.
    pub fn no_peer(&self, name: impl Display) -> Refused {
        let known: Vec<_> = self.peers.keys().map(Name::as_str).collect();
        Refused::Missing(edit::unknown("peer", name, &known))
    }

    /// There is no such address of the gateway.
    pub fn no_gateway(&self, address: IpAddr) -> Refused {
        let known: Vec<_> = self.gateways.iter().map(|g| g.value.to_string()).collect();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        Refused::Missing(edit::unknown("gateway address", address, &known))
    }

    /// There is no route to that prefix.
    pub fn no_route(&self, prefix: &Prefix) -> Refused {
        Refused::Missing(format!(
            "there is no route to {prefix}; expected one of those that were asked for, without those \
             to ports' addresses and peers' subnets"
        ))
    }

    /// What is wrong with where a route leads, which `pointer` says.
    pub(super) fn wrong_ways(&self, net: IpNet, via: &Via, pointer: &str) -> Vec<Problem> {
        let ways = via.placed().filter_map(|(k, via)| {
            let place = k.map_or(String::new(), |k| format!("/{k}"));
            self.wrong_way(net, via, &format!("{pointer}{place}"))
        });
        ways.collect()
    }

    fn wrong_way(&self, net: IpNet, via: &Via, pointer: &str) -> Option<Problem> {
        let problem = |key, message| Problem { pointer: format!("{pointer}/{key}"), message };
        match via {
            Via::Unreachable | Via::Blackhole | Via::Any(_) => None,
            Via::Peer(name) if self.peers.contains_key(name) => None,
            Via::Peer(name) => {
                let known: Vec<_> = self.peers.keys().map(Name::as_str).collect();
                Some(problem("peer", edit::unknown("peer", name, &known)))
            }
            Via::Port(name) => match self.ports.get(name) {
                Some(port) => {
                    edit::no_station(&port.value, net).map(|message| problem("port", message))
                }
                None => {
                    let known: Vec<_> = self.ports.keys().map(Name::as_str).collect();
                    Some(problem("port", edit::unknown("port", name, &known)))
                }
            },
        }
    }

    /// Prefixes that are routed without a route of their own, and what says so.
    pub(super) fn destinations(&self) -> HashMap<IpNet, String> {
        let hosts = self.ports.iter().flat_map(|(name, port)| {
            port.value.addresses.iter().map(move |own| (own.host(), format!("port `{name}`")))
        });
        let subnets = self.peers.iter().flat_map(|(name, peer)| {
            peer.value.subnets.iter().map(move |net| (net.net(), format!("peer `{name}`")))
        });
        hosts.chain(subnets).collect()
    }

    fn routed_already(&self, net: IpNet, pointer: String) -> Option<Problem> {
        let message = edit::elsewhere(net, format!("the route to {net}"));
        self.routes.contains_key(&net).then_some(Problem { pointer, message })
    }

    /// That no route leads to what is to go.
    fn unused(&self, via: &Via, what: String) -> Result<(), Refused> {
        let count = self.uses_of(via).sum::<usize>();
        if count == 0 {
            return Ok(());
        }
        let mut named: Vec<_> =
            self.prefixes_by(via).take(NAMED).map(|net| net.to_string()).collect();
        if count > named.len() {
            named.push(format!("{} more", count - named.len()));
        }
        let message = format!(
            "{what} is in use by {}: {}; delete {} first",
            if count == 1 { "a route" } else { "routes" },
            named.join(", "),
            if count == 1 { "that" } else { "those" },
        );
        Err(Refused::Conflict(vec![Problem::whole(message)]))
    }

    /// What does not hold together, but for routes; `subject` finds what was edited and moves it
    /// behind all others, so that it is called wrong and not they.
    fn judge(
        &self,
        subject: impl FnOnce(&mut Config) -> Option<(&'static str, usize)>,
    ) -> Vec<Problem> {
        let mut config = self.config();
        let subject = subject(&mut config);
        edit::judge(&config, subject)
    }

    pub(super) fn reload(&self, config: Config) -> Result<Desired, Refused> {
        let mut new = Desired::new(config);
        let mut clashes = Vec::new();
        keep(&self.ports, &mut new.ports, |name| {
            clashes.push(clash(format!("port `{name}`"), format!("port {name}")));
        });
        keep(&self.peers, &mut new.peers, |name| {
            clashes.push(clash(format!("peer `{name}`"), format!("peer {name}")));
        });
        new.acls.keep(&self.acls, |kind, name| {
            clashes.push(clash(format!("{kind} `{name}`"), format!("{kind} {name}")));
        });
        for entry in self.gateways.iter().filter(|entry| entry.origin == Origin::Api) {
            if !new.gateways.iter().any(|known| known.value == entry.value) {
                new.gateways.push(entry.clone());
            }
        }
        for (net, entry) in self.routes.iter().filter(|(_, entry)| entry.origin == Origin::Api) {
            match new.routes.get(net) {
                None => new.insert_route(*net, entry.value.clone(), Origin::Api),
                Some(known) if known.value == entry.value => {}
                Some(_) => {
                    clashes.push(clash(format!("the route to {net}"), format!("route {net}")));
                }
            }
        }
        if clashes.is_empty() && new.has_api_entries() {
            clashes = edit::judge(&new.whole_config(), None);
        }
        valid(new, clashes)
    }

    /// Whether there is anything that came through the API.
    pub fn has_api_entries(&self) -> bool {
        let is_api = |origin: Origin| origin == Origin::Api;
        self.gateways.iter().any(|entry| is_api(entry.origin))
            || self.ports.values().any(|entry| is_api(entry.origin))
            || self.peers.values().any(|entry| is_api(entry.origin))
            || self.routes.values().any(|entry| is_api(entry.origin))
            || self.acls.counts(Origin::Api) != [0; 3]
    }
}

fn valid(new: Desired, problems: Vec<Problem>) -> Result<Desired, Refused> {
    if problems.is_empty() { Ok(new) } else { Err(Refused::Invalid(problems)) }
}

/// Keeps what came through the API; what the file has too, and otherwise, is a clash.
pub(super) fn keep<T: Clone + PartialEq>(
    old: &imbl::OrdMap<Name, Entry<T>>,
    new: &mut imbl::OrdMap<Name, Entry<T>>,
    mut clash: impl FnMut(&Name),
) {
    for (name, entry) in old.iter().filter(|(_, entry)| entry.origin == Origin::Api) {
        match new.get(name) {
            None => drop(new.insert(name.clone(), entry.clone())),
            Some(known) if known.value == entry.value => {}
            Some(_) => clash(name),
        }
    }
}

fn clash(what: String, words: String) -> Problem {
    Problem::whole(format!(
        "{what} came through the API and the file has another one; expected one of them: take that \
         out of the file, or delete this (`cableway del {words}`)"
    ))
}
