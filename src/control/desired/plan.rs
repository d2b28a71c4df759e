//! What must be done to get from one desired state to another. A pure function: nothing is done
//! here, and what can't be done is known before anything is.

use super::Desired;
use crate::config::{Config, DeviceName, Name, Netns, Peer, Port, Via};
use crate::control::devices::Settings;
use imbl::ordmap::DiffItem;
use ipnet::IpNet;
use std::collections::HashMap;
use std::sync::Arc;

/// The difference between two states.
#[derive(Debug, Default)]
pub struct Plan {
    /// Ports to be opened. One that becomes another device is among these and among
    /// [`closed`](Self::closed).
    pub opened: Vec<Arc<Port>>,
    /// Ports to be closed, afterwards.
    pub closed: Vec<Name>,
    /// Devices that stay, and are set up otherwise.
    pub adjusted: Vec<Adjustment>,
    /// Peers that are new, have changed, or are gone.
    pub peers: Vec<Name>,
    /// Prefixes that may lead elsewhere, or to the same under another number; sorted, each once.
    pub routes: Vec<IpNet>,
    /// Whether tunnels have changed.
    pub has_other_tunnels: bool,
    /// Whether policies, or what they speak of, have changed.
    pub has_other_policies: bool,
    /// Whether anything but routes and policies has changed.
    pub is_structural: bool,
}

/// How a device that stays is to be set up.
#[derive(Debug)]
pub struct Adjustment {
    /// The port.
    pub port: Arc<Port>,
    /// How it is now.
    pub from: Settings,
    /// How it shall be.
    pub to: Settings,
}

/// Something can't be changed while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// What.
    pub subject: Subject,
    /// Why not, and what to do.
    pub message: String,
}

/// What a [`Fixed`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A section of the config, such as `workers`, or a key within: `gateway.mac`.
    Section(&'static str),
    /// A port.
    Port(Name),
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        !self.is_structural && !self.has_other_policies && self.routes.is_empty()
    }
}

/// What must be done to get from `old` to `new`.
///
/// # Errors
/// With all that can't be done while the daemon runs.
pub fn plan(old: &Desired, new: &Desired) -> Result<Plan, Vec<Fixed>> {
    let mut fixed = fixed_sections(&old.base, &new.base);
    let mut plan = Plan::default();
    for item in old.routes.diff(&new.routes) {
        let (net, changed) = match item {
            DiffItem::Add(net, _) | DiffItem::Remove(net, _) => (net, true),
            DiffItem::Update { old, new } => (new.0, old.1.value != new.1.value),
        };
        if changed {
            plan.routes.push(*net);
        }
    }
    plan.has_other_tunnels = old.base.tunnel != new.base.tunnel;
    plan.is_structural = plan.has_other_tunnels;
    plan.has_other_policies =
        old.acls != new.acls || old.base.acl != new.base.acl || old.base.tier != new.base.tier;
    plan.gateways(old, new);
    plan.peers(old, new);
    plan.ports(old, new);
    plan.routes.sort_unstable();
    plan.routes.dedup();
    fixed.extend(plan.taken_over(old));
    if fixed.is_empty() { Ok(plan) } else { Err(fixed) }
}

impl Plan {
    fn gateways(&mut self, old: &Desired, new: &Desired) {
        let (old, new) = (addresses(old), addresses(new));
        if old != new {
            self.is_structural = true;
            self.routes.extend(old.into_iter().chain(new).map(IpNet::from));
        }
    }

    fn peers(&mut self, old: &Desired, new: &Desired) {
        let subnets = |peer: &Peer| peer.subnets.iter().map(|net| net.net()).collect::<Vec<_>>();
        for item in old.peers.diff(&new.peers) {
            match item {
                DiffItem::Add(name, peer) => {
                    self.peers.push(name.clone());
                    self.routes.extend(subnets(&peer.value));
                }
                DiffItem::Remove(name, peer) => {
                    self.peers.push(name.clone());
                    self.routes.extend(subnets(&peer.value));
                }
                DiffItem::Update { old, new } if old.1.value != new.1.value => {
                    self.peers.push(new.0.clone());
                    self.routes.extend(subnets(&old.1.value));
                    self.routes.extend(subnets(&new.1.value));
                }
                DiffItem::Update { .. } => continue,
            }
            self.is_structural = true;
        }
    }

    fn ports(&mut self, old: &Desired, new: &Desired) {
        for (name, entry) in &old.ports {
            let port = &entry.value;
            match new.ports.get(name).map(|entry| &entry.value) {
                None => self.close(old, port),
                Some(now) if is_same_device(port, now) => self.adjust((old, port), (new, now)),
                Some(now) => {
                    self.close(old, port);
                    self.open(new, now);
                }
            }
        }
        let added = new.ports.iter().filter(|(name, _)| !old.ports.contains_key(*name));
        for (_, entry) in added {
            self.open(new, &entry.value);
        }
    }

    fn open(&mut self, new: &Desired, port: &Arc<Port>) {
        self.is_structural = true;
        self.opened.push(port.clone());
        self.repaint(new, port);
    }

    fn close(&mut self, old: &Desired, port: &Arc<Port>) {
        self.is_structural = true;
        self.closed.push(port.name.clone());
        self.repaint(old, port);
    }

    fn adjust(
        &mut self,
        (old, before): (&Desired, &Arc<Port>),
        (new, now): (&Desired, &Arc<Port>),
    ) {
        let from = Settings::of(before, &addresses(old));
        let to = Settings::of(now, &addresses(new));
        if from != to {
            let port = now.clone();
            self.adjusted.push(Adjustment { port, from, to });
        }
        if before != now {
            self.is_structural = true;
            self.repaint(old, before);
            self.repaint(new, now);
        }
    }

    /// The routes that name a port or a station on it.
    fn repaint(&mut self, state: &Desired, port: &Port) {
        self.routes.extend(port.addresses.iter().map(|own| own.host()));
        self.routes.extend(state.prefixes_by(&Via::Port(port.name.clone())));
    }

    /// Devices are opened before others are closed: a name can't pass from one to the other.
    fn taken_over(&self, old: &Desired) -> Vec<Fixed> {
        let closed = self.closed.iter().filter_map(|name| old.ports.get(name));
        let closed = closed.flat_map(|entry| devices(&entry.value).map(|d| (d, &entry.value.name)));
        let closed: HashMap<_, _> = closed.collect();
        let fixed = self.opened.iter().filter_map(|port| {
            let (device, holder) = devices(port).find_map(|d| Some((d.clone(), *closed.get(&d)?)))?;
            let message = format!(
                "port `{}` is to have device `{}`, which port `{holder}` has while the daemon runs; \
                 delete that port first, and then add this one",
                port.name, device.1
            );
            Some(Fixed { subject: Subject::Port(port.name.clone()), message })
        });
        fixed.collect()
    }
}

fn addresses(state: &Desired) -> Vec<std::net::IpAddr> {
    state.gateways.iter().map(|entry| entry.value.ip()).collect()
}

/// Whether two ports of one name are one device, which may be set up otherwise.
fn is_same_device(a: &Port, b: &Port) -> bool {
    let identity = |port: &Port| {
        (port.kind, port.netns.clone(), port.device.clone(), port.host_end(), port.attach)
    };
    identity(a) == identity(b)
}

/// The devices of a port, each in its namespace; `None` is ours.
fn devices(port: &Port) -> impl Iterator<Item = (Option<Netns>, DeviceName)> {
    let own = (port.netns.clone(), port.device.clone());
    std::iter::once(own).chain(port.host_end().map(|host| (None, host)))
}

fn fixed_sections(old: &Config, new: &Config) -> Vec<Fixed> {
    let sections = [
        ("node", old.node != new.node),
        ("workers", old.workers != new.workers),
        ("memory", old.memory != new.memory),
        ("uplink", old.uplink != new.uplink),
        ("gateway.mac", old.gateway.mac != new.gateway.mac),
        ("gateway.masquerade", old.gateway.masquerade != new.gateway.masquerade),
    ];
    let changed = sections.into_iter().filter(|(_, changed)| *changed);
    let fixed = changed.map(|(section, _)| {
        let name = match section {
            "uplink" => "`[[uplink]]`".to_owned(),
            "gateway.mac" => "`mac` of `[gateway]`".to_owned(),
            "gateway.masquerade" => "`masquerade` of `[gateway]`".to_owned(),
            section => format!("`[{section}]`"),
        };
        let message = format!(
            "{name} has changed, which can't be while the daemon runs; restart it for that, or put \
             back what it started with"
        );
        Fixed { subject: Subject::Section(section), message }
    });
    fixed.collect()
}
