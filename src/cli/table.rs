//! Columns as docker's tab writer lays them: cells padded to the widest plus three, at least ten wide, the last one as it is.
//! Rows are JSON objects with docker's field names, so that `--format` templates and `json` read the same data.

use std::io::Write;

use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

use super::template::{Template, TemplateError};
use crate::stdx::shown::{self, is_unsafe};

/// How rows shall be printed.
#[derive(Clone, Debug)]
pub struct Layout {
    format: Format,
}

#[derive(Clone, Debug)]
enum Format {
    /// Fields of the default table.
    Fields(Vec<String>),
    /// `table TEMPLATE`
    Table(Template),
    Plain(Template),
    Json,
}

/// A column's title by its field, as docker heads it.
pub type Titles = &'static [(&'static str, &'static str)];

impl Layout {
    /// Reads `--format`; without one (or `table` alone), the table of these fields.
    ///
    /// # Errors
    /// A template that cannot be parsed.
    pub fn choose(format: Option<&str>, fields: &[&str]) -> Result<Self, TemplateError> {
        let fields = || Format::Fields(fields.iter().map(|field| (*field).to_owned()).collect());
        let format = match format.map(str::trim_end) {
            None | Some("" | "table") => fields(),
            Some("json") => Format::Json,
            Some(text) => {
                let unescaped = text.replace("\\t", "\t").replace("\\n", "\n");
                match unescaped.strip_prefix("table ") {
                    Some(rest) => Format::Table(Template::parse(rest.trim_start())?),
                    None => Format::Plain(Template::parse(&unescaped)?),
                }
            }
        };
        Ok(Self { format })
    }

    /// # Errors
    /// A template that cannot be carried out, or output that cannot be written.
    pub fn write(&self, rows: &[Value], titles: Titles, out: &mut dyn Write) -> anyhow::Result<()> {
        match &self.format {
            Format::Json => {
                for row in rows {
                    writeln!(out, "{}", super::template::json(row))?;
                }
            }
            Format::Plain(template) => {
                for row in rows {
                    writeln!(out, "{}", template.render(row)?)?;
                }
            }
            Format::Table(template) => {
                let head: Map<String, Value> =
                    titles.iter().map(|(field, title)| ((*field).to_owned(), Value::from(*title))).collect();
                let mut lines = vec![template.render(&with_label_titles(head)).unwrap_or_default()];
                for row in rows {
                    lines.push(template.render(row)?);
                }
                let cells = lines.iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
                write_cells(cells, 10, out)?;
            }
            Format::Fields(fields) => {
                let title =
                    |field: &String| titles.iter().find(|(known, _)| known == field).map_or("", |(_, title)| title);
                let mut cells = vec![fields.iter().map(|field| title(field).to_owned()).collect()];
                let text =
                    |row: &Value, field: &String| row.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
                cells.extend(rows.iter().map(|row| fields.iter().map(|field| text(row, field)).collect::<Vec<_>>()));
                write_cells(cells, 10, out)?;
            }
        }
        Ok(())
    }
}

/// `{{.Label "x"}}` heads its column with the label's last part; the head row cannot know which, so it stays empty.
fn with_label_titles(mut head: Map<String, Value>) -> Value {
    head.insert("@labels".to_owned(), Value::Object(Map::new()));
    Value::Object(head)
}

/// Writes cells in columns at least `min` wide; what is in them is made one line and safe to show.
///
/// A cell is one line of printable text, as `ps` makes it: a container names its processes, and its name must not drive the terminal.
///
/// # Errors
/// Output that cannot be written.
pub fn write_cells(mut rows: Vec<Vec<String>>, min: usize, out: &mut dyn Write) -> std::io::Result<()> {
    rows.iter_mut().flatten().for_each(make_printable);
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| column + 1 < row.len()).map(|row| row[column].width() + 3);
        cells.max().unwrap_or(0).max(min)
    };
    let widths: Vec<_> = (0..n_columns).map(width).collect();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let is_last = column + 1 == row.len();
            let fill = if is_last { 0 } else { widths[column].saturating_sub(cell.width()) };
            write!(out, "{cell}{:fill$}", "")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn make_printable(cell: &mut String) {
    if cell.chars().any(is_unsafe) {
        *cell = shown::one_line(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TITLES: Titles = &[("Names", "NAMES"), ("Ports", "PORTS")];

    fn check(format: Option<&str>, expected: &str) {
        let rows = [json!({"Names": "web", "Ports": ""}), json!({"Names": "a-long-name", "Ports": "80/tcp"})];
        let mut out = Vec::new();
        Layout::choose(format, &["Names", "Ports"]).unwrap().write(&rows, TITLES, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn every_kind_of_format() {
        check(None, "NAMES         PORTS\nweb           \na-long-name   80/tcp\n");
        check(Some("table {{.Ports}}\\t{{.Names}}"), "PORTS     NAMES\n          web\n80/tcp    a-long-name\n");
        check(Some("{{.Names}}:{{.Ports}}"), "web:\na-long-name:80/tcp\n");
        check(Some("json"), "{\"Names\":\"web\",\"Ports\":\"\"}\n{\"Names\":\"a-long-name\",\"Ports\":\"80/tcp\"}\n");
    }

    #[test]
    fn a_cell_cannot_drive_the_terminal() {
        let mut out = Vec::new();
        write_cells(vec![vec!["a\x1b]0;owned\x07\u{9b}2J\nb".to_owned(), "c".to_owned()]], 1, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a?]0;owned??2J b   c\n");
    }
}
