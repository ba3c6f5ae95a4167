//! The screen's part of the config file (TOML). Called once by `run`; pure: text in, settings and problems out.
//!
//! ```toml
//! theme = "dark"                # dark light ansi16 high-contrast, or the name of a file in themes/ beside this one
//! mouse = false
//! reduced_motion = false
//! detach_keys = "ctrl-]"
//! keys_preset = "lazydocker"    # or k9s
//! columns = ["image", "state", "cpu", "mem", "ports"]
//! log_memory_mib = 32
//! [keys]
//! "container.stop" = "ctrl-t"   # or a list; an empty list takes the keys away
//! ```
//! Nothing in it can keep the program from starting: each problem is a sentence with file and line, and the default stays.

use super::keymap::Binding;
use super::keys::Chord;
use super::model::containers::Column;
use super::terminal::Mouse;

/// What can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `None`: chosen by the terminal's colours.
    pub theme: Option<String>,
    pub mouse: Mouse,
    pub motion: Motion,
    pub detach_key: Chord,
    pub keys_preset: Option<String>,
    pub columns: Option<Vec<Column>>,
    /// Memory for one log view, bytes.
    pub log_budget_bytes: usize,
    pub bindings: Vec<Binding>,
}

/// Whether things may move that did not change: spinners, progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Motion {
    #[default]
    Full,
    Reduced,
}

impl Default for Settings {
    fn default() -> Self {
        use crossterm::event::{KeyCode, KeyModifiers};
        Self {
            theme: None,
            mouse: Mouse::Off,
            motion: Motion::Full,
            detach_key: Chord::new(KeyCode::Char(']'), KeyModifiers::CONTROL),
            keys_preset: None,
            columns: None,
            log_budget_bytes: 24 << 20,
            bindings: Vec::new(),
        }
    }
}

type Value<'a> = toml::Spanned<toml::de::DeValue<'a>>;

/// Reads a config file. Keys it does not know are problems too, except tables that belong to others.
pub fn parse(source: &str, file: &str) -> (Settings, Vec<String>) {
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    let table = match toml::de::DeTable::parse(source) {
        Ok(table) => table,
        Err(e) => {
            let line = line_of(source, e.span().map_or(0, |span| span.start));
            return (settings, vec![format!("{file}:{line}: {}", e.message())]);
        }
    };
    for (key, value) in table.get_ref() {
        let line = line_of(source, value.span().start);
        let name: &str = key.get_ref();
        match name {
            "keys" => {
                let (bindings, wrong) = bindings_of(value, source, file);
                settings.bindings = bindings;
                problems.extend(wrong);
            }
            // Tables of the engine and the command line.
            _ if value.get_ref().is_table() => {}
            _ => {
                if let Err(reason) = settings.set(name, value) {
                    problems.push(format!("{file}:{line}: {reason}"));
                }
            }
        }
    }
    (settings, problems)
}

impl Settings {
    fn set(&mut self, name: &str, value: &Value<'_>) -> Result<(), String> {
        let value = value.get_ref();
        let text = || value.as_str().ok_or_else(|| format!("`{name}` must be a string"));
        let truth = || value.as_bool().ok_or_else(|| format!("`{name}` must be true or false"));
        match name {
            "theme" => self.theme = Some(text()?.to_owned()),
            "mouse" => self.mouse = if truth()? { Mouse::On } else { Mouse::Off },
            "reduced_motion" => self.motion = if truth()? { Motion::Reduced } else { Motion::Full },
            "keys_preset" => self.keys_preset = Some(text()?.to_owned()),
            "detach_keys" => {
                let written = text()?;
                self.detach_key = Chord::parse(written).ok_or_else(|| format!("`{written}` is not a key"))?;
            }
            "columns" => self.columns = Some(columns_of(value)?),
            "log_memory_mib" => {
                let mib: usize = value
                    .as_integer()
                    .and_then(|n| n.as_str().parse().ok())
                    .filter(|n| (1..=4096).contains(n))
                    .ok_or("`log_memory_mib` must be a number from 1 to 4096")?;
                self.log_budget_bytes = mib << 20;
            }
            _ => return Err(format!("there is no setting `{name}`")),
        }
        Ok(())
    }
}

fn columns_of(value: &toml::de::DeValue<'_>) -> Result<Vec<Column>, String> {
    let list = value.as_array().ok_or("`columns` must be a list of names")?;
    let column = |item: &Value<'_>| {
        let name = item.get_ref().as_str().unwrap_or_default();
        Column::ALL.into_iter().find(|column| column.id() == name).ok_or_else(|| {
            let known: Vec<String> = Column::ALL.into_iter().map(Column::id).collect();
            format!("there is no column `{name}`; there are {}", known.join(", "))
        })
    };
    list.iter().map(column).collect()
}

/// Reads a file that holds bindings alone, as the presets do.
pub fn read_bindings(source: &str, file: &str) -> (Vec<Binding>, Vec<String>) {
    match toml::de::DeTable::parse(source) {
        Ok(table) => bindings_in(table.get_ref(), source, file),
        Err(e) => {
            let line = line_of(source, e.span().map_or(0, |span| span.start));
            (Vec::new(), vec![format!("{file}:{line}: {}", e.message())])
        }
    }
}

fn bindings_of(value: &Value<'_>, source: &str, file: &str) -> (Vec<Binding>, Vec<String>) {
    match value.get_ref().as_table() {
        Some(table) => bindings_in(table, source, file),
        None => {
            let line = line_of(source, value.span().start);
            (Vec::new(), vec![format!("{file}:{line}: `keys` must be a table")])
        }
    }
}

fn bindings_in(table: &toml::de::DeTable<'_>, source: &str, file: &str) -> (Vec<Binding>, Vec<String>) {
    let (mut bindings, mut problems) = (Vec::new(), Vec::new());
    for (id, value) in table {
        let line = line_of(source, value.span().start);
        let keys = match value.get_ref() {
            toml::de::DeValue::String(key) => Some(vec![key.to_string()]),
            toml::de::DeValue::Array(list) => {
                list.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        match keys {
            Some(keys) => {
                bindings.push(Binding { id: id.get_ref().to_string(), keys, file: file.to_owned(), line });
            }
            None => problems.push(format!("{file}:{line}: `{}` must be a key or a list of keys", id.get_ref())),
        }
    }
    bindings.sort_by_key(|binding| binding.line);
    (bindings, problems)
}

fn line_of(source: &str, at: usize) -> usize {
    source.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file() {
        let source = "theme = \"light\"\nmouse = true\ndetach_keys = \"ctrl-q\"\ncolumns = [\"cpu\", \"net\"]\nlog_memory_mib = 8\n\n[keys]\n\"container.stop\" = \"ctrl-t\"\nquit = [\"q\", \"f10\"]\n\n[engine]\nroot = \"/x\"\n";
        let (settings, problems) = parse(source, "config.toml");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            (settings.theme.as_deref(), settings.mouse, settings.log_budget_bytes),
            (Some("light"), Mouse::On, 8 << 20)
        );
        assert_eq!(settings.columns, Some(vec![Column::Cpu, Column::Net]));
        assert_eq!(settings.detach_key.to_string(), "ctrl-q");
        let lines: Vec<_> = settings.bindings.iter().map(|b| (b.id.as_str(), b.keys.len(), b.line)).collect();
        assert_eq!(lines, [("container.stop", 1, 8), ("quit", 2, 9)]);
    }

    #[test]
    fn problems_name_file_and_line_and_defaults_stay() {
        let check = |source: &str, expected: &str| {
            let (settings, problems) = parse(source, "c.toml");
            assert_eq!(problems, [expected]);
            assert_eq!(settings, Settings::default());
        };
        check("\ntheme = 3\n", "c.toml:2: `theme` must be a string");
        check("mouse = \"on\"\n", "c.toml:1: `mouse` must be true or false");
        check("wings = 2\n", "c.toml:1: there is no setting `wings`");
        check("detach_keys = \"hyper\"\n", "c.toml:1: `hyper` is not a key");
        check("[keys]\nquit = 3\n", "c.toml:2: `quit` must be a key or a list of keys");
        assert!(parse("theme = \n", "c.toml").1[0].starts_with("c.toml:1: "));
    }
}
