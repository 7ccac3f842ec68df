//! The overview page: it says whether the group takes appends, and a browser shows it.
//!
//! Without a browser on the machine the page is only looked at as text; `just browser` demands one
//! (`QUORATE_BROWSER=required`) and leaves a picture.

use anyhow::{Context, Result, ensure};
use quorate_e2e::{cluster::Cluster, process::print, rest, wait::until};
use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// Whether this machine has a browser; an error if one is demanded and there is none.
fn has_browser() -> Result<bool> {
    let found = Command::new("chromium").arg("--version").stdout(Stdio::null()).status();
    let is_there = found.is_ok_and(|status| status.success());
    let is_required = env::var_os("QUORATE_BROWSER").is_some();
    ensure!(is_there || !is_required, "no chromium: `just setup-browser` installs it");
    Ok(is_there)
}

/// What the browser makes of a page: the document after it was laid out, and a picture of it.
fn browse(url: &str, folder: &Path) -> Result<(String, Vec<u8>)> {
    let run = |task: &str| -> Result<Vec<u8>> {
        let output = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"])
            .arg(format!("--user-data-dir={}", folder.join("browser").display()))
            .args([task, url])
            .current_dir(folder)
            .output()?;
        ensure!(output.status.success(), "chromium failed: {output:?}");
        Ok(output.stdout)
    };
    let document = String::from_utf8(run("--dump-dom")?)?;
    run("--screenshot=overview.png")?;
    Ok((document, fs::read(folder.join("overview.png"))?))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_how_many_may_fail_and_changes_when_one_does() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    let answer = rest::get(cluster.http(), &cluster.url(1), "/").await?.succeeded()?;
    let page = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(page.contains("data-test=\"verdict\""), "{page}");
    assert!(page.contains("data-test=\"tolerance\">1<"), "of three, one may fail: {page}");
    let policy = answer.header("content-security-policy").context("the page has a policy")?;
    assert!(policy.contains("default-src 'none'"), "{policy}");

    cluster.kill_leader().await?;
    let survivor = cluster.leader().await?;
    until("the page says that none may fail", Duration::from_secs(20), async || {
        let answer = rest::get(cluster.http(), &cluster.url(survivor), "/").await?;
        let page = String::from_utf8_lossy(&answer.body);
        Ok(page.contains("data-test=\"tolerance\">0<").then_some(()))
    })
    .await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_overview() -> Result<()> {
    if !has_browser()? {
        print("no chromium here: the page was not looked at in a browser");
        return Ok(());
    }
    let cluster = Cluster::calm(3, &[]).await?;
    let (document, picture) = browse(&cluster.url(0), cluster.folder())?;
    assert!(document.contains("data-test=\"verdict\""), "{document}");
    assert_eq!(document.matches("data-test=\"replica-").count(), 3, "{document}");
    assert!(picture.starts_with(b"\x89PNG"), "the picture is no picture");
    if let Some(kept) = env::var_os("QUORATE_SCREENSHOT") {
        fs::write(kept, picture)?;
    }
    cluster.finish();
    Ok(())
}
