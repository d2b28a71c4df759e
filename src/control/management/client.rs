//! Asking a daemon.

use crate::control::report::Failure;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// A daemon that takes longer is taken for dead.
const PATIENCE: Duration = Duration::from_secs(5);

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

/// Asks the daemon at `socket` for `path`, such as `/v1/ready`. Blocks.
///
/// # Errors
/// When nobody answers, the answer is a refusal, or it is not of type `T`.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    let strange = |what: String| ClientError::Strange { path: socket.to_owned(), what };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| strange(format!("the runtime does not start: {e}")))?;
    let answer =
        runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(socket, path)).await });
    let (status, body) =
        answer.map_err(|_| strange(format!("no answer within {PATIENCE:?}")))??;
    if status != 200 {
        let failure: Result<Failure, _> = serde_json::from_slice(&body);
        let message = failure.map_or_else(|_| String::from_utf8_lossy(&body).into(), |f| f.error);
        return Err(ClientError::Refused { path: socket.to_owned(), status, message });
    }
    serde_json::from_slice(&body)
        .map_err(|e| strange(format!("the answer is not as expected: {e}")))
}

async fn ask(socket: &Path, path: &str) -> Result<(u16, Bytes), ClientError> {
    let strange =
        |e: hyper::Error| ClientError::Strange { path: socket.to_owned(), what: e.to_string() };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::Unreachable { path: socket.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(strange)?;
    tokio::spawn(connection);
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, "cableway")
        .body(Empty::<Bytes>::new())
        .expect("the path is one of ours");
    let response = sender.send_request(request).await.map_err(strange)?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(strange)?.to_bytes();
    Ok((status, body))
}
