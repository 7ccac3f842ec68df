//! One operation: what it takes, what it answers, how it fails; and how that is written in the document.
//!
//! Not here: the operations themselves, which stand in a file for each topic.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::headers;
use super::schemas::Schemas;
use crate::api::error::ErrorCode;
use crate::api::{header, media, paths};

/// What may be said to any request, before it is known what it is.
const TO_ANY: &[ErrorCode] = &[
    ErrorCode::MalformedRequest,
    ErrorCode::RequestTimeout,
    ErrorCode::RequestHeadTooLarge,
    ErrorCode::Internal,
    ErrorCode::TooManyConnections,
    ErrorCode::NotMember,
];

/// What may be said to a request that only the leader can serve.
pub(super) const AT_LEADER: &[ErrorCode] =
    &[ErrorCode::NoLeader, ErrorCode::NoQuorum, ErrorCode::Stopping, ErrorCode::OutcomeUnknown];

/// What may be said to a look at what is replicated.
pub(super) const TO_A_LOOK: &[ErrorCode] = &[
    ErrorCode::InvalidParameter,
    ErrorCode::Overloaded,
    ErrorCode::NoLeader,
    ErrorCode::NoQuorum,
    ErrorCode::ReplicaBehind,
    ErrorCode::Quarantined,
    ErrorCode::Stopping,
];

/// What may be said to a request that changes something, and to a small body that it brings.
pub(super) const TO_A_CHANGE: &[ErrorCode] = &[
    ErrorCode::InvalidParameter,
    ErrorCode::InvalidBody,
    ErrorCode::CrossSite,
    ErrorCode::BodyTooLarge,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::Overloaded,
];

/// A body: its media type and what it is.
pub(super) struct Content {
    media: &'static str,
    schema: Option<Value>,
    item: Option<Value>,
}

impl Content {
    /// One JSON value.
    pub(super) fn json(schema: Value) -> Self {
        Self { media: media::JSON, schema: Some(schema), item: None }
    }

    /// A sequence of such items.
    pub(super) fn items(media: &'static str, item: Value) -> Self {
        Self { media, schema: None, item: Some(item) }
    }

    /// Text.
    pub(super) fn text(media: &'static str) -> Self {
        Self { media, schema: Some(json!({ "type": "string" })), item: None }
    }

    /// Bytes.
    pub(super) fn bytes(media: &'static str) -> Self {
        Self { media, schema: None, item: None }
    }

    fn write(self) -> (String, Value) {
        let mut content = Map::new();
        content.extend(self.schema.map(|schema| ("schema".to_owned(), schema)));
        content.extend(self.item.map(|item| ("itemSchema".to_owned(), item)));
        (self.media.to_owned(), content.into())
    }
}

/// A request as it may be, and the answer to it. The tests send it.
pub(super) struct Example {
    name: &'static str,
    summary: &'static str,
    parameters: Vec<(&'static str, Value)>,
    body: Option<(&'static str, Value)>,
    status: u16,
    answer: Option<(&'static str, Value)>,
}

impl Example {
    pub(super) fn new(name: &'static str, summary: &'static str) -> Self {
        Self { name, summary, parameters: Vec::new(), body: None, status: 200, answer: None }
    }

    /// With this parameter.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.parameters.push((name, value.into()));
        self
    }

    /// With a body in JSON.
    pub(super) fn json(self, body: Value) -> Self {
        self.body(media::JSON, body)
    }

    /// With a body.
    pub(super) fn body(mut self, media: &'static str, body: impl Into<Value>) -> Self {
        self.body = Some((media, body.into()));
        self
    }

    /// Answered in JSON.
    pub(super) fn told(self, status: u16, answer: Value) -> Self {
        self.told_as(status, media::JSON, answer)
    }

    /// Answered.
    pub(super) fn told_as(
        mut self,
        status: u16,
        media: &'static str,
        answer: impl Into<Value>,
    ) -> Self {
        self.status = status;
        self.answer = Some((media, answer.into()));
        self
    }

    /// Answered without a body.
    pub(super) fn told_nothing(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn written(&self, value: &Value) -> Value {
        json!({ "summary": self.summary, "value": value })
    }
}

/// An operation, being written.
pub(super) struct Operation<'s> {
    schemas: &'s mut Schemas,
    pub(super) path: String,
    pub(super) method: String,
    document: Map<String, Value>,
    parameters: Vec<Value>,
    responses: Map<String, Value>,
    codes: Vec<ErrorCode>,
    told_with_errors: Vec<&'static str>,
}

/// An operation that is written: its path, its method, and what stands there.
pub(super) type Written = (String, String, Value);

/// The path of a route as `OpenAPI` writes it: a part that may hold slashes is a part like any other.
pub(super) fn template(path: &str) -> String {
    path.replace("{*", "{")
}

impl<'s> Operation<'s> {
    /// The operation of this name: in a few words, and in sentences.
    pub(super) fn new(
        schemas: &'s mut Schemas,
        tag: &'static str,
        (method, path): (&'static str, &'static str),
        (id, summary, description): (&'static str, &'static str, &'static str),
    ) -> Self {
        assert!(
            paths::ROUTES.iter().any(|route| route.path == path && route.methods.contains(&method)),
            "{method} {path} is in the table of routes"
        );
        let mut document = Map::new();
        document.insert("operationId".into(), id.into());
        document.insert("tags".into(), json!([tag]));
        document.insert("summary".into(), summary.into());
        document.insert("description".into(), description.into());
        let path = template(path);
        let parameters = path_parameters(schemas, &path);
        let codes = TO_ANY.to_vec();
        let (method, told_with_errors) = (method.to_lowercase(), headers::OF_EVERY_ERROR.to_vec());
        let responses = Map::new();
        Self { schemas, path, method, document, parameters, responses, codes, told_with_errors }
    }

    /// Takes the query that this type is read from.
    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        for (name, mut schema, is_required) in self.schemas.members::<T>() {
            let description =
                schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let mut parameter = json!({ "name": name, "in": "query" });
            parameter["description"] = description.unwrap_or_default();
            if is_required {
                parameter["required"] = true.into();
            }
            if schema["type"] == "array" {
                // With commas between them, and the name once.
                parameter["style"] = "form".into();
                parameter["explode"] = false.into();
            }
            parameter["schema"] = schema;
            self.parameters.push(parameter);
        }
        self.codes.push(ErrorCode::InvalidParameter);
        self
    }

    /// Takes these headers.
    pub(super) fn takes(mut self, names: &[&'static str]) -> Self {
        let is_look = matches!(self.method.as_str(), "get" | "head");
        for name in names {
            let mut parameter = headers::asked(self.schemas, name);
            if *name == header::IF_NONE_MATCH && !is_look {
                // What changes something has no tag to compare with: only that there is nothing yet.
                parameter["schema"]["const"] = "*".into();
            }
            self.parameters.push(parameter);
        }
        self
    }

    /// Takes no more than this in those headers.
    pub(super) fn up_to(mut self, max: u64, names: &[&'static str]) -> Self {
        for name in names {
            let found = self.parameters.iter_mut().find(|known| known["name"] == *name);
            let found = found.expect("it takes the header");
            // Beside the type that the header has elsewhere.
            found["schema"] = json!({ "allOf": [found["schema"], { "maximum": max }] });
        }
        self
    }

    /// What it takes in `If-Match` looks like this.
    pub(super) fn matched_by(mut self, pattern: &str) -> Self {
        let found = self.parameters.iter_mut().find(|known| known["name"] == header::IF_MATCH);
        let found = found.expect("it takes If-Match");
        found["schema"]["pattern"] = pattern.into();
        self
    }

    /// Is only served by the leader: other replicas carry it there, or send the caller there if it prefers that.
    pub(super) fn at_leader(mut self) -> Self {
        self = self.takes(&[header::PREFER]).fails(AT_LEADER);
        self.responses.insert(
            "307".into(),
            json!({
                "description": "The leader answers there; only with `Prefer: redirect`.",
                "headers": headers::told(&[headers::OF_EVERY_ANSWER, &["location"]].concat()),
            }),
        );
        self
    }

    /// Changes something: who asks for it is kept with it.
    pub(super) fn changes(self) -> Self {
        self.takes(&["from"]).fails(TO_A_CHANGE).at_leader()
    }

    /// Takes a body that this type is read from.
    pub(super) fn body<T: JsonSchema>(self, description: &str) -> Self {
        let content = Content::json(self.schemas.asked::<T>());
        self.bodies(description, vec![content])
    }

    /// The same; an empty body stands for the default.
    pub(super) fn optional_body<T: JsonSchema>(self, description: &str) -> Self {
        self.body::<T>(description).body_is_optional()
    }

    /// May come without the body.
    pub(super) fn body_is_optional(mut self) -> Self {
        self.document["requestBody"]["required"] = false.into();
        self
    }

    /// Takes one of these bodies.
    pub(super) fn bodies(mut self, description: &str, contents: Vec<Content>) -> Self {
        let content: Map<String, Value> = contents.into_iter().map(Content::write).collect();
        let body = json!({ "description": description, "content": content, "required": true });
        self.document.insert("requestBody".into(), body);
        self
    }

    /// Answers so, in one of these forms.
    pub(super) fn answers(
        mut self,
        status: u16,
        description: &str,
        contents: Vec<Content>,
        told: &[&'static str],
    ) -> Self {
        let mut response = json!({ "description": description });
        response["headers"] = headers::told(&[headers::OF_EVERY_ANSWER, told].concat());
        if !contents.is_empty() {
            response["content"] =
                contents.into_iter().map(Content::write).collect::<Map<_, _>>().into();
        }
        self.responses.insert(status.to_string(), response);
        self
    }

    /// Answers with this type in JSON.
    pub(super) fn tells<T: JsonSchema>(
        self,
        status: u16,
        description: &str,
        told: &[&'static str],
    ) -> Self {
        let content = Content::json(self.schemas.told::<T>());
        self.answers(status, description, vec![content], told)
    }

    /// Answers without a body to whoever has it already.
    pub(super) fn unless_known(self, told: &[&'static str]) -> Self {
        self.answers(
            304,
            "The caller has it already: it named its tag in `If-None-Match`.",
            vec![],
            told,
        )
    }

    /// Tells these headers with its errors, besides those that every error tells.
    pub(super) fn errors_tell(mut self, names: &[&'static str]) -> Self {
        self.told_with_errors.extend(names);
        self
    }

    /// May fail with these codes.
    pub(super) fn fails(mut self, codes: &[ErrorCode]) -> Self {
        self.codes.extend(codes);
        self
    }

    /// From the answer of this status it can go on to another operation with these parameters.
    pub(super) fn leads_to(mut self, status: u16, operation: &str, parameters: &Value) -> Self {
        let response = &mut self.responses[&status.to_string()];
        response["links"][operation] =
            json!({ "operationId": operation, "parameters": parameters });
        self
    }

    /// Can be tried like this.
    pub(super) fn example(mut self, example: &Example) -> Self {
        let name = example.name;
        for (parameter, value) in &example.parameters {
            let found = self.parameters.iter_mut().find(|known| known["name"] == *parameter);
            let found = found.unwrap_or_else(|| panic!("{} takes {parameter}", self.path));
            found["examples"][name] = example.written(value);
        }
        if let Some((media, value)) = &example.body {
            let body = &mut self.document["requestBody"]["content"][*media];
            body["examples"][name] = example.written(value);
        }
        if let Some((media, value)) = &example.answer {
            // What an error says stands where the errors are written.
            let response = self.responses.entry(example.status.to_string());
            let content = &mut response.or_insert_with(|| json!({}))["content"][*media];
            content["examples"][name] = example.written(value);
        }
        self
    }

    /// What stands in the document.
    pub(super) fn done(mut self) -> Written {
        self.fail();
        self.parameters.extend(headers::OF_EVERY_REQUEST.iter().map(headers::of_every_request));
        self.document.insert("parameters".into(), self.parameters.into());
        if let Some(body) = self.document.remove("requestBody") {
            self.document.insert("requestBody".into(), body);
        }
        // What was asked for first, and then all else in the order of its number.
        let (mut done, mut others): (Vec<_>, Vec<_>) =
            self.responses.into_iter().partition(|(status, _)| status.starts_with('2'));
        others.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        done.extend(others);
        self.document.insert("responses".into(), done.into_iter().collect::<Map<_, _>>().into());
        (self.path, self.method, self.document.into())
    }

    /// Writes the errors, one answer for each status.
    fn fail(&mut self) {
        self.codes.sort_unstable_by_key(|code| (code.status(), code.as_str()));
        self.codes.dedup();
        let problem = self.schemas.told::<crate::api::error::Problem>();
        for codes in self.codes.chunk_by(|one, other| one.status() == other.status()) {
            let status = codes[0].status();
            let names: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
            let titles: Vec<_> =
                codes.iter().map(|code| format!("`{code}`: {}.", code.title())).collect();
            let told: &[&str] =
                if matches!(status, 429 | 503) { &[header::RETRY_AFTER] } else { &[] };
            let told = headers::told(&[&self.told_with_errors, told].concat());
            let response = self.responses.entry(status.to_string()).or_insert_with(|| json!({}));
            let before = response["description"].as_str().map(|text| format!("{text} "));
            response["description"] =
                format!("{}{}", before.unwrap_or_default(), titles.join(" ")).into();
            response["headers"] = told;
            response["content"][media::PROBLEM]["schema"] = json!({
                "allOf": [problem, { "properties": { "code": { "enum": names } } }],
            });
        }
    }
}

fn path_parameters(schemas: &mut Schemas, path: &str) -> Vec<Value> {
    use crate::types::{ChangeId, CursorName, EntryIndex, LogName, Position};
    let names = path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let parameter = |name: &str| {
        let (schema, description) = match name {
            "log" => (schemas.asked::<LogName>(), "The name of a log; its `/` is written `%2F`."),
            "name" => (schemas.asked::<CursorName>(), "The name of a cursor."),
            "position" => (schemas.asked::<Position>(), "The position of a record."),
            "checkpoint" => (schemas.asked::<EntryIndex>(), "The entry that names a checkpoint."),
            "change" => (schemas.asked::<ChangeId>(), "The number of a change."),
            "transfer" => (json!({ "type": "string", "minLength": 1 }), "The id of a transfer."),
            "code" => (schemas.asked::<ErrorCode>(), "An error code."),
            other => unreachable!("{other} is no part of a path"),
        };
        json!({
            "name": name, "in": "path", "required": true,
            "description": description, "schema": schema,
        })
    };
    names.map(parameter).collect()
}
