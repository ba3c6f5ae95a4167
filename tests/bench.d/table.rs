//! The table that comes out: Markdown, a line as soon as its row is measured, so that a run that is cut short has told what it knew.

use std::fmt::Write as _;

use super::measure::Series;

/// Prints the head once, then rows.
#[derive(Debug, Default)]
pub struct Table {
    has_head: bool,
}

/// One line of a row that is no series of times.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub value: f64,
    pub min: Option<f64>,
    pub cpu: Option<f64>,
    pub n: usize,
}

impl Line {
    pub fn new(name: &str, value: f64) -> Self {
        Self { name: name.to_owned(), value, min: None, cpu: None, n: 1 }
    }

    pub fn n(self, n: usize) -> Self {
        Self { n, ..self }
    }

    pub fn cpu(self, cpu: f64) -> Self {
        Self { cpu: Some(cpu), ..self }
    }
}

impl Table {
    /// Times of commands, in ms.
    pub fn times(&mut self, work: &str, series: &[Series]) {
        let line = |one: &Series| Line {
            name: one.name.clone(),
            value: one.wall_ms(0.5),
            min: Some(one.wall_ms(0.0)),
            cpu: Some(one.cpu_ms()),
            n: one.samples.len(),
        };
        let lines: Vec<_> = series.iter().map(line).collect();
        self.row(work, "ms", &lines);
    }

    /// A row: what was done, in which unit, by whom. The first contender is ours; the ratio is ours to each.
    pub fn row(&mut self, work: &str, unit: &str, lines: &[Line]) {
        let mut text = String::new();
        if !self.has_head {
            self.has_head = true;
            text.push_str("| work | | by | median | min | CPU | orlop : it | n | load |\n");
            text.push_str("|--|--|--|--:|--:|--:|--:|--:|--:|\n");
        }
        let load = load();
        for (index, line) in lines.iter().enumerate() {
            let own = lines[0].value;
            let ratio = if index == 0 { String::new() } else { format!("{:.2}", own / line.value) };
            let (work, unit) = if index == 0 { (work, unit) } else { ("", "") };
            let optional = |value: Option<f64>| value.map(figure).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {work} | {unit} | {} | {} | {} | {} | {ratio} | {} | {load} |",
                line.name,
                figure(line.value),
                optional(line.min),
                optional(line.cpu),
                line.n
            );
        }
        print!("{text}");
    }
}

/// Three digits that say something.
pub fn figure(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || value == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The load average over a minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
