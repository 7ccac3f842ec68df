//! The document is whole: it says what the table of routes and the table of codes say, and refers to nothing else.

use std::collections::BTreeSet;

use super::*;
use crate::api::error::ErrorCode;
use crate::api::paths::ROUTES;

/// Every operation, by path and method.
fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = document()["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

#[test]
fn every_route_with_each_of_its_methods_is_an_operation_and_nothing_else_is() {
    let described: BTreeSet<_> =
        operations().map(|(path, method, _)| (path.to_owned(), method.to_uppercase())).collect();
    let routed = ROUTES.iter().flat_map(|route| {
        let path = operation::template(route.path);
        route.methods.iter().map(move |method| (path.clone(), (*method).to_owned()))
    });
    assert_eq!(described, routed.collect());
}

#[test]
fn an_operation_is_called_like_no_other_and_says_what_it_is() {
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations() {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} twice");
        for member in ["summary", "description"] {
            assert!(
                operation[member].as_str().is_some_and(|text| text.len() > 3),
                "{method} {path}"
            );
        }
        let is_tagged = TAGS.iter().any(|(tag, _)| operation["tags"][0] == *tag);
        assert!(is_tagged, "{method} {path}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().next().unwrap().starts_with('2'), "{method} {path}");
    }
    for (_, _, operation) in operations() {
        for answer in operation["responses"].as_object().unwrap().values() {
            let links = answer["links"].as_object().into_iter().flatten();
            for (name, _) in links {
                assert!(names.contains(name.as_str()), "{name} is no operation");
            }
        }
    }
}

#[test]
fn every_code_is_described_under_its_status() {
    // Said where there is no operation.
    let elsewhere = [ErrorCode::UnknownRoute, ErrorCode::MethodNotAllowed];
    let codes = ErrorCode::ALL.iter().filter(|code| !elsewhere.contains(code));
    let mut unsaid: BTreeSet<_> = codes.map(|code| code.as_str()).collect();
    for (path, method, operation) in operations() {
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let codes = &answer["content"]["application/problem+json"]["schema"]["allOf"][1];
            let codes = codes["properties"]["code"]["enum"].as_array();
            for code in codes.into_iter().flatten().filter_map(Value::as_str) {
                let known = ErrorCode::ALL.iter().find(|known| known.as_str() == code).unwrap();
                assert_eq!(known.status().to_string(), *status, "{method} {path} {code}");
                unsaid.remove(code);
            }
        }
    }
    assert!(unsaid.is_empty(), "no operation says {unsaid:?}");
}

#[test]
fn what_is_referred_to_is_there_and_what_is_there_is_referred_to() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = BTreeSet::new();
    references(document(), &mut found);
    let kinds = document()["components"].as_object().unwrap().iter();
    let there = kinds.flat_map(|(kind, all)| {
        let names = all.as_object().unwrap().keys();
        names.map(move |name| format!("#/components/{kind}/{name}"))
    });
    assert_eq!(found, there.collect());
}

#[test]
fn every_operation_can_be_tried_as_it_says() {
    for (path, method, operation) in operations() {
        let parameters = operation["parameters"].as_array().unwrap().iter();
        let of_parameters = parameters.map(|parameter| &parameter["examples"]);
        let answers = operation["responses"].as_object().unwrap().values();
        let contents =
            answers.flat_map(|answer| answer["content"].as_object().into_iter().flatten());
        let of_answers = contents.map(|(_, content)| &content["examples"]);
        let has_example = of_parameters.chain(of_answers).any(Value::is_object);
        assert!(has_example, "{method} {path}");
    }
}
