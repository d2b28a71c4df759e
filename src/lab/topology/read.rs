//! From a topology file to a topology: what is valid, and what follows from it.

use super::{
    Dual, Error, Expectation, Node, Overrides, Pod, Policies, Question, Topology, Tunnel, WIRE,
    netns,
};
use crate::config::DIRECT;
use crate::lab::file::{self, Answer, Family, File, Router, UnderlayKind};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::ops::Range;
use toml::Spanned;

/// Bounded by `wire-<name>`, the longest device name made of one (15 bytes, `IFNAMSIZ` - 1).
const NAME_MAX: usize = 10;

/// IPv6 needs 1,280 bytes (RFC 8200 §5), tunnels at most 100 more.
const UNDERLAY_MTU_MIN: u16 = 1380;

/// A file under judgement.
pub(super) struct Reader<'a> {
    /// What errors call it.
    pub(super) file: &'a str,
    /// What it says.
    pub(super) text: &'a str,
}

impl Reader<'_> {
    fn error(&self, span: Range<usize>, message: impl Into<String>) -> Error {
        let before = &self.text[..span.start.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        Error { file: self.file.into(), line, column, message: message.into() }
    }

    /// Everything in it, or the first thing that is wrong.
    pub(super) fn read(&self, overrides: &Overrides) -> Result<Topology, Error> {
        let file: File = toml::from_str(self.text)
            .map_err(|e| self.error(e.span().unwrap_or(0..0), e.message().replace('\n', "; ")))?;
        let family = overrides.family.unwrap_or(file.overlay.family);
        let tunnel = self.tunnel(&file, overrides)?;
        let nodes = self.nodes(&file, family)?;
        for node in file.nodes.get_ref() {
            self.router(node, tunnel.as_ref())?;
        }
        let kind = *file.underlay.kind.get_ref();
        if kind == UnderlayKind::Veth && nodes.len() != 2 {
            let message = format!("a veth joins two nodes, found {}", nodes.len());
            return Err(self.error(file.underlay.kind.span(), message));
        }
        let mtu = *file.underlay.mtu.get_ref();
        if mtu < UNDERLAY_MTU_MIN {
            let message = format!("an MTU of {UNDERLAY_MTU_MIN} or more is needed, found {mtu}");
            return Err(self.error(file.underlay.mtu.span(), message));
        }
        let expectations = self.expectations(&file, &nodes)?;
        Ok(Topology {
            file: self.file.into(),
            underlay: kind,
            underlay_mtu: mtu,
            family,
            io: overrides.io.unwrap_or(file.overlay.io),
            tunnel,
            workers: file.workers,
            memory: file.memory,
            nodes,
            policies: Policies {
                acl: file.acl,
                tier: file.tier,
                set: file.set,
                policy: file.policy,
            },
            expectations,
        })
    }

    /// The tunnel that the overlay uses: that of the kind asked for, or the only one; or none.
    fn tunnel(&self, file: &File, overrides: &Overrides) -> Result<Option<Tunnel>, Error> {
        let default;
        let (span, tunnels) = match &file.tunnel {
            Some(tunnels) => (tunnels.span(), tunnels.get_ref()),
            None => {
                default = default_tunnels();
                (0..0, &default)
            }
        };
        let wanted = overrides.encap.as_deref().or(file.overlay.encap.as_deref());
        let wanted = wanted.or(file.tunnel.is_none().then_some("vxlan"));
        if wanted == Some(DIRECT) {
            return Ok(None);
        }
        let chosen = match wanted {
            Some(kind) => tunnels.get_key_value(kind),
            None => tunnels.iter().next().filter(|_| tunnels.len() == 1),
        };
        let table =
            chosen.and_then(|(kind, list)| Some((kind, list.as_array()?.first()?.as_table()?)));
        let Some((kind, table)) = table else {
            let found = tunnels.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = match wanted {
                Some(kind) => format!("expected a table [[tunnel.{kind}]] for the overlay"),
                None => "expected one kind of tunnel, or overlay.encap to name one".into(),
            };
            return Err(self.error(span, format!("{message}; found: {found}")));
        };
        let configs =
            toml::Table::from_iter([(kind.clone(), toml::Value::from(vec![table.clone()]))]);
        let configs: encap::Configs = configs.try_into().map_err(|e: toml::de::Error| {
            self.error(span, format!("tunnel.{kind}: {}", e.message()))
        })?;
        let (name, tunnel) = configs.tunnels().next().expect("one table makes one tunnel");
        Ok(Some(Tunnel { table: table.clone(), name: name.into(), tunnel }))
    }

    fn nodes(&self, file: &File, family: Family) -> Result<Vec<Node>, Error> {
        let list = file.nodes.get_ref();
        if list.len() < 2 {
            let message = format!("a lab has two [[node]] tables or more, found {}", list.len());
            return Err(self.error(file.nodes.span(), message));
        }
        let mut names = HashMap::from([(WIRE, 0..0)]);
        let mut nodes = Vec::new();
        for (index, node) in list.iter().enumerate() {
            for name in std::iter::once(&node.name).chain(&node.pods) {
                self.name(name)?;
                if names.insert(name.get_ref(), name.span()).is_some() {
                    let message = format!("the name {:?} is taken", name.get_ref());
                    return Err(self.error(name.span(), message));
                }
            }
            let built = self.node(index, node, file)?;
            if built.underlay.of(family).is_none() {
                let message = format!(
                    "node {:?} needs an underlay address of the tunnel's family, {family}",
                    built.name
                );
                return Err(self.error(node.name.span(), message));
            }
            nodes.push(built);
        }
        self.distinct(list)?;
        Ok(nodes)
    }

    fn node(&self, index: usize, node: &file::Node, file: &File) -> Result<Node, Error> {
        let name = node.name.get_ref().clone();
        let subnets = self.dual(&node.subnets)?;
        for subnet in &node.subnets {
            let net = subnet.get_ref();
            if net.addr() != net.network() {
                let message = format!("{net} has host bits; expected {}", net.trunc());
                return Err(self.error(subnet.span(), message));
            }
            let room = (1u128 << (net.max_prefix_len() - net.prefix_len()).min(126)) - 4;
            if net.max_prefix_len() - net.prefix_len() < 3 || node.pods.len() as u128 > room {
                let message = format!("{net} has no room for {} pods", node.pods.len());
                return Err(self.error(subnet.span(), message));
            }
        }
        let pods = node.pods.iter().enumerate().map(|(i, pod)| Pod {
            name: pod.get_ref().clone(),
            netns: netns(pod.get_ref()),
            addresses: subnets.hosts(2 + i),
            labels: of(&file.labels, pod).cloned().unwrap_or_default(),
            mtu: of(&file.mtu, pod).copied(),
        });
        Ok(Node {
            netns: netns(&name),
            index,
            underlay: self.dual(&node.underlay)?,
            subnets,
            gateway: subnets.hosts(1),
            host: Dual {
                v4: subnets.v4.map(|net| Ipv4Addr::from_bits(net.broadcast().to_bits() - 1)),
                v6: subnets.hosts(0xfe).v6,
            },
            vtep_mac: format!("02:cb:00:00:{:02x}:{:02x}", (index + 1) >> 8, (index + 1) & 0xff),
            pods: pods.collect(),
            router: *node.router.get_ref(),
            name,
        })
    }

    /// Those that speak of pods that there are, by what clients can ask.
    fn expectations(&self, file: &File, nodes: &[Node]) -> Result<Vec<Expectation>, Error> {
        let is_pod = |name: &str| nodes.iter().flat_map(|n| &n.pods).any(|pod| pod.name == name);
        let expected = file.expectations.iter();
        let named = file.labels.keys().chain(file.mtu.keys());
        for name in named.chain(expected.clone().flat_map(|e| [&e.from, &e.to])) {
            if !is_pod(name.get_ref()) {
                let message =
                    format!("there is no pod {:?}; expected one of a node's", name.get_ref());
                return Err(self.error(name.span(), message));
            }
        }
        expected.map(|expected| self.expectation(expected)).collect()
    }

    fn expectation(&self, expected: &file::Expectation) -> Result<Expectation, Error> {
        let service = expected.service.get_ref();
        let question = match (service.protocol.to_string().as_str(), service.port) {
            ("icmp", None) => Question::Ping,
            ("tcp", Some(port)) => Question::Tcp(port),
            ("udp", Some(port)) => Question::Udp(port),
            _ => {
                let message = "expected icmp, or tcp or udp and a port: what clients can ask";
                return Err(self.error(expected.service.span(), message));
            }
        };
        let (answer, is_wrong) = match (expected.answer, question) {
            (Answer::Large, Question::Tcp(_)) | (Answer::Refusal, Question::Udp(_)) => {
                (expected.answer, !expected.passes)
            }
            (answer, _) => (answer, answer != Answer::Small),
        };
        if is_wrong {
            let message = "an answer is \"large\" by TCP, or a \"refusal\" to UDP, of what passes";
            return Err(self.error(expected.service.span(), message));
        }
        if expected.passes == expected.drop.is_some() {
            let message =
                format!("check {:?}: expected either passes = true or drop", expected.check);
            return Err(self.error(expected.from.span(), message));
        }
        Ok(Expectation {
            check: format!("policy-{}", expected.check),
            from: expected.from.get_ref().clone(),
            to: expected.to.get_ref().clone(),
            question,
            answer,
            drop: expected.drop.clone(),
        })
    }

    fn name(&self, name: &Spanned<String>) -> Result<(), Error> {
        let text = name.get_ref();
        let valid = (1..=NAME_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if valid {
            return Ok(());
        }
        let message = format!(
            "expected a name of 1 to {NAME_MAX} lower-case letters, digits and hyphens that \
             begins with a letter, found {text:?}"
        );
        Err(self.error(name.span(), message))
    }

    fn dual(&self, nets: &[Spanned<IpNet>]) -> Result<Dual<Ipv4Net, Ipv6Net>, Error> {
        let mut dual = Dual::default();
        for net in nets {
            let twice = match net.get_ref() {
                IpNet::V4(v4) => dual.v4.replace(*v4).is_some(),
                IpNet::V6(v6) => dual.v6.replace(*v6).is_some(),
            };
            if twice {
                let message = format!("{} is the second of its family here", net.get_ref());
                return Err(self.error(net.span(), message));
            }
        }
        Ok(dual)
    }

    /// No subnet overlaps another, no underlay address is given twice.
    fn distinct(&self, nodes: &[file::Node]) -> Result<(), Error> {
        let mut seen: Vec<(&IpNet, &str)> = Vec::new();
        for node in nodes {
            for subnet in &node.subnets {
                let net = subnet.get_ref();
                let clash = seen.iter().find(|(n, _)| n.contains(net) || net.contains(*n));
                if let Some((other, owner)) = clash {
                    let message = format!("{net} overlaps {other} of node {owner:?}");
                    return Err(self.error(subnet.span(), message));
                }
                seen.push((net, node.name.get_ref()));
            }
        }
        let mut addresses = HashMap::new();
        for node in nodes {
            for address in &node.underlay {
                let name = node.name.get_ref();
                if let Some(owner) = addresses.insert(address.get_ref().addr(), name) {
                    let message = format!("{} is node {owner:?}'s", address.get_ref().addr());
                    return Err(self.error(address.span(), message));
                }
            }
        }
        Ok(())
    }

    /// A kernel node speaks what its preset says; the tunnel must be that.
    fn router(&self, node: &file::Node, tunnel: Option<&Tunnel>) -> Result<(), Error> {
        let Router::KernelVxlan(preset) = *node.router.get_ref() else { return Ok(()) };
        let (vni, port) = preset.vni_and_port();
        let is_it = |Tunnel { tunnel, .. }: &&Tunnel| {
            tunnel.kind() == encap::Kind::Vxlan
                && tunnel.steers() == [encap::Steer::Udp(port)]
                && tunnel.key() == vni
        };
        if tunnel.filter(is_it).is_some() {
            return Ok(());
        }
        let found = tunnel.map_or("none".to_owned(), |tunnel| {
            let table = tunnel.table.to_string().trim().replace('\n', ", ");
            format!("[[tunnel.{}]] with {table}", tunnel.kind())
        });
        let message = format!(
            "this router speaks VXLAN with vni = {vni} and port = {port}; the overlay's tunnel is {found}"
        );
        Err(self.error(node.router.span(), message))
    }
}

/// What flannel, Calico and Open vSwitch speak.
fn default_tunnels() -> toml::Table {
    toml::toml! {
        [[vxlan]]
        name = "vxlan"
        vni = 1
        port = 8472

        [[ipip]]
        name = "ipip"

        [[udp]]
        name = "udp"

        [[geneve]]
        name = "geneve"
        vni = 1
    }
}

/// What a table has for a pod.
fn of<'t, T>(table: &'t BTreeMap<Spanned<String>, T>, pod: &Spanned<String>) -> Option<&'t T> {
    table.iter().find(|(name, _)| name.get_ref() == pod.get_ref()).map(|(_, value)| value)
}
