//! Descriptors by number, as a process finds them at its start and leaves them to its successor: the
//! only unsafe code of the control side.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of the first descriptor that is passed on: `SD_LISTEN_FDS_START`.
const FIRST: i32 = 3;

/// What the process was given, with names. The second time there is nothing.
pub(super) fn listen_fds() -> io::Result<Vec<(String, OwnedFd)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let given = sd_notify::listen_fds_with_names()?;
    // SAFETY: whoever started this process says by LISTEN_PID that these numbers are ours, and
    // `listen_fds` has seen that they are open; by the flag nobody has been given them before.
    Ok(given.map(|(number, name)| (name, unsafe { OwnedFd::from_raw_fd(number) })).collect())
}

/// Becomes `command`, with `descriptors` at the numbers from [`FIRST`] on. When it returns, those
/// numbers may be other files than before: there is nothing left to do then but to end.
pub(super) fn exec(mut command: Command, descriptors: &[BorrowedFd<'_>]) -> io::Error {
    // Out of the way first: a descriptor may have the number that another one is to get.
    let above = FIRST + descriptors.len() as i32;
    let moved = descriptors.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, above));
    let moved: Vec<OwnedFd> = match moved.collect::<Result<_, _>>() {
        Ok(moved) => moved,
        Err(error) => return error.into(),
    };
    let renumber = move || {
        for (number, fd) in (FIRST..).zip(&moved) {
            // SAFETY: both are numbers; that what had this one is lost to its owner is said above.
            if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: there is no fork: it runs in this very process, and calls dup2 alone.
    unsafe { command.pre_exec(renumber) };
    command.exec()
}
