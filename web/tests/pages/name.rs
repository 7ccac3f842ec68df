//! The name under which somebody acts from a page: said once, kept by the browser, told with every act.

use super::fake::{Fake, addr, get, get_with, post, post_with};

const COOKIE: &str = "other=1; quorate_name=Ada+of+ops%40example.org";
const NAME: &str = "Ada of ops@example.org";

#[tokio::test]
async fn a_name_is_said_once_and_kept_by_the_browser() {
    let (_, page) = get(Fake::default(), "/").await;
    assert!(page.contains("<a href=\"/name\">"), "every page leads there: {page}");
    let (response, _) = post(Fake::default(), "/name", "name=+Ada+of+ops%40example.org+").await;
    assert_eq!(response.status(), 303);
    assert_eq!(response.headers()["location"], "/name?done=kept");
    let kept = response.headers()["set-cookie"].to_str().unwrap();
    assert!(kept.starts_with("quorate_name=Ada+of+ops%40example.org; "), "{kept}");
    for word in ["Path=/", "SameSite=Strict", "HttpOnly", "Max-Age=31536000"] {
        assert!(kept.contains(word), "{kept}");
    }
    let (_, page) = get_with(&Fake::default(), "/name?done=kept", COOKIE).await;
    assert!(page.contains(&format!("data-test=\"kept-name\">{NAME}<")), "{page}");
    let (response, _) = post(Fake::default(), "/name", "name=").await;
    assert!(response.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn what_is_no_plain_name_is_refused_and_shown_as_text() {
    let long = "x".repeat(65);
    for name in ["%3Cb%3E", "a%3B", "Zo%C3%AB", "a%0D%0AX-Evil: 1", &long] {
        let (response, page) = post(Fake::default(), "/name", &format!("name={name}")).await;
        assert_eq!(response.status(), 400, "{name}");
        assert!(!response.headers().contains_key("set-cookie"), "{name}");
        assert!(!page.contains("<b>") && page.contains("data-test=\"notice\""), "{name}");
    }
}

#[tokio::test]
async fn whatever_is_done_from_a_page_is_done_under_the_name() {
    let log = "/logs/orders";
    for (path, form) in [
        ("/logs".to_owned(), "name=orders"),
        (format!("{log}/settings"), ""),
        (format!("{log}/trim"), "to=1"),
        (format!("{log}/seal"), ""),
        (format!("{log}/delete"), "typed=orders"),
        (format!("{log}/append"), "data=x&key=k"),
        ("/checkpoints".to_owned(), ""),
        ("/checkpoints/release".to_owned(), "checkpoint=1"),
        ("/checkpoints/scrub".to_owned(), ""),
    ] {
        let fake = Fake::default();
        post_with(&fake, &path, form, COOKIE).await;
        let done = fake.done();
        assert_eq!(done.len(), 1, "{path}");
        assert!(done[0].ends_with(&format!(" by {NAME}")), "{path}: {done:?}");
        let nameless = Fake::default();
        post_with(&nameless, &path, form, "quorate_name=%3Cb%3E").await;
        assert!(!nameless.done()[0].contains(" by "), "{path}: what is no name is none");
    }
    let add = format!("/changes/new?add={}", addr(7_004));
    let fake = Fake::default();
    post_with(&fake, &add, "epoch=23", COOKIE).await;
    let asked = fake.asked.lock().unwrap();
    assert_eq!(asked[0].2.name.as_ref().unwrap().as_str(), NAME);
}
