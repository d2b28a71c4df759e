//! What takes `unsafe` here: a kernel without AF_XDP, played by seccomp; descriptors by number; threads
//! that stand still or fault, by ptrace.

use super::daemon::wait_for;
use rustix::io::fcntl_dupfd_cloexec;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::null_mut;

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

/// A thread of a child that is held where it is: it does not go on, and nothing else is changed. Only
/// the thread that made this may use it.
pub(crate) struct Held(libc::pid_t);

impl Held {
    /// Holds the thread of this number.
    pub(crate) fn new(thread: libc::pid_t) -> Held {
        ptrace(libc::PTRACE_SEIZE, thread, 0, 0).expect("root may");
        let held = Held(thread);
        ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0).expect("it is there");
        wait_for("the thread to stand still", || held.has_news());
        held
    }

    /// Waits until it has ended with its process, which nobody else can wait for before.
    pub(crate) fn ends(self) {
        wait_for("the process to end", || self.has_news());
    }

    /// Lets it go on where there is nothing, which is a fault.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn crash(self) {
        use std::mem::offset_of;
        let place = offset_of!(libc::user, regs) + offset_of!(libc::user_regs_struct, rip);
        ptrace(libc::PTRACE_POKEUSER, self.0, place, 0).expect("it stands still");
    }

    /// Whether it stands still, or has ended, of which this is told once.
    fn has_news(&self) -> bool {
        let options = libc::__WALL | libc::WNOHANG;
        // SAFETY: there is no status to be written.
        unsafe { libc::waitpid(self.0, null_mut(), options) == self.0 }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that has ended is not held.
        let _ = ptrace(libc::PTRACE_DETACH, self.0, 0, 0);
    }
}

fn ptrace(
    request: libc::c_uint,
    thread: libc::pid_t,
    address: usize,
    data: usize,
) -> io::Result<()> {
    // SAFETY: none of the requests above writes to our memory; address and data are numbers.
    match unsafe { libc::ptrace(request, thread, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
