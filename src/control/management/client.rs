//! Asking a daemon.

use crate::control::report::Failure;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// A daemon that takes longer is taken for dead.
const PATIENCE: Duration = Duration::from_secs(10);
/// An edit may wait for others, and for devices to come and go.
const EDIT_PATIENCE: Duration = Duration::from_secs(120);

/// A daemon did not answer as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "management socket {}: no daemon answers ({source}); start one with `cableway run`, or \
         name its socket with --socket", .path.display()
    )]
    Unreachable {
        /// The socket's file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The daemon said no.
    #[error("management socket {}: the daemon answered {status}: {message}", .path.display())]
    Refused {
        /// The socket's file.
        path: PathBuf,
        /// The HTTP status.
        status: u16,
        /// The daemon's words.
        message: String,
    },
    /// The answer is not one of ours.
    #[error(
        "management socket {}: {what}; is it a cableway daemon of this version?", .path.display()
    )]
    Strange {
        /// The socket's file.
        path: PathBuf,
        /// What was strange.
        what: String,
    },
}

/// What goes with a request.
pub enum Content {
    /// Nothing.
    None,
    /// A JSON value.
    Json(serde_json::Value),
    /// A config as TOML.
    Toml(String),
}

/// Asks the daemon at `socket` for `path`, such as `/v1/ready`. Blocks.
///
/// # Errors
/// When nobody answers, the answer is a refusal, or it is not of type `T`.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    call(socket, "GET", path, Content::None)
}

/// Makes any request, with an answer that is JSON. Blocks.
///
/// # Errors
/// As those of [`get`].
pub fn call<T: DeserializeOwned>(
    socket: &Path,
    method: &str,
    path: &str,
    content: Content,
) -> Result<T, ClientError> {
    let body = text(socket, method, path, content)?;
    serde_json::from_slice(&body).map_err(|e| ClientError::Strange {
        path: socket.to_owned(),
        what: format!("the answer is not as expected: {e}"),
    })
}

/// Makes any request; the bytes of the answer. Blocks.
///
/// # Errors
/// When nobody answers, or the answer is a refusal.
pub fn text(
    socket: &Path,
    method: &str,
    path: &str,
    content: Content,
) -> Result<Bytes, ClientError> {
    let strange = |what: String| ClientError::Strange { path: socket.to_owned(), what };
    let patience = if method == "GET" { PATIENCE } else { EDIT_PATIENCE };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| strange(format!("the runtime does not start: {e}")))?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(patience, ask(socket, method, path, content)).await
    });
    let (status, body) =
        answer.map_err(|_| strange(format!("no answer within {patience:?}")))??;
    if status != 200 {
        let failure: Result<Failure, _> = serde_json::from_slice(&body);
        let message = failure.map_or_else(|_| String::from_utf8_lossy(&body).into(), tell);
        return Err(ClientError::Refused { path: socket.to_owned(), status, message });
    }
    Ok(body)
}

/// A failure in words, a line for each problem.
fn tell(failure: Failure) -> String {
    let lines = failure.problems.iter().map(|problem| match problem.pointer.as_str() {
        "" => problem.message.clone(),
        pointer => format!("{pointer}: {}", problem.message),
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() { failure.error } else { lines.join("\n") }
}

async fn ask(
    socket: &Path,
    method: &str,
    path: &str,
    content: Content,
) -> Result<(u16, Bytes), ClientError> {
    let strange =
        |e: hyper::Error| ClientError::Strange { path: socket.to_owned(), what: e.to_string() };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::Unreachable { path: socket.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(strange)?;
    tokio::spawn(connection);
    let request =
        hyper::Request::builder().method(method).uri(path).header(hyper::header::HOST, "cableway");
    let (kind, body) = match content {
        Content::None => (None, Bytes::new()),
        Content::Json(value) => (Some("application/json"), value.to_string().into()),
        Content::Toml(text) => (Some("application/toml"), text.into()),
    };
    let request = match kind {
        Some(kind) => request.header(hyper::header::CONTENT_TYPE, kind),
        None => request,
    };
    let request = request.body(Full::new(body)).expect("method and path are our own");
    let response = sender.send_request(request).await.map_err(strange)?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(strange)?.to_bytes();
    Ok((status, body))
}

/// A name or prefix as it may stand in a path.
pub fn escape(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b if b.is_ascii_alphanumeric() || b"-._~:/@".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    });
    escaped.collect()
}
