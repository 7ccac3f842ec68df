//! The document of the contract, held against what a replica answers.
//!
//! Every answer that a test gets from a route of the API is looked at: its status, its media type, its headers and
//! its body have to be among those that the document describes for that operation, and an error has to be one that the
//! operation may give. So the document is tried by everything that any test does.
//!
//! Not here: what an answer should say (the tests).

use anyhow::{Context, Result, bail, ensure};
use client::api::{header, media, openapi::document};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

/// What HTTP itself puts on answers, and what a proxy of ours would.
const OF_HTTP: &[&str] =
    &["connection", "content-length", "content-type", "date", "transfer-encoding", "allow"];

/// An operation of the document.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// The template of its path.
    pub path: &'static str,
    /// Its method, in lower case.
    pub method: &'static str,
    /// What the document says of it.
    pub described: &'static Value,
}

/// Every operation, in the order of the document.
pub fn operations() -> impl Iterator<Item = Operation> {
    let paths = document()["paths"].as_object().expect("the document has paths");
    paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("a path has methods").iter();
        methods.map(move |(method, described)| Operation { path, method, described })
    })
}

impl Operation {
    /// The one that answers this request, if it is one of the API. HEAD is answered wherever GET is.
    pub fn of(method: &str, path: &str) -> Option<Self> {
        let method = method.to_lowercase();
        let by = |method: &str| {
            operations().find(|one| one.method == method && is_filled(one.path, path))
        };
        by(&method).or_else(|| by("get").filter(|_| method == "head"))
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.described["operationId"].as_str().expect("an operation has a name")
    }

    /// Its parameters, those that every request may bring included.
    pub fn parameters(&self) -> impl Iterator<Item = &'static Value> + use<> {
        let parameters = self.described["parameters"].as_array().into_iter().flatten();
        parameters.map(resolved)
    }

    /// Fails unless the document describes such an answer.
    pub fn check(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<()> {
        let what = || format!("{} may not answer {status} so", self.name());
        let answer = &self.described["responses"][status.to_string()];
        ensure!(answer.is_object(), "{} is not known to answer {status}", self.name());
        check_headers(answer, headers).with_context(what)?;
        let Some(content) = answer["content"].as_object() else {
            ensure!(body.is_empty(), "{}: a body where there is none", what());
            return Ok(());
        };
        if body.is_empty() {
            return Ok(());
        }
        self.check_body(status, content, headers, body).with_context(what)
    }

    fn check_body(
        &self,
        status: u16,
        content: &'static Map<String, Value>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<()> {
        let kind = headers.get(CONTENT_TYPE).context("a body without a media type")?.to_str()?;
        let described = content.get(kind).or_else(|| content.get("*/*"));
        let described = described.with_context(|| format!("media type {kind} is not described"))?;
        let key = format!("{} {status} {kind}", self.name());
        match kind {
            media::JSON | media::PROBLEM => {
                validate(&key, &described["schema"], &serde_json::from_slice(body)?)
            }
            media::NDJSON => {
                body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).try_for_each(
                    |line| validate(&key, &described["itemSchema"], &serde_json::from_slice(line)?),
                )
            }
            media::EVENTS => {
                let text = std::str::from_utf8(body)?;
                let whole = text.split("\n\n").filter(|event| !event.starts_with(':'));
                // The last one is cut off wherever the reader went away.
                let whole = whole.collect::<Vec<_>>();
                let (_, whole) = whole.split_last().context("an event ends with an empty line")?;
                whole.iter().try_for_each(|event| {
                    validate(&key, &described["itemSchema"], &fields_of(event))?;
                    check_event(&described["itemSchema"], event)
                })
            }
            _ => Ok(()),
        }
    }
}

fn check_headers(answer: &Value, headers: &HeaderMap) -> Result<()> {
    for (name, value) in headers {
        let described = &answer["headers"][name.as_str()];
        if described.is_null() {
            ensure!(OF_HTTP.contains(&name.as_str()), "header {name} is not described");
            continue;
        }
        let schema = &resolved(described)["schema"];
        let text = value.to_str().with_context(|| format!("header {name}"))?;
        let kind = schema["type"].as_str().or_else(|| resolved(schema)["type"].as_str());
        let value = match kind {
            Some("integer") => text.parse::<u64>()?.into(),
            _ => Value::from(text),
        };
        validate(&format!("header {name}"), schema, &value)?;
    }
    Ok(())
}

/// The fields of a server-sent event.
fn fields_of(event: &str) -> Value {
    let fields = event.lines().filter_map(|line| line.split_once(": "));
    fields.map(|(name, text)| (name.to_owned(), text.into())).collect::<Map<_, _>>().into()
}

/// What an event brings is JSON of the kind that its name says.
fn check_event(described: &'static Value, event: &str) -> Result<()> {
    let fields = fields_of(event);
    let forms =
        described["oneOf"].as_array().map_or(std::slice::from_ref(described), Vec::as_slice);
    let form = forms.iter().find(|form| form["properties"]["event"]["const"] == fields["event"]);
    let form = form.with_context(|| format!("no such event: {event}"))?;
    let brought = serde_json::from_str(fields["data"].as_str().unwrap_or_default())?;
    let key = format!("event {}", fields["event"]);
    validate(&key, &form["properties"]["data"]["contentSchema"], &brought)
}

/// What a reference means, or the thing itself.
pub fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(place) => document().pointer(place.trim_start_matches('#')).unwrap_or(value),
        None => value,
    }
}

/// A schema, whose references lead to the components of the document.
fn compiled(schema: &Value) -> Result<jsonschema::Validator> {
    let whole = json!({ "allOf": [schema], "components": document()["components"] });
    Ok(jsonschema::draft202012::options().should_validate_formats(true).build(&whole)?)
}

/// Fails unless this is what a schema of the document describes.
pub fn validate(key: &str, schema: &Value, value: &Value) -> Result<()> {
    type Validators = Mutex<HashMap<String, Arc<jsonschema::Validator>>>;
    static VALIDATORS: LazyLock<Validators> = LazyLock::new(Validators::default);
    let key = format!("{key} {schema}");
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let made = validators.get(&key).cloned();
    let validator = match made {
        Some(made) => made,
        None => Arc::clone(validators.entry(key).or_insert(Arc::new(compiled(schema)?))),
    };
    drop(validators);
    if let Some(error) = validator.iter_errors(value).next() {
        let place = error.instance_path().to_string();
        bail!("not as described at {place:?}: {error}");
    }
    Ok(())
}

/// Is this path the template, filled?
fn is_filled(template: &str, path: &str) -> bool {
    let (parts, filled) = (template.split('/'), path.split('/'));
    template.split('/').count() == path.split('/').count()
        && parts.zip(filled).all(|(part, filled)| part.starts_with('{') || part == filled)
}

/// Fails unless the document describes such an answer to such a request. What is no operation of it is let through, and
/// so is whatever is said before it is known what was asked for.
pub fn check(
    method: &str,
    path: &str,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<()> {
    if status == 405 || headers.get(header::SERVED_BY).is_none() {
        return Ok(());
    }
    match Operation::of(method, path) {
        Some(operation) if method == "HEAD" && operation.method == "get" => Ok(()),
        Some(operation) => operation.check(status, headers, body),
        None => Ok(()),
    }
}
