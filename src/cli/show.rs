//! `cableway show`: asks the daemon and prints tables for people, or its JSON.

use crate::control::management::client::{self, ClientError};
use crate::control::report::{self, What};
use comfy_table::{CellAlignment, LineStyle, Table, presets};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

/// Show what a running daemon does
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to show
    what: What,
    /// Print JSON; its format is stable
    #[arg(long)]
    json: bool,
    /// Show drop reasons that no frame met, too
    #[arg(long)]
    all: bool,
    /// Management socket of the daemon
    #[arg(long, value_name = "PATH", default_value = crate::control::DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Why nothing was shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// The daemon did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Standard output is gone.
    #[error("writing to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Asks and prints.
///
/// # Errors
/// When the daemon does not answer or the output can't be written.
pub fn run(args: &Args) -> Result<(), ShowError> {
    match args.what {
        What::Ports => show(args, ports),
        What::Routes => show(args, routes),
        What::Peers => show(args, peers),
        What::Neighbours => show(args, neighbours),
        What::Fdb => show(args, fdb),
        What::Drops => show(args, |drops| self::drops(drops, args.all)),
        What::Workers => show(args, workers),
    }
}

fn show<T>(args: &Args, text: impl FnOnce(&T) -> String) -> Result<(), ShowError>
where
    T: DeserializeOwned + Serialize,
{
    let value: T = client::get(&args.socket, &format!("/v1/show/{}", args.what.name()))?;
    let mut text = match args.json {
        true => serde_json::to_string_pretty(&value).expect("a report is JSON: it just was"),
        false => text(&value),
    };
    text.push('\n');
    match io::stdout().lock().write_all(text.as_bytes()) {
        // `show routes | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn ports(report: &report::Ports) -> String {
    let mut table = Columns::new([
        "id", "name", "role", "kind", "device", "netns", "mtu", "mtu from", "core", "mac", "mode",
    ]);
    for port in &report.ports {
        table.row([
            port.id.to_string(),
            port.name.clone(),
            port.role.clone(),
            port.kind.clone(),
            port.device.clone(),
            or_dash(&port.netns),
            port.mtu.to_string(),
            or_dash(&port.mtu_from),
            cores(port),
            or_dash(&port.mac),
            port.mode.clone(),
        ]);
    }
    table.right(&["id", "mtu", "core"]).text()
}

/// The cores of a port's queues, in the queues' order.
fn cores(port: &report::Port) -> String {
    let cores: Vec<_> = port.queues.iter().map(|queue| queue.core.to_string()).collect();
    cores.join(",")
}

fn routes(report: &report::Routes) -> String {
    let mut table = Columns::new(["prefix", "kind", "via", "port", "mtu"]);
    for route in &report.routes {
        table.row([
            route.prefix.to_string(),
            route.kind.clone(),
            or_dash(&route.via),
            or_dash(&route.port),
            or_dash(&route.mtu),
        ]);
        for next_hop in &route.any {
            let kind = if next_hop.is_up { "  " } else { "  down: " };
            table.row([
                String::new(),
                format!("{kind}{}", next_hop.kind),
                or_dash(&next_hop.via),
                or_dash(&next_hop.port),
                or_dash(&next_hop.mtu),
            ]);
        }
    }
    table.right(&["mtu"]).text()
}

fn peers(report: &report::Peers) -> String {
    let mut table = Columns::new([
        "name", "address", "local", "tunnel", "kind", "overhead", "mtu", "uplink", "next hop",
        "mac",
    ]);
    for peer in &report.peers {
        table.row([
            peer.name.clone(),
            peer.address.to_string(),
            peer.local.to_string(),
            peer.tunnel.clone(),
            peer.kind.clone(),
            peer.overhead.to_string(),
            match peer.path_mtu {
                Some(path) => format!("{} (path {path})", peer.mtu),
                None => peer.mtu.to_string(),
            },
            peer.uplink.clone(),
            peer.next_hop.to_string(),
            or_dash(&peer.next_hop_mac),
        ]);
    }
    table.right(&["overhead", "mtu"]).text()
}

fn neighbours(report: &report::Neighbours) -> String {
    let mut table = Columns::new(["address", "port", "mac", "state"]);
    for n in &report.neighbours {
        table.row([n.address.to_string(), n.port.clone(), or_dash(&n.mac), n.state.clone()]);
    }
    table.text()
}

fn fdb(report: &report::Fdb) -> String {
    let mut table = Columns::new(["mac", "tunnel", "peer", "address"]);
    for entry in &report.fdb {
        table.row([
            entry.mac.clone(),
            entry.tunnel.clone(),
            entry.peer.clone().unwrap_or_else(|| "(us)".to_owned()),
            or_dash(&entry.address),
        ]);
    }
    table.text()
}

fn drops(report: &report::Drops, all: bool) -> String {
    let mut table = Columns::new(["reason", "frames", "what happened"]);
    for drop in report.drops.iter().filter(|drop| all || drop.count > 0) {
        table.row([drop.reason.clone(), drop.count.to_string(), drop.text.clone()]);
    }
    for drop in report.kernel.iter().filter(|drop| all || drop.count > 0) {
        let what = format!("by the kernel, at port {}", drop.port);
        table.row([format!("kernel.{}", drop.reason), drop.count.to_string(), what]);
    }
    let none = table.is_empty();
    let table = table.right(&["frames"]).text();
    let drops = if none { "no frame was dropped".to_owned() } else { table };
    format!("{drops}\n\n{}", law(&report.conservation))
}

fn law(law: &report::Conservation) -> String {
    let report::Conservation { received, generated, split, replicated, .. } = law;
    let report::Conservation { emitted, held, merged, dropped, .. } = law;
    let sign = if law.balanced { "=" } else { "≠ (yet)" };
    format!(
        "received {received} + generated {generated} + split {split} + replicated {replicated}\n  \
         {sign} emitted {emitted} + held {held} + merged {merged} + dropped {dropped}"
    )
}

fn workers(report: &report::Workers) -> String {
    let mut table = Columns::new([
        "core", "mode", "received", "emitted", "dropped", "handed", "taken", "ports",
    ]);
    for worker in &report.workers {
        table.row([
            worker.core.to_string(),
            worker.mode.clone(),
            worker.received.to_string(),
            worker.emitted.to_string(),
            worker.dropped.to_string(),
            worker.handed_over.to_string(),
            worker.taken_over.to_string(),
            worker.ports.join(" "),
        ]);
    }
    let numbers = ["core", "received", "emitted", "dropped", "handed", "taken"];
    let table = table.right(&numbers).text();
    let report::Memory { chunks, unclaimed, pooled, with_ports, huge_pages } = &report.memory;
    let pages = if *huge_pages { "huge" } else { "ordinary" };
    format!(
        "{table}\n\nmemory: {chunks} chunks of 2 KiB on {pages} pages, {unclaimed} unclaimed, {pooled} \
         ready with workers, {with_ports} with ports"
    )
}

fn or_dash(value: &Option<impl ToString>) -> String {
    value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// A table under construction: with a line below its head on a terminal, bare words in a pipe.
struct Columns<const N: usize> {
    names: [&'static str; N],
    table: Table,
}

impl<const N: usize> Columns<N> {
    fn new(names: [&'static str; N]) -> Self {
        let mut table = Table::new();
        if io::stdout().is_terminal() {
            let line = LineStyle::none().fill('─').junction('─');
            table.load_style(presets::NOTHING.header_separator(line));
        } else {
            table.load_style(presets::NOTHING);
        }
        table.set_header(names.map(str::to_uppercase));
        Columns { names, table }
    }

    fn row(&mut self, cells: [String; N]) {
        self.table.add_row(cells);
    }

    /// Numbers stand on the right.
    fn right(mut self, names: &[&str]) -> Self {
        for (i, name) in self.names.iter().enumerate() {
            if let (true, Some(column)) = (names.contains(name), self.table.column_mut(i)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn text(&self) -> String {
        self.table.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> report::Drops {
        let drop = |reason: &str, count| report::Drop {
            reason: reason.to_owned(),
            text: format!("text of {reason}"),
            count,
        };
        report::Drops {
            drops: vec![drop("route.none", 12), drop("parse.vlan", 0)],
            kernel: vec![report::KernelDrop {
                port: "a1".to_owned(),
                reason: "rx_ring_full".to_owned(),
                count: 3,
            }],
            conservation: report::Conservation {
                received: 20,
                emitted: 8,
                dropped: 12,
                balanced: true,
                ..report::Conservation::default()
            },
        }
    }

    #[test]
    fn drops_that_were_not_are_left_out() {
        let text = drops(&report(), false);
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "REASON               FRAMES  WHAT HAPPENED",
                "route.none               12  text of route.none",
                "kernel.rx_ring_full       3  by the kernel, at port a1",
                "",
                "received 20 + generated 0 + split 0 + replicated 0",
                "= emitted 8 + held 0 + merged 0 + dropped 12",
            ]
        );
        assert!(drops(&report(), true).contains("parse.vlan"));
    }

    #[test]
    fn a_sum_that_does_not_add_up_is_seen() {
        let mut report = report();
        report.drops.clear();
        report.kernel.clear();
        report.conservation.balanced = false;
        let text = drops(&report, true);
        assert!(text.starts_with("no frame was dropped"), "{text}");
        assert!(text.contains('≠'), "{text}");
    }
}
