//! The OpenAPI document: made of the list of endpoints, and of the types that they take and give.
//!
//! `docs/openapi.json` is what it says, for those who have no daemon at hand; a test holds it against
//! the code.

use super::Served;
use super::api::{Done, ENDPOINTS};
use crate::control::report::Failure;
use axum::routing::MethodRouter;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// A line of the list: a method, a path, and what serves it.
pub(super) struct Endpoint {
    method: &'static str,
    /// Behind `/v1`; what is in braces stands for anything.
    path: &'static str,
    summary: &'static str,
    pub(super) serve: fn() -> MethodRouter<Served>,
    takes: fn(&mut SchemaGenerator) -> Part,
    gives: fn(&mut SchemaGenerator) -> Part,
}

/// What a body is.
pub(super) enum Part {
    /// There is none.
    None,
    /// JSON of that schema.
    Json(Value),
    /// A config as TOML.
    Toml,
}

impl Part {
    pub(super) fn none(_: &mut SchemaGenerator) -> Part {
        Part::None
    }

    pub(super) fn any(_: &mut SchemaGenerator) -> Part {
        Part::Json(json!({ "type": "object" }))
    }

    pub(super) fn toml(_: &mut SchemaGenerator) -> Part {
        Part::Toml
    }

    pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Part {
        Part::Json(generator.subschema_for::<T>().to_value())
    }

    fn content(self) -> Option<Value> {
        match self {
            Part::None => None,
            Part::Json(schema) => Some(json!({ "application/json": { "schema": schema } })),
            Part::Toml => {
                let schema = json!({ "type": "string", "description": "A config, as of a file" });
                Some(json!({ "application/toml": { "schema": schema } }))
            }
        }
    }
}

type Gives = fn(&mut SchemaGenerator) -> Part;
type Serve = fn() -> MethodRouter<Served>;

impl Endpoint {
    pub(super) const fn get(
        path: &'static str,
        summary: &'static str,
        serve: Serve,
        gives: Gives,
    ) -> Endpoint {
        Endpoint { method: "get", path, summary, serve, takes: Part::none, gives }
    }

    pub(super) const fn put(
        path: &'static str,
        summary: &'static str,
        serve: Serve,
        takes: Gives,
    ) -> Endpoint {
        Endpoint { method: "put", path, summary, serve, takes, gives: Part::of::<Done> }
    }

    pub(super) const fn post(
        path: &'static str,
        summary: &'static str,
        serve: Serve,
        takes: Gives,
        gives: Gives,
    ) -> Endpoint {
        Endpoint { method: "post", path, summary, serve, takes, gives }
    }

    pub(super) const fn delete(
        path: &'static str,
        summary: &'static str,
        serve: Serve,
    ) -> Endpoint {
        Endpoint {
            method: "delete",
            path,
            summary,
            serve,
            takes: Part::none,
            gives: Part::of::<Done>,
        }
    }

    /// The path as the router has it: names and prefixes may have slashes in them.
    pub(super) fn pattern(&self) -> String {
        format!("/v1{}", self.path.replace('{', "{*"))
    }

    /// Its method and path, for those who check that each is served.
    #[cfg(test)]
    pub(super) fn line(&self) -> (&'static str, String) {
        (self.method, format!("/v1{}", self.path))
    }

    fn describe(&self, generator: &mut SchemaGenerator) -> Value {
        let failure = Part::of::<Failure>(generator).content();
        let refused = json!({ "description": "Not done, and why", "content": failure });
        let mut done = json!({ "description": "Done" });
        if let Some(content) = (self.gives)(generator).content() {
            done["content"] = content;
        }
        let mut about = json!({
            "summary": self.summary,
            "responses": { "200": done, "default": refused },
        });
        if let Some(content) = (self.takes)(generator).content() {
            about["requestBody"] = json!({ "required": true, "content": content });
        }
        let parameters = self.parameters();
        if !parameters.is_empty() {
            about["parameters"] = parameters.into();
        }
        about
    }

    fn parameters(&self) -> Vec<Value> {
        let parameter = |name: &str, place: &str, kind: &str| {
            let schema = json!({ "type": kind });
            json!({ "name": name, "in": place, "required": place == "path", "schema": schema })
        };
        let in_path = self.path.split(['{', '}']).skip(1).step_by(2);
        let in_path = in_path.map(|name| parameter(name, "path", "string"));
        let in_query: &[(&str, &str)] = match (self.method, self.path) {
            ("get", "/routes") => &[("after", "string"), ("limit", "integer")],
            ("get", "/drops/samples") => &[("reason", "string")],
            ("put", "/config") => &[("file", "string")],
            _ => &[],
        };
        in_path.chain(in_query.iter().map(|(name, kind)| parameter(name, "query", kind))).collect()
    }
}

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let about = endpoint.describe(&mut generator);
        let path = paths.entry(format!("/v1{}", endpoint.path)).or_insert_with(|| json!({}));
        path[endpoint.method] = about;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Cableway",
            "version": "1",
            "description": "What may be asked of a running daemon, over HTTP on its management \
                socket. Each request is done as a whole or not at all, one after the other. PUT may \
                be repeated. What is in a path may have slashes in it, with or without escapes.",
        },
        "servers": [{ "url": "http://cableway", "description": "The management socket" }],
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}
