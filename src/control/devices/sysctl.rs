//! What the kernel does on its own on a pod's device, and shall not.

use crate::config::Kind;
use crate::io::netns;
use std::fs;
use std::io;
use std::path::Path;

/// Keeps the kernel at a pod's end from talking without being asked: no router solicitations, since
/// its routes are set, and no duplicate address detection, since there is nobody else. A TUN device
/// needs no link-local address either.
pub(super) fn quieten(netns: Option<&Path>, device: &str, kind: Kind) {
    let mut settings = vec![("accept_ra", "0"), ("router_solicitations", "0"), ("accept_dad", "0")];
    if kind == Kind::Tun {
        settings.push(("addr_gen_mode", "1"));
    }
    set(netns, device, &settings);
}

/// The kernel is no party on our end of a veth pair: nothing of its own may go to the pod.
pub(super) fn silence(device: &str) {
    set(None, device, &[("disable_ipv6", "1")]);
}

/// Lets the kernel take from the node's own port what it would send to elsewhere: the router has
/// judged the sources already.
pub(super) fn trust(device: &str) {
    let file = Path::new("/proc/sys/net/ipv4/conf").join(device).join("rp_filter");
    if let Err(error) = fs::write(file, "2") {
        tracing::warn!("setting rp_filter of {device}: {error}");
    }
}

/// Sets IPv6 settings of a device. They are niceties: where `/proc/sys` can't be written the daemon
/// works all the same, and without IPv6 there is nothing to set.
fn set(netns: Option<&Path>, device: &str, settings: &[(&str, &str)]) {
    let directory = Path::new("/proc/sys/net/ipv6/conf").join(device);
    let write = || {
        for (name, value) in settings {
            fs::write(directory.join(name), value)?;
        }
        Ok(())
    };
    match netns::within(netns, write) {
        Ok(Err(error)) if io::Error::kind(&error) != io::ErrorKind::NotFound => {
            tracing::warn!("setting IPv6 options of {device}: {error}");
        }
        _ => {}
    }
}
