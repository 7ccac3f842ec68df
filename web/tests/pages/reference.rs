//! The reference says of every route and every error what the contract says; settings say who gave them.

use client::api::error::ErrorCode;
use client::api::paths::ROUTES;
use client::api::settings::{EffectiveSetting, SettingList};

use crate::fake::{Fake, get, status};

#[tokio::test]
async fn every_route_and_every_code_is_in_the_reference() {
    let (response, page) = get(status(), "/docs/api").await;
    assert_eq!(response.status(), 200);
    for route in ROUTES {
        assert!(page.contains(&format!("<code>{}</code>", route.path)), "{}", route.path);
    }
    for code in ErrorCode::ALL {
        assert!(page.contains(&format!("<a href=\"/docs/errors/{code}\">{code}</a>")), "{code}");
    }
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
