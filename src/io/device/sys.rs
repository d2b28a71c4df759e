//! `ioctl` on network devices: the only unsafe code of this folder.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// `ETH_FLAG_TXVLAN` of linux/ethtool.h.
pub(super) const FLAG_TX_VLAN: u32 = 1 << 7;

const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// Requests whose argument and answer is one number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    GetMtu,
    SetMtu,
    SetTxQueueLen,
}

/// Features that ethtool switches one by one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Switch {
    TxChecksum,
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Channels {
    cmd: u32,
    max: [u32; 4],
    pub(super) rx: u32,
    tx: u32,
    other: u32,
    pub(super) combined: u32,
}

/// A socket to ask about devices with: any will do.
pub(super) fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

/// A request about the device `name`, nothing else in it.
pub(crate) fn ifreq(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: zero is a valid value for every field of the structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: the kernel wants a terminated name.
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::ErrorKind::NotFound.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn ioctl(op: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = socket()?;
    // SAFETY: `request` is a whole ifreq, which is what every SIOC*IF* request and SIOCETHTOOL read and
    // write; the callers below see to what its union points to.
    match unsafe { libc::ioctl(socket.as_raw_fd(), op as _, request) } {
        0.. => Ok(()),
        _ => Err(match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ENODEV) => io::ErrorKind::NotFound.into(),
            e => e,
        }),
    }
}

/// Asks or sets one number.
pub(super) fn number(name: &str, what: Number, value: i32) -> io::Result<i32> {
    let op = match what {
        Number::GetMtu => libc::SIOCGIFMTU,
        Number::SetMtu => libc::SIOCSIFMTU,
        Number::SetTxQueueLen => libc::SIOCSIFTXQLEN,
    };
    let mut request = ifreq(name)?;
    request.ifr_ifru.ifru_mtu = value;
    ioctl(op, &mut request)?;
    // SAFETY: the union was zeroed and then written as this field, by us and perhaps by the kernel; any
    // bits are a valid integer.
    Ok(unsafe { request.ifr_ifru.ifru_mtu })
}

/// Sets the address of an Ethernet device.
pub(super) fn set_mac(name: &str, mac: [u8; 6]) -> io::Result<()> {
    let mut request = ifreq(name)?;
    let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
    for (to, from) in address.sa_data.iter_mut().zip(mac) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    ioctl(libc::SIOCSIFHWADDR, &mut request)
}

/// Switches a feature.
pub(super) fn ethtool(name: &str, switch: Switch, on: bool) -> io::Result<()> {
    let cmd = match switch {
        Switch::TxChecksum => ETHTOOL_STXCSUM,
    };
    value(name, cmd, on.into()).map(drop)
}

/// `ETH_FLAG_*` that are on.
pub(super) fn flags(name: &str) -> io::Result<u32> {
    value(name, ETHTOOL_GFLAGS, 0)
}

/// Sets all `ETH_FLAG_*`.
pub(super) fn set_flags(name: &str, flags: u32) -> io::Result<()> {
    value(name, ETHTOOL_SFLAGS, flags).map(drop)
}

fn value(name: &str, cmd: u32, data: u32) -> io::Result<u32> {
    let mut value = EthtoolValue { cmd, data };
    let mut request = ifreq(name)?;
    // The commands above all take a `struct ethtool_value`, alive until the call returns.
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    ioctl(libc::SIOCETHTOOL, &mut request)?;
    Ok(value.data)
}

/// How many queues of each kind the device uses.
pub(super) fn channels(name: &str) -> io::Result<Channels> {
    let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Channels::default() };
    let mut request = ifreq(name)?;
    // The command takes a `struct ethtool_channels`, alive until the call returns.
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    ioctl(libc::SIOCETHTOOL, &mut request)?;
    Ok(channels)
}
