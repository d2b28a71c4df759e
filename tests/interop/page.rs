//! `docs/interop.md`: what was tried, and what came of it. Nothing in it changes from run to run while all is
//! well but the kernel's version.

use crate::cases::{Case, Family, Over};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/interop.md");
/// The checks, in the order of the columns.
const CHECKS: [&str; 7] = ["ping", "largest", "fragments", "hops", "TCP", "counters", "tshark"];

const INTRODUCTION: &str = "# With Linux' own tunnels

Written by `make interop`, in which a guest kernel is the other node: it boots under qemu, has a pod in a network
namespace, and forwards for it by the tunnel of the line. Our node is a debug build with a pod on TUN and the uplink on
AF_XDP.

";

const CHECKS_MEAN: &str = "
* **ping**: each pod is answered by the other.
* **largest**: of the MTU (ours as `show peers` has it, Linux' the device's), a ping with DF passes both ways; of a
  byte more its sender is told the MTU.
* **fragments**: pings of 3,000 bytes pass both ways.
* **hops**: `tracepath` sees both nodes from either end, and the MTU, and as many hops back as there.
* **TCP**: iperf3, a second each way.
* **counters**: our node dropped nothing but packets that were too big or whose time to live was over, ARP and ND that
  were for it alone, and Linux' multicast on the tunnel; what it received and made is what it sent. Linux counted no
  errors of its device.
* **tshark**: it finds nothing malformed, and no wrong checksum, in up to 4,000 frames of the wire that we sent.
";

const REMARKS: &str = "
To know when Linux' end is set up:

* Linux says that a packet was too big, or its time to live over, by the address that its route to our pods names as
  `src`, or by one of the tunnel's device, or of its uplink. Outside of the peer's `subnets` we take ICMP from the peer's
  `address` alone; what is from any other counts as `route.peer_source`.
* Name the `dev` of a `vxlan` device: without, its MTU is 1500, and the outer packets are cut in two.
* A `geneve` device with `innerprotoinherit` keeps room for an Ethernet header all the same: its MTU is 14 less than ours.
";

const HEADERS_MEAN: &str = "
What both put around a ping that says ECN 2 (ECT(0)). Where they differ, either takes what the other sends.

| over | Linux' device | Cableway sends | Linux sends |
| --- | --- | --- | --- |
";

/// What came of a case.
pub(crate) struct Row {
    case: &'static Case,
    /// In our opinion, and in Linux'.
    mtus: [usize; 2],
    /// By check, what failed.
    failed: BTreeMap<&'static str, Vec<String>>,
    /// Outer headers: ours, theirs.
    pub(crate) headers: [String; 2],
}

impl Row {
    pub(crate) fn new(case: &'static Case, mtus: [usize; 2]) -> Row {
        Row { case, mtus, failed: BTreeMap::new(), headers: Default::default() }
    }

    /// Notes how a check ended.
    pub(crate) fn note(&mut self, check: &'static str, outcome: Result<(), String>) {
        assert!(CHECKS.contains(&check));
        self.failed.entry(check).or_default().extend(outcome.err());
    }

    /// What failed, a line each.
    pub(crate) fn failures(&self) -> Vec<String> {
        let all = self.failed.iter().flat_map(|(check, said)| said.iter().map(move |s| (check, s)));
        all.map(|(check, said)| format!("{}: {check}: {said}", self.name())).collect()
    }

    fn name(&self) -> String {
        format!("{} | {}", self.over(), self.device())
    }

    fn over(&self) -> &'static str {
        if self.case.over == Over::V4 { "IPv4" } else { "IPv6" }
    }

    fn device(&self) -> String {
        match self.case.name() {
            none if none.is_empty() => "none".to_owned(),
            name => format!("`{name}`"),
        }
    }

    fn line(&self) -> String {
        let inner = self.case.carries.iter().map(|family| match family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        });
        let inner = inner.collect::<Vec<_>>().join(", ");
        let cells = CHECKS.map(|check| match self.failed.get(check) {
            Some(failures) if failures.is_empty() => "ok",
            Some(_) => "**failed**",
            None => "not tried",
        });
        let mtu = match self.mtus {
            [ours, theirs] if ours == theirs => ours.to_string(),
            [ours, theirs] => format!("{ours}, Linux' {theirs}"),
        };
        let (name, cells) = (self.name(), cells.join(" | "));
        format!("| {name} | {} | {inner} | {mtu} | {cells} |\n", self.case.ours())
    }
}

/// Writes it.
pub(crate) fn write(version: &str, rows: &[Row]) {
    let mut text = INTRODUCTION.to_owned();
    writeln!(text, "The kernel: {version}\n").unwrap();
    writeln!(text, "| over | Linux' device | ours | inner | MTU | {} |", CHECKS.join(" | "))
        .unwrap();
    writeln!(text, "{}|", "| --- ".repeat(5 + CHECKS.len())).unwrap();
    for row in rows {
        text += &row.line();
    }
    for failure in rows.iter().flat_map(Row::failures) {
        write!(text, "\nFailed: {failure}\n").unwrap();
    }
    text += CHECKS_MEAN;
    text += REMARKS;
    text += HEADERS_MEAN;
    for row in rows.iter().filter(|row| row.case.tunnel.is_some()) {
        let [ours, theirs] = &row.headers;
        writeln!(text, "| {} | {ours} | {theirs} |", row.name()).unwrap();
    }
    fs::write(PAGE, text).unwrap();
}
