//! `recvmsg`, and options of sockets that no library knows: the only unsafe code of this folder.

use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd;

/// What a call received.
#[derive(Debug)]
pub(super) struct Received {
    /// Bytes of the packet.
    pub(super) len: usize,
    /// Bytes of ancillary messages.
    pub(super) ancillary: usize,
    /// It was longer than the room for it.
    pub(super) is_truncated: bool,
}

/// Receives a packet: its bytes, its sender's `sockaddr`, and ancillary messages.
pub(super) fn receive(
    socket: &Socket,
    bytes: &mut [u8],
    name: &mut [u8],
    ancillary: &mut [u8],
) -> io::Result<Received> {
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: a msghdr of zeros is one without anything.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = name.len() as libc::socklen_t;
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = ancillary.as_mut_ptr().cast();
    message.msg_controllen = ancillary.len() as _;
    // SAFETY: each pointer leads to as many bytes as the length beside it says, lent to us alone.
    let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let len = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    let is_truncated = message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    Ok(Received { len, ancillary: message.msg_controllen as usize, is_truncated })
}

/// Sets an option that is a flag.
pub(super) fn switch_on(socket: &Socket, level: i32, option: i32) -> io::Result<()> {
    let (on, size) = (1_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the option is an int, which is there.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How many packets the kernel dropped at the socket.
pub(super) fn dropped(socket: &Socket) -> io::Result<u32> {
    let mut info = [0_u32; libc::SK_MEMINFO_DROPS as usize + 1];
    let mut size = size_of_val(&info) as libc::socklen_t;
    let (at, level) = (info.as_mut_ptr().cast(), libc::SOL_SOCKET);
    // SAFETY: the kernel writes as many bytes as `size` says, at most, which are ours.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, libc::SO_MEMINFO, at, &raw mut size) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(info[libc::SK_MEMINFO_DROPS as usize])
    }
}
