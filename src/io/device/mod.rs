//! Network devices by name: the few settings and counters that ports need and that are not the
//! control thread's business.
//!
//! All functions act in the calling thread's network namespace; see [`netns`](super::netns).

#[allow(unsafe_code)]
mod sys;

pub(super) use sys::ifreq;

use encap::wire::Mac;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The device's index; an error of kind `NotFound` when there is no such device.
pub fn index(name: &str) -> io::Result<u32> {
    match rustix::net::netdevice::name_to_index(sys::socket()?, name) {
        Ok(index) => Ok(index),
        Err(rustix::io::Errno::NODEV) => Err(io::ErrorKind::NotFound.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// The name of the device with that index.
pub fn name(index: u32) -> io::Result<String> {
    Ok(rustix::net::netdevice::index_to_name(sys::socket()?, index)?)
}

/// The largest IP packet that it sends, in bytes.
pub fn mtu(name: &str) -> io::Result<u32> {
    sys::number(name, sys::Number::GetMtu, 0).map(|mtu| mtu as u32)
}

/// Sets [`mtu`].
pub fn set_mtu(name: &str, mtu: u32) -> io::Result<()> {
    sys::number(name, sys::Number::SetMtu, mtu as i32).map(drop)
}

/// Sets how many frames may wait in the device.
pub fn set_tx_queue_len(name: &str, frames: u32) -> io::Result<()> {
    sys::number(name, sys::Number::SetTxQueueLen, frames as i32).map(drop)
}

/// Sets the address of an Ethernet device.
pub fn set_mac(name: &str, mac: Mac) -> io::Result<()> {
    sys::set_mac(name, mac.0)
}

/// How many receive queues the device has; 1 where its driver does not tell.
pub fn queues(name: &str) -> io::Result<u32> {
    match sys::channels(name) {
        Ok(channels) => Ok((channels.rx + channels.combined).max(1)),
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(1),
        Err(e) => Err(e),
    }
}

/// Makes a pod's end of a veth pair send what an `AF_XDP` socket on the other end can understand:
/// complete checksums, and VLAN tags within the frame. The kernel hands neither a pending checksum
/// nor a tag kept aside to such a socket.
pub fn complete_frames(name: &str) -> io::Result<()> {
    sys::ethtool(name, sys::Switch::TxChecksum, false)?;
    let flags = sys::flags(name)?;
    sys::set_flags(name, flags & !sys::FLAG_TX_VLAN)
}

/// Frames that a device dropped, as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Received by the device and not taken by the kernel.
    pub rx: u64,
    /// Given to the device and not sent.
    pub tx: u64,
}

/// Reads a device's counters from anywhere: holds a file that was opened in its namespace.
#[derive(Debug)]
pub struct Statistics {
    file: File,
    name: String,
    before: Dropped,
    since: Dropped,
}

impl Statistics {
    /// Counters of the device from now on.
    pub fn open(name: &str) -> io::Result<Statistics> {
        // Unlike /sys/class/net this file belongs to the thread's namespace, not to the mount's.
        let file = File::open("/proc/thread-self/net/dev")?;
        let none = Dropped::default();
        let mut this = Statistics { file, name: name.to_owned(), before: none, since: none };
        this.before = this.read()?.unwrap_or_default();
        Ok(this)
    }

    /// The device is called so now.
    pub fn rename(&mut self, name: String) {
        self.name = name;
    }

    /// What was dropped since they were opened. A device that is gone keeps its last values.
    pub fn dropped(&mut self) -> Dropped {
        if let Ok(Some(now)) = self.read() {
            self.since = Dropped {
                rx: now.rx.saturating_sub(self.before.rx),
                tx: now.tx.saturating_sub(self.before.tx),
            };
        }
        self.since
    }

    fn read(&self) -> io::Result<Option<Dropped>> {
        let mut text = Vec::with_capacity(4096);
        let mut part = [0; 4096];
        loop {
            match self.file.read_at(&mut part, text.len() as u64)? {
                0 => break,
                n => text.extend_from_slice(&part[..n]),
            }
        }
        Ok(parse(&String::from_utf8_lossy(&text), &self.name))
    }
}

/// Finds a device in the text of `/proc/net/dev`: eight receive columns, then eight transmit columns,
/// the fourth of each being the drops.
fn parse(text: &str, name: &str) -> Option<Dropped> {
    let columns = text.lines().find_map(|line| {
        let (device, columns) = line.split_once(':')?;
        (device.trim() == name).then_some(columns)
    })?;
    let mut columns = columns.split_ascii_whitespace().map(str::parse);
    let rx = columns.nth(3)?.ok()?;
    let tx = columns.nth(7)?.ok()?;
    Some(Dropped { rx, tx })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_proc_net_dev() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes\n    \
                    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  \
                    a:b: 0 0 0 9 0 0 0 0 0 0 0 8 0 0 0 0\n";
        assert_eq!(parse(text, "lo"), Some(Dropped { rx: 4, tx: 12 }));
        assert_eq!(parse(text, "eth0"), None);
        assert_eq!(parse("", "lo"), None);
    }

    #[test]
    fn the_loopback_device() {
        assert_eq!(index("lo").unwrap(), 1);
        assert_eq!(name(1).unwrap(), "lo");
        assert!(mtu("lo").unwrap() > 1500);
        assert_eq!(index("no-such-device").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(
            index("a name that is far too long").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(Statistics::open("lo").unwrap().dropped(), Dropped::default());
    }
}
