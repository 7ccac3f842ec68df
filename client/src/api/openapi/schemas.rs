//! The bodies of the contract as JSON Schema: those that are asked with, and those that are told.
//!
//! A request is read strictly and an answer leniently, so the same type may have two schemas. Where they
//! do not differ there is one; where they do, that of the request is called `…Request`.
//!
//! Not here: which operation has which body (`operation`).

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

/// Where the schemas of answers stand, and in the end those of requests, too.
const TOLD: &str = "#/components/schemas/";
/// Where the schemas of requests stand until it is known what they are called.
const ASKED: &str = "#/components/asked/";
/// A patch that is told has `null` where something is no longer set. Elsewhere nothing is told as `null` that could be
/// left out.
const WITH_NULL: &str = "SettingsPatch";

/// Collects the schemas of all types that the operations name.
pub(super) struct Schemas {
    asked: SchemaGenerator,
    told: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = |place: &str| {
            SchemaSettings::draft2020_12()
                .with(|settings| {
                    let place = place.trim_start_matches('#').trim_end_matches('/');
                    settings.definitions_path = place.to_owned().into();
                    settings.meta_schema = None;
                })
                .with_transform(RecursiveTransform(say_limits))
                .with_transform(RecursiveTransform(say_plainly))
        };
        Self {
            asked: settings(ASKED).for_deserialize().into_generator(),
            told: settings(TOLD).for_serialize().into_generator(),
        }
    }

    /// The schema of a type that is asked with.
    pub(super) fn asked<T: JsonSchema>(&mut self) -> Value {
        self.asked.subschema_for::<T>().to_value()
    }

    /// The schema of a type that is told.
    pub(super) fn told<T: JsonSchema>(&mut self) -> Value {
        self.told.subschema_for::<T>().to_value()
    }

    /// The members of a query: name, schema, and whether it has to be there.
    pub(super) fn members<T: JsonSchema>(&mut self) -> Vec<(String, Value, bool)> {
        let mut schema = T::json_schema(&mut self.asked);
        for transform in self.asked.transforms_mut() {
            transform.transform(&mut schema);
        }
        let required: Vec<Value> =
            schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let members = schema.get("properties").and_then(Value::as_object).cloned();
        let members = members.unwrap_or_default().into_iter();
        members
            .map(|(name, mut schema)| {
                without_null(&mut schema);
                let is_required = required.iter().any(|other| *other == name);
                (name, schema, is_required)
            })
            .collect()
    }

    /// All schemas by name, and the document in which each is called by its name.
    pub(super) fn finish(mut self, document: &mut Value) -> Map<String, Value> {
        let asked = self.asked.take_definitions(true);
        let mut all = self.told.take_definitions(true);
        for (_, schema) in all.iter_mut().filter(|(name, _)| *name != WITH_NULL) {
            for_each_object(schema, &mut omit_null);
        }
        let differing = differing(&asked, &all);
        let called = |name: &str| {
            let suffix = if differing.contains(name) { "Request" } else { "" };
            format!("{TOLD}{name}{suffix}")
        };
        for (name, mut schema) in asked {
            rename(&mut schema, &called);
            let name = called(&name).split_off(TOLD.len());
            all.entry(name).or_insert(schema);
        }
        rename(document, &called);
        all
    }
}

/// The names under which something else is asked with than told, or something that refers to such.
fn differing(asked: &Map<String, Value>, told: &Map<String, Value>) -> BTreeSet<String> {
    let mut differing = BTreeSet::new();
    loop {
        let before = differing.len();
        for (name, schema) in asked {
            let Some(other) = told.get(name) else { continue };
            let mut same = schema.clone();
            rename(&mut same, &|name| format!("{TOLD}{name}"));
            if same != *other || refers_to(schema, &differing) {
                differing.insert(name.clone());
            }
        }
        if differing.len() == before {
            return differing;
        }
    }
}

fn refers_to(schema: &Value, names: &BTreeSet<String>) -> bool {
    let mut found = false;
    for_each_object(&mut schema.clone(), &mut |object| {
        let place = object.get("$ref").and_then(Value::as_str);
        let name = place.and_then(|place| place.strip_prefix(ASKED));
        found |= name.is_some_and(|name| names.contains(name));
    });
    found
}

/// Calls every schema of a request by its name.
fn rename(value: &mut Value, called: &impl Fn(&str) -> String) {
    for_each_object(value, &mut |object| {
        if let Some(Value::String(place)) = object.get_mut("$ref")
            && let Some(name) = place.strip_prefix(ASKED)
        {
            *place = called(name);
        }
    });
}

fn for_each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|value| for_each_object(value, change));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| for_each_object(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What may be left out is not told as `null`.
fn omit_null(schema: &mut Map<String, Value>) {
    let required: Vec<Value> =
        schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(Value::Object(members)) = schema.get_mut("properties") {
        for (name, member) in members {
            if !required.iter().any(|other| other == name) {
                without_null(member);
            }
        }
    }
}

/// The same without `null`.
fn without_null(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(forms)) = schema.get_mut("anyOf") {
        forms.retain(|form| form.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = forms.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (name, value) in only {
                schema.entry(name).or_insert(value);
            }
        }
    }
}

/// A number of so many bits is below its limit.
fn say_limits(schema: &mut Schema) {
    let max = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => u64::from(u32::MAX),
        Some("uint64") => u64::MAX,
        _ => return,
    };
    let object = schema.ensure_object();
    object.entry("maximum").or_insert(max.into());
}

/// A description is text: no line breaks but between paragraphs, and no links into the source.
fn say_plainly(schema: &mut Schema) {
    let Some(Value::String(text)) = schema.get_mut("description") else { return };
    // Examples in Rust are of no use here.
    let text_alone = text.split("```").next().unwrap_or_default().trim_end();
    let paragraphs: Vec<String> =
        text_alone.split("\n\n").map(|text| text.replace('\n', " ")).collect();
    *text = paragraphs.join("\n\n").replace("[`", "`").replace("`]", "`");
}
