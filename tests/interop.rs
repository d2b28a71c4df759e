//! With Linux' own tunnels: a guest kernel is the other node, since not every machine's kernel has all of them.
//!
//! `make interop` runs it, and writes `docs/interop.md`. Needs root, and what `./setup.sh interop` installs.
#![allow(clippy::unwrap_used)]

#[path = "interop/cases.rs"]
mod cases;
mod daemon_support;
#[path = "interop/guest.rs"]
mod guest;
#[path = "interop/page.rs"]
mod page;
#[path = "scenarios/tshark.rs"]
mod tshark;
#[path = "interop/wire.rs"]
mod wire;

use cableway::control::report::{Conservation, Drops, Peers};
use cases::{CASES, Case, Family, Over};
use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::two::finish;
use guest::Guest;
use page::Row;
use std::process::Command;
use wire::Capture;

/// The MACs of the nodes' devices, and of the ends of inner Ethernet frames.
const GUEST_MAC: &str = "02:00:00:00:00:0b";
const VTEP: &str = "02:00:00:00:0a:0a";
const GUEST_VTEP: &str = "02:00:00:00:0b:0b";
/// Why frames may be dropped here: what the checks provoke, and what kernels say to their own link.
const EXPECTED: &str = "ttl.expired ttl.too_big resolve.noted decap.inner_mac";

/// Our node with a pod, and the guest, joined by a switch; the guest has a pod, too.
///
/// ```text
/// pod ─ node ─ eth0 ─ switch ─ eth0 ─ guest ─ its pod
/// 10.9.1.2, fd00:9:1::2               10.9.2.2, fd00:9:2::2
/// ```
struct Place {
    node: Space,
    pod: Space,
    switch: Space,
    guest: Guest,
}

#[test]
#[ignore = "it takes minutes, and a virtual machine: `make interop`"]
fn linux_tunnels_are_understood_and_understand_us() {
    assert!(tshark::is_here(), "it is needed");
    let mut place = Place::new();
    let mut rows = Vec::new();
    for case in CASES {
        println!("{}", case.name());
        let row = place.try_out(case);
        for failure in row.failures() {
            println!("  {failure}");
        }
        rows.push(row);
    }
    let version = place.guest.must("uname -srv");
    page::write(&version, &rows);
    let failed: Vec<_> = rows.iter().flat_map(Row::failures).collect();
    assert!(failed.is_empty(), "failed:\n{}", failed.join("\n"));
}

impl Place {
    fn new() -> Place {
        let (node, pod, switch) = (Space::new("node"), Space::new("pod"), Space::new("switch"));
        node.ip(&format!("link add eth0 type veth peer name node netns {}", switch.name));
        node.ip("link set eth0 up");
        switch.ip("tuntap add guest mode tap");
        switch.ip("link add br0 type bridge");
        for port in ["node", "guest"] {
            switch.ip(&format!("link set {port} master br0"));
        }
        for device in ["node", "guest", "br0"] {
            switch.ip(&format!("link set {device} up"));
        }
        for over in [Over::V4, Over::V6] {
            node.ip(&format!("address add {} dev eth0 {}", over.interface(1), over.nodad()));
        }
        let mut guest = Guest::boot(&switch, "guest", GUEST_MAC);
        for line in cases::guest() {
            guest.must(&line);
        }
        Place { node, pod, switch, guest }
    }

    fn try_out(&mut self, case: &'static Case) -> Row {
        for line in case.theirs() {
            self.guest.must(&line);
        }
        for words in ["route flush cache", "-6 route flush cache"] {
            self.pod.ip(words);
            self.guest.must(&format!("ip -n pod {words}"));
        }
        let mut daemon = Daemon::new(&self.node, &case.config(&self.pod.name));
        daemon.start(&self.node);
        let capture = Capture::start(&self.switch, "guest");
        let ours = daemon.get::<Peers>("/v1/show/peers").peers[0].mtu;
        let theirs = self.guest.must(&format!("cat /sys/class/net/{}/mtu", case.device()));
        let mtus = [ours, theirs.parse().unwrap()];
        let mut row = Row::new(case, mtus);
        for family in case.carries {
            let mut trial = Trial { place: self, family: *family, mtus };
            row.note("ping", trial.ping());
            row.note("largest", trial.largest());
            row.note("fragments", trial.fragments());
            row.note("hops", trial.hops());
            row.note("TCP", trial.tcp());
        }
        row.note("counters", counted(&daemon));
        row.note("counters", self.refused());
        finish([&mut daemon]);
        let mac = self.node.ip("-brief link show eth0");
        let mac = mac.split_whitespace().nth(2).unwrap();
        let seen = capture.finish().look(mac, GUEST_MAC);
        row.note("tshark", seen.faults);
        row.headers = [seen.ours, seen.theirs];
        for line in case.removed() {
            self.guest.must(&line);
        }
        row
    }

    /// Whether the guest counted no error on its devices.
    fn refused(&mut self) -> Result<(), String> {
        let errors = "/sys/class/net/tun*/statistics/rx_*errors";
        match self.guest.says(&format!("grep -Hv '^0$' {errors}")) {
            (true, said) => Err(said),
            (false, _) => Ok(()),
        }
    }
}

/// The checks of one inner family. What failed is told as an error.
struct Trial<'a> {
    place: &'a mut Place,
    family: Family,
    /// What passes in each node's opinion: ours, theirs.
    mtus: [usize; 2],
}

/// Which of the pods does something.
#[derive(Clone, Copy, Debug)]
enum From {
    Ours,
    Theirs,
}

impl Trial<'_> {
    /// What a program says in a pod, and whether it succeeds.
    fn says(&mut self, from: From, words: &str) -> (bool, String) {
        match from {
            From::Theirs => self.place.guest.says(&format!("ip netns exec pod {words}")),
            From::Ours => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &self.place.pod.name]);
                let output = command.args(words.split_whitespace()).output().expect("ip is there");
                let text = [&output.stdout[..], &output.stderr].concat();
                (output.status.success(), String::from_utf8_lossy(&text).into_owned())
            }
        }
    }

    /// Has a program run from each pod to the other's address, which stands for `TO`; `is_right` judges.
    fn both(&mut self, words: &str, is_right: impl Fn(bool, &str) -> bool) -> Result<(), String> {
        self.each(|_| words.to_owned(), |_, is_done, said| is_right(is_done, said))
    }

    /// The same with words, and a judgement, that depend on the MTU that the sender's node knows of.
    fn each(
        &mut self,
        words: impl Fn(usize) -> String,
        is_right: impl Fn(usize, bool, &str) -> bool,
    ) -> Result<(), String> {
        let ends = [(From::Ours, 2), (From::Theirs, 1)];
        for ((from, to), mtu) in ends.into_iter().zip(self.mtus) {
            let words = words(mtu).replace("TO", &self.family.pod(to));
            let (is_done, said) = self.says(from, &words);
            if !is_right(mtu, is_done, &said) {
                return Err(format!("{:?}, {words}: {}", self.family, said.trim()));
            }
        }
        Ok(())
    }

    /// Pings, the first of which is said to know of congestion and may have to wait for neighbours.
    fn ping(&mut self) -> Result<(), String> {
        self.both("ping -c 3 -i 0.2 -W 2 -Q 2 TO", |is_done, _| is_done)?;
        self.both("ping -c 3 -i 0.2 -W 2 TO", |_, said| said.contains(" 0% packet loss"))
    }

    /// The largest packet passes whole there and back, and one that is a byte longer is not sent.
    fn largest(&mut self) -> Result<(), String> {
        let headers = self.family.ping_headers();
        let ping = |size| format!("ping -c 1 -W 5 -M do -s {} TO", size - headers);
        self.both(&ping(self.mtus[0].min(self.mtus[1])), |is_done, _| is_done)?;
        self.each(
            |mtu| ping(mtu + 1),
            |mtu, _, said| {
                let names = [format!("mtu = {mtu}"), format!("mtu={mtu}"), format!("mtu: {mtu}")];
                names.iter().any(|name| said.contains(name))
            },
        )
    }

    /// Packets that are longer, in fragments.
    fn fragments(&mut self) -> Result<(), String> {
        self.both("ping -c 5 -i 0.2 -W 5 -M dont -s 3000 TO", |is_done, said| {
            // The first one may only have told an IPv6 sender what passes.
            is_done && !said.contains("100% packet loss")
        })
    }

    /// Each node is a hop, there and back, and tells what passes.
    fn hops(&mut self) -> Result<(), String> {
        let nodes = [1, 2].map(|node| format!(" {} ", self.family.gateway(node)));
        self.each(
            |_| "tracepath -n -m 6 TO".to_owned(),
            |mtu, _, said| {
                let is_whole = said.contains(&format!("pmtu {mtu} hops 3 back 3"));
                is_whole && nodes.iter().all(|node| said.contains(node))
            },
        )
    }

    /// TCP to the guest's pod, and from it.
    fn tcp(&mut self) -> Result<(), String> {
        for reverse in ["", "--reverse"] {
            self.place.guest.must(
                "until ip netns exec pod netstat -ltn | grep -q :5201; do usleep 50000; done",
            );
            let to = self.family.pod(2);
            let words = format!("iperf3 --json --connect-timeout 5000 --time 1 {reverse} -c {to}");
            let (_, said) = self.says(From::Ours, &words);
            let report: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
            let bytes = report["end"]["sum_received"]["bytes"].as_u64().unwrap_or_default();
            if bytes < 100_000 {
                return Err(format!("{words}: {bytes} bytes: {}", report["error"]));
            }
        }
        Ok(())
    }
}

/// Whether nothing was dropped but what had to be, and frames add up.
fn counted(daemon: &Daemon) -> Result<(), String> {
    let show = || daemon.get::<Drops>("/v1/show/drops");
    let is_settled = |law: Conservation| law.balanced && law.held == 0;
    wait_for("frames to add up", || is_settled(show().conservation));
    let drops = show().drops.into_iter();
    let drops = drops.filter(|drop| drop.count > 0 && !EXPECTED.contains(&drop.reason));
    let drops: Vec<_> = drops.map(|drop| format!("{} {}", drop.count, drop.reason)).collect();
    if drops.is_empty() { Ok(()) } else { Err(format!("dropped: {}", drops.join(", "))) }
}
