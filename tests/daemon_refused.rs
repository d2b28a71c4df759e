//! A machine that is not as the config says: one clear error, exit code 1, nothing left. Needs
//! root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use daemon_support::daemon::{Daemon, Ended};
use daemon_support::{Space, sys};
use std::net::UdpSocket;
use std::process::{Command, Stdio};

/// A node with an uplink to nowhere, and a pod's namespace.
struct Machine {
    node: Space,
    pod: Space,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine { node: Space::new("node"), pod: Space::new("pod") };
        machine.node.ip("link add eth0 type veth peer name wire0");
        machine.node.ip("address add 192.168.77.1/24 dev eth0");
        machine.node.ip("link set eth0 up");
        machine.node.ip("link set wire0 up");
        machine
    }

    fn config(&self) -> String {
        format!(
            r#"[node]
name = "m"
[memory]
chunks = 1024
huge-pages = false
[[uplink]]
device = "eth0"
[[tunnel.vxlan]]
vni = 7
port = 8472
[[port]]
name = "first"
kind = "af_xdp"
netns = "{netns}"
device = "first0"
addresses = ["10.9.1.2"]
[[port]]
name = "second"
kind = "tun"
netns = "{netns}"
device = "second0"
addresses = ["10.9.1.3"]
routes = []
[[peer]]
name = "n"
address = "192.168.77.2"
tunnel = "vxlan"
subnets = ["10.9.2.0/24"]
"#,
            netns = self.pod.name
        )
    }

    /// What is on the machine that a daemon might change: devices, addresses, routes, managed
    /// neighbours.
    fn state(&self) -> String {
        let mut state = String::new();
        for space in [&self.node, &self.pod] {
            for table in ["-brief link", "-brief address"] {
                // The second word is whether the wire carries, which takes its time, and so do the
                // addresses that the kernel gives it.
                let words = |line: &str| {
                    let words = line.split_whitespace().skip(2);
                    words.filter(|word| !word.starts_with("fe80:")).collect::<Vec<_>>().join(" ")
                };
                let name = |line: &str| line.split(['@', ' ']).next().unwrap().to_owned();
                let lines = space.ip(table);
                let mut lines: Vec<_> = lines.lines().map(|l| name(l) + " " + &words(l)).collect();
                lines.sort();
                state += &lines.join("\n").replace("NO-CARRIER,", "").replace(",LOWER_UP", "");
            }
            state += &space.ip("route");
            let neighbours = space.ip("neighbour");
            neighbours
                .lines()
                .filter(|line| line.contains("managed"))
                .for_each(|line| state += line);
        }
        state
    }

    /// Runs a node that can't start; checks that it leaves nothing and says one thing, with
    /// `words`.
    fn refuses(&self, config: &str, prepare: impl FnOnce(&Daemon) -> Command, words: &[&str]) {
        let daemon = Daemon::new(&self.node, config);
        let before = self.state();
        let Ended { status, error } = daemon.fail(prepare(&daemon));
        assert_eq!(status.code(), Some(1), "{error}");
        let errors: Vec<_> = error
            .lines()
            .filter(|line| !line.contains(" INFO ") && !line.contains(" WARN "))
            .collect();
        assert_eq!(errors.len(), 1, "one error: {error}");
        for word in words {
            assert!(errors[0].contains(word), "{word:?} in: {}", errors[0]);
        }
        assert_eq!(self.state(), before, "nothing is left");
        assert!(!daemon.socket.exists(), "nor is the socket");
    }

    fn refuses_plainly(&self, config: &str, words: &[&str]) {
        self.refuses(config, |daemon| daemon.command(&self.node, ""), words);
    }
}

#[test]
fn a_missing_uplink() {
    let machine = Machine::new();
    let config = machine.config().replace("\"eth0\"", "\"eth7\"");
    machine.refuses_plainly(&config, &["uplink eth7", "no such device", "eth0", "wire0"]);
}

#[test]
fn no_privileges() {
    let machine = Machine::new();
    let wrapper = "setpriv --bounding-set=-net_admin,-net_raw";
    let prepare = |daemon: &Daemon| daemon.command(&machine.node, wrapper);
    machine.refuses(&machine.config(), prepare, &["CAP_NET_ADMIN", "CAP_NET_RAW", "root"]);
}

#[test]
fn no_tun_driver() {
    let machine = Machine::new();
    // An empty /dev/net, for this command alone; the words after `sh` are the daemon's command
    // line.
    let prepare = |daemon: &Daemon| {
        let inner = daemon.command(&machine.node, "");
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs none /dev/net && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(inner.get_program());
        command.args(inner.get_args());
        command
    };
    machine.refuses(&machine.config(), prepare, &["port second", "/dev/net/tun"]);
}

#[test]
fn a_kernel_without_af_xdp() {
    let machine = Machine::new();
    let prepare = |daemon: &Daemon| {
        let mut command = daemon.command(&machine.node, "");
        sys::without_af_xdp(&mut command);
        command
    };
    machine.refuses(&machine.config(), prepare, &["uplink eth0", "AF_XDP"]);
}

#[test]
fn a_tunnel_port_that_a_kernel_tunnel_has() {
    let machine = Machine::new();
    machine.node.ip("link add flannel.1 type vxlan id 1 dstport 8472 dev eth0");
    machine.node.ip("link set flannel.1 up");
    machine.refuses_plainly(&machine.config(), &["tunnel vxlan", "UDP port 8472", "flannel.1"]);
}

#[test]
fn a_tunnel_port_that_a_process_has() {
    let machine = Machine::new();
    let bind = || UdpSocket::bind("192.168.77.1:8472").unwrap();
    let _socket = cableway::io::netns::within(Some(&machine.node.path()), bind).unwrap();
    machine.refuses_plainly(&machine.config(), &["UDP port 8472 of 192.168.77.1", "ss -ulpn"]);
}

#[test]
fn a_missing_namespace_of_the_last_port() {
    let machine = Machine::new();
    let text = machine.config();
    let at = text.rfind("netns = ").unwrap();
    let config = text[..at].to_owned() + &text[at..].replacen(&machine.pod.name, "ctl-nowhere", 1);
    machine.refuses_plainly(&config, &["port second", "ctl-nowhere", "does not exist"]);
}

#[test]
fn a_device_of_somebody_else_on_our_side() {
    let machine = Machine::new();
    machine.node.ip("link add cw-first type veth peer name theirs0");
    machine.refuses_plainly(&machine.config(), &["port first", "cw-first", "exists already"]);
}

#[test]
fn a_device_of_somebody_else_in_the_pod() {
    let machine = Machine::new();
    machine.pod.ip("link add first0 type veth peer name theirs0");
    let words = ["port first", "first0", "exists already", machine.pod.name.as_str()];
    machine.refuses_plainly(&machine.config(), &words);
    machine.pod.ip("link delete first0");
    machine.pod.ip("link add second0 type veth peer name theirs0");
    machine.refuses_plainly(&machine.config(), &["port second", "second0", "exists already"]);
}

#[test]
fn a_route_that_is_there_already() {
    let machine = Machine::new();
    let config = machine.config().replace("routes = []\n", "");
    machine.refuses_plainly(&config, &["port second", "0.0.0.0/0", "exists", "correct the config"]);
}

#[test]
fn a_peer_that_is_ourselves_or_elsewhere() {
    let machine = Machine::new();
    let config = machine.config().replace("192.168.77.2", "192.168.77.1");
    machine.refuses_plainly(&config, &["peer n", "192.168.77.1", "address of this node"]);
    machine.node.ip("link add other0 type veth peer name other1");
    machine.node.ip("link set other0 up");
    machine.node.ip("route add 192.0.2.0/24 dev other0");
    let config = machine.config().replace("192.168.77.2", "192.0.2.1");
    machine.refuses_plainly(&config, &["peer n", "192.0.2.1", "other0", "[[uplink]]"]);
    let config = machine.config().replace("192.168.77.2", "2001:db8::1");
    machine.refuses_plainly(&config, &["peer n", "2001:db8::1", "no uplink has an address"]);
}

#[test]
fn a_core_that_is_not_there() {
    let machine = Machine::new();
    let config = machine.config() + "[workers]\ncores = [999]\n";
    machine.refuses_plainly(&config, &["core 999"]);
}

#[test]
fn a_second_daemon_on_one_socket() {
    let machine = Machine::new();
    let mut first = Daemon::new(&machine.node, &machine.config());
    first.start(&machine.node);
    let devices = machine.node.ip("-brief link");
    let Ended { status, error } = first.fail(first.command(&machine.node, ""));
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("another daemon") && error.contains("node.sock"), "{error}");
    assert_eq!(machine.node.ip("-brief link"), devices, "the first one's devices are untouched");
    assert!(first.show("ports").contains("second"), "and it goes on");
    assert!(first.end("TERM").status.success());
}

#[test]
fn a_second_daemon_on_the_same_devices() {
    let machine = Machine::new();
    let mut first = Daemon::new(&machine.node, &machine.config());
    first.start(&machine.node);
    let devices = machine.node.ip("-brief link");
    // It has a socket of its own, and no tunnel or uplink that would get in its way first.
    let config = machine.config();
    let ports = config.find("[[port]]").unwrap()..config.find("[[peer]]").unwrap();
    let second = Space::new("second");
    let daemon = Daemon::new(&second, &format!("[node]\nname = \"m\"\n{}", &config[ports]));
    let Ended { status, error } = daemon.fail(daemon.command(&machine.node, ""));
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("cw-first is in use by a daemon"), "{error}");
    assert_eq!(machine.node.ip("-brief link"), devices, "the first one's devices are untouched");
    assert!(first.end("TERM").status.success());
}

#[test]
fn wrong_usage_and_a_config_that_is_not_there() {
    let cableway = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cableway"));
        let output = command.args(words).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(cableway(&["run"]).0, Some(2));
    assert_eq!(cableway(&["run", "--config", "x", "--log", "foo=bar"]).0, Some(2));
    assert_eq!(cableway(&["show", "nonsense"]).0, Some(2));
    let (code, error) = cableway(&["run", "--config", "/nonexistent.toml"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("/nonexistent.toml") && error.contains("TOML"), "{error}");
    let (code, error) = cableway(&["show", "ports", "--socket", "/nonexistent.sock"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("/nonexistent.sock") && error.contains("cableway run"), "{error}");
}
