//! The digest of the whole state: of exactly the rows that a manifest holds.
//!
//! It follows the rows as they are taken, so it costs what changed; and it is that of the entry at which rows were
//! taken last. Replicas that hold the same have the same, whatever way led there: a machine made of a manifest
//! computes it anew from all rows. Checkpoints compare it.
//!
//! Not here: how rows become one number (`migrations::latest::checkpoints`), and the digest over commands (`digest`).

use std::collections::BTreeMap;

use client::types::Digest;
use migrations::latest::checkpoints::{RowHash, RowSum};
use migrations::latest::manifest::Manifest;
use migrations::latest::tables::Table;

/// The sum over all rows, and what each of them adds to it.
#[derive(Debug, Clone, Default)]
pub(super) struct StateDigest {
    sum: RowSum,
    rows: BTreeMap<(Table, Box<[u8]>), RowHash>,
}

impl StateDigest {
    /// That of these rows.
    pub(super) fn of(manifest: &Manifest) -> Self {
        let mut digest = Self::default();
        for row in manifest.rows() {
            digest.put(row.table, &row.key, Some(&row.value));
        }
        digest
    }

    /// Follows a row that was written, or deleted.
    pub(super) fn put(&mut self, table: Table, key: &[u8], value: Option<&[u8]>) {
        let new = value.map(|value| RowHash::of(table, key, value));
        let place = (table, key.into());
        let old = match new {
            Some(new) => self.rows.insert(place, new),
            None => self.rows.remove(&place),
        };
        if let Some(old) = old {
            self.sum.remove(old);
        }
        if let Some(new) = new {
            self.sum.add(new);
        }
    }

    /// The digest of all rows.
    pub(super) fn digest(&self) -> Digest {
        Digest::new(self.sum.digest())
    }
}
