//! Pods' way to the outside: by the `host` port into the node's own stack, which forwards their
//! packets under an address of the node.
//!
//! Routes bring packets to the port and replies back to it; what is done here is to have the kernel
//! forward them, and translate addresses. Neither asks which ports there are, so that others like it may
//! come and go. Both outlive a daemon that is killed, so that they are
//! written down first (see [`Undo::save`]).

pub mod setting;
pub mod table;

use super::undo::Undo;
use crate::config::Config;
use ipnet::IpNet;
use setting::{ROOT, Setting};
use std::io;
use std::path::Path;
use table::TableError;

/// Pods have no way to the outside.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// See [`TableError`].
    #[error(transparent)]
    Table(#[from] TableError),
    /// Forwarding can't be turned on.
    #[error(
        "turning forwarding on: {source}; expected to read and write {ROOT}: run with it writable, \
         or leave `masquerade` of [gateway] out"
    )]
    Settings {
        /// What the kernel said.
        source: io::Error,
    },
}

/// Lets the pods out, if the config says so.
///
/// # Errors
/// When that fails; `undo` then knows what had been done.
pub async fn open(config: &Config, undo: &mut Undo) -> Result<(), OutsideError> {
    let overlay: Vec<IpNet> = config.gateway.masquerade.iter().map(|net| net.net()).collect();
    if overlay.is_empty() {
        return Ok(());
    }
    undo.table();
    undo.save();
    table::install(&overlay).await?;
    let v4 = overlay.iter().any(|net| net.addr().is_ipv4());
    let v6 = overlay.iter().any(|net| net.addr().is_ipv6());
    forward(v4, v6, undo).map_err(|source| OutsideError::Settings { source })
}

fn forward(v4: bool, v6: bool, undo: &mut Undo) -> io::Result<()> {
    let root = Path::new(ROOT);
    let settings = setting::forwarding(root, v4, v6)?;
    for setting in &settings {
        undo.setting(setting.clone());
    }
    undo.save();
    settings.iter().try_for_each(|setting| setting.set(root))?;
    for Setting { name, was, ours } in &settings {
        if let Some(ours) = ours {
            tracing::info!("forwarding: {} is {ours} now, was {was}", name.display());
        }
    }
    Ok(())
}
