//! The pages about logs and records over a fake backend: what they say, what they ask for, and that
//! nothing in a record ever acts.

use client::api::error::{Actual, ErrorCode, Problem};
use client::api::logs::{Dropped, LogDescription, LogList, LogSummary, Sealed, Settings};
use client::api::records::{Appended, ReadAnswer, RecordJson};
use client::types::{Digest, Headers, LogId, LogName, Position, Record, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::fake::{BodyAt, Fake, get, post, post_as};

fn name(text: &str) -> LogName {
    LogName::new(text).unwrap()
}

fn at(position: u64) -> Position {
    Position::new(position)
}

fn log() -> LogDescription {
    LogDescription {
        log: name("shop/orders"),
        log_id: LogId::new(3),
        created: Timestamp::new(951_782_400_001),
        first: at(100),
        tail: at(84_201_774),
        bytes: 18_400_000_000,
        last_time: Some(Timestamp::new(951_782_400_001)),
        sealed: false,
        fence: None,
        settings: Settings { retention_age_ms: Some(604_800_000), ..Settings::default() },
        root: Digest::new([0xab; 32]),
    }
}

fn record(position: u64, body: &[u8], headers: &[(&str, &[u8])]) -> RecordJson {
    RecordJson(Record {
        position: at(position),
        time: Timestamp::new(951_782_400_001),
        headers: Headers::from_pairs(headers.iter().copied()).unwrap(),
        body: body.to_vec().into(),
    })
}

fn answer(records: Vec<RecordJson>) -> ReadAnswer {
    let next = records.last().map_or(at(84_201_774), |RecordJson(last)| last.position.advance(1));
    ReadAnswer {
        log: name("shop/orders"),
        log_id: LogId::new(3),
        first: at(100),
        next,
        tail: at(84_201_774),
        sealed: false,
        records,
    }
}

fn fake() -> Fake {
    let summary = LogSummary {
        log: name("shop/orders"),
        log_id: LogId::new(3),
        first: at(100),
        tail: at(84_201_774),
        bytes: 18_400_000_000,
        sealed: false,
        settings: Settings { retention_age_ms: Some(604_800_000), ..Settings::default() },
    };
    let sealed = LogSummary { log: name("import-2025"), sealed: true, ..summary.clone() };
    let sealed = LogSummary { settings: Settings::default(), ..sealed };
    let dropped = Dropped {
        log: name("shop/orders"),
        log_id: LogId::new(3),
        first: at(1_234),
        tail: at(84_201_774),
        records: 1_134,
        bytes: 56_000,
        dry_run: true,
    };
    let appended = Appended {
        log: name("shop/orders"),
        log_id: LogId::new(3),
        first: at(84_201_774),
        next: at(84_201_775),
        tail: at(84_201_775),
        time: Timestamp::new(0),
        replayed: false,
    };
    let json = br#"{"type":"refund","amount":12.5}"#;
    Fake {
        logs: Ok(LogList { logs: vec![sealed, summary], next: None }),
        log: Ok(log()),
        records: Ok(answer(vec![
            record(84_200_003, json, &[("content-type", b"application/json"), ("by", b"pos-7")]),
            record(84_200_004, b"\x1f\x8b\0\x01", &[]),
        ])),
        appended: Ok(appended),
        dropped: Ok(dropped),
        sealed: Ok(Sealed { log: name("shop/orders"), log_id: LogId::new(3), tail: at(7) }),
        ..Fake::default()
    }
}

/// A log that holds so many records.
fn many(tail: u64, body: BodyAt) -> Fake {
    let log = LogDescription { first: at(0), tail: at(tail), ..log() };
    Fake { log: Ok(log), many: Some((at(tail), body)), ..fake() }
}

fn location(response: &http::Response<()>) -> &str {
    assert_eq!(response.status(), 303);
    response.headers()["location"].to_str().unwrap()
}

const LOG: &str = "/logs/shop%2Forders";

#[tokio::test]
async fn every_log_has_a_row_that_leads_to_its_records() {
    let (response, page) = get(&fake(), "/logs").await;
    assert_eq!(response.status(), 200);
    assert!(page.contains("<a href=\"/logs/shop%2Forders\">shop/orders</a>"), "{page}");
    for cell in ["84\u{202f}201\u{202f}774", "18 GB", "7 d", "for ever", "sealed", "open"] {
        assert!(page.contains(&format!("{cell}</td>")), "{cell}: {page}");
    }
    let (_, page) = get(&fake(), "/logs?prefix=imp").await;
    assert!(page.contains("import-2025") && !page.contains("shop/orders"));
}

#[tokio::test]
async fn without_a_log_the_page_holds_the_next_command() {
    let none = Fake { logs: Ok(LogList::default()), ..fake() };
    let (_, page) = get(&none, "/logs").await;
    assert!(page.contains("quorate logs create orders") && page.contains("href=\"/new-log\""));
}

#[tokio::test]
async fn a_prefix_from_a_link_never_gets_into_a_command() {
    let (_, page) = get(&fake(), "/logs?prefix=%27%3B+rm+-rf+~%3B%27").await;
    let command = page.split("<pre").nth(1).unwrap();
    assert!(!command.contains("rm -rf"), "{page}");
}

#[tokio::test]
async fn a_log_is_made_with_what_was_typed() {
    let fake = fake();
    let form = "name=shop%2Forders&retention_age=7+d&retention_bytes=64+MiB&record_bytes_max=&content_type=";
    let (response, _) = post(&fake, "/logs", form).await;
    assert_eq!(location(&response), LOG);
    let done = fake.done();
    assert!(done[0].starts_with("create shop/orders"), "{done:?}");
    assert!(done[0].contains("604800000") && done[0].contains("67108864"), "{done:?}");
}

#[tokio::test]
async fn what_was_typed_wrong_is_said_and_kept() {
    let fake = fake();
    for (form, said) in [
        ("name=a+b&retention_age=7+d", "not &#39; &#39;"),
        ("name=orders&retention_age=soon", "&#34;soon&#34; is not understood"),
        ("name=orders&retention_bytes=0", "is not understood"),
    ] {
        let (response, page) = post(&fake, "/logs", form).await;
        assert_eq!(response.status(), 400, "{form}");
        assert!(page.contains(said) && page.contains("role=\"alert\""), "{form}: {page}");
    }
    let (_, page) = post(&fake, "/logs", "name=orders&retention_age=soon").await;
    assert!(page.contains("value=\"soon\"") && page.contains("value=\"orders\""));
    assert_eq!(fake.done(), [""; 0]);
}

#[tokio::test]
async fn a_refusal_says_why_what_to_do_and_that_nothing_happened() {
    let refused = Fake { refusal: Some(Problem::new(ErrorCode::LogDiffers)), ..fake() };
    let (response, page) = post(&refused, "/logs", "name=orders").await;
    assert_eq!(response.status(), 409);
    assert!(page.contains(ErrorCode::LogDiffers.title()), "{page}");
    assert!(page.contains(ErrorCode::LogDiffers.remedy()) && page.contains("Nothing was changed"));
    assert!(page.contains("href=\"/docs/errors/log_differs\""));
}

#[tokio::test]
async fn records_have_rows_permanent_links_and_ways_to_the_others() {
    let (_, page) = get(&fake(), &format!("{LOG}?from=84200003")).await;
    assert!(page.contains("<a href=\"/logs/shop%2Forders/84200003\">84\u{202f}200\u{202f}003</a>"));
    assert!(page.contains("{&#34;type&#34;:&#34;refund&#34;"), "{page}");
    assert!(page.contains("1f 8b 00 01") && page.contains("binary"));
    assert!(page.contains("<span>content-type</span> application/json"));
    assert!(page.contains("href=\"/logs/shop%2Forders?from=84199953\" rel=\"prev\""), "{page}");
    assert!(page.contains("href=\"/logs/shop%2Forders?from=84200005\" rel=\"next\""));
    let (_, page) = get(&fake(), &format!("{LOG}?from=84200003&show=hex")).await;
    assert!(page.contains("00000000  1f 8b 00 01"), "{page}");
    assert!(page.contains("from=84200005&#38;show=hex"), "the form stays: {page}");
}

#[tokio::test]
async fn where_nothing_is_any_more_the_page_leads_to_what_is_there() {
    let actual = Actual { first: Some(at(100)), ..Actual::default() };
    let trimmed = Problem::new(ErrorCode::Trimmed).with_actual(actual);
    let (response, page) =
        get(&Fake { records: Err(trimmed), ..fake() }, &format!("{LOG}?from=5")).await;
    assert_eq!(response.status(), 410);
    assert!(page.contains("href=\"/logs/shop%2Forders?from=100\""), "{page}");
    let beyond = Fake { records: Err(Problem::new(ErrorCode::BeyondTail)), ..fake() };
    let (response, page) = get(&beyond, &format!("{LOG}?from=99999999")).await;
    assert_eq!(response.status(), 416);
    assert!(page.contains("href=\"/logs/shop%2Forders?from=-50\""));
    let (response, page) = get(&fake(), &format!("{LOG}?time=yesterday")).await;
    assert_eq!(response.status(), 400);
    assert!(page.contains("yesterday") && page.contains("2026-11-23 11:58"));
}

#[tokio::test]
async fn a_replica_without_a_majority_shows_what_it_has_and_says_so() {
    let cut_off = Fake { not_fresh: Some(Problem::new(ErrorCode::NoLeader)), ..fake() };
    for path in ["/logs", LOG, "/logs/shop%2Forders/84200003", "/logs/shop%2Forders/settings"] {
        let (response, page) = get(&cut_off, path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert!(page.contains("This may be out of date"), "{path}: {page}");
    }
}

#[tokio::test]
async fn a_record_is_shown_in_every_form_and_downloaded_from_the_api() {
    let (_, page) = get(&fake(), "/logs/shop%2Forders/84200003").await;
    for part in ["json", "text", "hex", "base64"] {
        assert!(page.contains(&format!("data-test=\"body-{part}\"")), "{part}");
    }
    assert!(page.contains("  &#34;amount&#34;: 12.5"), "{page}");
    assert!(page.contains("00000000  7b 22 74 79") && page.contains("eyJ0eXBl"));
    assert!(page.contains("href=\"/v1/logs/shop%2Forders/records/84200003\" download"));
    assert!(page.contains("read shop/orders --from 84200003"));
    let none = Fake { records: Ok(answer(Vec::new())), ..fake() };
    assert_eq!(get(&none, "/logs/shop%2Forders/84201774").await.0.status(), 416);
    assert_eq!(get(&fake(), "/logs/shop%2Forders/first").await.0.status(), 404);
}

#[tokio::test]
async fn settings_are_changed_on_the_very_log_that_was_shown() {
    let fake = fake();
    let (_, page) = get(&fake, &format!("{LOG}/settings")).await;
    assert!(
        page.contains("name=\"log_id\" value=\"3\"") && page.contains("value=\"7 d\""),
        "{page}"
    );
    let form = "log_id=3&retention_age=&retention_bytes=1+GB";
    let (response, _) = post(&fake, &format!("{LOG}/settings"), form).await;
    assert_eq!(location(&response), "/logs/shop%2Forders/settings?done=set");
    let done = fake.done();
    assert!(done[0].starts_with("set shop/orders Some(LogId(3))"), "{done:?}");
    assert!(
        done[0].contains("retention_age_ms: Some(None)"),
        "emptied, so no longer set: {done:?}"
    );
    assert!(done[0].contains("retention_bytes: Some(Some(1000000000))"), "{done:?}");
}

#[tokio::test]
async fn a_trim_says_what_goes_before_it_is_done() {
    let fake = fake();
    let (_, page) = get(&fake, &format!("{LOG}/settings?trim_to=1+234")).await;
    assert!(page.contains("1\u{202f}134 records, 56 kB"), "{page}");
    assert_eq!(fake.done(), [""; 0], "looking changes nothing");
    let (response, _) = post(&fake, &format!("{LOG}/trim"), "log_id=3&to=1+234").await;
    assert_eq!(location(&response), "/logs/shop%2Forders/settings?done=trimmed");
    assert_eq!(fake.done(), ["trim shop/orders Some(LogId(3)) to 1234"]);
    let (response, page) = post(&fake, &format!("{LOG}/trim"), "log_id=3&to=all").await;
    assert!(response.status() == 400 && page.contains("is no position"));
}

#[tokio::test]
async fn a_log_is_sealed_by_a_form_and_deleted_only_if_its_name_is_typed() {
    let fake = fake();
    let (response, _) = post(&fake, &format!("{LOG}/seal"), "log_id=3").await;
    assert_eq!(location(&response), "/logs/shop%2Forders/settings?done=sealed");
    for typed in ["", "orders", "SHOP/ORDERS"] {
        let form = format!("log_id=3&typed={typed}");
        let (response, page) = post(&fake, &format!("{LOG}/delete"), &form).await;
        assert!(response.status() == 400 && page.contains("type its name"), "{typed}");
    }
    let (response, _) = post(&fake, &format!("{LOG}/delete"), "log_id=3&typed=shop%2Forders").await;
    assert_eq!(location(&response), "/logs?deleted=shop%2Forders");
    assert_eq!(
        fake.done(),
        ["seal shop/orders Some(LogId(3))", "delete shop/orders Some(LogId(3))"]
    );
}

#[tokio::test]
async fn nothing_is_done_by_a_link() {
    let fake = fake();
    for path in ["trim?to=5", "seal", "delete?typed=shop%2Forders"] {
        let (response, _) = get(&fake, &format!("{LOG}/{path}")).await;
        assert!(response.status() == 405 || response.status() == 404, "{path}");
    }
    let (_, page) = get(&fake, &format!("{LOG}/append?data=hello")).await;
    assert!(page.contains("Append one record"));
    assert_eq!(fake.done(), [""; 0]);
}

#[tokio::test]
async fn an_append_carries_its_condition_its_headers_and_a_key() {
    let fake = fake();
    let (_, page) = get(&fake, &format!("{LOG}/append")).await;
    assert!(page.contains("name=\"key\" value=\"fresh-key\""), "{page}");
    let form = "data=a%0D%0Ab&headers=by%3A+me%0D%0A&tail=84+201+774&key=fresh-key&log_id=3";
    let (response, _) = post(&fake, &format!("{LOG}/append"), form).await;
    assert_eq!(location(&response), "/logs/shop%2Forders/append?appended=84201774");
    let done = fake.done().remove(0);
    for part in
        ["tail: Some(Position(84201774))", "fresh-key", "LogId(3)", "(\"by\", \"me\")", "a\\nb"]
    {
        assert!(done.contains(part), "{part}: {done}");
    }
    let (_, page) = get(&fake, "/logs/shop%2Forders/append?appended=84201774").await;
    assert!(page.contains("<a href=\"/logs/shop%2Forders/84201774\">"), "{page}");
}

#[tokio::test]
async fn words_are_looked_for_backwards_and_it_is_said_how_far() {
    let mut fake = many(25_000, |number| {
        if number % 1_000 == 7 { format!("a <refund> {number}") } else { "an order".to_owned() }
    });
    let (response, page) = get(&fake, &format!("{LOG}?contains=%3Crefund%3E")).await;
    assert_eq!(response.status(), 200);
    assert!(
        page.contains("10 found, the newest first, from 15\u{202f}000 to before 25\u{202f}000")
    );
    assert!(page.find("id=\"at-24007\"").unwrap() < page.find("id=\"at-23007\"").unwrap());
    assert!(!page.contains("<refund>") && page.contains("value=\"&#60;refund&#62;\""), "{page}");
    let on = format!("{LOG}?contains=%3Crefund%3E&#38;until=15000&#38;show=auto");
    assert!(page.contains(&format!("href=\"{on}\"")), "{page}");
    let (_, last) = get(&fake, &format!("{LOG}?contains=%3Crefund%3E&until=5000")).await;
    assert!(last.contains("5 found") && last.contains("The log begins there"), "{last}");
    let (_, none) = get(&fake, &format!("{LOG}?contains=gossip")).await;
    assert!(none.contains("Nothing found from 15\u{202f}000"), "{none}");
    assert!(!none.contains("data-test=\"empty\"") && none.contains("Look further back"));
    fake.records = Err(Problem::new(ErrorCode::Quarantined));
    fake.many = None;
    let (response, _) = get(&fake, &format!("{LOG}?contains=x")).await;
    assert_eq!(response.status(), 503);
}

#[tokio::test]
async fn a_page_of_what_was_found_ends_when_it_is_full() {
    let fake = many(5_000, |_| "an order".to_owned());
    let (_, page) = get(&fake, &format!("{LOG}?contains=order&show=hex")).await;
    assert_eq!(page.matches("data-test=\"record\"").count(), 200, "one stretch is never cut");
    assert!(page.contains("until=4800&#38;show=hex"), "{page}");
}

/// A form in parts, as a browser sends one that can bring a file.
fn parts(fields: &[(&str, &str)], file: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, value) in fields {
        let part =
            format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        form.extend(part.into_bytes());
    }
    let (name, bytes) = file.unwrap_or_default();
    let head = format!(
        "--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         content-type: application/octet-stream\r\n\r\n"
    );
    form.extend(head.into_bytes());
    form.extend(bytes);
    form.extend(b"\r\n--edge--\r\n");
    form
}

async fn append_in_parts(fake: &Fake, form: Vec<u8>) -> (http::Response<()>, String) {
    post_as(fake, &format!("{LOG}/append"), "multipart/form-data; boundary=edge", form).await
}

#[tokio::test]
async fn a_file_becomes_a_record_byte_for_byte() {
    let bytes: Vec<u8> = [0, 0xff, b'\r', b'\n', 0x80].repeat(200_000);
    let fake = fake();
    let form = parts(&[("data", ""), ("key", "k"), ("log_id", "3")], Some(("a\u{e9}.bin", &bytes)));
    let (response, page) = append_in_parts(&fake, form).await;
    assert_eq!(response.status(), 303, "{page}");
    let done = fake.done().remove(0);
    let body = format!("{:?}", client::types::NewRecord::new(bytes));
    let body = body.split("body: ").nth(1).unwrap().trim_end_matches([' ', '}']);
    assert!(done.contains(body) && done.contains("LogId(3)"), "the bytes as they are");
}

#[tokio::test]
async fn a_form_in_parts_without_a_file_is_one_like_any_other_and_nothing_longer_is_taken() {
    let typed = [("data", "a\r\nb"), ("headers", "by: me"), ("tail", "7"), ("key", "k")];
    let fake = fake();
    let (response, _) = append_in_parts(&fake, parts(&typed, None)).await;
    assert_eq!(response.status(), 303);
    let done = fake.done().remove(0);
    assert!(done.contains("a\\nb") && done.contains("Position(7)"), "{done}");
    let (response, page) = append_in_parts(&fake, parts(&typed, Some(("f", b"x")))).await;
    assert_eq!(response.status(), 400);
    assert!(page.contains("both a file and something typed"), "{page}");
    for (form, status) in [
        (parts(&[("key", "k")], Some(("f", &vec![0; 2 << 20]))), 413),
        (parts(&[("key", "k")], Some(("f", &vec![0; (1 << 20) + 1]))), 413),
        (b"--edge\r\nnothing".to_vec(), 400),
        (parts(&[("data", "x"), ("json", "1")], Some(("f", b"{no"))), 400),
    ] {
        let (response, page) = append_in_parts(&fake, form).await;
        assert_eq!(response.status(), status, "{page}");
        assert!(page.contains("<nav"), "{page}");
    }
    assert_eq!(fake.done().len(), 1, "nothing else was appended");
}

#[tokio::test]
async fn what_is_said_to_be_json_is_checked() {
    let fake = fake();
    let form = "data=%7Bnot+json&json=1&key=k";
    let (response, page) = post(&fake, &format!("{LOG}/append"), form).await;
    assert_eq!(response.status(), 400);
    assert!(page.contains("the data is not JSON") && page.contains("{not json"), "{page}");
    let (response, _) = post(&fake, &format!("{LOG}/append"), "data=%7B%7D&json=1&key=k").await;
    assert_eq!((response.status().as_u16(), fake.done().len()), (303, 1));
}

#[tokio::test]
async fn when_nobody_knows_what_came_of_it_the_form_can_be_sent_again() {
    let unknown = Fake { refusal: Some(Problem::new(ErrorCode::OutcomeUnknown)), ..fake() };
    let (response, page) = post(&unknown, &format!("{LOG}/append"), "data=hello&key=mine").await;
    assert_eq!(response.status(), 504);
    assert!(page.contains("It is not known whether this happened"), "{page}");
    assert!(page.contains("Send this form again") && page.contains("It may have happened"));
    assert!(page.contains("name=\"key\" value=\"mine\"") && page.contains("hello</textarea>"));
    let differs = Fake { refusal: Some(Problem::new(ErrorCode::TailDiffers)), ..fake() };
    let (response, page) = post(&differs, &format!("{LOG}/append"), "data=x&key=mine&tail=1").await;
    assert!(response.status() == 412 && page.contains("Nothing was changed"));
}

const HOSTILE: [&str; 12] = [
    "<script>alert(1)</script>",
    "</pre></td><script src=//evil.example></script>",
    "\"><img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<a hx-post=/v1/logs/a/seal hx-trigger=load>x</a>",
    "<form action=/logs/a/delete method=post><button>ok</button></form>",
    "<style>*{display:none}</style>",
    "<meta http-equiv=refresh content=0>",
    "{{ 7 * 7 }} {% include \"shell.html\" %}",
    "\u{202e}gpj.exe \u{2066}\u{200b}\u{feff}\u{e0041}",
    "\u{1b}]0;title\u{7}\u{1b}[2J\0\u{8}\u{7f}\u{9b}",
    "line\r\n<base href=//evil.example>\u{2028}\u{2029}",
];

#[tokio::test]
async fn whatever_a_record_holds_is_shown_and_never_acts() {
    for hostile in HOSTILE {
        let headers: [(&str, &[u8]); 2] = [("<b>\"'", hostile.as_bytes()), ("x", b"\xff<i>")];
        let records = answer(vec![record(84_200_003, hostile.as_bytes(), &headers)]);
        let fake = Fake { records: Ok(records), ..fake() };
        let mut paths = vec!["/logs/shop%2Forders/84200003".to_owned()];
        paths.extend(["auto", "json", "text", "hex", "base64", "<script>"].map(|form| {
            format!("{LOG}?from=1&show={}", form.replace('<', "%3C").replace('>', "%3E"))
        }));
        for path in paths {
            let (response, page) = get(&fake, &path).await;
            assert_eq!(response.status(), 200, "{path}");
            assert_plain(&page, &path);
        }
    }
}

#[tokio::test]
async fn whatever_is_sent_to_a_form_or_an_address_is_shown_and_never_acts() {
    let encode = |text: &str| percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string();
    for hostile in HOSTILE {
        let sent = encode(hostile);
        let mut refused = Problem::new(ErrorCode::InvalidBody).with_detail(hostile);
        refused.title = hostile.to_owned();
        let fake = Fake { refusal: Some(refused), ..fake() };
        let settings =
            format!("name={sent}&retention_age={sent}&content_type={sent}&log_id={sent}");
        let appended = format!("data={sent}&headers={sent}&tail={sent}&key={sent}&log_id={sent}");
        for (path, form) in [
            ("/logs".to_owned(), settings.clone()),
            (format!("{LOG}/settings"), settings),
            (format!("{LOG}/append"), appended),
            (format!("{LOG}/append"), "data=x&key=k".to_owned()),
            (format!("{LOG}/trim"), format!("to={sent}&log_id={sent}")),
            (format!("{LOG}/seal"), format!("log_id={sent}")),
            (format!("{LOG}/delete"), format!("typed={sent}&log_id={sent}")),
        ] {
            assert_plain(&post(&fake, &path, &form).await.1, &path);
        }
        for path in [
            format!("/logs?prefix={sent}&deleted={sent}&after={sent}"),
            format!("/logs/{sent}"),
            format!("{LOG}?from={sent}&show={sent}"),
            format!("{LOG}?time={sent}&follow={sent}"),
            format!("{LOG}/settings?trim_to={sent}&done={sent}"),
            format!("{LOG}/append?appended={sent}"),
            format!("{LOG}/{sent}"),
        ] {
            assert_plain(&get(&fake, &path).await.1, &path);
        }
    }
}

/// Fails if a page holds markup or a character that is not the dashboard's own.
#[track_caller]
fn assert_plain(page: &str, path: &str) {
    for markup in [
        "<script>",
        "<script src=//",
        "<img",
        "<svg",
        "<a hx-",
        "<style",
        "<base",
        "<i>",
        "<b>",
        "onerror=alert(1)>",
        "<form action=/",
        "<meta http-equiv=refresh",
    ] {
        assert!(!page.contains(markup), "{path}: {markup}");
    }
    // What a form gives back to be corrected is given back as it came.
    let typed =
        page.split("<textarea").map(|part| part.split_once("</textarea>").map_or(part, |it| it.1));
    let shown: String = typed.collect();
    for hidden in
        ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{1b}', '\0', '\u{7f}', '\u{9b}']
    {
        let is_value = |part: &str| part.contains(hidden);
        let outside = shown.split("value=\"").enumerate().any(|(index, part)| {
            let part = if index == 0 { part } else { part.split_once('"').map_or("", |it| it.1) };
            is_value(part)
        });
        assert!(!outside, "{path}: {hidden:?}");
    }
}

#[tokio::test]
async fn following_shows_the_newest_first_and_pauses_where_it_is() {
    let (_, page) = get(&fake(), &format!("{LOG}?follow=1")).await;
    let (newest, older) = (page.find("id=\"at-84200004\""), page.find("id=\"at-84200003\""));
    assert!(newest.is_some() && newest < older, "{page}");
    assert!(
        page.contains("href=\"/logs/shop%2Forders?from=84200003\" data-test=\"pause\""),
        "{page}"
    );
    assert!(page.contains("None was skipped so far"));
    assert!(!page.contains("rel=\"next\""), "there is no newer page than this");
}

#[tokio::test]
async fn without_script_the_page_looks_again_and_counts_what_it_has_skipped() {
    let (_, page) =
        get(&fake(), &format!("{LOG}?follow=1&show=hex&seen=84200001&skipped=10")).await;
    assert!(page.contains("12 came too fast to be shown"), "two more: {page}");
    let again = "url=/logs/shop%2Forders?follow=1&#38;show=hex&#38;seen=84200005&#38;skipped=12";
    assert!(page.contains(again), "{page}");
    let (_, page) = get(&fake(), &format!("{LOG}?follow=1&seen=84200003&skipped=0")).await;
    assert!(page.contains("None was skipped so far"), "{page}");
}
