//! The reference says of every route and every error what the contract says; settings say who gave them.

use client::api::error::ErrorCode;
use client::api::openapi::document;
use client::api::paths::ROUTES;
use client::api::settings::{EffectiveSetting, SettingList};

use crate::fake::{Fake, get, status};

#[tokio::test]
async fn every_operation_every_body_and_every_code_is_in_the_reference() {
    let (response, page) = get(status(), "/docs/api").await;
    assert_eq!(response.status(), 200);
    for route in ROUTES {
        // A part that may hold slashes is written as any other.
        let path = route.path.replace("{*", "{");
        for method in route.methods {
            let call = format!("<code>{method} {path}</code>");
            assert!(page.contains(&call), "{call}");
        }
    }
    let paths = document()["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|methods| methods.as_object().unwrap().values());
    for operation in operations {
        let name = operation["operationId"].as_str().unwrap();
        assert!(page.contains(&format!("<h3 id=\"{name}\">")), "{name}");
    }
    for name in document()["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<h3 id=\"{name}\">")), "{name}");
    }
    for code in ErrorCode::ALL {
        assert!(page.contains(&format!("<a href=\"/docs/errors/{code}\">{code}</a>")), "{code}");
    }
}

#[tokio::test]
async fn every_link_inside_the_reference_leads_somewhere() {
    let (_, page) = get(status(), "/docs/api").await;
    let links = page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next());
    let links: Vec<_> = links.collect();
    assert!(links.len() > 300, "{}", links.len());
    for link in links {
        assert_eq!(page.matches(&format!(" id=\"{link}\"")).count(), 1, "{link}");
    }
}

#[tokio::test]
async fn the_reference_shows_how_to_call_an_operation_and_what_comes_back() {
    let (_, page) = get(status(), "/docs/api").await;
    for text in [
        "curl -X PUT &#39;http://127.0.0.1:7001/v1/logs/orders&#39;",
        "-H &#39;if-match: &#34;2&#34;&#39;",
        "-H &#39;Accept: text/event-stream&#39;",
        "&#34;code&#34;: &#34;tail_differs&#34;",
        "each <a href=\"#Record\">Record</a>",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("<script") && !page.contains(" style="));
}

#[tokio::test]
async fn every_code_has_a_page_where_its_problem_documents_point() {
    for code in ErrorCode::ALL {
        let problem = client::api::error::Problem::new(*code);
        let (response, page) = get(status(), &problem.kind).await;
        assert_eq!(response.status(), 200, "{code}");
        assert!(page.contains(&format!("<dd>{}</dd>", code.status())), "{code}");
        let happened = if code.has_no_side_effects() { "certainly not" } else { "possibly" };
        assert!(page.contains(happened) && page.contains("data-test=\"remedy\""), "{code}: {page}");
    }
    assert_eq!(get(status(), "/docs/errors/nothing").await.0.status(), 404);
}

#[tokio::test]
async fn settings_stand_in_their_sections_with_their_origins() {
    let setting = |key: &str, value: &str, origin: &str| EffectiveSetting {
        key: key.to_owned(),
        value: value.to_owned(),
        origin: origin.to_owned(),
        is_given: origin != "default",
        about: "What it is for.".to_owned(),
    };
    let settings = vec![
        setting("data", "<b>folder", "flag --data"),
        setting("limits.read_records_max", "1000", "default"),
    ];
    let fake = Fake { settings: Ok(SettingList { settings }), ..Fake::default() };
    let (_, page) = get(&fake, "/settings").await;
    assert!(
        page.contains("<strong>flag --data</strong>") && page.contains("1 were given"),
        "{page}"
    );
    assert!(page.contains("data-test=\"settings-replica\"") && !page.contains("<b>folder"));
    assert!(page.contains("data-test=\"settings-limits\""));
}
