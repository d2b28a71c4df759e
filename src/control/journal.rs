//! What came through the API, written down as it comes, so that it outlives SIGKILL.
//!
//! The journal is a file beside the management socket, there from the first change through the API
//! on until the daemon is told to end. Its first line is the state at some moment, each further one
//! an [`Edit`] that was made since. A line is written when the edit is in force, and before it is
//! answered: what somebody knows to be done is there after a kill, too. When the lines have become
//! longer than the state was, and than [`SHORT`], it begins anew with the state as it is then: so what
//! is rewritten was paid for by as many bytes of edits.
//!
//! That nothing can be written is logged, and no reason to refuse an edit: a router whose `/run` is
//! full still routes.

use super::beside::{Beside, Namespace};
use super::desired::{Desired, Edit, Saved};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// Bytes of edits that are not worth a new beginning.
const SHORT: u64 = 1 << 20;
/// Bytes that are written on this thread; more may take a while.
const AT_ONCE: usize = 1 << 16;

/// The journal of a node.
pub struct Journal {
    place: Beside,
    /// To write the next line to, once it has begun.
    file: Option<Arc<File>>,
    /// Bytes that the state took, and the edits since.
    state: u64,
    edits: u64,
    /// The last attempt to write has failed, and that was logged.
    is_failing: bool,
}

/// What is to be written of an edit.
pub enum Record {
    /// This line.
    Line(Vec<u8>),
    /// The state that it has led to, if that is shorter to say.
    State {
        /// Whether only where there is a journal already: otherwise the config file says it all.
        again: bool,
    },
}

/// The first line.
#[derive(Deserialize, Serialize)]
struct Beginning {
    namespace: Namespace,
    state: Saved,
}

impl Record {
    /// Of an edit.
    pub fn of(edit: &Edit) -> Record {
        match edit {
            Edit::Apply(_) => Record::State { again: false },
            Edit::Reload(_) => Record::State { again: true },
            edit => {
                let mut line = serde_json::to_vec(edit).expect("an edit is written as JSON");
                line.push(b'\n');
                Record::Line(line)
            }
        }
    }
}

impl Journal {
    /// The journal of the daemon with that management socket. Nothing is written yet.
    pub fn beside(socket: &Path) -> Journal {
        let place = Beside::new(socket, "api");
        Journal { place, file: None, state: 0, edits: 0, is_failing: false }
    }

    /// The state of a daemon that was killed, if there was one in our namespace and anything had
    /// come through its API.
    pub fn read(&self) -> Option<Desired> {
        let path = self.place.path().display();
        let read = self.place.read().and_then(|text| Ok(text.as_deref().map(state).transpose()?));
        match read {
            Ok(read) => read.flatten(),
            Err(error) => {
                tracing::error!(
                    "{path}: {error}; what came through the API before the kill is not known, \
                     beginning with the config file alone"
                );
                None
            }
        }
    }

    /// Writes down an edit that has led to the state `now`.
    pub async fn record(&mut self, record: Record, now: &Arc<Desired>) {
        match (record, self.file.clone()) {
            (Record::State { again: true }, None) if !self.is_failing => {}
            (Record::Line(line), Some(file)) => {
                let written = append(file, line).await;
                match written {
                    Ok(length) => self.edits += length,
                    Err(error) => self.fail(&error),
                }
            }
            (Record::State { .. }, _) | (Record::Line(_), None) => self.begin(now).await,
        }
    }

    /// Begins anew with the state `now`.
    pub async fn begin(&mut self, now: &Arc<Desired>) {
        let (place, now) = (self.place.clone(), now.clone());
        let written = tokio::task::spawn_blocking(move || write(&place, &now)).await;
        match written.map_err(io::Error::from).flatten() {
            Ok((file, length)) => {
                (self.file, self.state, self.edits) = (Some(Arc::new(file)), length, 0);
                self.is_failing = false;
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Begins anew if it has become long.
    pub async fn shorten(&mut self, now: &Arc<Desired>) {
        if self.edits > self.state.max(SHORT) {
            self.begin(now).await;
        }
    }

    /// After this the next record is a new beginning, as there may be half a line now.
    fn fail(&mut self, error: &io::Error) {
        self.file = None;
        if !std::mem::replace(&mut self.is_failing, true) {
            let path = self.place.path().display();
            tracing::error!(
                "{path}: {error}; if we are killed, what comes through the API from now on is lost; \
                 trying again at each change"
            );
        }
    }

    /// Removes it; whether there was one.
    pub fn remove(socket: &Path) -> bool {
        Beside::new(socket, "api").remove()
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.place.path().exists()
    }
}

/// What a journal tells of, unless it is another namespace's.
fn state(text: &[u8]) -> serde_json::Result<Option<Desired>> {
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let (whole, torn) = text.split_at(end);
    let mut lines = whole.split_inclusive(|byte| *byte == b'\n');
    let beginning: Beginning = serde_json::from_slice(lines.next().unwrap_or_default())?;
    if !beginning.namespace.is_here() {
        return Ok(None);
    }
    let mut state = beginning.state.into_state();
    for (line, number) in lines.zip(2..) {
        match serde_json::from_slice(line) {
            Ok(edit) => state.redo(edit),
            Err(error) => {
                tracing::error!(
                    "line {number} of the journal and what follows is left out: {error}"
                );
                return Ok(Some(state));
            }
        }
    }
    if !torn.is_empty() {
        // Nobody was told that this one was made.
        tracing::debug!("left out the beginning of a line at the end of the journal");
    }
    Ok(Some(state))
}

/// Begins a journal; how long it is.
fn write(place: &Beside, now: &Desired) -> io::Result<(File, u64)> {
    let beginning = Beginning { namespace: Namespace::here(), state: Saved::of(now) };
    let file = place.replace(|out| {
        serde_json::to_writer(&mut *out, &beginning)?;
        out.write_all(b"\n")
    })?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

async fn append(file: Arc<File>, line: Vec<u8>) -> io::Result<u64> {
    let length = line.len() as u64;
    if line.len() <= AT_ONCE {
        (&*file).write_all(&line)?;
    } else {
        let write = move || (&*file).write_all(&line);
        tokio::task::spawn_blocking(write).await??;
    }
    Ok(length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Config, Route, Via};
    use crate::control::desired::RouteEdits;
    use std::fs;
    use std::path::PathBuf;

    fn desired() -> Desired {
        let file = include_str!("../../configs/node.toml");
        Desired::new(Config::parse(file, "node.toml").unwrap())
    }

    fn routes(from: u32, count: u32) -> Edit {
        let nets = (from..from + count).map(|i| std::net::Ipv4Addr::from_bits(i << 8));
        let nets = nets.map(|net| format!("{net}/24").parse().unwrap());
        let put = nets.map(|prefix| Route { prefix, via: Via::Blackhole }).collect();
        Edit::Routes(RouteEdits { put, delete: Vec::new() })
    }

    /// A node as far as the journal knows it.
    struct Node {
        directory: PathBuf,
        journal: Journal,
        now: Arc<Desired>,
    }

    impl Node {
        fn new(name: &str) -> Node {
            let directory = std::env::temp_dir().join(format!("ctl-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir(&directory).unwrap();
            let journal = Journal::beside(&directory.join("node.sock"));
            Node { directory, journal, now: Arc::new(desired()) }
        }

        fn edit(&mut self, edit: Edit) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let record = Record::of(&edit);
            self.now = Arc::new(self.now.edit(edit).unwrap());
            runtime.block_on(async {
                self.journal.record(record, &self.now).await;
                self.journal.shorten(&self.now).await;
            });
        }

        fn file(&self) -> PathBuf {
            self.directory.join("node.api")
        }

        /// What the next life finds.
        fn read(&self) -> Option<Desired> {
            Journal::beside(&self.directory.join("node.sock")).read()
        }

        #[track_caller]
        fn is_read(&self) {
            assert_eq!(Saved::of(&self.read().unwrap()), Saved::of(&self.now));
        }
    }

    impl Drop for Node {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    #[test]
    fn edits_are_found_again() {
        let mut node = Node::new("edits");
        assert!(node.read().is_none());
        let file = include_str!("../../configs/node.toml");
        let config = || Box::new(Config::parse(file, "node.toml").unwrap());
        node.edit(Edit::Reload(config()));
        assert!(!node.file().exists(), "the config file says it all");
        // One that is written in the background, too.
        for edit in
            [routes(1, 3), routes(5, 10_000), Edit::DeleteRoute("0.0.1.0/24".parse().unwrap())]
        {
            node.edit(edit);
            node.is_read();
        }
        let edits = fs::read(node.file()).unwrap().split(|byte| *byte == b'\n').count();
        assert_eq!(edits, 1 + 2 + 1);
        for edit in [Edit::Apply(config()), routes(7, 1), Edit::Reload(config())] {
            node.edit(edit);
            node.is_read();
        }
        assert!(Journal::remove(&node.directory.join("node.sock")));
        assert!(node.read().is_none());
        assert_eq!(fs::read_dir(&node.directory).unwrap().count(), 0);
    }

    #[test]
    fn it_begins_anew_when_it_has_become_long() {
        let mut node = Node::new("long");
        node.edit(routes(0, 10));
        let beginning = fs::metadata(node.file()).unwrap().len();
        let mut lengths = Vec::new();
        // The same routes, once by one way and once by the other.
        for round in 0..32 {
            let Edit::Routes(mut edits) = routes(0, 2_000) else { panic!("they are routes") };
            if round % 2 == 1 {
                edits.put.iter_mut().for_each(|route| route.via = Via::Unreachable);
            }
            node.edit(Edit::Routes(edits));
            lengths.push(fs::metadata(node.file()).unwrap().len());
        }
        node.is_read();
        let longest = *lengths.iter().max().unwrap();
        assert!(longest > SHORT && longest < SHORT + SHORT / 4 + beginning, "{lengths:?}");
        assert!(lengths.windows(2).filter(|pair| pair[1] < pair[0]).count() >= 2, "{lengths:?}");
    }

    #[test]
    fn a_line_that_was_not_finished_is_left_out() {
        let mut node = Node::new("torn");
        node.edit(routes(0, 1));
        node.edit(routes(1, 1));
        let text = fs::read_to_string(node.file()).unwrap();
        for length in text.trim_end().rfind('\n').unwrap() + 1..text.len() {
            fs::write(node.file(), &text[..length]).unwrap();
            assert_eq!(node.read().unwrap().routes().len(), node.now.routes().len() - 1);
        }
        // What stands behind a line that can't be read was made of what it said.
        fs::write(node.file(), format!("{text}{{}}\n{text}")).unwrap();
        node.is_read();
        for text in ["", "{", "{}\n", &text[..9]] {
            fs::write(node.file(), text).unwrap();
            assert!(node.read().is_none(), "{text:?}");
        }
    }

    #[test]
    fn that_of_another_namespace_is_not_ours() {
        let mut node = Node::new("namespace");
        node.edit(routes(0, 1));
        let text = fs::read_to_string(node.file()).unwrap();
        let other = text.replacen("\"namespace\":[", "\"namespace\":[1", 1);
        fs::write(node.file(), other).unwrap();
        assert!(node.read().is_none());
    }

    #[test]
    fn when_it_can_not_be_written_edits_are_made_and_it_is_made_up_for() {
        let mut node = Node::new("full");
        node.edit(routes(0, 1));
        // A descriptor that can't be written to, and then no directory.
        node.journal.file = Some(Arc::new(File::open("/dev/null").unwrap()));
        node.edit(routes(1, 1));
        assert!(node.journal.is_failing);
        let hidden = node.directory.with_extension("hidden");
        fs::rename(&node.directory, &hidden).unwrap();
        node.edit(routes(2, 1));
        assert!(node.journal.is_failing);
        fs::rename(&hidden, &node.directory).unwrap();
        node.edit(routes(3, 1));
        assert!(!node.journal.is_failing);
        node.is_read();
    }
}
