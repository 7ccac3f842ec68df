//! Bodies in words: what a schema of the document says, member by member.
//!
//! Not here: which operation takes or tells which (`operations`).

use serde_json::{Map, Value};

/// A body, or a part of bodies, with a name.
pub(super) struct Body {
    pub(super) name: String,
    pub(super) about: String,
    /// What it is, if it has no members.
    pub(super) kind: Kind,
    pub(super) members: Vec<Member>,
}

/// A member, or a member of a member: `add.joiners`.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    pub(super) about: String,
}

/// What a value is, in words, and the names of bodies in between.
#[derive(Default)]
pub(super) struct Kind(pub(super) Vec<Word>);

/// A piece of words, or the name of a body.
pub(super) enum Word {
    Text(String),
    Name(String),
}

impl Kind {
    fn text(text: impl Into<String>) -> Self {
        Self(vec![Word::Text(text.into())])
    }

    fn then(mut self, mut other: Self) -> Self {
        self.0.append(&mut other.0);
        self
    }

    /// What a schema describes.
    pub(super) fn of(schema: &Value) -> Self {
        if let Some(name) = name_of(schema) {
            return Self(vec![Word::Name(name.to_owned())]);
        }
        for member in ["oneOf", "anyOf"] {
            let forms = schema[member].as_array().map(Vec::as_slice).unwrap_or_default();
            // Forms that only say which members come together are no kinds of their own.
            let is_of_kinds =
                forms.iter().all(|form| form["required"].is_null() || !form["type"].is_null());
            if !forms.is_empty() && is_of_kinds && schema["type"].is_null() {
                return any_of(forms);
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
            return Self::text(format!("one of `{}`", values.join("`, `")));
        }
        if let Some(only) = schema["const"].as_str() {
            return Self::text(format!("`{only}`"));
        }
        match &schema["type"] {
            Value::Array(kinds) => {
                let is_nullable = kinds.iter().any(|kind| kind == "null");
                let kind =
                    kinds.iter().find_map(|kind| kind.as_str().filter(|kind| *kind != "null"));
                let kind = plain(kind.unwrap_or("null"), schema);
                if is_nullable { kind.then(Self::text(" or `null`")) } else { kind }
            }
            Value::String(kind) => plain(kind, schema),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                Self::text("anything")
            }
        }
    }
}

fn any_of(forms: &[Value]) -> Kind {
    let mut kind = Kind::default();
    for (index, form) in forms.iter().enumerate() {
        if index > 0 {
            kind = kind.then(Kind::text(" or "));
        }
        kind = kind.then(Kind::of(form));
    }
    kind
}

/// A value that is neither a name nor one of several.
fn plain(kind: &str, schema: &Value) -> Kind {
    match kind {
        "array" => match schema["prefixItems"].as_array() {
            Some(items) => {
                let items = items.iter().map(Kind::of);
                let items = items.reduce(|list, item| list.then(Kind::text(", ")).then(item));
                Kind::text("[").then(items.unwrap_or_default()).then(Kind::text("]"))
            }
            None => Kind::text("list of ").then(Kind::of(&schema["items"])),
        },
        "object" => Kind::text("object"),
        "string" => match schema["format"].as_str() {
            Some("date-time") => Kind::text("time (RFC 3339)"),
            _ if schema["contentEncoding"] == "base64" => Kind::text("base64"),
            _ => Kind::text(format!("text{}", length(schema))),
        },
        "integer" => match schema["minimum"].as_u64() {
            Some(least @ 1..) => Kind::text(format!("number, at least {least}")),
            _ => Kind::text("number"),
        },
        "boolean" => Kind::text("`true` or `false`"),
        other => Kind::text(format!("`{other}`")),
    }
}

/// How long a text may be, if that is said.
fn length(schema: &Value) -> String {
    match (schema["minLength"].as_u64(), schema["maxLength"].as_u64()) {
        (Some(least), Some(most)) => format!(", {least}–{most} characters"),
        (None, Some(most)) => format!(", up to {most} characters"),
        _ => String::new(),
    }
}

/// The name that a reference leads to.
fn name_of(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// What a schema says of itself.
pub(super) fn about(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// All bodies of the document, by name.
pub(super) fn all(document: &Value) -> Vec<Body> {
    let schemas = document["components"]["schemas"].as_object();
    let mut bodies: Vec<_> = schemas
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let mut members = Vec::new();
            add_members("", schema, &mut members);
            Body { name: name.clone(), about: about(schema), kind: Kind::of(schema), members }
        })
        .collect();
    bodies.sort_by(|one, other| one.name.cmp(&other.name));
    bodies
}

/// Adds the members of an object, of the objects in it that have no name, and of all forms that it may have.
fn add_members(before: &str, schema: &Value, members: &mut Vec<Member>) {
    let required = schema["required"].as_array();
    let is_required =
        |name: &str| required.is_some_and(|all| all.iter().any(|other| other == name));
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{before}{name}");
        members.push(Member {
            name: place.clone(),
            kind: Kind::of(member),
            is_required: is_required(name),
            about: described(schema, member),
        });
        if name_of(member).is_none() {
            add_members(&format!("{place}."), member, members);
        }
    }
    let forms = schema["oneOf"].as_array().into_iter().flatten();
    for form in forms.filter(|form| form["properties"].is_object()) {
        add_members(before, form, members);
    }
}

/// What is said of a member; of the only one of a form, what is said of the form.
fn described(form: &Value, member: &Value) -> String {
    let is_only = form["properties"].as_object().is_some_and(|all: &Map<_, _>| all.len() == 1);
    match about(member) {
        nothing if nothing.is_empty() && is_only => about(form),
        text => text,
    }
}
