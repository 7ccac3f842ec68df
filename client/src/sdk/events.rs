//! Server-sent events, out of the pieces in which an answer comes.
//!
//! As much of them as the service sends: a name and one line of data; comments, which only say that the service is still
//! there, are passed over. An event that the answer breaks off in is none.
//!
//! Not here: what an event means.

use super::error::{Error, Outcome};
use super::transport::Stream;

/// The longest event that is taken.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name.
    pub(super) name: String,
    /// Its data.
    pub(super) data: String,
}

/// Events on their way.
#[derive(Debug)]
pub(super) struct Events {
    stream: Stream,
    come: Come,
}

impl Events {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, come: Come::default() }
    }

    /// The next event; nothing after the last.
    ///
    /// Safe to cancel: what has come is kept for the next call.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.come.take() {
                return Ok(Some(event));
            }
            if self.come.bytes.len() > EVENT_BYTES_MAX {
                return Err(Error::protocol("an event that is too long", Outcome::NotDone));
            }
            let Some(piece) = self.stream.next().await? else { return Ok(None) };
            self.come.bytes.extend_from_slice(&piece);
        }
    }
}

/// What has come and was not taken yet.
#[derive(Debug, Default)]
struct Come {
    bytes: Vec<u8>,
}

impl Come {
    /// The next event that has come whole.
    fn take(&mut self) -> Option<Event> {
        while let Some(end) = self.bytes.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&block);
            let field = |name: &str| {
                text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start)
            };
            if let Some(data) = field("data:") {
                let name = field("event:").unwrap_or_default().to_owned();
                return Some(Event { name, data: data.to_owned() });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_are_the_same_however_they_are_cut(cuts in prop::collection::vec(1_usize..9, 0..40)) {
            let text = ": alive\n\nevent: change\ndata: {\"id\":18}\n\n: alive\n\nevent: end\nid: 7\ndata: ü\n\nevent: half\nda";
            let mut rest = text.as_bytes();
            let (mut come, mut events) = (Come::default(), Vec::new());
            for length in cuts.into_iter().chain([text.len()]) {
                let (piece, after) = rest.split_at(length.min(rest.len()));
                come.bytes.extend_from_slice(piece);
                events.extend(std::iter::from_fn(|| come.take()));
                rest = after;
            }
            let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
            prop_assert_eq!(events, [event("change", "{\"id\":18}"), event("end", "ü")]);
        }
    }
}
