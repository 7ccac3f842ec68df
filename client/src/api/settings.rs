//! The settings that a replica runs with, and where each of them comes from.
//!
//! Values are text, as one would write them in a file. There is nothing secret among them.
//!
//! Not here: what a log is set to (`logs`).

use serde::{Deserialize, Serialize};

/// Answer to GET on the settings of the replica that answers.
///
/// ```
/// use quorate_client::api::settings::SettingList;
///
/// let answer = r#"{"settings":[{"key":"limits.logs_max","value":"1000","origin":"default","is_given":false,"about":"Most logs."}]}"#;
/// let told: SettingList = serde_json::from_str(answer).unwrap();
/// assert_eq!(told.settings[0].value, "1000");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SettingList {
    /// All of them, in the order of the file that `quorate config init` writes.
    pub settings: Vec<EffectiveSetting>,
}

/// One setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EffectiveSetting {
    /// Its name: `section.key`, or a bare `key`.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Who gave it: `default`, `derived`, a file and a line, a variable of the environment, or a flag.
    pub origin: String,
    /// Whether somebody gave it; otherwise it is the default, or follows from others.
    pub is_given: bool,
    /// What it is for, in a sentence.
    pub about: String,
}
