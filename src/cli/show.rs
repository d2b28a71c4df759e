//! `cableway show`: asks the daemon and prints tables for people, or its JSON.

mod acl;
mod drops;

use crate::control::management::client::{self, ClientError};
use crate::control::report::{self, FlowFilter, What};
use clap::CommandFactory;
use clap::error::ErrorKind;
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
    #[command(flatten)]
    drops: drops::Options,
    #[command(flatten)]
    flows: FlowFilter,
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
    if args.what != What::Drops && (args.drops.watch || args.drops.samples.is_some()) {
        let message = "--watch and --samples are of `show drops`";
        super::Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    if args.what != What::Flows && args.flows != FlowFilter::default() {
        let message =
            "--protocol, --address, --port, --state, --policy and --limit are of `show flows`";
        super::Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    match args.what {
        What::Ports => show(args, ports),
        What::Routes => show(args, routes),
        What::Peers => show(args, peers),
        What::Neighbours => show(args, neighbours),
        What::Fdb => show(args, fdb),
        What::Acl => show(args, acl::acl),
        What::Flows => {
            let filter = serde_urlencoded::to_string(&args.flows);
            let filter = filter.expect("a filter is text and numbers");
            show_at(args, &format!("/v1/show/flows?{filter}"), acl::flows)
        }
        What::Drops if args.drops.watch => drops::watch(&args.socket, &args.drops, args.all),
        What::Drops => match &args.drops.samples {
            Some(of) => {
                let of = of.as_ref().map(|of| format!("?reason={}", client::escape(of)));
                let path = format!("/v1/drops/samples{}", of.unwrap_or_default());
                show_at(args, &path, |samples| drops::samples(samples, &args.drops))
            }
            None => show(args, |totals| drops::totals(totals, args.all)),
        },
        What::Workers => show(args, workers),
    }
}

fn show<T>(args: &Args, text: impl FnOnce(&T) -> String) -> Result<(), ShowError>
where
    T: DeserializeOwned + Serialize,
{
    show_at(args, &format!("/v1/show/{}", args.what.name()), text)
}

fn show_at<T>(args: &Args, path: &str, text: impl FnOnce(&T) -> String) -> Result<(), ShowError>
where
    T: DeserializeOwned + Serialize,
{
    let value: T = client::get(&args.socket, path)?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&value).expect("a report is JSON: it just was"),
        false => text(&value),
    };
    print(&(text + "\n"))?;
    Ok(())
}

/// Prints; whether there is somebody who reads it: `show routes | head` is no failure.
fn print(text: &str) -> io::Result<bool> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
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
