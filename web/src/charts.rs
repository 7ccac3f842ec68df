//! Small charts as SVG: a line over time, drawn here, with a text that says the same.
//!
//! Geometry stands in attributes and colours in classes, because the content policy refuses inline style. A value that is
//! lacking leaves a gap. Every chart stands beside a table of its figures.
//!
//! Not here: which figures (`pages`).

use std::fmt::Write;

use askama::Template;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// Room for the stroke at the edges.
const EDGE: f64 = 2.0;

/// One chart of at most three lines over the same steps of time.
#[derive(Template)]
#[template(path = "chart.html")]
pub(crate) struct Chart {
    /// Unique on its page.
    id: &'static str,
    title: &'static str,
    /// What it shows, in words.
    summary: String,
    /// What the upper edge stands for, with its unit.
    top: String,
    lines: Vec<Line>,
}

struct Line {
    class: &'static str,
    label: &'static str,
    path: String,
}

impl Chart {
    /// Lines are named; `scale` writes a value with its unit.
    pub(crate) fn new(
        id: &'static str,
        title: &'static str,
        lines: &[(&'static str, Vec<Option<u64>>)],
        scale: fn(u64) -> String,
    ) -> Self {
        let values = lines.iter().flat_map(|(_, values)| values).flatten();
        let top = nice(values.copied().max().unwrap_or(0));
        let said = lines.iter().map(|(label, values)| said(label, values, scale));
        Self {
            id,
            title,
            summary: said.collect::<Vec<_>>().join("; "),
            top: scale(top),
            lines: lines
                .iter()
                .zip(["first", "second", "third"])
                .map(|((label, values), class)| Line { class, label, path: path(values, top) })
                .collect(),
        }
    }
}

/// A small line over time beside the figure that stands at its end.
#[derive(Template)]
#[template(path = "spark.html")]
pub(crate) struct Spark {
    /// Unique on its page.
    id: &'static str,
    title: &'static str,
    /// The last value; nothing if there is none yet.
    now: Option<String>,
    /// What it shows, in words.
    summary: String,
    path: String,
}

impl Spark {
    /// `scale` writes a value with its unit.
    pub(crate) fn new(
        id: &'static str,
        title: &'static str,
        values: &[Option<u64>],
        scale: fn(u64) -> String,
    ) -> Self {
        let top = nice(values.iter().flatten().copied().max().unwrap_or(0));
        Self {
            id,
            title,
            now: values.iter().rev().flatten().next().copied().map(scale),
            summary: said(title, values, scale),
            path: path(values, top),
        }
    }
}

fn said(label: &str, values: &[Option<u64>], scale: fn(u64) -> String) -> String {
    let known = || values.iter().flatten().copied();
    match (values.iter().rev().flatten().next(), known().max()) {
        (Some(last), Some(most)) => {
            format!("{label}: {} now, {} at most", scale(*last), scale(most))
        }
        (None, _) | (_, None) => format!("{label}: nothing yet"),
    }
}

/// The next number of the form 1, 2 or 5 times a power of ten.
fn nice(most: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for step in [1, 2, 5] {
            let top = power.saturating_mul(step);
            if top >= most {
                return top;
            }
        }
        power = power.saturating_mul(10);
    }
}

/// The line's way, with a new beginning after each gap.
fn path(values: &[Option<u64>], top: u64) -> String {
    let step = WIDTH / approximate(values.len().saturating_sub(1).max(1));
    let mut path = String::new();
    let mut is_drawing = false;
    for (at, value) in values.iter().enumerate() {
        let Some(value) = value else {
            is_drawing = false;
            continue;
        };
        let across = step * approximate(at);
        let share = approximate(usize::try_from(*value).unwrap_or(usize::MAX))
            / approximate(usize::try_from(top).unwrap_or(usize::MAX));
        let down = EDGE + (HEIGHT - 2.0 * EDGE) * (1.0 - share);
        let verb = if is_drawing { 'L' } else { 'M' };
        write!(path, "{verb}{across:.1} {down:.1}").expect("a String takes every character");
        // A value between two gaps would be invisible without an end.
        if !is_drawing {
            path.push_str("h0.1");
        }
        is_drawing = true;
    }
    path
}

/// Pixels need no more than a float holds.
#[expect(clippy::cast_precision_loss, reason = "a chart is drawn to a tenth of a pixel")]
const fn approximate(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_a_round_number_no_value_exceeds() {
        let tops =
            [(0, 1), (1, 1), (3, 5), (5, 5), (6, 10), (12_400, 20_000), (u64::MAX, u64::MAX)];
        for (most, top) in tops {
            assert_eq!(nice(most), top);
        }
    }

    #[test]
    fn a_line_goes_from_edge_to_edge_and_has_gaps() {
        let drawn = path(&[Some(0), Some(10), None, Some(5)], 10);
        assert_eq!(drawn, "M0.0 118.0h0.1L200.0 2.0M600.0 60.0h0.1");
        assert_eq!(path(&[], 1), "");
    }

    #[test]
    fn what_a_chart_shows_is_said_in_words() {
        let chart = Chart::new("x", "Appends", &[("appends", vec![Some(7), Some(3)])], |n| {
            format!("{n}/s")
        });
        assert_eq!(chart.summary, "appends: 3/s now, 7/s at most");
        let html = chart.render().unwrap();
        assert!(html.contains("role=\"img\"") && !html.contains("style="), "{html}");
    }
}
