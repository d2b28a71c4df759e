//! Cableway: this very program, as a daemon on the node.

use super::super::arena::{DIRECTORY, GATEWAY_MAC, POD_DEVICE, POD_MTU, TUNNEL_PORT, UPLINK, VNI};
use super::super::{Error, Result};
use super::{Attachment, Contender, Mode, Place, Router};
use crate::control::report::Ports;
use crate::lab::daemon::{Daemon, Files};

/// Cableway with pods' ports of one kind.
#[derive(Debug)]
pub(super) struct Cableway {
    name: &'static str,
    about: &'static str,
    kind: &'static str,
    attachment: Attachment,
}

impl Cableway {
    /// Pods by AF_XDP.
    pub(super) const AF_XDP: Cableway = Cableway {
        name: "cableway-af_xdp",
        about: "this program: pods by AF_XDP on veths, the uplink by AF_XDP",
        kind: "af_xdp",
        attachment: Attachment::Veth,
    };
    /// Pods by TUN.
    pub(super) const TUN: Cableway = Cableway {
        name: "cableway-tun",
        about: "this program: pods by TUN, the uplink by AF_XDP",
        kind: "tun",
        attachment: Attachment::Tun,
    };

    /// The daemon's config, as a user would write it.
    fn config(&self, place: &Place<'_>, files: &Files) -> String {
        let Place { site, peer, core, mode } = place;
        let mode = match mode {
            Mode::Poll => "poll",
            Mode::Adaptive => "adaptive",
        };
        format!(
            r#"# Node {name} of a bench.
[node]
name = "{name}"
socket = {socket:?}

[workers]
cores = [{core}]
mode = "{mode}"

[[uplink]]
device = "{UPLINK}"

[[tunnel.vxlan]]
name = "vxlan"
vni = {VNI}
port = {TUNNEL_PORT}
udp-checksum = false
mac = "{vtep_mac}"

[gateway]
addresses = ["{gateway}", "169.254.1.1", "fe80::1"]
mac = "{GATEWAY_MAC}"

[[port]]
name = "pod"
kind = "{kind}"
netns = "{netns}"
device = "{POD_DEVICE}"
addresses = ["{pod}/24"]
mtu = {POD_MTU}

[[peer]]
name = "{peer_name}"
address = "{peer_address}"
tunnel = "vxlan"
subnets = ["{subnet}/24"]
vtep-mac = "{peer_mac}"
"#,
            name = site.name,
            socket = files.socket(),
            vtep_mac = site.vtep_mac,
            gateway = site.gateway,
            kind = self.kind,
            netns = site.pod_netns,
            pod = site.pod,
            peer_name = peer.name,
            peer_address = peer.address,
            subnet = peer.subnet,
            peer_mac = peer.vtep_mac,
        )
    }
}

impl Contender for Cableway {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn start(&self, place: &Place<'_>) -> Result<Box<dyn Router>> {
        let files = Files::of(DIRECTORY, place.site.name);
        let config = self.config(place, &files);
        let daemon = Daemon::spawn(place.site.name, place.site.netns, files, &config)?;
        let mut running = Running { daemon, attachment: self.attachment, modes: Vec::new() };
        running.daemon.wait_ready()?;
        let ports: Ports = running.daemon.get("show/ports")?;
        let mode = |port: &crate::control::report::Port| {
            format!("{} ({}): {}", port.name, port.kind, port.mode)
        };
        running.modes = ports.ports.iter().map(mode).collect();
        let slow =
            ports.ports.iter().find(|port| port.kind == "af_xdp" && port.mode.contains("generic"));
        if let Some(port) = slow {
            return Err(Error::program(
                format!("measure {}", self.name),
                format!("port {} has no native XDP here: {}", port.name, port.mode),
            ));
        }
        Ok(Box::new(running))
    }
}

/// A daemon at work.
struct Running {
    daemon: Daemon,
    attachment: Attachment,
    modes: Vec<String>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.daemon.pid())
    }
}

impl Router for Running {
    fn attachment(&self) -> Attachment {
        self.attachment
    }

    fn describe(&self) -> Vec<String> {
        self.modes.clone()
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.daemon.pid()]
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.daemon.stop();
    }
}
