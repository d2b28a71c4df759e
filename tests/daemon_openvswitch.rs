//! With another kind of node: Open vSwitch, whose datapath in user space speaks VXLAN and Geneve. Needs
//! root, and Open vSwitch (`./setup.sh compare`).
#![allow(clippy::unwrap_used)]

mod daemon_support;

use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::iperf::Iperf;
use daemon_support::two::{Two, finish};
use daemon_support::{Space, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// The MACs of the inner Ethernet frames' ends.
const A_MAC: &str = "02:00:00:00:0a:0a";
const B_MAC: &str = "02:00:00:00:0b:0b";
/// Addresses of the underlay with their prefix length, and the MTU that is left to pods.
const V4: (&str, &str, u8, u16) = ("192.168.70.1", "192.168.70.2", 24, 1450);
const V6: (&str, &str, u8, u16) = ("fd00:70::1", "fd00:70::2", 64, 1430);

/// Open vSwitch in a namespace, where nothing is shared with one that the machine may run. It gives `eth0`
/// and its address to the bridge `underlay`; the bridge `pods` joins its own device, which is the one pod,
/// to the tunnel.
struct OpenVswitch<'a> {
    space: &'a Space,
    directory: PathBuf,
}

impl<'a> OpenVswitch<'a> {
    /// None where it is not installed.
    fn start(space: &'a Space) -> Option<OpenVswitch<'a>> {
        if !Path::new(SCHEMA).exists() {
            let what = "Open vSwitch is not here; `./setup.sh compare` installs it";
            assert!(std::env::var_os("CI").is_none(), "{what}");
            eprintln!("not tested: {what}");
            return None;
        }
        let directory = std::env::temp_dir().join(format!("{}-ovs", space.name));
        fs::create_dir_all(&directory).unwrap();
        let ovs = OpenVswitch { space, directory };
        let database = ovs.file("database");
        run("ovsdb-tool", &["create", &database, SCHEMA]);
        ovs.launch("ovsdb-server", &format!("{database} --remote=punix:{}", ovs.file("socket")));
        ovs.vsctl(
            "--no-wait set Open_vSwitch . other_config:pmd-maxsleep=50 \
             other_config:n-handler-threads=1 other_config:n-revalidator-threads=1",
        );
        ovs.launch("ovs-vswitchd", &format!("unix:{}", ovs.file("socket")));
        Some(ovs)
    }

    /// Its end of a tunnel of this kind, network 7.
    fn connect(&self, kind: &str, (remote, local, len, mtu): (&str, &str, u8, u16)) {
        let link = self.space.ip("-oneline link show eth0");
        let mac = link.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        self.space.ip("address flush dev eth0");
        // By AF_XDP: from a packet socket's device the kernel would take the tunnel's packets, too.
        self.vsctl(&format!(
            "add-br underlay -- set Bridge underlay datapath_type=netdev \
             other_config:hwaddr={mac} -- add-port underlay eth0 \
             -- set Interface eth0 type=afxdp options:n_rxq=1 \
             -- add-br pods -- set Bridge pods datapath_type=netdev fail-mode=secure \
             other_config:hwaddr={B_MAC} -- add-port pods tunnel -- set Interface tunnel \
             type={kind} options:remote_ip={remote} options:key=7 ofport_request=1"
        ));
        let nodad = if local.contains(':') { "nodad" } else { "" };
        self.space.ip(&format!("address add {local}/{len} dev underlay {nodad}"));
        self.space.ip("link set underlay up");
        self.space.ip("address add 10.9.2.2/32 dev pods");
        self.space.ip(&format!("link set pods up mtu {mtu}"));
        self.space.ip("route add 10.9.1.0/24 dev pods via 10.9.1.1 onlink");
        self.space.ip(&format!("neighbour add 10.9.1.1 lladdr {A_MAC} dev pods nud permanent"));
        self.flow("in_port=1,actions=output:LOCAL");
        self.flow("in_port=LOCAL,actions=output:1");
    }

    /// Puts a flow in place of the one that matches the same packets.
    fn flow(&self, flow: &str) {
        self.ofctl("add-flow", flow);
    }

    fn ofctl(&self, what: &str, words: &str) {
        run("ovs-ofctl", &[what, &format!("unix:{}", self.file("pods.mgmt")), words]);
    }

    fn vsctl(&self, words: &str) {
        let database = format!("--db=unix:{}", self.file("socket"));
        let mut all = vec![database.as_str(), "--timeout=20"];
        all.extend(words.split_whitespace());
        run("ovs-vsctl", &all);
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Starts a program; it leaves us when it is ready.
    fn launch(&self, program: &str, words: &str) {
        let file = |kind: &str| self.file(&format!("{program}.{kind}"));
        let (pid, control, log) = (file("pid"), file("control"), file("log"));
        self.space.exec(&format!(
            "env OVS_RUNDIR={} {program} {words} --pidfile={pid} --unixctl={control} \
             --log-file={log} -vconsole:off --detach --no-chdir",
            self.directory.display()
        ));
    }

    fn end(&self, program: &str, cleanup: &[&str]) {
        let pid = fs::read_to_string(self.file(&format!("{program}.pid"))).unwrap_or_default();
        let Ok(pid) = pid.trim().parse::<u32>() else { return };
        let control = format!("--target={}", self.file(&format!("{program}.control")));
        let _ = Command::new("ovs-appctl").args([&control, "exit"]).args(cleanup).status();
        let is_there = || Path::new(&format!("/proc/{pid}")).exists();
        let patience = Instant::now() + Duration::from_secs(5);
        while is_there() && Instant::now() < patience {
            sleep(Duration::from_millis(20));
        }
        if is_there() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

impl Drop for OpenVswitch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.file("ovs-vswitchd.log")).unwrap_or_default();
            eprintln!("--- log of ovs-vswitchd:\n{log}");
        }
        self.end("ovs-vswitchd", &["--cleanup"]);
        self.end("ovsdb-server", &[]);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Our node, with that of Open vSwitch for a peer.
fn node(two: &Two, kind: &str, ends: (&str, &str, u8, u16)) -> Daemon {
    let (local, remote, len, _) = ends;
    if local.contains(':') {
        two.a.ip(&format!("address add {local}/{len} dev eth0 nodad"));
    }
    let tunnel = format!("[[tunnel.{kind}]]\nmac = \"{A_MAC}\"\n");
    let by = format!("tunnel = \"{kind}\"\nvtep-mac = \"{B_MAC}\"\n");
    let config = two.config("a", "eth0", remote).replace("[[tunnel.vxlan]]\n", &tunnel);
    let mut daemon = Daemon::new(&two.a, &config.replace("tunnel = \"vxlan\"\n", &by));
    daemon.start(&two.a);
    daemon
}

/// TCP passes through the tunnel, both ways, and nothing that came was found wrong.
fn carries(kind: &str, ends: (&str, &str, u8, u16)) {
    let two = Two::new();
    let Some(ovs) = OpenVswitch::start(&two.b) else { return };
    ovs.connect(kind, ends);
    let mut daemon = node(&two, kind, ends);
    two.a1.reaches("10.9.2.2");
    let second = Duration::from_secs(1);
    let there = Iperf::start((&two.a1, &two.b), ("10.9.2.2", 5201), second, "").finish();
    let back = Iperf::start((&two.b, &two.a1), ("10.9.1.2", 5202), second, "").finish();
    for arrived in [there, back] {
        assert!(arrived.intervals.iter().sum::<u64>() > 1_000_000, "{arrived:?}");
    }
    for reason in ["decap.header", "decap.outer_checksum", "decap.unknown_vni", "decap.udp"] {
        assert_eq!(daemon.dropped(reason), 0, "{reason}");
    }
    if kind == "geneve" {
        options(&two, &ovs, &daemon);
    }
    finish([&mut daemon]);
}

/// An option that we need not know is skipped; one that we would have to is not.
fn options(two: &Two, ovs: &OpenVswitch<'_>, daemon: &Daemon) {
    ovs.ofctl("add-tlv-map", "{class=0xffff,type=0x01,len=8}->tun_metadata0");
    ovs.ofctl("add-tlv-map", "{class=0xffff,type=0x81,len=4}->tun_metadata1");
    ovs.flow("in_port=LOCAL,actions=set_field:0x1234->tun_metadata0,output:1");
    two.a1.reaches("10.9.2.2");
    assert_eq!(daemon.dropped("decap.header"), 0);
    ovs.flow("in_port=LOCAL,actions=set_field:0x1234->tun_metadata1,output:1");
    wait_for("a packet to be refused", || {
        two.a1.pings("10.9.2.2");
        daemon.dropped("decap.header") > 0
    });
    assert!(!two.a1.pings("10.9.2.2"));
}

#[test]
fn vxlan_over_ipv4() {
    carries("vxlan", V4);
}

#[test]
fn vxlan_over_ipv6() {
    carries("vxlan", V6);
}

#[test]
fn geneve_over_ipv4() {
    carries("geneve", V4);
}

#[test]
fn geneve_over_ipv6() {
    carries("geneve", V6);
}
