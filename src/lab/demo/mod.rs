//! The lab's proof: build it, check it, measure it, remove it, and look whether it is gone.
//!
//! [`CHECKS`] is the list; its names are stable, and JSON's. A check that has nothing to check in
//! a topology (a capture where there is no wire to tap) is *not applicable* and counts as passed.
//! Of a topology with policies it is what they must do that is checked.

mod checks;
mod clean;
mod echo;
mod law;
mod policy;
mod report;
pub(crate) mod traffic;
mod wire;

use super::file::Router;
use super::topology::{Node, Pod, Topology};
use super::{Error, Result, State, build, daemon, prepare, remove, shell};
use report::Report;
use std::path::Path;
use std::time::Duration;

/// How a check ends when it does not pass.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) enum Fault {
    /// What was expected and what was seen.
    Failed(String),
    /// Why there is nothing to check here.
    NotApplicable(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What a check that passed has to tell.
type Verdict = std::result::Result<String, Fault>;

/// A check on a running lab.
struct Check {
    name: &'static str,
    run: fn(&Scene) -> Verdict,
}

/// In the order they are run and reported; [`clean`] follows when the lab is down.
const CHECKS: &[Check] = &[
    Check { name: "ping4", run: checks::ping4 },
    Check { name: "ping6", run: checks::ping6 },
    Check { name: "ping4-mtu-df", run: checks::ping4_mtu_df },
    Check { name: "tcp4-hash", run: checks::tcp4_hash },
    Check { name: "tcp6-hash", run: checks::tcp6_hash },
    Check { name: "udp-echo", run: checks::udp_echo },
    Check { name: "same-node", run: checks::same_node },
    Check { name: "node-to-remote-pod", run: checks::node_to_remote_pod },
    Check { name: "pod-to-gateway", run: checks::pod_to_gateway },
    Check { name: "ttl-exceeded", run: checks::ttl_exceeded },
    Check { name: "on-the-wire", run: wire::verdict },
    Check { name: "conservation", run: checks::conservation },
];

/// The name of the check that follows the end of the lab.
const CLEAN: &str = "clean";

/// How long a stream and a ping-pong are measured.
const MEASURED_FOR: Duration = Duration::from_secs(2);

/// What checks work on.
struct Scene<'a> {
    topology: &'a Topology,
    capture: Option<wire::Capture>,
}

impl Scene<'_> {
    /// The first two nodes: what is between them stands for all.
    fn nodes(&self) -> [&Node; 2] {
        [&self.topology.nodes[0], &self.topology.nodes[1]]
    }

    /// The first pod of each of them.
    fn pods(&self) -> std::result::Result<[&Pod; 2], Fault> {
        let none = || Fault::NotApplicable("a node has no pod".into());
        let [a, b] = self.nodes();
        Ok([a.pods.first().ok_or_else(none)?, b.pods.first().ok_or_else(none)?])
    }
}

/// Runs the whole of it; whether all checks passed. The table goes to standard output, JSON to
/// `json`.
pub fn run(topology: &Topology, json: Option<&Path>) -> Result<bool> {
    crate::interrupt::catch()
        .map_err(|source| Error::Io { doing: "catch signals".into(), source })?;
    let lock = prepare(topology)?;
    let before = clean::Machine::look();
    let mut report = Report::new(topology);
    let mut daemons = Vec::new();
    let built = build(topology).map(|started| daemons = started);
    let proven = built.and_then(|()| prove(topology, &mut report));
    let programs = clean::programs(topology);
    let removed = remove(&State::of(topology), &mut daemons);
    drop(lock);
    proven?;
    removed?;
    report.check(CLEAN, clean::verdict(topology, &before, &programs, &daemons));
    report.print();
    if let Some(path) = json {
        report.write(path)?;
    }
    Ok(report.ok())
}

/// Checks and measures a lab that is up.
fn prove(topology: &Topology, report: &mut Report) -> Result<()> {
    let mut scene = Scene { topology, capture: wire::Capture::start(topology)? };
    let policed = !topology.expectations.is_empty();
    for expected in &topology.expectations {
        let verdict = policy::verdict(&scene, expected);
        shell::check_interrupt()?;
        report.check(&expected.check, verdict);
    }
    // The others have all pods talk to each other, which is not what policies are for.
    for check in CHECKS.iter().filter(|check| !policed || check.name == "conservation") {
        // The wire has been watched for all that came before; the rest is bulk.
        if check.name == "on-the-wire" {
            scene.capture.iter_mut().try_for_each(wire::Capture::stop)?;
            report.measure(&scene);
        }
        let verdict = (check.run)(&scene);
        shell::check_interrupt()?;
        report.check(check.name, verdict);
    }
    report.explain(topology);
    Ok(())
}

/// The drops and the log's end of every daemon, for whoever must find out why a check failed.
fn explanation(topology: &Topology) -> String {
    let ours = topology.nodes.iter().filter(|node| node.router == Router::Cableway);
    let explain = |Node { name, .. }: &Node| {
        let drops = law::read(name).map_or_else(|error| error.to_string(), |d| law::tell(&d));
        format!("node {name}: {drops}\nnode {name}: end of its log:\n{}\n", daemon::log_tail(name))
    };
    ours.map(explain).collect()
}
