//! The check `clean`: what is on the machine after a lab that was not there before it.
//!
//! Only what a lab or a daemon could have made is looked at; a machine has a life of its own.

use super::super::state::DIRECTORY;
use super::super::topology::Topology;
use super::super::{daemon::Daemon, hosts_directory, netns, shell};
use super::{Fault, Verdict};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The kernel takes namespaces and what is in them apart some time after the last use.
const GONE_WITHIN: Duration = Duration::from_secs(3);

/// Devices and nftables' tables of the namespace that the lab is started from.
pub(super) struct Machine(BTreeSet<String>);

impl Machine {
    /// Looks at the machine.
    pub(super) fn look() -> Self {
        let links = shell::attempt("ip -o link show").unwrap_or_default();
        let links = links.lines().filter_map(|line| line.split(": ").nth(1));
        let ours = ["wire-", "cw-", "cableway", "veth", "cali", "flannel", "vxlan", "cni"];
        let links = links.filter(|name| ours.iter().any(|prefix| name.starts_with(prefix)));
        let tables = shell::attempt("nft list tables").unwrap_or_default();
        let tables = tables.lines().filter(|line| line.contains("cableway"));
        let links = links.map(|name| format!("device {name}"));
        let tables = tables.map(|table| format!("nftables {table}"));
        Self(links.chain(tables).collect())
    }
}

/// The numbers of the XDP programs that are attached in the lab's namespaces.
pub(super) fn programs(topology: &Topology) -> BTreeSet<u32> {
    let links = topology.namespaces().into_iter().flat_map(|(_, netns)| {
        let text = shell::attempt(&format!("ip -n {netns} -j -d link show")).unwrap_or_default();
        serde_json::from_str::<Vec<Value>>(&text).unwrap_or_default()
    });
    let numbers = links.filter_map(|link| link["xdp"]["prog"]["id"].as_u64()?.try_into().ok());
    numbers.collect()
}

/// What is left of a lab in which `programs` were attached; `daemons` have ended.
pub(super) fn verdict(
    topology: &Topology,
    before: &Machine,
    programs: &BTreeSet<u32>,
    daemons: &[Daemon],
) -> Verdict {
    let left = || left(topology, before, programs);
    let deadline = Instant::now() + GONE_WITHIN;
    let mut found = left();
    while !found.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
        // What has come since is somebody else's.
        let still = left();
        found.retain(|thing| still.contains(thing));
    }
    found.extend(daemons.iter().filter_map(Daemon::unclean_end));
    if found.is_empty() {
        return Ok("no namespace, device, process, nftables table, XDP program or file left".into());
    }
    Err(Fault::Failed(format!("left behind: {}", found.join(", "))))
}

fn left(topology: &Topology, before: &Machine, programs: &BTreeSet<u32>) -> Vec<String> {
    let namespaces = topology.namespaces();
    let namespaces = || namespaces.iter().map(|(_, netns)| netns);
    let existing = namespaces().filter(|n| netns::exists(n)).map(|n| format!("namespace {n}"));
    let hosts =
        namespaces().map(|n| hosts_directory(n)).chain([Path::new(DIRECTORY).to_path_buf()]);
    let files = hosts.filter(|path| path.exists()).map(|path| path.display().to_string());
    let machine = Machine::look();
    let new = machine.0.difference(&before.0).cloned();
    let loaded = aya::programs::loaded_programs().filter_map(Result::ok).map(|info| info.id());
    let loaded = loaded.filter(|id| programs.contains(id)).map(|id| format!("XDP program {id}"));
    existing.chain(files).chain(processes()).chain(new).chain(loaded).collect()
}

/// Daemons that were started with a lab's config.
fn processes() -> Vec<String> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let lines = all.filter_map(|entry| {
        let path = entry.ok()?.path();
        path.file_name()?.to_str()?.parse::<u32>().ok()?;
        let line =
            String::from_utf8_lossy(&fs::read(path.join("cmdline")).ok()?).replace('\0', " ");
        let config = line.contains(" run --config ") && line.contains(DIRECTORY);
        config.then(|| format!("process `{}`", line.trim()))
    });
    lines.collect()
}
