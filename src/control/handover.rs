//! The desired state from one life to the next: what the config said when it was last read or applied,
//! and what came through the API since.
//!
//! The text is JSON of the config's own types, so that a later version reads it as it reads an older
//! config.

use super::desired::{Desired, Edit, Entry, Origin, RouteEdits};
use super::supervisor::{self, Held};
use crate::config::{Config, Peer, Port, Route, Unicast};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};

/// The name by which it is given.
const NAME: &str = "state";

/// A desired state, by where things came from.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub struct Handover {
    file: Config,
    api: Additions,
}

/// What came through the API.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Additions {
    gateways: Vec<Unicast>,
    peers: Vec<Peer>,
    ports: Vec<Port>,
    routes: Vec<Route>,
}

impl Additions {
    /// What of a state came from there.
    fn of(desired: &Desired, origin: Origin) -> Additions {
        let gateways = desired.gateways().iter().filter_map(|entry| of(entry, origin));
        let peers = desired.peers().values().filter_map(|entry| of(entry, origin));
        let ports = desired.ports().values().filter_map(|entry| of(entry, origin));
        let routes = desired.routes().iter().filter_map(|(net, entry)| {
            Some(Route { prefix: (*net).into(), via: of(entry, origin)?.clone() })
        });
        Additions {
            gateways: gateways.copied().collect(),
            peers: peers.map(|peer| (**peer).clone()).collect(),
            ports: ports.map(|port| (**port).clone()).collect(),
            routes: routes.collect(),
        }
    }
}

fn of<T>(entry: &Entry<T>, origin: Origin) -> Option<&T> {
    (entry.origin == origin).then_some(&entry.value)
}

impl Handover {
    /// Of a state.
    pub fn of(desired: &Desired) -> Handover {
        let from_file = Additions::of(desired, Origin::File);
        let mut file = desired.base().clone();
        file.gateway.addresses = from_file.gateways;
        file.peer = from_file.peers;
        file.port = from_file.ports;
        file.route = from_file.routes;
        Handover { file, api: Additions::of(desired, Origin::Api) }
    }

    /// The state again. What does not fit any more is logged and left out.
    pub fn into_state(self) -> Desired {
        let mut desired = Desired::new(self.file);
        let Additions { gateways, peers, ports, routes } = self.api;
        let gateways = gateways.into_iter().map(Edit::PutGateway);
        let peers = peers.into_iter().map(|peer| Edit::PutPeer(Box::new(peer)));
        let ports = ports.into_iter().map(|port| Edit::PutPort(Box::new(port)));
        let routes = (!routes.is_empty())
            .then(|| Edit::Routes(RouteEdits { put: routes, delete: Vec::new() }));
        for edit in gateways.chain(peers).chain(ports).chain(routes) {
            match desired.edit(edit) {
                Ok(edited) => desired = edited,
                Err(refused) => tracing::error!(
                    "left out what had come through the API, as it does not fit: {refused}"
                ),
            }
        }
        desired
    }

    /// As a file without a name.
    ///
    /// # Errors
    /// When there is no memory or no descriptor left for it.
    pub fn write(&self) -> io::Result<Held> {
        let mut file = File::from(memfd_create(NAME, MemfdFlags::CLOEXEC)?);
        let mut out = BufWriter::new(&file);
        serde_json::to_writer(&mut out, self)?;
        out.flush()?;
        drop(out);
        file.rewind()?;
        Ok(Held { name: NAME.to_owned(), descriptor: file.into() })
    }

    /// What was given to us, if it was.
    pub fn given() -> Option<Handover> {
        let file = supervisor::take(NAME).pop()?;
        let read = serde_json::from_reader(BufReader::new(File::from(file)));
        read.map_err(|error| {
            tracing::error!(
                "the state of the version before can't be read ({error}); beginning with the config \
                 file alone"
            );
        })
        .ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_state_goes_on_with_where_things_came_from() {
        let file = include_str!("../../configs/node.toml");
        let config = || Config::parse(file, "node.toml").unwrap();
        let desired = Desired::new(config());
        assert_eq!(Handover::of(&desired).api, Additions::default());
        let mut port = config().port[0].clone();
        port.name = "added".parse().unwrap();
        port.device = "eth7".parse().unwrap();
        port.addresses = vec!["10.244.1.77".parse().unwrap()];
        let route: Route =
            toml::from_str("prefix = \"10.99.0.0/16\"\nvia = \"blackhole\"").unwrap();
        let edits = [
            Edit::PutPort(Box::new(port)),
            Edit::Routes(RouteEdits { put: vec![route], delete: Vec::new() }),
        ];
        let desired = edits.into_iter().fold(desired, |now, edit| now.edit(edit).unwrap());

        let handover = Handover::of(&desired);
        assert_eq!((handover.api.ports.len(), handover.api.routes.len()), (1, 1));
        let written = handover.write().unwrap();
        let text = BufReader::new(File::from(written.descriptor));
        let read: Handover = serde_json::from_reader(text).unwrap();
        assert_eq!(read, handover);
        let again = read.into_state();
        assert_eq!(again.whole_config(), desired.whole_config());
        assert_eq!(Handover::of(&again), handover);
    }
}
