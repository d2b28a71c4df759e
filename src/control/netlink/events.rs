//! What has changed: the kernel's own word for it, from rtnetlink's multicast groups.
//!
//! Events wake us and are no state. All that is kept of most of them is which table has changed; it
//! is then read anew. So a burst costs one look, events in whatever order are right, and an overrun
//! (ENOBUFS: the kernel had more to tell than our socket holds) means no more than that every table
//! may have changed. Neighbours are the exception: there are many, they change all the time, and an
//! event says all there is to know.

use super::{NeighbourFacts, Netlink, NetlinkError, neighbour, place};
use crate::io::netns;
use rtnetlink::packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::time::Duration;

/// How long more events are waited for after the first: the kernel tells of one change in several.
const BURST: Duration = Duration::from_millis(20);

/// Longer than any event.
const MESSAGE: usize = 32 * 1024;

/// Neighbours that may change at once before their table is rather read whole.
const NEIGHBOURS: usize = 4096;

/// The groups that we listen to, as `RTMGRP_*` bits.
const GROUPS: &[libc::c_int] = &[
    libc::RTMGRP_LINK,
    libc::RTMGRP_NEIGH,
    libc::RTMGRP_IPV4_IFADDR,
    libc::RTMGRP_IPV6_IFADDR,
    libc::RTMGRP_IPV4_ROUTE,
    libc::RTMGRP_IPV6_ROUTE,
    RTMGRP_IPV4_RULE,
    RTMGRP_IPV6_RULE,
    RTMGRP_NEXTHOP,
];
// `libc` has no names for these: groups 8, 19 and 32 of <linux/rtnetlink.h>.
const RTMGRP_IPV4_RULE: libc::c_int = 1 << 7;
const RTMGRP_IPV6_RULE: libc::c_int = 1 << 18;
const RTMGRP_NEXTHOP: libc::c_int = 1 << 31;

/// One of the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Devices.
    Links,
    /// Addresses of devices.
    Addresses,
    /// Rules, which choose the route table.
    Rules,
    /// Routes and their next hops.
    Routes,
    /// Neighbours and their MACs.
    Neighbours,
}

impl Table {
    const ALL: [Table; 5] =
        [Table::Links, Table::Addresses, Table::Rules, Table::Routes, Table::Neighbours];

    /// The table that a message is about.
    fn of(message_type: u16) -> Option<Table> {
        match message_type {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => Some(Table::Links),
            libc::RTM_NEWADDR | libc::RTM_DELADDR => Some(Table::Addresses),
            libc::RTM_NEWRULE | libc::RTM_DELRULE => Some(Table::Rules),
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => Some(Table::Routes),
            RTM_NEWNEXTHOP | RTM_DELNEXTHOP => Some(Table::Routes),
            libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => Some(Table::Neighbours),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Table::Links => "links",
            Table::Addresses => "addresses",
            Table::Rules => "rules",
            Table::Routes => "routes",
            Table::Neighbours => "neighbours",
        }
    }
}

// `libc` has no names for these either.
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The tables that have changed.
    pub tables: BTreeSet<Table>,
    /// The neighbours that have changed, in order; one that is gone has no MAC.
    pub neighbours: Vec<NeighbourFacts>,
    /// Why the above is not all: then everything may have changed.
    pub incomplete: Option<&'static str>,
}

impl Changes {
    /// Anything may have changed, for this reason.
    pub fn everything(reason: &'static str) -> Changes {
        let tables = Table::ALL.into_iter().collect();
        Changes { tables, neighbours: Vec::new(), incomplete: Some(reason) }
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Whether more than neighbours has changed.
    pub fn is_beyond_neighbours(&self) -> bool {
        self.tables.iter().any(|table| *table != Table::Neighbours)
    }

    /// Adds a message of the kernel's.
    fn add(&mut self, bytes: &[u8]) {
        let Ok(header) = NetlinkBuffer::new_checked(bytes) else { return };
        let Some(table) = Table::of(header.message_type()) else { return };
        if table == Table::Neighbours {
            // The tables of bridges share this message; they are no concern of ours.
            let Some(facts) = neighbour_of(bytes) else { return };
            if self.neighbours.len() == NEIGHBOURS {
                *self = Changes::everything("more neighbours changed than are followed one by one");
            }
            if self.incomplete.is_none() {
                self.neighbours.push(facts);
            }
        }
        self.tables.insert(table);
    }
}

/// For the log: why a look was taken.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = self.incomplete {
            return f.write_str(reason);
        }
        let names: Vec<_> = self.tables.iter().map(|table| table.name()).collect();
        write!(f, "the kernel told of changed {}", names.join(", "))
    }
}

fn neighbour_of(bytes: &[u8]) -> Option<NeighbourFacts> {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).ok()?;
    match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => {
            neighbour::facts(&message)
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message)) => {
            let facts = neighbour::facts(&message)?;
            Some(NeighbourFacts { mac: None, fresh: false, permanent: false, ..facts })
        }
        _ => None,
    }
}

/// A subscription to the changes of one namespace.
pub struct Events {
    socket: TokioSocket,
    /// What was read and not yet told.
    pending: Changes,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Subscribes to what changes from now on. `buffer` is how many bytes of events may wait to be
    /// read. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the namespace can't be entered or the socket can't be had.
    pub fn subscribe(&self, buffer: usize) -> Result<Events, NetlinkError> {
        let runtime = tokio::runtime::Handle::current();
        let made = netns::within(self.netns(), || {
            let _guard = runtime.enter();
            open(buffer)
        })?;
        let socket = made.map_err(|source| NetlinkError::Request {
            doing: "subscribing to the kernel's events".to_owned(),
            place: place(self.netns()),
            source,
        })?;
        Ok(Events { socket, pending: Changes::default(), buffer: Vec::with_capacity(MESSAGE) })
    }
}

fn open(buffer: usize) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    // Beyond the system's limit if we may.
    set_socket_recv_buffer_size_force(socket.socket_ref(), buffer)
        .or_else(|_| set_socket_recv_buffer_size(socket.socket_ref(), buffer))?;
    let groups = GROUPS.iter().fold(0, |all, group| all | group.cast_unsigned());
    socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
    Ok(socket)
}

impl Events {
    /// Waits until something has changed, and a moment longer for what belongs to it. Nothing is
    /// lost when the wait is given up.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn next(&mut self) -> io::Result<Changes> {
        while self.pending.is_empty() {
            self.buffer.clear();
            let received = self.socket.recv(&mut self.buffer).await;
            self.add(received)?;
        }
        tokio::time::sleep(BURST).await;
        self.drain()?;
        Ok(std::mem::take(&mut self.pending))
    }

    /// Reads all that is there.
    fn drain(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            match self.socket.socket_ref().recv(&mut self.buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                received => self.add(received.map(drop))?,
            }
        }
    }

    /// Adds what the buffer holds, or that something was lost.
    fn add(&mut self, received: io::Result<()>) -> io::Result<()> {
        match received {
            Ok(()) => self.pending.add(&self.buffer),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.pending = Changes::everything("the kernel told more than we took in time");
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_changes_nothing() {
        let mut changes = Changes::default();
        changes.add(&[]);
        changes.add(&[0xff; 15]);
        changes.add(&[0xff; 64]);
        // RTM_NEWNEIGH of 16 bytes: the header alone.
        changes.add(&[16, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(changes.is_empty());
        // RTM_DELROUTE: that it came is enough.
        changes.add(&[16, 0, 0, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(changes.tables, [Table::Routes].into());
        assert!(changes.is_beyond_neighbours());
        assert_eq!(changes.to_string(), "the kernel told of changed routes");
    }
}
