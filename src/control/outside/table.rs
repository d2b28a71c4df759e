//! The nftables table `cableway`: what leaves the overlay by the node gets the node's address.
//!
//! It is ours by its name. The `nft` program is told what to do as JSON, in one transaction: there is
//! a whole table or none, and one that a killed daemon left is replaced.

use ipnet::IpNet;
use serde_json::{Value, json};
use std::io;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The table's family and name.
const FAMILY: &str = "inet";
const TABLE: &str = "cableway";
/// `srcnat`: where others translate addresses, too.
const PRIORITY: i32 = 100;

/// The table can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// There is no such program.
    #[error(
        "the program `nft` is not installed, which `masquerade` of [gateway] takes; install the \
         package nftables, or leave `masquerade` out"
    )]
    Missing,
    /// It could not be run.
    #[error("running nft: {0}")]
    Run(#[from] io::Error),
    /// It said no.
    #[error("nft refused the table {FAMILY} {TABLE}: {0}")]
    Refused(String),
}

/// Makes the table. `overlay` are the prefixes whose packets get the node's address when they go
/// to other ones.
///
/// # Errors
/// When nft is not there, or says no.
pub async fn install(overlay: &[IpNet]) -> Result<(), TableError> {
    let mut commands = removal();
    commands.push(json!({ "add": { "table": { "family": FAMILY, "name": TABLE } } }));
    commands.push(json!({ "add": { "chain": {
        "family": FAMILY, "table": TABLE, "name": "postrouting",
        "type": "nat", "hook": "postrouting", "prio": PRIORITY, "policy": "accept",
    } } }));
    for (protocol, set, of_set) in
        [("ip", "overlay4", "ipv4_addr"), ("ip6", "overlay6", "ipv6_addr")]
    {
        let is_v4 = protocol == "ip";
        let prefixes: Vec<_> =
            overlay.iter().filter(|net| net.addr().is_ipv4() == is_v4).map(prefix).collect();
        if !prefixes.is_empty() {
            commands.push(json!({ "add": { "set": {
                "family": FAMILY, "table": TABLE, "name": set, "type": of_set,
                "flags": ["interval"], "auto-merge": true, "elem": prefixes,
            } } }));
            commands.push(masquerade(protocol, set));
        }
    }
    run(commands).await
}

/// Removes the table if it is there.
///
/// # Errors
/// When nft is not there, or says no.
pub async fn remove() -> Result<(), TableError> {
    run(removal()).await
}

/// Whether there is such a table.
///
/// # Errors
/// When nft can't be run.
pub async fn exists() -> Result<bool, TableError> {
    let listed = Command::new("nft")
        .args(["list", "table", FAMILY, TABLE])
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(missing)?;
    Ok(listed.status.success())
}

/// Adding it first, nothing can be missing.
fn removal() -> Vec<Value> {
    let table = json!({ "table": { "family": FAMILY, "name": TABLE } });
    vec![json!({ "add": table }), json!({ "delete": table })]
}

fn prefix(net: &IpNet) -> Value {
    json!({ "prefix": { "addr": net.network(), "len": net.prefix_len() } })
}

/// What comes from the overlay and leaves it. What stays within keeps its source, also when it
/// passes the node's own stack.
fn masquerade(protocol: &str, set: &str) -> Value {
    let field = |op: &str, field: &str| {
        json!({ "match": {
            "op": op,
            "left": { "payload": { "protocol": protocol, "field": field } },
            "right": format!("@{set}"),
        } })
    };
    json!({ "add": { "rule": {
        "family": FAMILY, "table": TABLE, "chain": "postrouting",
        "expr": [field("==", "saddr"), field("!=", "daddr"), { "masquerade": null }],
    } } })
}

async fn run(commands: Vec<Value>) -> Result<(), TableError> {
    let text = json!({ "nftables": commands }).to_string();
    let mut child = Command::new("nft")
        .args(["--json", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(missing)?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(text.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(TableError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn missing(error: io::Error) -> TableError {
    match error.kind() {
        io::ErrorKind::NotFound => TableError::Missing,
        _ => TableError::Run(error),
    }
}
