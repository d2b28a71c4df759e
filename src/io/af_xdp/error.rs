//! What can go wrong with an `AF_XDP` port, and what to do about it.

use super::socket::OpenError;
use aya::EbpfError;
use rustix::io::Errno;
use std::io;

/// Why a device could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum AfXdpError {
    /// There is no such device.
    #[error("{0}: no such device in this network namespace; `ip link` shows those that are")]
    Missing(String),
    /// The kernel was built without `AF_XDP`.
    #[error(
        "{0}: this kernel has no AF_XDP (CONFIG_XDP_SOCKETS); use a kernel that has it, or a tun port"
    )]
    NoAfXdp(String),
    /// We may not.
    #[error("{device}: not permitted to {step}; it takes CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF")]
    Privilege {
        /// The device.
        device: String,
        /// What was tried.
        step: &'static str,
    },
    /// Another program or socket has it.
    #[error(
        "{0}: another XDP program or AF_XDP socket has this device; `ip link show {0}` names the program, `ip link set {0} xdp off` removes one that nobody holds"
    )]
    Busy(String),
    /// The memory may not be locked.
    #[error(
        "{0}: the packet memory may not be locked; raise `ulimit -l`, grant CAP_IPC_LOCK or lower \
         memory.chunks"
    )]
    Memlock(String),
    /// A ring of that size cannot be.
    #[error("{device}: a ring of {slots} slots; expected a power of two from 8 to 32768")]
    Ring {
        /// The device.
        device: String,
        /// What was asked for.
        slots: u32,
    },
    /// Anything else.
    #[error("{device}: cannot {step}: {source}")]
    Setup {
        /// The device.
        device: String,
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: Cause,
    },
}

/// An error of whatever kind.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What it means that a socket could not be opened.
pub(super) fn explain(device: &str, error: OpenError) -> AfXdpError {
    let name = device.to_owned();
    match error {
        OpenError::Socket(Errno::AFNOSUPPORT) => AfXdpError::NoAfXdp(name),
        OpenError::Socket(Errno::PERM) => {
            AfXdpError::Privilege { device: name, step: "open an AF_XDP socket" }
        }
        OpenError::Bind(Errno::BUSY) => AfXdpError::Busy(name),
        OpenError::Register(Errno::NOBUFS) => AfXdpError::Memlock(name),
        OpenError::Socket(e) => AfXdpError::setup(device, "open an AF_XDP socket", e),
        OpenError::Register(e) => AfXdpError::setup(device, "register packet memory", e),
        OpenError::Bind(e) => AfXdpError::setup(device, "bind a socket to its queue", e),
        OpenError::Rings(e) => AfXdpError::setup(device, "make a socket's rings", e),
    }
}

impl AfXdpError {
    pub(super) fn setup(device: &str, step: &'static str, source: impl Into<Cause>) -> AfXdpError {
        AfXdpError::Setup { device: device.to_owned(), step, source: source.into() }
    }

    /// The program could not be loaded.
    pub(super) fn loading(device: &str, error: impl Into<EbpfError>) -> AfXdpError {
        let error = error.into();
        // What the kernel answered is at the end of a chain, and not in the text of its first link.
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(e) = cause {
            let errno = e.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            if errno == Some(libc::EPERM) {
                let step = "load an XDP program";
                return AfXdpError::Privilege { device: device.to_owned(), step };
            }
            if !text.contains(&e.to_string()) {
                text = format!("{text}: {e}");
            }
            cause = e.source();
        }
        AfXdpError::setup(device, "load the XDP program", text)
    }

    /// The program could not be attached.
    pub(super) fn attaching(device: &str, error: io::Error) -> AfXdpError {
        let name = device.to_owned();
        match error.raw_os_error() {
            Some(libc::EBUSY) => AfXdpError::Busy(name),
            Some(libc::EPERM) => {
                AfXdpError::Privilege { device: name, step: "attach an XDP program" }
            }
            Some(libc::ENODEV) => AfXdpError::Missing(name),
            _ => AfXdpError::setup(device, "attach the XDP program", error),
        }
    }
}
