//! Checkpoints that a test asks for, awaited until they are certified.
//!
//! Whoever asks for one is answered after some seconds, certified or not: on a busy machine its certificate comes later.
//! Not here: what is promised of them (the tests).

use crate::wait::{PATIENCE, until};
use anyhow::Result;
use client::Client;
use client::api::checkpoints::CheckpointInfo;
use client::types::CheckpointLabel;

/// Makes a checkpoint, and waits for its certificate. Without a label, a newer one that is certified stands for it.
pub async fn certified(client: &Client, label: Option<CheckpointLabel>) -> Result<CheckpointInfo> {
    let is_labelled = label.is_some();
    let made = client.admin().make_checkpoint(label).await?.checkpoint;
    until("the checkpoint is certified", PATIENCE, async || {
        let all = client.admin().checkpoints().await?.into_iter();
        let mut certified = all.filter(|it| it.certificate.is_some());
        let stands =
            |it: &CheckpointInfo| it.checkpoint == made || (!is_labelled && it.checkpoint > made);
        Ok(certified.find(stands))
    })
    .await
}
