//! The older text format of Prometheus, made of the newer one.
//!
//! In the older format the lines that describe a counter carry `_total` like its samples do, and units
//! and the end mark do not exist.
//!
//! Not here: who asks for which format (`http/health.rs`).

/// Rewrites `OpenMetrics` text line by line.
pub(super) fn to_prometheus(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // Held back until the type is known, because the name depends on it.
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { continue };
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take() {
                out.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with("# ") {
            out.extend([line, "\n"]);
        }
    }
    out
}
