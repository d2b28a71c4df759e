//! Bodies of requests: read whole, in bounded time and memory, and understood.
#![allow(clippy::result_large_err, reason = "the error is the answer: a response")]

use super::{Served, failure, problems};
use crate::config::edit::{self, Problem};
use crate::config::{Config, Prefix, Route};
use crate::control::desired::AclSections;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};
use std::error::Error;
use std::time::Duration;

/// Bytes that a body may have: a hundred thousand routes and room to spare.
pub(super) const LIMIT: usize = 32 << 20;
/// How long a client may take to send one.
const PATIENCE: Duration = Duration::from_secs(30);
/// Elements of a list whose problems are told; where there are more they are alike.
const TOLD: usize = 20;

/// The whole body of a request.
pub(super) struct Whole(pub(super) Bytes);

impl FromRequest<Served> for Whole {
    type Rejection = Response;

    async fn from_request(request: Request, _: &Served) -> Result<Whole, Response> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > LIMIT as u64) {
            return Err(too_long());
        }
        let body = Limited::new(request.into_body(), LIMIT);
        match tokio::time::timeout(PATIENCE, BodyExt::collect(body)).await {
            Ok(Ok(body)) => Ok(Whole(body.to_bytes())),
            Ok(Err(error)) if is_too_long(error.as_ref()) => Err(too_long()),
            Ok(Err(error)) => {
                Err(failure(StatusCode::BAD_REQUEST, format!("reading the body: {error}")))
            }
            Err(_) => Err(failure(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {} s", PATIENCE.as_secs()),
            )),
        }
    }
}

fn is_too_long(error: &(dyn Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_too_long)
}

fn too_long() -> Response {
    let message = format!(
        "the body is longer than {} MiB; expected less: send routes in several batches",
        LIMIT >> 20
    );
    failure(StatusCode::PAYLOAD_TOO_LARGE, message)
}

/// A body that is JSON.
pub(super) fn json(body: &[u8]) -> Result<Value, Response> {
    serde_json::from_slice(body)
        .map_err(|error| failure(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))
}

/// What a config's list `section` would have as its element for this body, with `key` as the path of
/// the request has it.
pub(super) fn element(
    section: &str,
    key: &str,
    value: &str,
    body: &[u8],
) -> Result<Config, Response> {
    let mut body = json(body)?;
    if let Value::Object(body) = &mut body {
        let given = body.entry(key).or_insert_with(|| value.into()).clone();
        if given != *value {
            let message = format!("found {given}; expected \"{value}\", as in the path");
            let problem = Problem { pointer: format!("/{key}"), message };
            return Err(problems(StatusCode::UNPROCESSABLE_ENTITY, vec![problem]));
        }
    }
    elements(section, vec![body]).map_err(|found| problems(StatusCode::UNPROCESSABLE_ENTITY, found))
}

/// Reads one element of a list of a config; pointers are within that element.
fn elements(section: &str, list: Vec<Value>) -> Result<Config, Vec<Problem>> {
    let start = format!("/{section}/0");
    let sections = Map::from_iter([(section.to_owned(), Value::Array(list))]);
    edit::read(&sections).map_err(|found| {
        let within = found.into_iter().map(|problem| Problem {
            pointer: problem.pointer.strip_prefix(&start).unwrap_or_default().to_owned(),
            ..problem
        });
        within.collect()
    })
}

/// A batch of routes. What is right is read in one go, since there may be very many; what is wrong
/// is looked at again, to say what.
pub(super) fn batch(body: &[u8]) -> Result<super::RouteBatch, Response> {
    serde_json::from_slice(body).map_err(|error| match json(body) {
        Ok(value) => {
            let found = wrong_in_batch(&value);
            let found =
                if found.is_empty() { vec![Problem::whole(error.to_string())] } else { found };
            problems(StatusCode::UNPROCESSABLE_ENTITY, found)
        }
        Err(response) => response,
    })
}

fn wrong_in_batch(value: &Value) -> Vec<Problem> {
    let Value::Object(members) = value else {
        return vec![Problem::whole("found no object; expected one with `put` and `delete`")];
    };
    let mut found = Vec::new();
    for (key, list) in members {
        let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        match (key.as_str(), list) {
            ("put", Value::Array(list)) => {
                let wrong =
                    |value: &&Value| serde_json::from_value::<Route>((*value).clone()).is_err();
                let wrong = list.iter().enumerate().filter(|(_, value)| wrong(value)).take(TOLD);
                for (i, value) in wrong {
                    let within = elements("route", vec![value.clone()]).err().unwrap_or_default();
                    found.extend(within.into_iter().map(|problem| Problem {
                        pointer: format!("/put/{i}{}", problem.pointer),
                        ..problem
                    }));
                }
            }
            ("delete", Value::Array(list)) => {
                let wrong = list.iter().enumerate().filter_map(|(i, value)| {
                    let error = serde_json::from_value::<Prefix>(value.clone()).err()?;
                    Some(Problem { pointer: format!("/delete/{i}"), message: error.to_string() })
                });
                found.extend(wrong.take(TOLD));
            }
            ("put" | "delete", _) => {
                found.push(Problem { pointer, message: "found no list; expected one".into() });
            }
            _ => {
                let message = format!("unknown key `{key}`; expected `put` or `delete`");
                found.push(Problem { pointer, message });
            }
        }
    }
    found
}

/// Policies, and what their rules speak of.
pub(super) fn policies(body: &[u8]) -> Result<AclSections, Response> {
    let refused = |found| problems(StatusCode::UNPROCESSABLE_ENTITY, found);
    let Value::Object(sections) = json(body)? else {
        let message = "found no object; expected one with `policy`, `set` and `endpoint`";
        return Err(refused(vec![Problem::whole(message)]));
    };
    let mut config = edit::read(&sections).map_err(refused)?;
    let other = sections.keys().find(|key| !["policy", "set", "endpoint"].contains(&key.as_str()));
    match other {
        None => Ok(AclSections::take(&mut config)),
        Some(key) => {
            let message = format!("found `{key}`; expected `policy`, `set` or `endpoint`");
            Err(refused(vec![Problem { pointer: format!("/{key}"), message }]))
        }
    }
}

/// A body that is text.
pub(super) fn text(body: &[u8]) -> Result<&str, Response> {
    std::str::from_utf8(body).map_err(|error| {
        failure(StatusCode::BAD_REQUEST, format!("the body is not text in UTF-8: {error}"))
    })
}

/// Does what may take long for a large body where it is in nobody's way.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Response> + Send + 'static,
) -> Result<T, Response> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(failure(StatusCode::INTERNAL_SERVER_ERROR, e.to_string())))
}

/// An answer that is TOML.
pub(super) fn toml(text: String) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/toml")];
    axum::response::IntoResponse::into_response((kind, Body::from(text)))
}
