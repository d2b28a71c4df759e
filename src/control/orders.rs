//! What a running node is told to do, one thing after the other: by signals, and through the API.
//!
//! There is one queue, and the node takes the next order when it is done with the last. So edits
//! never meet, and whoever asks for one may go away meanwhile: what was queued is done as a whole,
//! what was not is not done.

use super::desired::plan::{Fixed, Plan, Subject, plan};
use super::desired::{Desired, Edit, Refused};
use super::journal::Record;
use super::node::Node;
use super::supervisor;
use super::undo::Undo;
use crate::config::{Config, Errors, Part};
use std::io;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// Orders that may wait. Whoever comes then waits for a place.
const QUEUE: usize = 16;

/// What a node is told.
pub enum Order {
    /// To become something else.
    Edit(Request),
    /// To read this file again.
    Reload(PathBuf),
    /// To end, and why.
    End(&'static str),
}

/// An edit and where the answer goes.
pub struct Request {
    /// What is asked for.
    pub edit: Edit,
    /// Where to say what became of it.
    pub answer: oneshot::Sender<Result<bool, Refused>>,
}

/// Where orders come out.
pub struct Orders {
    requests: Requests,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    file: PathBuf,
}

/// Where edits go in.
#[derive(Clone)]
pub struct Editor(mpsc::Sender<Request>);

/// Where they come out.
pub type Requests = mpsc::Receiver<Request>;

/// A queue of edits alone.
pub fn editor() -> (Editor, Requests) {
    let (sender, requests) = mpsc::channel(QUEUE);
    (Editor(sender), requests)
}

/// Makes the queue. From here on SIGTERM, SIGINT and SIGHUP do nothing but go into it; at the last
/// one `file` is to be read again.
///
/// # Errors
/// When the signals can't be caught.
pub fn queue(file: &Path) -> io::Result<(Editor, Orders)> {
    let (editor, requests) = editor();
    let orders = Orders {
        requests,
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
        file: file.to_owned(),
    };
    Ok((editor, orders))
}

impl Orders {
    /// The next order. May be dropped before there is one.
    pub async fn next(&mut self) -> Order {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Order::End("SIGTERM"),
            _ = self.interrupt.recv() => Order::End("SIGINT"),
            _ = self.hangup.recv() => Order::Reload(self.file.clone()),
            Some(request) = self.requests.recv() => Order::Edit(request),
        }
    }
}

impl Editor {
    /// Asks for an edit, and waits until it is made or refused. Whether anything has changed.
    ///
    /// # Errors
    /// Why it was refused; nothing has changed then.
    pub async fn edit(&self, edit: Edit) -> Result<bool, Refused> {
        let (answer, result) = oneshot::channel();
        self.0.send(Request { edit, answer }).await.map_err(|_| Refused::Ending)?;
        result.await.map_err(|_| Refused::Ending)?
    }
}

impl Node {
    /// Carries an order out; why to end, if that was it.
    pub(super) async fn obey(&mut self, order: Order, undo: &mut Undo) -> Option<&'static str> {
        match order {
            Order::End(why) => return Some(why),
            Order::Reload(file) => self.reload(&file, undo).await,
            Order::Edit(request) => self.edit(request, undo).await,
        }
        None
    }

    /// Does what was asked for, and answers.
    async fn edit(&mut self, Request { edit, answer }: Request, undo: &mut Undo) {
        let result = self.change(edit, undo).await;
        if let Err(refused) = &result {
            tracing::debug!("refused: {refused}");
        }
        // Whoever asked may have gone.
        let _ = answer.send(result);
        self.journal.shorten(&self.desired).await;
    }

    /// Makes an edit, and writes down that it was made. Whether anything has changed.
    async fn change(&mut self, edit: Edit, undo: &mut Undo) -> Result<bool, Refused> {
        let (new, plan, record) = self.edited(edit).await?;
        let has_changed = self.apply(new, &plan, undo).await?;
        // Of a file, what came from it may have become another thing than what looks the same.
        if has_changed || matches!(record, Record::State { .. }) {
            self.journal.record(record, &self.desired).await;
        }
        Ok(has_changed)
    }

    /// Reads the config file again and becomes what it says. What is wrong is logged, and the node
    /// goes on as it was.
    async fn reload(&mut self, file: &Path, undo: &mut Undo) {
        let name = file.display();
        tracing::info!("SIGHUP: reading {name} again");
        supervisor::reloading();
        let result = self.try_reload(file, undo).await;
        supervisor::ready(match &result {
            Ok(()) => "the config was read again, and is in force",
            Err(_) => "the config was read again, and not taken over; the log says why",
        });
        match result {
            Ok(()) => tracing::info!("{name}: in force"),
            Err(error) => {
                for line in error.lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("{name} was not taken over; going on as before");
            }
        }
    }

    async fn try_reload(&mut self, file: &Path, undo: &mut Undo) -> Result<(), String> {
        let (path, name) = (file.to_owned(), file.display().to_string());
        let warn = |warnings: Errors| {
            warnings.to_string().lines().for_each(|line| tracing::warn!("{line}"));
        };
        let read = tokio::task::spawn_blocking(move || Config::load_warned(&path, warn)).await;
        let config = read.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        match self.change(Edit::Reload(Box::new(config)), undo).await {
            Ok(_) => Ok(()),
            Err(Refused::Fixed(fixed)) => {
                let text = std::fs::read_to_string(file).unwrap_or_default();
                Err(locate(&name, &text, &fixed).to_string())
            }
            Err(refused) => Err(format!("{name}: {refused}")),
        }
    }

    /// The state after an edit, what there is to do for it, and what to write down. Many routes take
    /// a while to look through, in which this thread has other things to do; the state does not
    /// change meanwhile, since orders are carried out one by one.
    async fn edited(&self, edit: Edit) -> Result<(Desired, Plan, Record), Refused> {
        let old = self.desired.clone();
        let edited = tokio::task::spawn_blocking(move || {
            let record = Record::of(&edit);
            let new = old.edit(edit)?;
            let plan = plan(&old, &new).map_err(Refused::Fixed)?;
            Ok((new, plan, record))
        });
        edited.await.map_err(|e| Refused::Failed(format!("looking through the edit: {e}")))?
    }
}

/// What can't be changed, with its places in the text of the file.
pub fn locate(file: &str, text: &str, fixed: &[Fixed]) -> Errors {
    let faults = fixed.iter().map(|Fixed { subject, message }| {
        let part = match subject {
            Subject::Section(section) => Part::Section(section),
            Subject::Port(name) => Part::Port(name),
        };
        part.fault(text, message)
    });
    Errors { file: file.to_owned(), faults: faults.collect() }
}
