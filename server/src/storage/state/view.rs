//! Each log as readers see it: by name, by id; and where its consumers are.
//!
//! Views are replaced whole, never changed, so a reader keeps the one it got while the next command goes on. They are
//! as of the last entry published, and cost no disk access. A log that was deleted is not there any more, whatever of
//! its records still waits for deletion.
//!
//! Not here: records (`suffix`, `chunks`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use client::types::{CursorName, LogId, LogName, Position, Timestamp};

use crate::machine::{LogView, Machine};

/// All logs and cursors.
#[derive(Debug, Default)]
pub(super) struct Views {
    names: BTreeMap<LogName, LogId>,
    logs: HashMap<LogId, Viewed>,
    /// Logs that keep only so much, or for so long.
    retained: BTreeSet<LogId>,
    /// Logs that are deleted some time.
    expiring: BTreeSet<LogId>,
    /// Logs whose trim point moved since it was last asked.
    trimmed: BTreeMap<LogId, Position>,
}

#[derive(Debug)]
struct Viewed {
    view: Arc<LogView>,
    cursors: BTreeMap<CursorName, Position>,
}

impl Views {
    /// All that the machine knows.
    pub(super) fn of(machine: &Machine) -> Self {
        let mut views = Self::default();
        for log in machine.logs() {
            let view = Arc::new(log.view());
            let cursors = log.cursors().map(|(name, at)| (name.clone(), at)).collect();
            views.note_settings(&view);
            views.names.insert(view.name.clone(), view.id);
            views.logs.insert(view.id, Viewed { view, cursors });
        }
        views
    }

    /// Puts a log in place of what was known of it.
    pub(super) fn set(&mut self, view: LogView) {
        let view = Arc::new(view);
        if let Some(known) = self.logs.get_mut(&view.id) {
            assert!(
                known.view.tail <= view.tail && known.view.trim <= view.trim,
                "tail and trim point of log {} never go back",
                view.id
            );
            if known.view.trim < view.trim {
                self.trimmed.insert(view.id, view.trim);
            }
            let are_set_anew = !Arc::ptr_eq(&known.view.settings, &view.settings);
            known.view = Arc::clone(&view);
            if are_set_anew {
                self.note_settings(&view);
            }
            return;
        }
        self.note_settings(&view);
        self.names.insert(view.name.clone(), view.id);
        self.logs.insert(view.id, Viewed { view, cursors: BTreeMap::new() });
    }

    /// Forgets a log and its cursors.
    pub(super) fn remove(&mut self, name: &LogName, id: LogId) {
        // The name may lead to a newer log already.
        if self.names.get(name) == Some(&id) {
            self.names.remove(name);
        }
        self.logs.remove(&id);
        self.retained.remove(&id);
        self.expiring.remove(&id);
        self.trimmed.remove(&id);
    }

    fn note_settings(&mut self, view: &LogView) {
        let settings = &view.settings;
        if settings.retention_age.is_some() || settings.retention_bytes.is_some() {
            self.retained.insert(view.id);
        } else {
            self.retained.remove(&view.id);
        }
        if settings.ttl.is_some() || settings.expires_at.is_some() {
            self.expiring.insert(view.id);
        } else {
            self.expiring.remove(&view.id);
        }
    }

    /// Moves, sets or forgets a cursor.
    pub(super) fn set_cursor(&mut self, log: LogId, name: CursorName, at: Option<Position>) {
        let Some(viewed) = self.logs.get_mut(&log) else { return };
        match at {
            Some(at) => viewed.cursors.insert(name, at),
            None => viewed.cursors.remove(&name),
        };
    }

    /// The log of a name.
    pub(super) fn by_name(&self, name: &LogName) -> Option<&Arc<LogView>> {
        self.by_id(*self.names.get(name)?)
    }

    /// The log of an id.
    pub(super) fn by_id(&self, id: LogId) -> Option<&Arc<LogView>> {
        self.logs.get(&id).map(|viewed| &viewed.view)
    }

    /// Up to `limit` logs whose name begins with `prefix`, in the order of names, from the one after `after` on.
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Arc<LogView>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.names
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(name, _)| name.as_str().starts_with(prefix))
            .filter_map(|(_, id)| self.by_id(*id).cloned())
            .take(limit)
            .collect()
    }

    /// Up to `limit` logs with a retention, in the order of ids, from the one after `after` on.
    pub(super) fn retained(&self, after: Option<LogId>, limit: usize) -> Vec<Arc<LogView>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.retained.range((start, Bound::Unbounded));
        ids.filter_map(|id| self.by_id(*id).cloned()).take(limit).collect()
    }

    /// Up to `limit` logs whose time has come at `now`, in the order of ids.
    pub(super) fn due(&self, now: Timestamp, limit: usize) -> Vec<LogId> {
        let is_due = |id: &&LogId| {
            let deadline = self.by_id(**id).and_then(|view| view.deadline());
            deadline.is_some_and(|deadline| deadline <= now)
        };
        self.expiring.iter().filter(is_due).copied().take(limit).collect()
    }

    /// How many logs there are.
    pub(super) fn count(&self) -> usize {
        self.logs.len()
    }

    /// Where a consumer is.
    pub(super) fn cursor(&self, log: LogId, name: &CursorName) -> Option<Position> {
        self.logs.get(&log)?.cursors.get(name).copied()
    }

    /// Up to `limit` cursors of a log in the order of names, from the one after `after` on.
    pub(super) fn cursors(
        &self,
        log: LogId,
        after: Option<&CursorName>,
        limit: usize,
    ) -> Vec<(CursorName, Position)> {
        let Some(viewed) = self.logs.get(&log) else { return Vec::new() };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = viewed.cursors.range::<CursorName, _>((start, Bound::Unbounded));
        range.take(limit).map(|(name, at)| (name.clone(), *at)).collect()
    }

    /// Takes the logs whose trim point moved since the last call, with where it is.
    pub(super) fn take_trimmed(&mut self) -> BTreeMap<LogId, Position> {
        std::mem::take(&mut self.trimmed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use client::types::LogSettings;

    use super::*;
    use crate::storage::state::tests::scene::log_view;

    fn name(text: &str) -> LogName {
        LogName::new(text).unwrap()
    }

    fn views(names: &[&str]) -> Views {
        let mut views = Views::default();
        for (id, text) in (1..).zip(names) {
            views.set(log_view(id, text, 0, 0));
        }
        views
    }

    fn listed(views: &Views, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let logs = views.list(prefix, after, limit);
        logs.iter().map(|view| view.name.to_string()).collect()
    }

    #[test]
    fn logs_are_listed_by_prefix_in_pages() {
        let views = views(&["b", "a/2", "a/1", "a/3", "c"]);
        assert_eq!(listed(&views, "", None, 9), ["a/1", "a/2", "a/3", "b", "c"]);
        assert_eq!(listed(&views, "a/", None, 2), ["a/1", "a/2"]);
        assert_eq!(listed(&views, "a/", Some("a/2"), 2), ["a/3"]);
        assert_eq!(listed(&views, "b", Some("a/2"), 2), ["b"]);
        assert_eq!(listed(&views, "a/", Some("c"), 2), Vec::<String>::new());
    }

    #[test]
    fn a_name_created_again_leads_to_the_new_log() {
        let mut views = views(&["a"]);
        views.set(log_view(2, "a", 0, 0));
        views.remove(&name("a"), LogId::new(1));
        assert_eq!(views.by_name(&name("a")).unwrap().id, LogId::new(2));
        assert_eq!(views.count(), 1);
    }

    #[test]
    fn cursors_go_with_their_log() {
        let mut views = views(&["a"]);
        let (log, cursor) = (LogId::new(1), CursorName::new("billing").unwrap());
        views.set_cursor(log, cursor.clone(), Some(Position::new(7)));
        assert_eq!(views.cursor(log, &cursor), Some(Position::new(7)));
        assert_eq!(views.cursors(log, None, 5).len(), 1);
        assert_eq!(views.cursors(log, Some(&cursor), 5).len(), 0);
        views.remove(&name("a"), log);
        assert_eq!(views.cursor(log, &cursor), None);
    }

    #[test]
    fn logs_with_a_retention_are_known_as_long_as_they_have_one() {
        let mut views = views(&["a", "b", "c", "d"]);
        let ids = |views: &Views, after| -> Vec<u64> {
            views.retained(after, 2).iter().map(|view| view.id.get()).collect()
        };
        let set = |views: &mut Views, id, age| {
            let settings = LogSettings { retention_age: age, ..LogSettings::default() };
            let view = log_view(id, ["", "a", "b", "c", "d"][usize::try_from(id).unwrap()], 0, 5);
            views.set(LogView { settings: Arc::new(settings), ..view });
        };
        assert_eq!(ids(&views, None), [0; 0]);
        for id in [4, 1, 3] {
            set(&mut views, id, Some(Duration::from_hours(1)));
        }
        assert_eq!(ids(&views, None), [1, 3]);
        assert_eq!(ids(&views, Some(LogId::new(3))), [4]);
        set(&mut views, 3, None);
        views.remove(&name("a"), LogId::new(1));
        assert_eq!(ids(&views, None), [4]);
    }

    #[test]
    fn a_moved_trim_point_is_told_once() {
        let mut views = views(&["a", "b"]);
        views.set(log_view(1, "a", 3, 5));
        views.set(log_view(1, "a", 4, 5));
        let trimmed = views.take_trimmed();
        assert_eq!(trimmed.into_iter().collect::<Vec<_>>(), [(LogId::new(1), Position::new(4))]);
        assert!(views.take_trimmed().is_empty());
    }
}
