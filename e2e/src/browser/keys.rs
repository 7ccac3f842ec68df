//! The keyboard alone: keys go to whatever has the focus, and what has the focus has to show it.
//!
//! Nothing here clicks, and no script moves the focus: scripts only look where it is.

use super::Browser;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// More steps of the focus than any page has places for it.
const STEPS_MAX: usize = 150;

/// Where the focus is, and whether somebody who looks at the screen can tell.
const FOCUS: &str = "
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    const style = getComputedStyle(one), box = one.getBoundingClientRect();
    const isMarked = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1
        && style.outlineColor !== 'rgba(0, 0, 0, 0)' && style.visibility === 'visible';
    const isInView = box.width > 1 && box.height > 1 && box.bottom > 0 && box.right > 0
        && box.top < innerHeight && box.left < innerWidth;
    return [one.matches(arguments[0]), isMarked && isInView, one.outerHTML.slice(0, 200)];";

/// A key that does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// To the next place.
    Tab,
    /// To the place before: the same with shift.
    BackTab,
    /// Follows a link, presses a button, sends a form.
    Enter,
    /// Presses a button.
    Space,
}

impl Key {
    /// As `WebDriver` writes it, and whether with shift.
    fn code(self) -> (&'static str, bool) {
        match self {
            Self::Tab => ("\u{E004}", false),
            Self::BackTab => ("\u{E004}", true),
            Self::Enter => ("\u{E007}", false),
            Self::Space => (" ", false),
        }
    }
}

impl Browser {
    /// Presses a key and lets it go.
    pub async fn press(&self, key: Key) -> Result<()> {
        const SHIFT: &str = "\u{E008}";
        let (code, is_shifted) = key.code();
        let mut strokes = stroke(code);
        if is_shifted {
            strokes.insert(0, json!({ "type": "keyDown", "value": SHIFT }));
            strokes.push(json!({ "type": "keyUp", "value": SHIFT }));
        }
        self.strike(strokes).await
    }

    /// Types a text, key by key, into whatever has the focus.
    pub async fn type_keys(&self, text: &str) -> Result<()> {
        let mut buffer = [0; 4];
        self.strike(
            text.chars().flat_map(|letter| stroke(letter.encode_utf8(&mut buffer))).collect(),
        )
        .await
    }

    async fn strike(&self, strokes: Vec<Value>) -> Result<()> {
        let keys = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.post("/actions", json!({ "actions": [keys] })).await.map(drop)
    }

    /// Goes on with the focus until it is on what matches. Fails where it cannot be seen on the way.
    pub async fn tab_to(&self, css: &str) -> Result<()> {
        self.move_to(Key::Tab, css).await
    }

    /// The same backwards.
    pub async fn tab_back_to(&self, css: &str) -> Result<()> {
        self.move_to(Key::BackTab, css).await
    }

    async fn move_to(&self, key: Key, css: &str) -> Result<()> {
        for _ in 0..STEPS_MAX {
            self.press(key).await?;
            let focus = self.run(FOCUS, json!([css])).await?;
            let Some([is_there, is_seen, what]) = focus.as_array().map(Vec::as_slice) else {
                continue;
            };
            ensure!(is_seen == true, "nobody sees that this has the focus: {what}");
            if is_there == true {
                return Ok(());
            }
        }
        let address = self.address().await.context("it is somewhere")?;
        bail!("{STEPS_MAX} steps of the focus did not lead to {css} at {address}")
    }
}

fn stroke(key: &str) -> Vec<Value> {
    ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })).into()
}
