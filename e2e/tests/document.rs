//! The document of the contract is true: its examples are answered as they say, in its own order, and an operation takes
//! exactly the parameters that it says.
//!
//! Every answer is held against the document (`contract`), here as in every other test.
//!
//! Not here: whether it is whole (beside it, in the client), and inputs that nobody thought of (`fuzz`).

use anyhow::{Context, Result, bail, ensure};
use client::api::{error::ErrorCode, header, media, openapi::document, paths};
use quorate_e2e::{
    cluster::Cluster,
    contract::{self, Operation},
    process::{Process, Recipe},
    rest::Answer,
    wait::{PATIENCE, until},
};
use reqwest::{
    Method, Url,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// What earlier answers say of the parameters of later operations: their links, by operation and parameter.
type Links = HashMap<(String, String), String>;

/// An example of an operation: the parts of the document that carry its name.
struct Example {
    operation: Operation,
    name: String,
}

impl Example {
    /// All of an operation, in the order in which its answers tell of them, and then its parameters.
    fn all_of(operation: Operation) -> Vec<Self> {
        let answers = contents(&operation).map(|(_, _, content)| &content["examples"]);
        let parameters = operation.parameters().map(|parameter| &parameter["examples"]);
        let mut names: Vec<String> = Vec::new();
        for examples in answers.chain(parameters).filter_map(Value::as_object) {
            let new = examples.keys().filter(|name| !names.contains(name)).cloned();
            names.extend(new.collect::<Vec<_>>());
        }
        names.into_iter().map(|name| Self { operation, name }).collect()
    }

    /// Its value of a parameter, if it has one.
    fn value(&self, parameter: &Value, links: &Links) -> Option<String> {
        let value = &parameter["examples"][&self.name]["value"];
        let name = format!("{}.{}", parameter["in"].as_str()?, parameter["name"].as_str()?);
        let linked = links.get(&(self.operation.name().to_owned(), name));
        (!value.is_null()).then(|| linked.cloned().unwrap_or_else(|| text(value)))
    }

    /// Its body, with the media type.
    fn body(&self) -> Option<(&'static str, String)> {
        let contents = self.operation.described["requestBody"]["content"].as_object()?;
        contents.iter().find_map(|(kind, content)| {
            let value = content["examples"].get(&self.name)?.get("value")?;
            Some((kind.as_str(), text(value)))
        })
    }

    /// Status, media type and body of its answer.
    fn answer(&self) -> (u16, Option<(&'static str, &'static Value)>) {
        let found = contents(&self.operation).find_map(|(status, kind, content)| {
            Some((status, Some((kind, content["examples"].get(&self.name)?.get("value")?))))
        });
        let statuses = self.operation.described["responses"].as_object().into_iter().flatten();
        let without_body = statuses
            .filter(|(_, answer)| answer["content"].is_null())
            .find_map(|(status, _)| status.parse().ok());
        found.unwrap_or((without_body.unwrap_or(200), None))
    }

    async fn send(&self, http: &reqwest::Client, url: &str, links: &Links) -> Result<Answer> {
        let mut path = self.operation.path.to_owned();
        let mut query = Vec::new();
        let mut headers = Vec::new();
        for parameter in self.operation.parameters() {
            let Some(value) = self.value(parameter, links) else { continue };
            let name = parameter["name"].as_str().context("a parameter has a name")?;
            match parameter["in"].as_str() {
                Some("path") => {
                    path = path.replace(&format!("{{{name}}}"), &value.replace('/', "%2F"));
                }
                Some("query") => query.push((name, value)),
                Some("header") => headers.push((name, value)),
                other => bail!("a parameter in {other:?}"),
            }
        }
        let method = Method::from_bytes(self.operation.method.to_uppercase().as_bytes())?;
        let url = Url::parse_with_params(&format!("{url}{path}"), &query)?;
        let mut request = http.request(method, url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let (_, Some((kind, _))) = self.answer() {
            request =
                request.header(ACCEPT, if kind == media::PROBLEM { media::JSON } else { kind });
        }
        if let Some((kind, body)) = self.body() {
            request = request.header(CONTENT_TYPE, kind).body(body);
        }
        Answer::to(request).await
    }

    /// Fails unless it was answered as the document says: the status, the media type, and every member that it shows.
    fn check(&self, answer: &Answer) -> Result<()> {
        let (status, told) = self.answer();
        ensure!(answer.status == status, "{status} was to come");
        let Some((kind, told)) = told else { return Ok(()) };
        let got = answer.header(CONTENT_TYPE.as_str()).context("a body has a media type")?;
        ensure!(got == kind || kind == "*/*", "{kind} was to come, not {got}");
        if kind == media::JSON || kind == media::PROBLEM {
            return shows(told, &answer.json()?);
        }
        Ok(())
    }
}

/// Status, media type and content of every answer of an operation, as far as they have a body.
fn contents(
    operation: &Operation,
) -> impl Iterator<Item = (u16, &'static str, &'static Value)> + use<> {
    let answers = operation.described["responses"].as_object().into_iter().flatten();
    answers.flat_map(|(status, answer)| {
        let status = status.parse().expect("a status is a number");
        let contents = answer["content"].as_object().into_iter().flatten();
        contents.map(move |(kind, content)| (status, kind.as_str(), content))
    })
}

/// A value as it stands in a path, a query, a header or a body.
fn text(value: &Value) -> String {
    match (value.as_str(), value.as_array()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(values)) if values.iter().all(Value::is_string) => {
            values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        (None, _) => value.to_string(),
    }
}

/// Fails unless everything that is shown is there: members, and an element like the first that is shown.
fn shows(shown: &Value, got: &Value) -> Result<()> {
    match (shown, got) {
        (Value::Object(shown), Value::Object(got)) => shown.iter().try_for_each(|(name, shown)| {
            let got = got.get(name).with_context(|| format!("{name} is shown and was not told"))?;
            shows(shown, got).with_context(|| format!("in {name}"))
        }),
        (Value::Array(shown), Value::Array(got)) => match (shown.first(), got.first()) {
            (None, None) => Ok(()),
            (Some(shown), Some(_)) => {
                let is_there = got.iter().any(|got| shows(shown, got).is_ok());
                ensure!(is_there, "no element is as shown");
                Ok(())
            }
            (Some(_), None) => bail!("a list that is not empty is shown"),
            (None, Some(_)) => bail!("an empty list is shown"),
        },
        _ => Ok(()),
    }
}

/// What an answer leads to.
fn follow(operation: &Operation, answer: &Answer, links: &mut Links) -> Result<()> {
    let described = &operation.described["responses"][answer.status.to_string()]["links"];
    for (to, link) in described.as_object().into_iter().flatten() {
        for (parameter, from) in link["parameters"].as_object().into_iter().flatten() {
            let place = from.as_str().and_then(|from| from.strip_prefix("$response.body#"));
            let body: Value = answer.json()?;
            let value = body.pointer(place.context("a link leads into the body")?);
            let value = value.with_context(|| format!("the answer has no {from}"))?;
            links.insert((to.clone(), parameter.clone()), text(value));
        }
    }
    Ok(())
}

/// A process that waits to be told to found a cluster.
async fn unfounded(cluster: &Cluster) -> Result<Process> {
    let process = Process::spawn(Recipe::in_folder(cluster.folder().join("unfounded"))?)?;
    let url = format!("{}{}", process.url(), paths::LIVE);
    until("the process answers", PATIENCE, async || {
        Ok(cluster.http().get(&url).send().await.is_ok().then_some(()))
    })
    .await?;
    Ok(process)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_document_is_answered_as_it_says() -> Result<()> {
    let cluster = Cluster::calm(3, &[]).await?;
    let founder = unfounded(&cluster).await?;
    let mut links = Links::new();
    let mut count = 0;
    for operation in contract::operations() {
        let is_founding = operation.path == paths::BOOTSTRAP;
        let url = if is_founding { founder.url() } else { cluster.url(0) };
        for example in Example::all_of(operation) {
            let what = format!("{} {:?}", operation.name(), example.name);
            let answer = example.send(cluster.http(), &url, &links).await.context(what.clone())?;
            example.check(&answer).with_context(|| format!("{what}: {}", answer.quoted()))?;
            follow(&operation, &answer, &mut links)?;
            count += 1;
        }
    }
    assert!(count >= contract::operations().count(), "every operation was tried, {count} in all");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_example_shows_fits_its_schema() -> Result<()> {
    let mut count = 0;
    for operation in contract::operations() {
        for parameter in operation.parameters() {
            let examples = parameter["examples"].as_object().into_iter().flatten();
            for (name, example) in examples {
                let what = format!("{} {name} {}", operation.name(), parameter["name"]);
                contract::validate(&what, &parameter["schema"], &example["value"]).context(what)?;
                count += 1;
            }
        }
        let bodies =
            operation.described["requestBody"]["content"].as_object().into_iter().flatten();
        for (kind, content) in bodies.filter(|(kind, _)| *kind == media::JSON) {
            for (name, example) in content["examples"].as_object().into_iter().flatten() {
                let what = format!("{} {name} {kind}", operation.name());
                contract::validate(&what, &content["schema"], &example["value"]).context(what)?;
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count} values are shown");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_serves_the_document_of_its_contract() -> Result<()> {
    let cluster = Cluster::calm(1, &[]).await?;
    let answer = Answer::to(cluster.http().get(cluster.url(0) + paths::OPENAPI)).await?;
    assert_eq!(answer.json::<Value>()?, *document());
    assert_eq!(document()["openapi"], "3.2.0");
    cluster.finish();
    Ok(())
}

/// Every name that any operation takes in this place.
fn names(place: &str) -> BTreeSet<&'static str> {
    let parameters = contract::operations().flat_map(|operation| operation.parameters());
    let there = parameters.filter(|parameter| parameter["in"] == place);
    there.filter_map(|parameter| parameter["name"].as_str()).collect()
}

/// Whether a request with this one parameter is refused because of it, by its name.
async fn is_refused(
    cluster: &Cluster,
    operation: Operation,
    query: &[(&str, &str)],
    headers: &[(&'static str, &'static str)],
) -> Result<bool> {
    let mut path = operation.path.to_owned();
    for (part, value) in
        [("log", "nothing"), ("name", "nobody"), ("code", "fenced"), ("transfer", "9-9")]
    {
        path = path.replace(&format!("{{{part}}}"), value);
    }
    for part in ["position", "checkpoint", "change"] {
        path = path.replace(&format!("{{{part}}}"), "9999999");
    }
    let method = Method::from_bytes(operation.method.to_uppercase().as_bytes())?;
    let url = Url::parse_with_params(&(cluster.url(0) + &path), query)?;
    let mut request = cluster.http().request(method, url);
    // What has to be there at all is asked for first.
    let needed = [(header::IF_MATCH, "\"7\"")];
    let is_needed = operation.described["responses"]["428"].is_object();
    let needed = needed
        .iter()
        .filter(|(name, _)| is_needed && headers.iter().all(|(given, _)| given != name));
    for (name, value) in headers.iter().chain(needed) {
        request = request.header(*name, *value);
    }
    let answer = Answer::to(request).await?;
    let Ok(problem) = answer.problem() else { return Ok(false) };
    let names = query.iter().chain(headers).map(|(name, _)| *name);
    let is_named = |name: &str| {
        problem.detail.as_ref().is_some_and(|detail| detail.to_lowercase().contains(name))
    };
    Ok(problem.code == ErrorCode::InvalidParameter && names.into_iter().any(is_named))
}

/// A value that parameters of this name take.
fn value(name: &str) -> &'static str {
    match name {
        "consistency" => "local",
        "dry_run" => "true",
        "for" => "append",
        "from" => "first",
        "kind" => "founded",
        "step" => "1s",
        "wait" => "1ms",
        header::IF_MATCH => "\"7\"",
        header::IF_NONE_MATCH => "*",
        _ => "7",
    }
}

/// All but those of streams: their protocol lets be what it does not know.
fn strict() -> impl Iterator<Item = Operation> {
    contract::operations().filter(|operation| !operation.path.starts_with("/ds/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_takes_exactly_the_query_that_it_says() -> Result<()> {
    let cluster = Cluster::calm(1, &[]).await?;
    let names = names("query");
    assert!(names.len() > 10, "{names:?}");
    for operation in strict().filter(|operation| operation.method != "head") {
        // What asks nothing of its query cannot refuse it: health, metrics, pages.
        let said = operation.described["responses"]["400"].to_string();
        let looks = said.contains(ErrorCode::InvalidParameter.as_str());
        for name in &names {
            let is_it =
                |parameter: &Value| parameter["in"] == "query" && parameter["name"] == *name;
            let taken = operation.parameters().any(is_it);
            let refused = is_refused(&cluster, operation, &[(name, value(name))], &[]).await?;
            assert_eq!(refused, looks && !taken, "{} and {name}", operation.name());
        }
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_is_refused_where_the_document_does_not_name_it() -> Result<()> {
    let cluster = Cluster::calm(1, &[]).await?;
    let conditions = [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::FENCE,
        header::LOG_ID,
        header::PRODUCER_ID,
        header::IDEMPOTENCY_KEY,
    ];
    let is_strict = |operation: &Operation| {
        operation.path.starts_with(paths::LOGS) || !matches!(operation.method, "get" | "head")
    };
    for operation in strict().filter(is_strict).filter(|one| one.method != "head") {
        for name in conditions {
            let taken = operation.parameters().any(|parameter| parameter["name"] == name);
            let refused = is_refused(&cluster, operation, &[], &[(name, value(name))]).await?;
            // A producer comes with all of its headers.
            let is_half = name == header::PRODUCER_ID && taken;
            assert_eq!(refused, !taken || is_half, "{} and {name}", operation.name());
        }
    }
    cluster.finish();
    Ok(())
}
