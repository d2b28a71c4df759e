//! Open vSwitch with its datapath in user space, on AF_XDP ports, programmed for the same way.

use super::super::Result;
use super::super::arena::{DIRECTORY, GATEWAY_MAC, Site, TUNNEL_PORT, UPLINK, VNI, offload};
use super::super::arena::{POD_DEVICE, POD_MTU};
use super::kernel::{POD_END, POD_MAC, pod_addresses};
use super::{Attachment, Contender, Mode, Place, Router, is_installed};
use crate::lab::shell::{self, sh};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Its programs.
const PROGRAMS: [&str; 2] = ["ovsdb-server", "ovs-vswitchd"];
/// Where its package puts the form of its database.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// The longest that its thread sleeps where it may, microseconds: as long as its makers advise.
const SLEEP: u32 = 50;

/// How long its processes may take to end; then they are killed with all that is in the namespace.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The bridge of the pod and the tunnel, and that of the uplink.
const PODS: &str = "br-pods";
const UNDERLAY: &str = "br-underlay";

/// With `type=afxdp` ports and one polling thread.
#[derive(Debug)]
pub(super) struct OvsAfxdp;

impl Contender for OvsAfxdp {
    fn name(&self) -> &'static str {
        "ovs-afxdp"
    }

    fn about(&self) -> &'static str {
        "Open vSwitch's user-space datapath, pods and uplink by AF_XDP, one polling thread"
    }

    fn lacks(&self) -> Option<String> {
        let missing = PROGRAMS.into_iter().find(|program| !is_installed(program));
        missing.map(|it| format!("found no {it}; `./setup.sh compare` installs Open vSwitch"))
    }

    fn start(&self, place: &Place<'_>) -> Result<Box<dyn Router>> {
        // Dropped, and so removed, whatever fails.
        let mut running = Running { site: *place.site, processes: Vec::new() };
        veth(place.site)?;
        running.launch(place)?;
        running.connect(place)?;
        Ok(Box::new(running))
    }
}

/// The pod's veth. What it sends must be complete: AF_XDP can't tell what is not.
fn veth(site: &Site) -> Result<()> {
    let Site { netns, pod_netns, .. } = site;
    sh!("ip link add {POD_END} netns {netns} mtu {POD_MTU} type veth \
             peer name {POD_DEVICE} netns {pod_netns} address {POD_MAC} mtu {POD_MTU}")?;
    sh!("ip -n {netns} link set {POD_END} up")?;
    sh!("ip -n {pod_netns} link set {POD_DEVICE} up")?;
    offload(pod_netns, POD_DEVICE, "tx off")?;
    pod_addresses(site)
}

/// At work.
#[derive(Debug)]
struct Running {
    site: Site,
    processes: Vec<u32>,
}

impl Running {
    fn directory(&self) -> PathBuf {
        Path::new(DIRECTORY).join(format!("ovs-{}", self.site.name))
    }

    fn file(&self, name: &str) -> String {
        self.directory().join(name).display().to_string()
    }

    /// Starts its two processes; each returns when it is ready.
    fn launch(&mut self, place: &Place<'_>) -> Result<()> {
        let directory = self.directory();
        fs::create_dir_all(&directory).map_err(|source| {
            super::super::Error::io(format!("make {}", directory.display()), source)
        })?;
        let (netns, database) = (self.site.netns, self.file("database"));
        let _ = fs::remove_file(&database);
        sh!("ovsdb-tool create {database} {SCHEMA}")?;
        let env = format!("env OVS_RUNDIR={}", directory.display());
        let socket = self.file("socket");
        let files = self.files(PROGRAMS[0]);
        sh!("ip netns exec {netns} {env} ovsdb-server {database} --remote=punix:{socket} {files}")?;
        self.note(PROGRAMS[0]);
        let Place { core, mode, .. } = place;
        let sleep = if *mode == Mode::Adaptive { SLEEP } else { 0 };
        self.vsctl(&format!(
            "--no-wait set Open_vSwitch . other_config:pmd-cpu-mask={:#x} \
             other_config:pmd-maxsleep={sleep} other_config:n-handler-threads=1 \
             other_config:n-revalidator-threads=1",
            1u64 << core
        ))?;
        let files = self.files(PROGRAMS[1]);
        sh!("ip netns exec {netns} {env} ovs-vswitchd unix:{socket} {files}")?;
        self.note(PROGRAMS[1]);
        Ok(())
    }

    /// Bridges, ports, flows, and what it would else ask the network for.
    fn connect(&self, place: &Place<'_>) -> Result<()> {
        let Site { netns, address, mac, pod, vtep_mac, .. } = &self.site;
        let peer = place.peer;
        self.vsctl(&format!(
            "add-br {UNDERLAY} -- set Bridge {UNDERLAY} datapath_type=netdev \
             other_config:hwaddr={mac} -- add-port {UNDERLAY} {UPLINK} \
             -- set Interface {UPLINK} type=afxdp options:n_rxq=1"
        ))?;
        self.vsctl(&format!(
            "add-br {PODS} -- set Bridge {PODS} datapath_type=netdev fail-mode=secure \
             -- add-port {PODS} {POD_END} -- set Interface {POD_END} type=afxdp \
             options:n_rxq=1 ofport_request=1 -- add-port {PODS} tunnel \
             -- set Interface tunnel type=vxlan options:remote_ip={} options:key={VNI} \
             options:dst_port={TUNNEL_PORT} options:csum=false ofport_request=2",
            peer.address
        ))?;
        // The address is the bridge's now, as its manual has it.
        sh!("ip -n {netns} address del {address}/24 dev {UPLINK}")?;
        sh!("ip -n {netns} address add {address}/24 dev {UNDERLAY}")?;
        sh!("ip -n {netns} link set {UNDERLAY} up")?;
        self.appctl(&format!("tnl/arp/set {UNDERLAY} {} {}", peer.address, peer.mac))?;
        let flows = [
            format!(
                "ip,nw_dst={}/24,actions=dec_ttl,set_field:{vtep_mac}->eth_src,\
                 set_field:{}->eth_dst,output:2",
                peer.subnet, peer.vtep_mac
            ),
            format!(
                "ip,nw_dst={pod},actions=dec_ttl,set_field:{GATEWAY_MAC}->eth_src,\
                 set_field:{POD_MAC}->eth_dst,output:1"
            ),
        ];
        for flow in flows {
            sh!("ovs-ofctl add-flow unix:{} {flow}", self.file(&format!("{PODS}.mgmt")))?;
        }
        Ok(())
    }

    fn vsctl(&self, words: &str) -> Result<String> {
        Ok(sh!("ovs-vsctl --db=unix:{} --timeout=20 {words}", self.file("socket"))?)
    }

    fn appctl(&self, words: &str) -> Result<String> {
        Ok(sh!("ovs-appctl --target={} {words}", self.control(PROGRAMS[1]))?)
    }

    fn control(&self, program: &str) -> String {
        self.file(&format!("{program}.control"))
    }

    /// Where a process keeps what; it leaves us when it is ready.
    fn files(&self, program: &str) -> String {
        let file = |kind: &str| self.file(&format!("{program}.{kind}"));
        let (pid, control, log) = (file("pid"), file("control"), file("log"));
        format!("--pidfile={pid} --unixctl={control} --log-file={log} --detach --no-chdir")
    }

    /// Remembers a process that was started.
    fn note(&mut self, program: &str) {
        let pid = fs::read_to_string(self.file(&format!("{program}.pid"))).ok();
        self.processes.extend(pid.and_then(|pid| pid.trim().parse::<u32>().ok()));
    }
}

impl Router for Running {
    fn attachment(&self) -> Attachment {
        Attachment::Veth
    }

    fn describe(&self) -> Vec<String> {
        let version = shell::attempt("ovs-vswitchd --version").unwrap_or_default();
        let version = version.lines().next().unwrap_or_default().to_owned();
        let mode = |device: &str| {
            let link = shell::attempt(&format!("ip -n {} link show {device}", self.site.netns));
            let is_generic = link.unwrap_or_default().contains("xdpgeneric");
            format!("{device}: {} XDP", if is_generic { "generic" } else { "native" })
        };
        vec![version, mode(POD_END), mode(UPLINK)]
    }

    fn processes(&self) -> Vec<u32> {
        self.processes.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What was not made yet is not there.
        for program in PROGRAMS.iter().rev() {
            let cleanup = if *program == PROGRAMS[1] { " --cleanup" } else { "" };
            let control = self.control(program);
            let _ = shell::attempt(&format!("ovs-appctl --target={control} exit{cleanup}"));
        }
        let ended =
            || self.processes.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        let patience = Instant::now() + END_WITHIN;
        while !ended() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
        let Site { netns, address, .. } = &self.site;
        for device in [POD_END, UNDERLAY, PODS] {
            let _ = shell::attempt(&format!("ip -n {netns} link delete {device}"));
        }
        let _ = shell::attempt(&format!("ip -n {netns} address add {address}/24 dev {UPLINK}"));
        let _ = fs::remove_dir_all(self.directory());
    }
}
