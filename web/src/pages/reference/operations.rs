//! Operations in words: what one takes, what it answers, how it fails, and how it is tried.
//!
//! Not here: what bodies are made of (`bodies`).

use client::api::media;
use serde_json::Value;

use super::bodies::{Kind, about};

/// Operations that belong together.
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) operations: Vec<Operation>,
}

/// An operation.
pub(super) struct Operation {
    pub(super) name: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) summary: String,
    pub(super) paragraphs: Vec<String>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Taken>,
    pub(super) answers: Vec<Told>,
    pub(super) codes: Vec<(String, String)>,
    pub(super) examples: Vec<Example>,
}

/// A parameter, other than those that every request may bring.
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) place: String,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    pub(super) about: String,
}

/// The body that is taken.
pub(super) struct Taken {
    pub(super) about: String,
    pub(super) is_required: bool,
    pub(super) contents: Vec<Content>,
}

/// A media type, and what is in it.
pub(super) struct Content {
    pub(super) media: String,
    pub(super) kind: Option<Kind>,
    /// Whether there are many of it, one after the other.
    pub(super) is_many: bool,
}

/// An answer that is no error.
pub(super) struct Told {
    pub(super) status: String,
    pub(super) about: String,
    pub(super) contents: Vec<Content>,
    pub(super) headers: Vec<String>,
}

/// An example: a call of `curl`, and what comes back.
pub(super) struct Example {
    pub(super) summary: String,
    /// Up to the address of the replica.
    pub(super) before: String,
    /// From there on.
    pub(super) after: String,
    pub(super) status: String,
    pub(super) answer: String,
}

/// What every answer of a replica tells; said once, and not at every operation.
const OF_EVERY_ANSWER: &[&str] = &[
    "x-request-id",
    "quorate-served-by",
    "quorate-epoch",
    "quorate-leader",
    "cache-control",
    "x-content-type-options",
];

/// All operations by topic, in the order of the document.
pub(super) fn topics(document: &Value) -> Vec<Topic> {
    let tags = document["tags"].as_array().into_iter().flatten();
    tags.map(|tag| {
        let paths = document["paths"].as_object().into_iter().flatten();
        let all = paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            methods.map(move |(method, described)| (path, method, described))
        });
        let ours = all.filter(|(_, _, described)| described["tags"][0] == tag["name"]);
        Topic {
            name: text(&tag["name"]),
            about: about(tag),
            operations: ours
                .map(|(path, method, described)| operation(path, method, described))
                .collect(),
        }
    })
    .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn operation(path: &str, method: &str, described: &Value) -> Operation {
    let parameters = described["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.filter(|parameter| parameter["name"].is_string());
    Operation {
        name: text(&described["operationId"]),
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(&described["summary"]),
        paragraphs: about(described).split("\n\n").map(str::to_owned).collect(),
        parameters: parameters.map(parameter).collect(),
        body: described["requestBody"].is_object().then(|| taken(&described["requestBody"])),
        answers: answers(described),
        codes: codes(described),
        examples: examples(path, method, described),
    }
}

fn parameter(described: &Value) -> Parameter {
    Parameter {
        name: text(&described["name"]),
        place: text(&described["in"]),
        kind: Kind::of(&described["schema"]),
        is_required: described["required"] == true,
        about: about(described),
    }
}

fn taken(described: &Value) -> Taken {
    Taken {
        about: about(described),
        is_required: described["required"] == true,
        contents: contents(described),
    }
}

fn contents(described: &Value) -> Vec<Content> {
    let contents = described["content"].as_object().into_iter().flatten();
    let contents = contents.filter(|(kind, _)| *kind != media::PROBLEM);
    contents
        .map(|(kind, content)| {
            let item = &content["itemSchema"];
            // An event is its data.
            let forms = item["oneOf"].as_array().map_or(std::slice::from_ref(item), Vec::as_slice);
            let brought: Vec<_> = forms
                .iter()
                .filter_map(|form| form.pointer("/properties/data/contentSchema").cloned())
                .collect();
            let shown = match (&content["schema"], brought.as_slice()) {
                (_, [_, ..]) => Some(Kind::of(&serde_json::json!({ "anyOf": brought }))),
                (Value::Null, []) => (!item.is_null()).then(|| Kind::of(item)),
                (schema, []) => Some(Kind::of(schema)),
            };
            Content { media: kind.clone(), kind: shown, is_many: !item.is_null() }
        })
        .collect()
}

fn answers(described: &Value) -> Vec<Told> {
    let all = described["responses"].as_object().into_iter().flatten();
    // What is an error and nothing else is told by its codes.
    let told = all.filter(|(_, answer)| {
        let contents = answer["content"].as_object();
        contents.is_none_or(|contents| contents.keys().any(|kind| kind != media::PROBLEM))
    });
    told.map(|(status, answer)| Told {
        status: status.clone(),
        about: about(answer),
        contents: contents(answer),
        headers: answer["headers"]
            .as_object()
            .into_iter()
            .flat_map(|headers| headers.keys())
            .filter(|name| !OF_EVERY_ANSWER.contains(&name.as_str()))
            .cloned()
            .collect(),
    })
    .collect()
}

/// The codes that an operation may give, each with its status.
fn codes(described: &Value) -> Vec<(String, String)> {
    let all = described["responses"].as_object().into_iter().flatten();
    all.flat_map(|(status, answer)| {
        let schema = &answer["content"][media::PROBLEM]["schema"];
        let codes = schema.pointer("/allOf/1/properties/code/enum").and_then(Value::as_array);
        codes.into_iter().flatten().map(move |code| (text(code), status.clone()))
    })
    .collect()
}

/// The examples of an operation, in the order of its answers.
fn examples(path: &str, method: &str, described: &Value) -> Vec<Example> {
    let answers = described["responses"].as_object().into_iter().flatten();
    let mut examples = Vec::new();
    for (status, answer) in answers {
        for (kind, content) in answer["content"].as_object().into_iter().flatten() {
            for (name, example) in content["examples"].as_object().into_iter().flatten() {
                let accept = is_asked_for(described, kind).then_some(kind.as_str());
                let call = Call { path, method, described, name };
                examples.push(call.example(example, status, accept));
            }
        }
        if answer["content"].is_null() && status.starts_with('2') {
            let parameters = described["parameters"].as_array().into_iter().flatten();
            let named = parameters
                .flat_map(|parameter| parameter["examples"].as_object().into_iter().flatten());
            let mut seen: Vec<&String> = Vec::new();
            for (name, example) in named {
                let is_new = !seen.contains(&name);
                if is_new && !is_told(described, name) {
                    let call = Call { path, method, described, name };
                    examples.push(call.example(example, status, None));
                }
                seen.push(name);
            }
        }
    }
    examples
}

/// Whether some answer shows a body for this example.
fn is_told(described: &Value, name: &str) -> bool {
    let answers = described["responses"].as_object().into_iter().flatten();
    let mut contents =
        answers.flat_map(|(_, answer)| answer["content"].as_object().into_iter().flatten());
    contents.any(|(_, content)| !content["examples"][name].is_null())
}

/// Whether this form has to be asked for: it is not the first.
fn is_asked_for(described: &Value, kind: &str) -> bool {
    let answers = described["responses"].as_object().into_iter().flatten();
    let mut contents = answers.filter_map(|(_, answer)| answer["content"].as_object());
    kind != media::PROBLEM
        && contents.any(|contents| {
            contents.keys().position(|known| known == kind).is_some_and(|at| at > 0)
        })
}

/// An example as a call.
struct Call<'d> {
    path: &'d str,
    method: &'d str,
    described: &'d Value,
    name: &'d str,
}

impl Call<'_> {
    fn example(&self, example: &Value, status: &str, accept: Option<&str>) -> Example {
        let mut before = "curl".to_owned();
        match self.method {
            "get" => {}
            "post" if self.body().is_some() => {}
            "head" => before.push_str(" --head"),
            other => before.extend([" -X ", &other.to_uppercase()]),
        }
        let (path, query, headers) = self.filled();
        before.push_str(" '");
        let mut after = path;
        for (index, pair) in query.iter().enumerate() {
            after.extend([if index == 0 { "?" } else { "&" }, pair]);
        }
        after.push('\'');
        let accept = accept.map(|kind| format!("Accept: {kind}"));
        for header in headers.into_iter().chain(accept) {
            after.extend([" \\\n  -H '", &header, "'"]);
        }
        if let Some((kind, body)) = self.body() {
            if kind != media::BYTES {
                after.extend([" \\\n  -H 'Content-Type: ", kind, "'"]);
            }
            after.extend([" \\\n  --data-binary '", &body, "'"]);
        }
        // Where an answer has no body, an example is the value of a parameter.
        let has_body = self.described["responses"][status]["content"].is_object();
        Example {
            summary: text(&example["summary"]),
            before,
            after,
            status: status.to_owned(),
            answer: if has_body { shown(&example["value"]) } else { String::new() },
        }
    }

    fn body(&self) -> Option<(&str, String)> {
        let contents = self.described["requestBody"]["content"].as_object()?;
        contents.iter().find_map(|(kind, content)| {
            let value = content["examples"].get(self.name)?.get("value")?;
            Some((kind.as_str(), plain(value)))
        })
    }

    /// The path, the query and the headers.
    fn filled(&self) -> (String, Vec<String>, Vec<String>) {
        let mut path = self.path.to_owned();
        let (mut query, mut headers) = (Vec::new(), Vec::new());
        for parameter in self.described["parameters"].as_array().into_iter().flatten() {
            let Some(example) = parameter["examples"].get(self.name) else { continue };
            let value = &example["value"];
            let value = match value.as_array() {
                Some(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
                None => plain(value),
            };
            let name = text(&parameter["name"]);
            match parameter["in"].as_str() {
                Some("path") => {
                    path = path.replace(&format!("{{{name}}}"), &value.replace('/', "%2F"));
                }
                Some("query") => query.push(format!("{name}={}", value.replace('/', "%2F"))),
                _ => headers.push(format!("{name}: {value}")),
            }
        }
        (path, query, headers)
    }
}

/// A value as it stands in a path, a query, a header or a body.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A body as it is shown: JSON over several lines, anything else as it comes.
fn shown(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.trim_end().to_owned(),
        None => serde_json::to_string_pretty(value).unwrap_or_default(),
    }
}
