//! How records are shown: as a table, one JSON document, JSON by line, or bodies byte for byte.
//!
//! Invariants: nothing is kept, so that a log of any length can be read; what a person sees cannot
//! act on the terminal, what a program gets is unchanged.

use std::io::{BufWriter, Stdout, Write};

use client::api::records::{RecordJson, write_ndjson};
use client::types::{LogName, Position, Record};

use super::output;
use super::{Failure, Format, Output};

/// Letters of a body that a table shows.
const LETTERS_MAX: usize = 200;

/// Whether there will be a last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Ends,
    Endless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Begun,
    HasRecords,
}

/// Records on their way to standard output.
pub(super) struct Shown<W: Write = BufWriter<Stdout>> {
    to: W,
    format: Format,
    ending: &'static [u8],
    extent: Extent,
    state: State,
    line: Vec<u8>,
}

impl Shown {
    /// For a read, which ends.
    pub(super) fn begin(output: Output, ending: &'static [u8]) -> Self {
        Self::new(output.stream(), output.format(), ending, Extent::Ends)
    }

    /// For a follow, which does not: its JSON is by line.
    pub(super) fn begin_endless(output: Output, ending: &'static [u8]) -> Self {
        Self::new(output.stream(), output.format(), ending, Extent::Endless)
    }
}

impl<W: Write> Shown<W> {
    fn new(to: W, format: Format, ending: &'static [u8], extent: Extent) -> Self {
        Self { to, format, ending, extent, state: State::Fresh, line: Vec::new() }
    }

    /// Tells what is read, once, before the first record.
    pub(super) fn head(
        &mut self,
        log: &LogName,
        first: Position,
        tail: Position,
    ) -> Result<(), Failure> {
        if self.state == State::Fresh && self.format == Format::Json && self.extent == Extent::Ends
        {
            self.state = State::Begun;
            let log = serde_json::to_string(log).map_err(std::io::Error::from)?;
            write!(self.to, "{{\"log\":{log},\"first\":{first},\"tail\":{tail},\"records\":[")?;
        }
        Ok(())
    }

    /// Shows a record.
    pub(super) fn record(&mut self, record: Record) -> Result<(), Failure> {
        match self.format {
            Format::Raw => {
                self.to.write_all(&record.body)?;
                self.to.write_all(self.ending)?;
            }
            Format::Table => {
                let time = output::local(record.time);
                writeln!(
                    self.to,
                    "{:>8}  {time}  {}",
                    record.position.get(),
                    preview(&record.body)
                )?;
            }
            Format::Json | Format::Ndjson => {
                let is_listed = self.state != State::Fresh;
                if is_listed {
                    self.to.write_all(if self.state == State::HasRecords {
                        b",\n"
                    } else {
                        b"\n"
                    })?;
                    self.state = State::HasRecords;
                }
                self.line.clear();
                write_ndjson(&RecordJson(record), &mut self.line);
                let end = if is_listed { self.line.len() - 1 } else { self.line.len() };
                self.to.write_all(&self.line[..end])?;
            }
        }
        Ok(())
    }

    /// Ends a read; `next` is where to go on.
    pub(super) fn end(mut self, next: Position) -> Result<(), Failure> {
        if self.state != State::Fresh {
            write!(self.to, "\n],\"next\":{next}}}\n")?;
        }
        self.flush()
    }

    /// Lets everything be seen that was shown so far.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.to.flush()?)
    }
}

/// As much of a body as fits a line.
fn preview(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        return format!("({} that are no text)", output::bytes(body.len() as u64));
    };
    let text = output::shown(text);
    if text.chars().count() <= LETTERS_MAX {
        return text;
    }
    let beginning: String = text.chars().take(LETTERS_MAX).collect();
    format!("{beginning}… ({})", output::bytes(body.len() as u64))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use client::types::{Headers, Timestamp};

    use super::*;

    fn record(position: u64, body: &'static [u8]) -> Record {
        Record {
            position: Position::new(position),
            time: Timestamp::new(0),
            headers: Headers::default(),
            body: Bytes::from_static(body),
        }
    }

    fn shown(
        format: Format,
        ending: &'static [u8],
        extent: Extent,
        bodies: &[&'static [u8]],
    ) -> String {
        let mut bytes = Vec::new();
        let mut shown = Shown::new(&mut bytes, format, ending, extent);
        let at = Position::new;
        shown.head(&"a/b".parse().unwrap(), at(7), at(9)).unwrap();
        for (position, body) in (7..).zip(bodies) {
            shown.record(record(position, body)).unwrap();
        }
        shown.end(at(7 + bodies.len() as u64)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn raw_is_byte_for_byte_with_the_ending_asked_for() {
        assert_eq!(shown(Format::Raw, b"", Extent::Ends, &[b"a\n", b"", b"b"]), "a\nb");
        assert_eq!(shown(Format::Raw, b"\n", Extent::Ends, &[b"a", b"", b"b"]), "a\n\nb\n");
    }

    #[test]
    fn json_is_one_document_whatever_the_number_of_records() {
        for bodies in [&[][..], &[&b"one"[..]], &[b"one", b"\xff"]] {
            let text = shown(Format::Json, b"", Extent::Ends, bodies);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["records"].as_array().unwrap().len(), bodies.len(), "{text}");
            assert_eq!(
                (&json["log"], &json["first"], &json["tail"]),
                (&"a/b".into(), &7.into(), &9.into())
            );
            assert_eq!(json["next"], 7 + bodies.len());
        }
    }

    #[test]
    fn an_endless_follow_is_json_by_line() {
        for format in [Format::Json, Format::Ndjson] {
            let text = shown(format, b"", Extent::Endless, &[b"one", b"two"]);
            let lines: Vec<serde_json::Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!((lines.len(), &lines[1]["data"]), (2, &"two".into()));
        }
    }

    #[test]
    fn a_table_shows_one_line_per_record_and_no_control_characters() {
        let text = shown(Format::Table, b"", Extent::Ends, &[b"a\x1b[31m\nb", b"\xff\xfe"]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\x1b') && text.contains("(2 B that are no text)"), "{text}");
    }
}
