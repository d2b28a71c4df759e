//! The XDP program on a device: which frames are ours.
//!
//! It is attached by a bpf_link, which the kernel undoes when its descriptor is closed, also by SIGKILL;
//! a program attached by netlink would go on swallowing the device's traffic without us.

use super::{AfXdpConfig, AfXdpError, Attach};
use aya::maps::lpm_trie::{self, LpmTrie};
use aya::maps::{HashMap, Map, MapData, MapError, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use encap::Steer;
use ipnet::IpNet;
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{LazyLock, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

static UPLINK: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/uplink.o"));
static POD: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pod.o"));

/// One for all programs: to make one is to read all of the kernel's types, which takes longer than
/// everything else about a device. Ours look at frames alone and need none.
static LOADER: LazyLock<Mutex<EbpfLoader<'static>>> = LazyLock::new(|| {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    Mutex::new(loader)
});

/// How long a device may be busy with what was closed a moment ago.
pub(super) const BUSY: Duration = Duration::from_secs(1);

/// Packets of an uplink that are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// A tunnel's: those to an address of ours on the underlay, and which of them.
    pub tunnels: HashSet<(IpAddr, Steer)>,
    /// All to pods, where peers may send without a tunnel.
    pub pods: HashSet<IpNet>,
}

/// `struct match` of bpf/uplink.bpf.c.
type Key = [u8; 20];
/// `struct prefix` behind its length, likewise.
type Prefix = [u8; 16];

fn key((address, steer): &(IpAddr, Steer)) -> Key {
    let (port, protocol) = match *steer {
        Steer::Udp(port) => (port, libc::IPPROTO_UDP as u8),
        Steer::Protocol(protocol) => (0, protocol),
    };
    let mut key = [0; 20];
    key[..16].copy_from_slice(&octets(*address));
    key[16..18].copy_from_slice(&port.to_be_bytes());
    key[18] = protocol;
    key
}

fn prefix(net: &IpNet) -> lpm_trie::Key<Prefix> {
    let above = if net.addr().is_ipv4() { 96 } else { 0 };
    lpm_trie::Key::new(u32::from(net.prefix_len()) + above, octets(net.addr()))
}

/// Of IPv4 the mapped address (RFC 4291 §2.5.5.2).
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// A program attached to a device, its table of matches and its sockets.
#[derive(Debug)]
pub(super) struct Program {
    native: bool,
    /// Why it is not native, if it is not.
    reason: Option<String>,
    sockets: Mutex<Sockets>,
    matches: Option<Mutex<Tables>>,
    _link: FdLink,
}

struct Sockets(XskMap<MapData>);
struct Tables {
    tunnels: HashMap<MapData, Key, u8>,
    pods: LpmTrie<MapData, Prefix, u8>,
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sockets({})", self.0.len())
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tables({}, {})", self.tunnels.keys().count(), self.pods.keys().count())
    }
}

impl Program {
    /// Loads the program for `config` and attaches it to the device `index` with `queues` queues.
    pub(super) fn attach(
        config: &AfXdpConfig,
        index: u32,
        queues: u32,
    ) -> Result<Program, AfXdpError> {
        let device = config.device.as_str();
        let (object, name) =
            if config.matches.is_some() { (UPLINK, "uplink") } else { (POD, "pod") };
        let mut loader = LOADER.lock().unwrap_or_else(|e| e.into_inner());
        let mut ebpf = loader
            .map_max_entries("sockets", queues)
            .load(object)
            .map_err(|e| AfXdpError::loading(device, e))?;
        let sockets = take(&mut ebpf, "sockets", XskMap::try_from);
        let mut matches = None;
        if let Some(wanted) = &config.matches {
            let mut tables = Tables {
                tunnels: take(&mut ebpf, "matches", HashMap::try_from),
                pods: take(&mut ebpf, "prefixes", LpmTrie::try_from),
            };
            tables.replace(wanted).map_err(|e| AfXdpError::loading(device, e))?;
            matches = Some(Mutex::new(tables));
        }
        let program = ebpf.program_mut(name).expect("the object has a program of its own name");
        let program: &mut Xdp =
            program.try_into().expect("the program's section makes it an XDP program");
        program.load().map_err(|e| AfXdpError::loading(device, e))?;
        let (link, reason) = attach(program, index, config)?;
        Ok(Program {
            native: config.attach != Attach::Generic && reason.is_none(),
            reason,
            sockets: Mutex::new(Sockets(sockets)),
            matches,
            _link: link,
        })
    }

    /// Lets the frames of a queue come to this socket.
    pub(super) fn set_socket(&self, queue: u32, socket: &OwnedFd) -> io::Result<()> {
        let mut sockets = self.sockets.lock().unwrap_or_else(|e| e.into_inner());
        sockets.0.set(queue, socket.as_raw_fd(), 0).map_err(io::Error::other)
    }

    /// Leaves the frames of a queue to the kernel.
    pub(super) fn unset_socket(&self, queue: u32) {
        // The kernel has done it already when the socket was unbound.
        let _ = self.sockets.lock().unwrap_or_else(|e| e.into_inner()).0.unset(queue);
    }

    /// Replaces the tables of what is ours. A program for pods has none: all is ours.
    pub(super) fn set_matches(&self, wanted: &Matches) -> io::Result<()> {
        let Some(tables) = &self.matches else { return Ok(()) };
        let mut tables = tables.lock().unwrap_or_else(|e| e.into_inner());
        tables.replace(wanted).map_err(io::Error::other)
    }

    pub(super) fn is_native(&self) -> bool {
        self.native
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        match (&self.reason, self.native) {
            (_, true) => "native XDP".to_owned(),
            (None, false) => "generic XDP".to_owned(),
            (Some(reason), false) => format!("generic XDP (native: {reason})"),
        }
    }
}

impl Tables {
    /// What is wanted comes first, so that what stays is never missing.
    fn replace(&mut self, wanted: &Matches) -> Result<(), MapError> {
        let Tables { tunnels, pods } = self;
        let keys: HashSet<Key> = wanted.tunnels.iter().map(key).collect();
        for key in &keys {
            tunnels.insert(key, 1, 0)?;
        }
        let prefixes = wanted.pods.iter().map(prefix);
        let prefixes: std::collections::HashMap<(u32, Prefix), _> =
            prefixes.map(|key| ((key.prefix_len(), key.data()), key)).collect();
        for key in prefixes.values() {
            pods.insert(key, 1, 0)?;
        }
        let stale: Vec<_> = tunnels.keys().flatten().filter(|key| !keys.contains(key)).collect();
        stale.iter().try_for_each(|key| tunnels.remove(key))?;
        let is_stale =
            |key: &lpm_trie::Key<Prefix>| !prefixes.contains_key(&(key.prefix_len(), key.data()));
        let stale: Vec<_> = pods.keys().flatten().filter(is_stale).collect();
        stale.iter().try_for_each(|key| pods.remove(key))
    }
}

/// Takes a map out of a loaded object, as what it is.
fn take<T, E: std::fmt::Debug>(
    ebpf: &mut Ebpf,
    name: &str,
    convert: impl FnOnce(Map) -> Result<T, E>,
) -> T {
    let map = ebpf.take_map(name).expect("the program has this map");
    convert(map).expect("the map is of the type that its source says")
}

/// Attaches as well as the device can; with the reason why not better.
fn attach(
    program: &mut Xdp,
    index: u32,
    config: &AfXdpConfig,
) -> Result<(FdLink, Option<String>), AfXdpError> {
    let device = config.device.as_str();
    if config.attach != Attach::Generic {
        match attach_as(program, index, XdpMode::Driver) {
            Ok(link) => return Ok((link, None)),
            Err(e) if config.attach == Attach::Native || e.raw_os_error() == Some(libc::EBUSY) => {
                return Err(AfXdpError::attaching(device, e));
            }
            Err(e) => {
                let link = attach_as(program, index, XdpMode::Skb)
                    .map_err(|e| AfXdpError::attaching(device, e))?;
                return Ok((link, Some(e.to_string())));
            }
        }
    }
    let link = attach_as(program, index, XdpMode::Skb);
    Ok((link.map_err(|e| AfXdpError::attaching(device, e))?, None))
}

/// Attaches by a bpf_link, waiting a while for a device that somebody is just leaving.
pub(crate) fn attach_as(program: &mut Xdp, index: u32, mode: XdpMode) -> io::Result<FdLink> {
    let start = Instant::now();
    loop {
        match program.attach_to_if_index(index, mode) {
            Ok(id) => {
                let link = program.take_link(id).map_err(io::Error::other)?;
                // aya falls back to netlink by itself; such a link detaches when dropped here.
                return FdLink::try_from(link).map_err(|_| io::ErrorKind::Unsupported.into());
            }
            Err(error) => {
                let error = os_error(error);
                if error.raw_os_error() != Some(libc::EBUSY) || start.elapsed() > BUSY {
                    return Err(error);
                }
                sleep(Duration::from_millis(20));
            }
        }
    }
}

/// The kernel's answer within aya's errors.
fn os_error(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(e) => e.io_error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_the_program_has_them() {
        let v4 = key(&("192.0.2.1".parse().unwrap(), Steer::Udp(8472)));
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        assert_eq!(v4[..16], mapped);
        assert_eq!(v4[16..], [0x21, 0x18, 17, 0]);
        let v6 = key(&("2001:db8::1".parse().unwrap(), Steer::Protocol(41)));
        assert_eq!(v6[..4], [0x20, 1, 0x0d, 0xb8]);
        assert_eq!(v6[16..], [0, 0, 41, 0]);
        let pods = prefix(&"192.0.2.1/32".parse().unwrap());
        assert_eq!((pods.prefix_len(), pods.data()), (128, mapped));
        let pods = prefix(&"2001:db8::/32".parse().unwrap());
        assert_eq!((pods.prefix_len(), &pods.data()[..4]), (32, &[0x20, 1, 0x0d, 0xb8][..]));
    }
}
