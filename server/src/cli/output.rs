//! The one place that prints: answers on standard output, progress and errors on standard error.
//!
//! Invariants: what a command answers can be had as `table`, `json`, `ndjson` or `raw`; nothing but
//! the answer goes to standard output, so it can always be piped; whoever closes the pipe ends the
//! command quietly. Escapes are written only to a terminal.
//!
//! Not here: what a table shows (each command says that of its own answers).

use std::io;
use std::io::{BufRead, BufWriter, IsTerminal, Stdout, Write};

use clap::ValueEnum;
use client::types::Timestamp;
use serde::{Deserialize, Serialize};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For a person.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document per line.
    Ndjson,
    /// Only the values: bodies byte for byte, tables as tab-separated lines without a head.
    Raw,
}

/// Columns with a head, or pairs of name and value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no rows yet.
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Pairs of name and value, one per line.
    pub fn pairs() -> Self {
        Self::default()
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Adds a pair.
    #[must_use]
    pub fn pair(mut self, name: &str, value: impl Into<String>) -> Self {
        self.rows.push(vec![name.to_owned(), value.into()]);
        self
    }

    /// For a person: aligned, with its head.
    pub fn aligned(&self) -> String {
        let head: Vec<String> = self.head.iter().map(|name| (*name).to_owned()).collect();
        let lines: Vec<&Vec<String>> =
            Some(&head).filter(|head| !head.is_empty()).into_iter().chain(&self.rows).collect();
        let columns = lines.iter().map(|line| line.len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = lines.iter().filter_map(|line| line.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for line in lines {
            let mut padded = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                padded.push_str(cell);
                let gap = width.saturating_sub(cell.chars().count()) + 2;
                padded.extend(std::iter::repeat_n(' ', gap));
            }
            text.push_str(padded.trim_end());
            text.push('\n');
        }
        text
    }

    /// For a script: values only, separated by tabs.
    pub fn bare(&self) -> String {
        self.rows.iter().map(|row| row.join("\t") + "\n").collect()
    }
}

/// Where a command prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    verbosity: Verbosity,
}

/// Lines of progress on the screen, to be drawn over.
#[derive(Debug, Default)]
pub struct Drawing {
    lines: usize,
}

/// Whether progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// Answers, progress and errors.
    #[default]
    Normal,
    /// Answers and errors.
    Quiet,
}

impl Output {
    /// Prints in this format.
    pub fn new(format: Format, verbosity: Verbosity) -> Self {
        Self { format, verbosity }
    }

    /// The format asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Prints one answer.
    pub fn value<T: Serialize>(
        &self,
        value: &T,
        table: impl FnOnce(&T) -> Table,
    ) -> io::Result<()> {
        write_out(render(self.format, value, table)?.as_bytes())
    }

    /// Prints a list of answers; as NDJSON, one line each.
    pub fn list<T: Serialize>(
        &self,
        items: &[T],
        head: &[&'static str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> io::Result<()> {
        write_out(render_list(self.format, items, head, row)?.as_bytes())
    }

    /// Prints a text for a file, such as a completion script, or the document that holds it.
    pub fn document<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> io::Result<()> {
        match self.format {
            Format::Table | Format::Raw => write_out(text(value).as_bytes()),
            Format::Json | Format::Ndjson => self.value(value, |_| Table::default()),
        }
    }

    /// Prints text for a person.
    pub fn text(&self, text: &str) -> io::Result<()> {
        write_out(text.as_bytes())
    }

    /// Standard output for a long answer, buffered. Flush it, or the end is lost.
    pub fn stream(&self) -> BufWriter<Stdout> {
        BufWriter::with_capacity(256 << 10, io::stdout())
    }

    /// Tells progress, on standard error.
    pub fn note(&self, text: &str) {
        if self.verbosity == Verbosity::Normal {
            write_err(text);
        }
    }

    /// Replaces the last line of progress, on a terminal; elsewhere it says nothing.
    pub fn meter(&self, text: &str) {
        if self.verbosity == Verbosity::Normal && io::stderr().is_terminal() {
            let mut stderr = io::stderr().lock();
            // Progress that cannot be shown is no reason to stop.
            write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush()).ok();
        }
    }

    /// Whether lines can be drawn over those of before.
    pub fn is_live(&self) -> bool {
        self.verbosity == Verbosity::Normal && io::stderr().is_terminal() && !is_dumb()
    }

    /// Draws lines of progress over those that were drawn last. Each ends at the edge of the screen.
    pub fn draw(&self, drawing: &mut Drawing, lines: &[String]) {
        let up = if drawing.lines > 0 { format!("\x1b[{}A", drawing.lines) } else { String::new() };
        // A line that went on below would not be counted.
        let text = format!("{up}\r\x1b[J\x1b[?7l{}\n\x1b[?7h", lines.join("\n"));
        drawing.lines = lines.len();
        let mut stderr = io::stderr().lock();
        // Progress that cannot be shown is no reason to stop.
        write!(stderr, "{text}").and_then(|()| stderr.flush()).ok();
    }

    /// Ends the line that `meter` wrote.
    pub fn meter_end(&self) {
        self.meter("");
    }

    /// Reports why a command failed, in the form asked for.
    pub fn failure<T: Serialize>(&self, value: &T, text: &str) {
        match self.format {
            Format::Json | Format::Ndjson => {
                write_err(&serde_json::to_string(value).unwrap_or_else(|_| text.to_owned()));
            }
            Format::Table | Format::Raw if is_coloured(&io::stderr()) => {
                write_err(&text.replacen("error:", "\x1b[1;31merror:\x1b[0m", 1));
            }
            Format::Table | Format::Raw => write_err(text),
        }
    }
}

/// One answer as text.
fn render<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> Table,
) -> io::Result<String> {
    Ok(match format {
        Format::Table => table(value).aligned(),
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Ndjson => serde_json::to_string(value)? + "\n",
        Format::Raw => table(value).bare(),
    })
}

/// A list of answers as text.
fn render_list<T: Serialize>(
    format: Format,
    items: &[T],
    head: &[&'static str],
    row: impl Fn(&T) -> Vec<String>,
) -> io::Result<String> {
    let table = || Table { head: head.to_vec(), rows: items.iter().map(&row).collect() };
    Ok(match format {
        Format::Table => table().aligned(),
        Format::Json => serde_json::to_string_pretty(items)? + "\n",
        Format::Ndjson => {
            let lines: Result<Vec<String>, _> = items.iter().map(serde_json::to_string).collect();
            lines?.into_iter().map(|line| line + "\n").collect()
        }
        Format::Raw => table().bare(),
    })
}

/// Whether colour may be written there: to a terminal, unless somebody asked for none.
fn is_coloured(stream: &impl IsTerminal) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb()
}

/// Whether the terminal says that it understands no escapes.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Asks whoever sits at the terminal. Everything but yes is no.
pub(super) fn confirmed(question: &str) -> io::Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn write_out(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn write_err(text: &str) {
    // Nobody is left to be told if standard error is closed.
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// A text from outside, safe to show: control characters cannot act on the terminal.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '·' } else { letter }).collect()
}

/// A size for a person.
pub(super) fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

/// The time where the reader is, to the millisecond.
pub(super) fn local(time: Timestamp) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(
        |_| time.to_string(),
        |time| {
            time.to_zoned_datetime(jiff::tz::TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S%.3f %Z")
                .to_string()
        },
    )
}

/// So many of a thing: `1 record`, `2 000 records`.
pub(super) fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Fruit {
        name: &'static str,
        count: u32,
    }

    const FRUIT: &[Fruit] =
        &[Fruit { name: "apple", count: 3 }, Fruit { name: "fig", count: 12_000 }];

    fn list(format: Format) -> String {
        render_list(format, FRUIT, &["fruit", "count"], |fruit| {
            vec![fruit.name.to_owned(), fruit.count.to_string()]
        })
        .unwrap()
    }

    fn one(format: Format) -> String {
        render(format, &FRUIT[0], |fruit| {
            Table::pairs().pair("name", fruit.name).pair("how many", fruit.count.to_string())
        })
        .unwrap()
    }

    #[test]
    fn a_list_can_be_had_in_every_format() {
        assert_eq!(list(Format::Table), "fruit  count\napple  3\nfig    12000\n");
        assert_eq!(list(Format::Raw), "apple\t3\nfig\t12000\n");
        assert_eq!(
            list(Format::Ndjson),
            "{\"name\":\"apple\",\"count\":3}\n{\"name\":\"fig\",\"count\":12000}\n"
        );
        assert_eq!(
            list(Format::Json),
            "[\n  {\n    \"name\": \"apple\",\n    \"count\": 3\n  },\n  {\n    \"name\": \"fig\",\n    \"count\": 12000\n  }\n]\n"
        );
    }

    #[test]
    fn one_answer_can_be_had_in_every_format() {
        assert_eq!(one(Format::Table), "name      apple\nhow many  3\n");
        assert_eq!(one(Format::Raw), "name\tapple\nhow many\t3\n");
        assert_eq!(one(Format::Ndjson), "{\"name\":\"apple\",\"count\":3}\n");
        assert_eq!(one(Format::Json), "{\n  \"name\": \"apple\",\n  \"count\": 3\n}\n");
    }

    #[test]
    fn an_empty_list_keeps_its_head_for_people_and_is_an_empty_array_for_programs() {
        let nothing: &[Fruit] = &[];
        let render = |format| render_list(format, nothing, &["fruit"], |_| Vec::new()).unwrap();
        assert_eq!(render(Format::Table), "fruit\n");
        assert_eq!(render(Format::Json), "[]\n");
        assert_eq!(render(Format::Ndjson) + &render(Format::Raw), "");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown("a\x1b[31mb\tc"), "a·[31mb·c");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(counted(1, "record"), "1 record");
        assert_eq!(counted(2000, "record"), "2 000 records");
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234_567), "1 234 567");
    }
}
