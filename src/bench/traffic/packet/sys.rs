//! Packet sockets, of which no crate has what is needed here: the only unsafe code of the benches.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// A packet socket that sends on the device of this index, past the device's queueing discipline.
pub(super) fn open(device: u32) -> io::Result<OwnedFd> {
    // Of protocol 0 it receives nothing.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // SAFETY: zero is a valid value for every field of the structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    // Whoever has no Ethernet header, such as a TUN device, is told by this what is within.
    address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    address.sll_ifindex = device as i32;
    let length = size_of_val(&address) as u32;
    // SAFETY: the pointer is to a whole sockaddr_ll, alive during the call, and the length is its.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    checked(bound)?;
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to an int, alive during the call, and the length is its.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const on).cast(),
            size_of_val(&on) as u32,
        )
    };
    checked(set)?;
    Ok(socket)
}

/// Sends frames, each a whole one, with one system call; how many the kernel took before it refused
/// one.
pub(super) fn send(socket: &OwnedFd, frames: &[Vec<u8>]) -> io::Result<usize> {
    let mut parts: Vec<libc::iovec> = frames
        .iter()
        .map(|frame| libc::iovec {
            iov_base: frame.as_ptr().cast_mut().cast(),
            iov_len: frame.len(),
        })
        .collect();
    let message = |part: &mut libc::iovec| {
        // SAFETY: zero is a valid value for every field of the structure.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
        message
    };
    let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(message).collect();
    // SAFETY: there are as many messages as the length says; each points to one iovec in `parts`, which
    // points to the bytes of a frame. All of them are alive and where they were until the call returns,
    // and the kernel only reads the frames.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), messages.len() as u32, 0)
    };
    checked(sent).map(|sent| sent as usize)
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
