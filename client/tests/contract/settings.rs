//! The settings of a replica, and the table of routes.

use quorate_client::api::paths::ROUTES;
use quorate_client::api::settings::{EffectiveSetting, SettingList};

use super::assert_golden;

#[test]
fn settings_say_who_gave_them() {
    let setting = EffectiveSetting {
        key: "limits.read_records_max".into(),
        value: "500".into(),
        origin: "flag --set limits.read_records_max".into(),
        is_given: true,
        about: "Records in one answer to a read.".into(),
    };
    assert_golden(
        &SettingList { settings: vec![setting] },
        r#"
{
  "settings": [
    {
      "key": "limits.read_records_max",
      "value": "500",
      "origin": "flag --set limits.read_records_max",
      "is_given": true,
      "about": "Records in one answer to a read."
    }
  ]
}"#,
    );
}

#[test]
fn every_route_is_there_once_and_says_what_it_is() {
    let mut paths: Vec<_> = ROUTES.iter().map(|route| route.path).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), ROUTES.len());
    for route in ROUTES {
        assert!(route.about.ends_with('.') && !route.methods.is_empty(), "{route:?}");
    }
}
