//! Removing what a killed daemon left, without starting another one, which would go on with what came
//! through the API.

use super::journal::Journal;
use super::management::{Socket, SocketError};
use super::netlink::{Netlink, NetlinkError};
use super::outside::table::{self, TableError};
use super::privilege::{self, PrivilegeError};
use super::undo::Undo;
use std::path::Path;

/// What devices of ours are marked with, followed by the node and the port.
pub const MARK: &str = "cableway:";

/// Not everything could be removed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says itself what it is")]
pub enum CleanupError {
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Removes what a daemon with the management socket `socket` left in our namespace; says what that
/// was.
///
/// # Errors
/// When such a daemon is running, or something can't be removed.
pub async fn cleanup(socket: &Path) -> Result<Vec<String>, CleanupError> {
    privilege::check()?;
    let mut removed = Vec::new();
    if socket.exists() {
        removed.push(format!("socket {}", socket.display()));
    }
    // While we have it no daemon can start.
    let held = Socket::hold(socket)?;
    if Journal::remove(held.path()) {
        removed.push("what came through the API".to_owned());
    }
    let netlink = Netlink::connect(None)?;
    let left = Undo::left(held.path(), &netlink).await?;
    removed.extend(left.describe());
    left.unwind().await;
    for link in netlink.links().await? {
        let is_ours = link.alias.as_ref().is_some_and(|alias| alias.starts_with(MARK));
        // One with a program on it is at work: for a daemon with another socket.
        if is_ours && link.kind.as_deref() == Some("veth") && !link.xdp {
            netlink.delete_link(link.index).await?;
            removed.push(format!("device {}", link.name));
        }
    }
    match table::exists().await {
        Ok(true) => {
            table::remove().await?;
            removed.push("nftables table inet cableway".to_owned());
        }
        // Without nft nobody has made it.
        Ok(false) | Err(TableError::Missing) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(removed)
}
