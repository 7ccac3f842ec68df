//! What carries no entry waits a moment for one that does.
//!
//! When an entry is committed, openraft tells every follower so in a message of its own. A caller
//! that appends one record after the other sends the next entry within a millisecond, and that
//! carries the same news: so such a message is held back that long, and the next one takes its
//! place. This halves the messages per append; a follower learns of the last commit before a pause
//! a moment later.
//!
//! Heartbeats do not pass here, so nothing that keeps a leader in its place is held back.

use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};

use crate::raft::types::AppendRequest;
use crate::world::Clock;

/// How long a message without entries waits for company.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// The same requests, but one without entries gives way to the next if that follows at once. An
/// answer to the later one says all that an answer to the earlier one would have.
pub(super) fn with_company<S>(requests: S, clock: Clock) -> BoxStream<'static, AppendRequest>
where
    S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
{
    // Its end may be seen before the last request of all is passed on.
    let gathered = stream::unfold((requests.fuse(), clock), |(mut requests, clock)| async move {
        let request = requests.next().await?;
        if !request.entries.is_empty() {
            return Some((request, (requests, clock)));
        }
        match clock.within(WAIT_MAX, requests.next()).await {
            Ok(Some(next)) => Some((next, (requests, clock))),
            // Nothing followed in time, or nothing follows at all.
            Ok(None) | Err(_) => Some((request, (requests, clock))),
        }
    });
    gathered.boxed()
}

#[cfg(test)]
mod tests {
    use futures_util::future::{pending, ready};

    use super::*;
    use crate::raft::types::{RaftEntry, RaftPayload, RaftVote, log_id};
    use client::types::{EntryId, EntryIndex, Term};

    fn request(commit: u64, entry: Option<u64>) -> AppendRequest {
        let id = |index| {
            log_id(&EntryId { term: Term::new(1), leader: 1, index: EntryIndex::new(index) })
        };
        let entries =
            entry.map(|index| RaftEntry { log_id: id(index), payload: RaftPayload::Blank });
        AppendRequest {
            vote: RaftVote::new_committed(1, 1),
            prev_log_id: None,
            entries: entries.into_iter().collect(),
            leader_commit: Some(id(commit)),
        }
    }

    /// What passes of these requests, by what it says is committed and how many entries it carries.
    async fn passed(
        requests: impl Stream<Item = AppendRequest> + Send + Unpin + 'static,
    ) -> Vec<(u64, usize)> {
        let passed = with_company(requests, Clock::real());
        let described = passed
            .map(|request| (request.leader_commit.map_or(0, |id| id.index), request.entries.len()));
        described.collect().await
    }

    #[tokio::test]
    async fn a_commit_rides_along_with_the_entry_that_follows() {
        let requests = stream::iter([request(4, None), request(4, Some(5)), request(5, Some(6))]);
        assert_eq!(passed(requests).await, [(4, 1), (5, 1)]);
    }

    #[tokio::test]
    async fn a_commit_before_a_pause_is_told_on_its_own() {
        let pause = stream::once(pending::<AppendRequest>());
        let requests = stream::once(ready(request(4, None))).chain(pause).boxed();
        let mut passed = with_company(requests, Clock::real());
        assert_eq!(passed.next().await.unwrap().leader_commit.unwrap().index, 4);
    }

    #[tokio::test]
    async fn the_last_request_of_all_is_never_lost() {
        // Such a stream may not be asked again after its end.
        let requests = stream::unfold(0, |sent| async move {
            let all = [request(4, Some(5)), request(5, None)];
            all.into_iter().nth(sent).map(|request| (request, sent + 1))
        });
        assert_eq!(passed(requests.boxed()).await, [(4, 1), (5, 0)]);
    }
}
