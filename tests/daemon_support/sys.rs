//! What takes `unsafe` here: a kernel without AF_XDP, played by seccomp, and descriptors by number.

use rustix::io::fcntl_dupfd_cloexec;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes `socket(AF_XDP, …)` answer EAFNOSUPPORT in the child, as a kernel does that was built
/// without.
pub(crate) fn without_af_xdp(command: &mut Command) {
    // SAFETY: between fork and exec the closure only calls prctl, which is async-signal-safe, on
    // memory of its own stack.
    unsafe { command.pre_exec(install) };
}

/// Gives the child descriptors at the numbers from 3 on. No other child gets any of them, whichever is
/// started meanwhile.
pub(crate) fn give<'a>(command: &mut Command, descriptors: impl Iterator<Item = &'a OwnedFd>) {
    /// Above all numbers that are given.
    const ABOVE: i32 = 100;
    let copies = descriptors.map(|fd| fcntl_dupfd_cloexec(fd, ABOVE).expect("a descriptor"));
    let copies: Vec<OwnedFd> = copies.collect();
    let renumber = move || {
        for (number, fd) in (3..).zip(&copies) {
            // SAFETY: both are numbers, and the child has nothing yet at the one that is replaced.
            if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only calls dup2, which is async-signal-safe.
    unsafe { command.pre_exec(renumber) };
}

fn install() -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // Offsets are those of `struct seccomp_data`: the call's number, then its first argument (the
    // low half, on little-endian machines).
    let mut filter = [
        op(LOAD, 0, 0, 0),
        op(EQUAL, 0, 3, libc::SYS_socket as u32),
        op(LOAD, 0, 0, 16),
        op(EQUAL, 0, 1, libc::AF_XDP as u32),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its instructions outlive the call, which copies them.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
