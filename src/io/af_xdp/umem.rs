//! The process's packet memory as the kernel knows it: a UMEM.
//!
//! One registration serves all sockets: the first one registers the memory, the others are bound as
//! sharing it (`XDP_SHARED_UMEM`), on whatever device, each with fill and completion rings of its own.
//! So a frame received on one device is sent on another without a copy.
//!
//! Sockets that share a registration share its mode, and a veth cannot do zero-copy. But the same bytes
//! may be registered twice, and an address means the same chunk in both: therefore one registration
//! for each mode, and frames pass between the two without a copy all the same.

use pipeline::frame::{CHUNK_SIZE, Memory};
use rustix::io::Errno;
use rustix::net::bind;
use rustix::net::sockopt::set_xdp_umem_reg;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XdpUmemReg, XdpUmemRegFlags,
};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, Weak};

/// How frames get from the device into the memory and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The device writes and reads the chunks itself.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

/// Which step of a binding the kernel refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    /// The registration of the memory.
    Register(Errno),
    /// The binding of the socket to its queue.
    Bind(Errno),
}

/// The registrations of one [`Memory`], shared by all `AF_XDP` ports of the process.
#[derive(Debug)]
pub struct Umem {
    memory: &'static Memory,
    zero_copy: Mutex<Registration>,
    copy: Mutex<Registration>,
}

#[derive(Debug, Default)]
struct Registration {
    /// Whether frames may consist of several chunks.
    chains: bool,
    /// Who was bound to it; the kernel keeps it for as long as one of them is open.
    sockets: Vec<Weak<OwnedFd>>,
}

impl Umem {
    /// Of this memory, not registered yet.
    pub fn new(memory: &'static Memory) -> Arc<Umem> {
        Arc::new(Umem { memory, zero_copy: Mutex::default(), copy: Mutex::default() })
    }

    /// The memory.
    pub fn memory(&self) -> &'static Memory {
        self.memory
    }

    /// Binds a socket, whose rings have their sizes already, to a device's queue. Returns whether it
    /// takes frames of several chunks.
    pub(super) fn bind(
        &self,
        socket: &Arc<OwnedFd>,
        device: u32,
        queue: u32,
        mode: Mode,
    ) -> Result<bool, Refused> {
        let registration = match mode {
            Mode::ZeroCopy => &self.zero_copy,
            Mode::Copy => &self.copy,
        };
        let mut registration = registration.lock().unwrap_or_else(|e| e.into_inner());
        registration.sockets.retain(|other| other.strong_count() > 0);
        let shared = SocketAddrXdp::new(SocketAddrXdpFlags::XDP_SHARED_UMEM, device, queue);
        let bound = registration.sockets.iter().filter_map(Weak::upgrade).find_map(|other| {
            let shared_umem_fd = other.as_fd();
            let addr = SocketAddrXdpWithSharedUmem { addr: shared.clone(), shared_umem_fd };
            match bind(socket, &addr) {
                // The other one's device is gone, and it is no longer bound.
                Err(Errno::BADF) => None,
                other => Some(other),
            }
        });
        match bound {
            Some(result) => result.map_err(Refused::Bind)?,
            None => registration.chains = self.register(socket, device, queue, mode)?,
        }
        registration.sockets.push(Arc::downgrade(socket));
        Ok(registration.chains)
    }

    /// Registers the memory with this socket, and binds it.
    fn register(
        &self,
        socket: &OwnedFd,
        device: u32,
        queue: u32,
        mode: Mode,
    ) -> Result<bool, Refused> {
        let value = XdpUmemReg {
            addr: self.memory.base().as_ptr().addr() as u64,
            len: self.memory.bytes() as u64,
            chunk_size: CHUNK_SIZE as u32,
            // What the kernel leaves in front of a frame anyway is the headroom that we want.
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        set_xdp_umem_reg(socket, value).map_err(Refused::Register)?;
        let mode = match mode {
            Mode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
            Mode::Copy => SocketAddrXdpFlags::XDP_COPY,
        };
        let flags = mode | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
        // Frames of several chunks: the kernel from 6.6 on, with zero-copy also the driver.
        let chains = flags | SocketAddrXdpFlags::XDP_USE_SG;
        match bind(socket, &SocketAddrXdp::new(chains, device, queue)) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                bind(socket, &SocketAddrXdp::new(flags, device, queue))
                    .map(|()| false)
                    .map_err(Refused::Bind)
            }
            Err(errno) => Err(Refused::Bind(errno)),
        }
    }
}
