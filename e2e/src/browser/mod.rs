//! A real browser, used as an operator would: pages, clicks, keys, and what the screen then says.
//!
//! It is Chromium, driven by the protocol of `WebDriver` through its `chromedriver`. Without one on the machine there is
//! no browser, and whoever tests says so; `QUORATE_BROWSER` demands one.
//!
//! Not here: what the pages have to say (`tests/dashboard*`).

pub mod keys;

use crate::wait::until;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long something may take to appear on the screen, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// What `WebDriver` calls the name of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What finds in a page what keeps people out, and by which rules.
const AXE: &str = include_str!("../../vendor/axe-core/axe.min.js");
const RULES: &str = "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'] })";

/// The process that drives browsers. Its browsers end with it.
#[derive(Debug)]
pub struct Driver {
    process: Child,
    url: String,
}

impl Driver {
    /// Starts one; none if this machine has no browser, and none is demanded.
    pub fn start() -> Result<Option<Self>> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) if env::var_os("QUORATE_BROWSER").is_none() => {
                crate::process::print(&format!("no chromedriver here, so no browser: {error}"));
                return Ok(None);
            }
            Err(error) => bail!("no chromedriver: `just setup-browser` installs it ({error})"),
        };
        let told = process.stdout.take().context("its words are piped")?;
        let mut lines = BufReader::new(told).lines();
        let port = lines.find_map(|line| {
            let port = line
                .ok()?
                .split_once("successfully on port ")?
                .1
                .trim_end_matches('.')
                .parse::<u16>();
            port.ok()
        });
        let port = port.context("chromedriver tells its port")?;
        // It would wait if nobody took what it says.
        std::thread::spawn(move || lines.count());
        Ok(Some(Self { process, url: format!("http://127.0.0.1:{port}") }))
    }

    /// Opens a browser that knows nothing yet.
    pub async fn browser(&self, folder: &Path) -> Result<Browser> {
        let profile = tempfile::TempDir::with_prefix_in("browser-", folder)?.keep();
        let options = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--window-size=1280,900", format!("--user-data-dir={}", profile.display()),
            ] },
        } } });
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        let mut browser = Browser { http, session: format!("{}/session", self.url) };
        let opened = browser.call(Method::POST, "", Some(options)).await?;
        let id = opened["sessionId"].as_str().context("a browser has a session")?;
        browser.session = format!("{}/session/{id}", self.url);
        Ok(browser)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let group = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // Whatever is gone already need not be ended.
            kill_process_group(group, Signal::KILL).ok();
        }
        self.process.wait().ok();
    }
}

/// One browser with its own memory; it has one window at hand at a time.
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    session: String,
}

impl Browser {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.session));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?.bytes().await?;
        let mut answer: Value = serde_json::from_slice(&answer)?;
        let value = answer["value"].take();
        if let Some(error) = value.get("error").and_then(Value::as_str) {
            bail!("{path}: {error}: {}", value["message"].as_str().unwrap_or_default());
        }
        Ok(value)
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Goes to an address.
    pub async fn go(&self, url: &str) -> Result<()> {
        self.post("/url", json!({ "url": url })).await.map(drop)
    }

    /// Where it is.
    pub async fn address(&self) -> Result<String> {
        let at = self.call(Method::GET, "/url", None).await?;
        Ok(at.as_str().unwrap_or_default().to_owned())
    }

    /// What stands in the title of the tab.
    pub async fn title(&self) -> Result<String> {
        let title = self.call(Method::GET, "/title", None).await?;
        Ok(title.as_str().unwrap_or_default().to_owned())
    }

    /// What the elements that match say on the screen.
    pub async fn texts(&self, css: &str) -> Result<Vec<String>> {
        let script =
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)";
        let texts = self.run(script, json!([css])).await?;
        Ok(serde_json::from_value(texts)?)
    }

    /// What the first element that matches says, once there is one.
    pub async fn text(&self, css: &str) -> Result<String> {
        self.once(&format!("{css} is there"), async || {
            Ok(self.texts(css).await?.into_iter().next())
        })
        .await
    }

    /// Waits until something on the screen says this.
    pub async fn says(&self, css: &str, words: &str) -> Result<()> {
        let what = format!("{css} says {words:?}");
        let said = self.once(&what, async || {
            let texts = self.texts(css).await?;
            Ok(texts.iter().any(|text| text.contains(words)).then_some(()))
        });
        match said.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let screen = self.texts("body").await.unwrap_or_default().join("\n");
                Err(error.context(format!("at {}:\n{screen}", self.address().await?)))
            }
        }
    }

    /// Waits until something holds; a page that is just being left is looked at again.
    pub async fn once<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        until(what, PATIENCE, async || Ok(look().await.ok().flatten())).await
    }

    /// Clicks the first element that matches, once there is one that can be clicked.
    pub async fn click(&self, css: &str) -> Result<()> {
        self.once(&format!("{css} can be clicked"), async || {
            let element = self.element(css).await?;
            self.post(&format!("/element/{element}/click"), json!({})).await?;
            Ok(Some(()))
        })
        .await
    }

    /// Types into the first element that matches.
    pub async fn type_into(&self, css: &str, text: &str) -> Result<()> {
        self.once(&format!("{css} can be typed into"), async || {
            let element = self.element(css).await?;
            self.post(&format!("/element/{element}/value"), json!({ "text": text })).await?;
            Ok(Some(()))
        })
        .await
    }

    async fn element(&self, css: &str) -> Result<String> {
        let found = self.post("/element", json!({ "using": "css selector", "value": css })).await?;
        Ok(found[ELEMENT].as_str().context("an element has a name")?.to_owned())
    }

    /// Runs a function body in the page.
    pub async fn run(&self, script: &str, arguments: Value) -> Result<Value> {
        self.post("/execute/sync", json!({ "script": script, "args": arguments })).await
    }

    /// The same of a function body that is given a callback as its last argument.
    pub async fn run_async(&self, script: &str) -> Result<Value> {
        self.post("/execute/async", json!({ "script": script, "args": [] })).await
    }

    /// A command of the browser's own protocol.
    pub async fn command(&self, name: &str, parameters: Value) -> Result<Value> {
        self.post("/goog/cdp/execute", json!({ "cmd": name, "params": parameters })).await
    }

    /// The width of the screen in pixels, and whether dark is preferred.
    pub async fn screen(&self, width: u32, is_dark: bool) -> Result<()> {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", size).await?;
        // One beside the page would hide the page's edge on a picture.
        self.command("Emulation.setScrollbarsHidden", json!({ "hidden": true })).await?;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.command("Emulation.setEmulatedMedia", json!({ "features": features })).await.map(drop)
    }

    /// Pages run no scripts from now on.
    pub async fn without_scripts(&self) -> Result<()> {
        let off = json!({ "value": true });
        self.command("Emulation.setScriptExecutionDisabled", off).await.map(drop)
    }

    /// Opens another tab at this address and leaves it in the foreground; the one before is hidden by it.
    pub async fn tab(&self, url: &str) -> Result<()> {
        self.open("tab").await?;
        self.go(url).await
    }

    /// Opens another window at this address and goes on there; those before stay visible.
    pub async fn window(&self, url: &str) -> Result<()> {
        self.open("window").await?;
        self.go(url).await
    }

    async fn open(&self, kind: &str) -> Result<()> {
        let opened = self.post("/window/new", json!({ "type": kind })).await?;
        self.turn_to(opened["handle"].as_str().context("a window has a handle")?).await
    }

    /// All of its tabs and windows, to turn to.
    pub async fn windows(&self) -> Result<Vec<String>> {
        let handles = self.call(Method::GET, "/window/handles", None).await?;
        Ok(serde_json::from_value(handles)?)
    }

    /// Goes on in that tab or window, without showing or hiding any.
    pub async fn turn_to(&self, window: &str) -> Result<()> {
        self.post("/window", json!({ "handle": window })).await.map(drop)
    }

    /// What the browser had to complain of since it was asked last, except that pages have the status they should have.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let log = self.post("/se/log", json!({ "type": "browser" })).await?;
        let entries = log.as_array().context("a log is a list")?;
        let messages = entries.iter().filter_map(|entry| entry["message"].as_str());
        let is_harmless =
            |message: &&str| message.contains("the server responded with a status of");
        Ok(messages.filter(|message| !is_harmless(message)).map(str::to_owned).collect())
    }

    /// Looks at the page in both schemes and both widths for what keeps people out, and for what does not fit. Leaves
    /// pictures of that name in the folder that `QUORATE_SCREENSHOT` names.
    pub async fn look_over(&self, name: &str) -> Result<()> {
        self.run(AXE, json!([])).await?;
        for (width, is_dark) in [(1280, false), (1280, true), (360, false), (360, true)] {
            self.screen(width, is_dark).await?;
            let script = format!(
                "const done = arguments[arguments.length - 1];
                 {RULES}.then((found) => done(found.violations.map((one) =>
                     one.id + ': ' + one.nodes.map((node) => node.html).join(' '))))"
            );
            let found = self.run_async(&script).await?;
            ensure!(found == json!([]), "{name} at {width}, dark: {is_dark}: {found}");
            let wide = self.run("return document.documentElement.scrollWidth", json!([])).await?;
            ensure!(wide.as_u64() <= Some(width.into()), "{name} is {wide} wide at {width}");
            if let Some(folder) = env::var_os("QUORATE_SCREENSHOT") {
                let scheme = if is_dark { "dark" } else { "light" };
                let file = format!("{name}-{width}-{scheme}.png");
                fs::write(Path::new(&folder).join(file), self.picture().await?)?;
            }
        }
        Ok(())
    }

    /// A picture of what is on the screen, as PNG.
    pub async fn picture(&self) -> Result<Vec<u8>> {
        let whole = json!({ "captureBeyondViewport": true });
        let picture = self.command("Page.captureScreenshot", whole).await?;
        let picture = picture["data"].as_str().context("a picture is text in base64")?;
        let picture = base64::engine::general_purpose::STANDARD.decode(picture)?;
        ensure!(picture.starts_with(b"\x89PNG"), "the picture is no picture");
        Ok(picture)
    }

    /// Closes it; fails if it had anything to complain of.
    pub async fn close(self) -> Result<()> {
        let complaints = self.complaints().await?;
        ensure!(complaints.is_empty(), "the browser complains: {complaints:#?}");
        self.call(Method::DELETE, "", None).await.map(drop)
    }
}
