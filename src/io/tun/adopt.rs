//! Going on with a device that is there already: its queues come from an earlier life of the daemon.
//!
//! Queues are known by what the kernel says of them, not by how they came here: a device is taken over
//! only when its name, kind, namespace and number of queues are those asked for.

use super::{Kind, Tun, TunConfig, TunError, netns, set_up, sys};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Why queues are not gone on with.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It is another device than the one asked for.
    #[error("its {what} is {found}, not {expected}")]
    Differs {
        /// What is compared.
        what: &'static str,
        /// As it is.
        found: String,
        /// As it should be.
        expected: String,
    },
    /// The kernel won't tell what they are.
    #[error("asking what it is: {0}")]
    Unknown(#[from] io::Error),
    /// It can't be made as asked for.
    #[error(transparent)]
    Setup(#[from] TunError),
}

impl Tun {
    /// Goes on with the queues of a device, which keeps its addresses, routes and counters.
    ///
    /// # Errors
    /// When these are not the queues of such a device. They are closed then, and the device is gone
    /// unless somebody else holds them too.
    pub fn adopt(config: &TunConfig, queues: Vec<OwnedFd>) -> Result<Vec<Tun>, AdoptError> {
        let queues: Vec<File> = queues.into_iter().map(File::from).collect();
        same("number of queues", queues.len(), config.queues.max(1))?;
        let there = netns::within(config.netns.as_deref(), || {
            std::fs::metadata(Path::new("/proc/thread-self/ns/net"))
        });
        let there =
            there.map_err(|e| TunError::Netns { name: config.name.clone(), source: e })??;
        for queue in &queues {
            compare(config, queue, &there)?;
        }
        let tuns = netns::within(config.netns.as_deref(), || set_up(config, queues))
            .map_err(|source| TunError::Netns { name: config.name.clone(), source })?;
        Ok(tuns?)
    }
}

fn compare(config: &TunConfig, queue: &File, netns: &Metadata) -> Result<(), AdoptError> {
    let (name, flags) = sys::get_iff(queue)?;
    same("name", name, config.name.clone())?;
    let kind = match config.kind {
        Kind::Tun => libc::IFF_TUN,
        Kind::Tap => libc::IFF_TAP,
    };
    let mut expected = kind | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if config.queues > 1 {
        expected |= libc::IFF_MULTI_QUEUE;
    }
    let all = libc::IFF_TUN
        | libc::IFF_TAP
        | libc::IFF_NO_PI
        | libc::IFF_VNET_HDR
        | libc::IFF_MULTI_QUEUE
        | libc::IFF_PERSIST;
    same("kind", format!("{:#x}", flags & all), format!("{expected:#x}"))?;
    let found = sys::device_netns(queue)?.metadata()?;
    let identity = |file: &Metadata| format!("net:[{}]", file.ino());
    same("network namespace", identity(&found), identity(netns))
}

fn same<T: PartialEq + ToString>(
    what: &'static str,
    found: T,
    expected: T,
) -> Result<(), AdoptError> {
    if found == expected {
        return Ok(());
    }
    Err(AdoptError::Differs { what, found: found.to_string(), expected: expected.to_string() })
}
