//! A process without a replica id asks a member's front door to be let in.
//!
//! The answer is *wait* or *admitted*, with the id that the group minted. Asking again with the
//! same nonce is the same request.
//!
//! Not here: who is admitted (`node/admission.rs`), and what a process does then (`run`).

use std::time::Duration;

use client::api::cluster::{JoinAnswer, JoinRequest};
use client::api::error::Problem;
use client::api::paths;
use client::types::ReplicaAddr;

/// How long one question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A member was asked and did not say wait or admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It cannot be reached, or has no leader: ask again.
    #[error("{member} cannot answer now: {reason}")]
    Unavailable {
        /// Who was asked.
        member: String,
        /// Why it does not answer.
        reason: String,
    },
    /// It refuses; asking again does not help.
    #[error("{member} refuses: {reason}")]
    Refused {
        /// Who was asked.
        member: String,
        /// In its words.
        reason: String,
    },
}

/// Asks this member once.
pub async fn ask(member: &ReplicaAddr, request: &JoinRequest) -> Result<JoinAnswer, JoinError> {
    let unavailable =
        |reason: String| JoinError::Unavailable { member: member.to_string(), reason };
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER_WITHIN)
        .build()
        .map_err(|error| unavailable(error.to_string()))?;
    let body = serde_json::to_vec(request).map_err(|error| unavailable(error.to_string()))?;
    let url = format!("{}{}", member.as_str().trim_end_matches('/'), paths::JOINERS);
    let answer = client
        .post(url)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .send()
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| unavailable(error.to_string()))?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| unavailable(error.to_string()));
    }
    // A member that has no room on its list just now says so, and means later.
    let is_final = serde_json::from_slice::<Problem>(&body)
        .map_or(status.is_client_error(), |problem| !problem.retryable);
    let reason = String::from_utf8_lossy(&body).into_owned();
    if is_final {
        Err(JoinError::Refused { member: member.to_string(), reason })
    } else {
        Err(unavailable(reason))
    }
}
