//! The devices of the underlay: found at the start, and then followed by their number, whatever they
//! are called, until that is gone; then a new one is waited for that has the configured name.

use super::{LOOPBACK, UnderlayError, addresses};
use crate::control::netlink::{Changes, LinkFacts, Netlink, NetlinkError};
use std::net::IpAddr;

/// A device of the underlay.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// What the config calls it.
    pub device: String,
    /// The device, as it was seen last.
    pub link: LinkFacts,
    /// Whether our program is on it, and our sockets; not while the device is gone.
    pub is_taken: bool,
    /// Our addresses on it, but for link-local ones.
    pub addresses: Vec<IpAddr>,
    /// Why it could not be taken when that was last tried, so that it is said once.
    pub complaint: Option<String>,
}

/// What a look at an uplink shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The same device, perhaps changed.
    Same,
    /// The device is not there any more.
    Gone,
    /// A device that is to be taken: another one than before, or one that lost our program.
    New(LinkFacts),
}

impl Uplink {
    /// Looks it up.
    ///
    /// # Errors
    /// When it is missing, or can't be an uplink.
    pub async fn find(netlink: &Netlink, device: &str) -> Result<Uplink, UnderlayError> {
        let links = netlink.links().await?;
        let Some(link) = links.iter().find(|link| link.name == device).cloned() else {
            let found = links.into_iter().map(|link| link.name).filter(|name| name != "lo");
            return Err(UnderlayError::Missing {
                device: device.to_owned(),
                found: found.collect(),
            });
        };
        suits(&link, &links)?;
        if !link.up {
            tracing::warn!("uplink {device} is down; no peer can be reached until it is up");
        }
        Ok(Uplink {
            device: device.to_owned(),
            addresses: addresses(netlink, link.index).await?,
            link,
            is_taken: true,
            complaint: None,
        })
    }

    /// Looks for it among the devices there are. What has changed is noted, and logged.
    pub fn look(&mut self, links: &[LinkFacts], why: &Changes) -> Sight {
        let Uplink { device, link, is_taken, .. } = self;
        let same = links.iter().find(|found| found.index == link.index && found.mac.is_some());
        if let Some(same) = same.filter(|found| *is_taken && found.xdp) {
            for difference in differences(link, same) {
                tracing::info!("uplink {device}: {difference}; {why}");
            }
            *link = same.clone();
            return Sight::Same;
        }
        // Moved to another namespace and back it has its number again, but not our program.
        let named = links.iter().find(|found| found.name == *device && found.mac.is_some());
        match (same.or(named), *is_taken) {
            (Some(new), _) => Sight::New(new.clone()),
            (None, true) => Sight::Gone,
            (None, false) => Sight::Same,
        }
    }

    /// Reads its addresses again. One that IPv6 is still testing is there a moment later.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn refresh_addresses(
        &mut self,
        netlink: &Netlink,
        why: &Changes,
    ) -> Result<(), NetlinkError> {
        let now = addresses(netlink, self.link.index).await?;
        if now == self.addresses {
            return Ok(());
        }
        tracing::info!(
            "uplink {}: our addresses are {} now, were {}; {why}",
            self.device,
            list(&now),
            list(&self.addresses)
        );
        self.addresses = now;
        Ok(())
    }
}

/// Whether a device can be an uplink.
fn suits(link: &LinkFacts, links: &[LinkFacts]) -> Result<(), UnderlayError> {
    let device = link.name.clone();
    if link.index == LOOPBACK {
        return Err(UnderlayError::NotEthernet { device, what: "the loopback device" });
    }
    if link.mac.is_none() {
        return Err(UnderlayError::NotEthernet { device, what: "a device without MAC address" });
    }
    // What is in a VRF keeps its addresses; a port of these has none to speak of.
    let master = links.iter().find(|master| link.master == Some(master.index));
    match master.and_then(|master| Some((master, master.kind.as_deref()?))) {
        Some((master, kind @ ("bridge" | "bond" | "team"))) => Err(UnderlayError::Enslaved {
            device,
            master: master.name.clone(),
            kind: kind.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// What has changed about a device, in words.
fn differences(old: &LinkFacts, new: &LinkFacts) -> Vec<String> {
    let mut all = Vec::new();
    if old.name != new.name {
        all.push(format!(
            "the device is called {} now; it stays the uplink until Cableway starts anew",
            new.name
        ));
    }
    if old.up != new.up {
        all.push(if new.up { "it is up again".to_owned() } else { "it was set down".to_owned() });
    } else if old.carrier != new.carrier {
        all.push(if new.carrier { "it has a carrier again" } else { "it lost its carrier" }.into());
    }
    if old.mtu != new.mtu {
        all.push(format!("its MTU is {} now, was {}", new.mtu, old.mtu));
    }
    if let (Some(old), Some(new)) = (old.mac, new.mac)
        && old != new
    {
        all.push(format!("its MAC is {new} now, was {old}"));
    }
    all
}

fn list(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use encap::wire::Mac;

    fn link(index: u32, name: &str) -> LinkFacts {
        LinkFacts {
            index,
            name: name.to_owned(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            mtu: 1500,
            up: true,
            carrier: true,
            master: None,
            kind: None,
            alias: None,
            xdp: true,
            udp_port: None,
        }
    }

    fn uplink() -> Uplink {
        Uplink {
            device: "eth0".to_owned(),
            link: link(7, "eth0"),
            is_taken: true,
            addresses: Vec::new(),
            complaint: None,
        }
    }

    #[test]
    fn a_device_is_followed_by_its_number() {
        let (mut uplink, why) = (uplink(), Changes::everything("a test"));
        let renamed = [link(8, "eth0"), LinkFacts { mtu: 1400, ..link(7, "wan") }];
        assert_eq!(uplink.look(&renamed, &why), Sight::Same);
        assert_eq!((uplink.link.name.as_str(), uplink.link.mtu), ("wan", 1400));
    }

    #[test]
    fn a_device_that_is_gone_comes_back_by_its_name() {
        let (mut uplink, why) = (uplink(), Changes::everything("a test"));
        assert_eq!(uplink.look(&[link(1, "eth1")], &why), Sight::Gone);
        uplink.is_taken = false;
        assert_eq!(uplink.look(&[link(1, "eth1")], &why), Sight::Same, "gone as before");
        let new = LinkFacts { xdp: false, ..link(9, "eth0") };
        assert_eq!(uplink.look(std::slice::from_ref(&new), &why), Sight::New(new));
    }

    #[test]
    fn a_device_that_lost_our_program_is_taken_again() {
        let (mut uplink, why) = (uplink(), Changes::everything("a test"));
        let bare = LinkFacts { xdp: false, ..link(7, "eth0") };
        assert_eq!(uplink.look(std::slice::from_ref(&bare), &why), Sight::New(bare));
    }

    #[test]
    fn each_difference_is_told() {
        let old = link(7, "eth0");
        let new = LinkFacts { up: false, mtu: 1400, mac: Some(Mac([2; 6])), ..link(7, "wan") };
        let all = differences(&old, &new).join("\n");
        for part in ["called wan", "set down", "1400 now, was 1500", "02:02:02:02:02:02 now"] {
            assert!(all.contains(part), "{part:?} in {all}");
        }
        assert!(differences(&old, &old).is_empty());
    }
}
