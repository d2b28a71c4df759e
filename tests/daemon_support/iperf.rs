//! iperf3 from one pod to another while something changes, and what its receiver saw.

use super::Space;
use super::daemon::wait_for;
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Seconds that any run takes at most.
const AT_MOST: &str = "60";

/// A run. The receiver tells of every 100 ms.
pub(crate) struct Iperf {
    receiver: Child,
    sender: Child,
    end: Instant,
}

/// What arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// Bytes of each interval but the first and the last one, which are not whole.
    pub(crate) intervals: Vec<u64>,
    /// Datagrams that were sent, did not arrive, or arrived late; 0 of TCP.
    pub(crate) datagrams: u64,
    pub(crate) lost: u64,
    pub(crate) late: u64,
}

impl Iperf {
    /// Sends for a while to the address of a pod in `to`; `words` are for the sender.
    pub(crate) fn start(
        (from, to): (&Space, &Space),
        (address, port): (&str, u16),
        time: Duration,
        words: &str,
    ) -> Iperf {
        let all = format!("--json --interval 0.1 --port {port}");
        let receiver = serve(to, &all, port);
        let seconds = time.as_secs();
        let words = format!("--client {address} --time {seconds} {words} {all}");
        Iperf { receiver, sender: iperf3(from, &words), end: Instant::now() + time }
    }

    /// Whether it still sends.
    pub(crate) fn is_sending(&self) -> bool {
        Instant::now() < self.end
    }

    /// Waits until all is sent.
    pub(crate) fn finish(self) -> Arrived {
        report(self.sender);
        let report = report(self.receiver);
        let intervals = report["intervals"].as_array().expect("a list");
        let bytes = intervals.iter().map(|one| one["sum"]["bytes"].as_u64().expect("a number"));
        let mut intervals: Vec<u64> = bytes.skip(1).collect();
        intervals.pop();
        let (sum, udp) = (&report["end"]["sum"], &report["end"]["streams"][0]["udp"]);
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        Arrived {
            intervals,
            datagrams: number(&sum["packets"]),
            lost: number(&sum["lost_packets"]),
            late: number(&udp["out_of_order"]),
        }
    }
}

/// What arrived of one direction.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: u64,
    /// Datagrams that were sent, and did not arrive; 0 of TCP.
    pub(crate) datagrams: u64,
    pub(crate) lost: u64,
}

/// Sends from a pod to the address of another one, and then back, as `words` for the sender say.
pub(crate) fn exchange((from, to): (&Space, &Space), address: &str, words: &str) -> [Received; 2] {
    const PORT: u16 = 5203;
    ["", "--reverse"].map(|direction| {
        let server = serve(to, &format!("--json --port {PORT}"), PORT);
        let words = format!("--client {address} --port {PORT} --json {direction} {words}");
        let received = &report(iperf3(from, &words))["end"]["sum_received"];
        report(server);
        let number = |key: &str| received[key].as_u64().unwrap_or_default();
        Received {
            bytes: number("bytes"),
            datagrams: number("packets"),
            lost: number("lost_packets"),
        }
    })
}

/// A server for one run, that listens.
fn serve(space: &Space, words: &str, port: u16) -> Child {
    let server = iperf3(space, &format!("--server --one-off {words}"));
    wait_for("iperf3 to listen", || !space.exec(&format!("ss -Hltn sport = :{port}")).is_empty());
    server
}

/// Datagrams that the kernel threw away in a namespace since nobody had read those before them.
pub(crate) fn unread(space: &Space) -> u64 {
    let text = space.exec("cat /proc/net/snmp");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, count) = pairs.find(|(name, _)| *name == "RcvbufErrors").expect("it is counted");
    count.parse().expect("a number")
}

fn iperf3(space: &Space, words: &str) -> Child {
    let mut command = Command::new("timeout");
    // It may wait for ever for a datagram that is lost.
    command.args([AT_MOST, "ip", "netns", "exec", &space.name, "iperf3"]);
    command.args(words.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("iperf3 is installed")
}

fn report(child: Child) -> Value {
    let output = child.wait_with_output().expect("it is a child of ours");
    let report: Value = serde_json::from_slice(&output.stdout).expect("iperf3 prints JSON");
    assert!(output.status.success(), "iperf3: {}", report["error"]);
    report
}
