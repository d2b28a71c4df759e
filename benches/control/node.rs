//! A node in this process, and clients of its management socket.

use cableway::config::Config;
use cableway::control::desired::{Desired, Edit};
use cableway::control::journal::Journal;
use cableway::control::management::{self, Socket};
use cableway::control::orders::{self, Editor};
use cableway::control::undo::Undo;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A node that lives as long as this process.
pub(crate) struct Node {
    pub(crate) socket: PathBuf,
    editor: Editor,
}

impl Node {
    /// Starts it; `config` lacks `[node]` and `[memory]`.
    pub(crate) fn start(socket: PathBuf, config: &str) -> Node {
        let text = whole(&socket, config);
        let (started, editor) = mpsc::channel();
        std::thread::spawn(move || run(&text, &started));
        Node { socket, editor: editor.recv().expect("the node starts") }
    }

    /// Has an edit made that would be too long to be sent as text; how long it took.
    pub(crate) fn edit(&self, edit: Edit) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let start = Instant::now();
        runtime.block_on(self.editor.edit(edit)).unwrap();
        start.elapsed()
    }
}

/// A config with what it lacked.
pub(crate) fn whole(socket: &Path, config: &str) -> String {
    format!(
        "node = {{ name = 'a', socket = {socket:?} }}\n\
         memory = {{ chunks = 8192, huge-pages = false }}\n{config}"
    )
}

fn run(text: &str, started: &mpsc::Sender<Editor>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config::parse(text, "bench").unwrap();
        let socket = Socket::bind(&config.node).unwrap();
        let (editor, mut orders) = orders::queue(Path::new("bench")).unwrap();
        let mut undo = Undo::default();
        let (desired, journal) = (Desired::new(config), Journal::beside(socket.path()));
        let node = cableway::control::node::Node::start(desired, journal, &mut undo).await;
        let mut node = node.unwrap();
        let state = node.state();
        started.send(editor.clone()).unwrap();
        tokio::select! {
            result = management::serve(&socket, state, editor) => result.unwrap(),
            () = node.follow(&mut orders, &mut undo) => {}
        }
    });
}

/// A client that stays connected.
pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    /// Of the node that listens there.
    pub(crate) fn new(socket: &Path) -> Client {
        Client(BufReader::new(UnixStream::connect(socket).unwrap()))
    }

    /// Asks for something that must be done; the answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> String {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        self.0.get_mut().write_all((head + body).as_bytes()).unwrap();
        let (mut line, mut status, mut length) = (String::new(), String::new(), 0);
        while self.0.read_line(&mut line).unwrap() > 2 {
            if status.is_empty() {
                status.clone_from(&line);
            }
            let value = line.to_ascii_lowercase();
            if let Some(value) = value.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(status.contains("200"), "{status}{answer}");
        answer
    }
}
