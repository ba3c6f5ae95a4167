//! `~/.config/orlop/config.toml`: what a user sets once. Called by `main`; the screen reads its own keys from the same text, so this
//! file knows only the tables `[engine]`, `[log]` and `[hosts]` and leaves the rest alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Our part of the file; everything has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub engine: EngineSettings,
    pub log: LogSettings,
    /// Other engines by name, in the order of the names.
    pub hosts: BTreeMap<String, HostSettings>,
}

/// `[hosts.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostSettings {
    /// `unix:///path`, `tcp://host:port`, `ssh://user@host`.
    pub address: String,
    /// `green`, `yellow` or `red`: the host's name stands out in it.
    pub color: Option<String>,
    /// Nothing on it is changed from the screen until that is allowed.
    pub read_only: bool,
}

/// `[engine]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// Store, when neither flag nor environment say one.
    pub root: Option<PathBuf>,
    pub run_root: Option<PathBuf>,
    /// Engine to use when nothing else is said: what `-H` takes.
    pub host: Option<String>,
    /// For attaches and execs that say none; docker's `ctrl-p,ctrl-q` otherwise.
    pub detach_keys: Option<String>,
}

/// `[log]`: what orlop writes about itself, never on the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `off`, `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `orlop::embedded=debug`.
    pub level: Option<String>,
    pub file: Option<PathBuf>,
}

/// The file's text and our part of it.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    pub path: PathBuf,
    /// Empty when there is no file.
    pub text: String,
    pub settings: Settings,
    /// What is wrong with it, with file and line; defaults hold then.
    pub problem: Option<String>,
}

/// `$XDG_CONFIG_HOME/orlop/config.toml`, else `~/.config/orlop/config.toml`.
pub fn default_path(xdg_config_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let dir = xdg_config_home.map(Path::to_path_buf).or_else(|| Some(home?.join(".config")))?;
    Some(dir.join("orlop/config.toml"))
}

/// Reads it. A missing file is no problem unless it was asked for by name; a broken one never stops the program.
pub fn read(path: &Path, was_named: bool) -> ConfigFile {
    let file = ConfigFile { path: path.to_path_buf(), ..ConfigFile::default() };
    match std::fs::read_to_string(path) {
        Ok(text) => match parse(&text) {
            Ok(settings) => ConfigFile { text, settings, ..file },
            Err(why) => ConfigFile { problem: Some(format!("{}: {why}", path.display())), text, ..file },
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !was_named => file,
        Err(error) => ConfigFile { problem: Some(format!("cannot read {}: {error}", path.display())), ..file },
    }
}

fn parse(text: &str) -> Result<Settings, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        format!("line {line}: {}", error.message())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_tables_are_read_and_others_left_alone() {
        let settings =
            parse("theme = \"dark\"\n[engine]\nroot = \"/r\"\n[log]\nlevel = \"debug\"\n[keys]\nx = \"y\"\n").unwrap();
        assert_eq!(settings.engine.root.as_deref(), Some(Path::new("/r")));
        assert_eq!(settings.log.level.as_deref(), Some("debug"));
        let hosts = parse("[hosts.prod]\naddress = \"ssh://ops@prod\"\nread_only = true\n").unwrap().hosts;
        assert!(hosts["prod"].read_only && hosts["prod"].address == "ssh://ops@prod");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert!(parse("[engine]\n\nrooot = \"/r\"\n").unwrap_err().starts_with("line 3: unknown field"));
        assert!(parse("x = \n").unwrap_err().starts_with("line 1:"));
        let file = read(Path::new("/nonexistent/config.toml"), true);
        assert!(file.problem.unwrap().starts_with("cannot read /nonexistent/config.toml"));
        assert!(read(Path::new("/nonexistent/config.toml"), false).problem.is_none());
    }

    #[test]
    fn the_file_is_where_xdg_says() {
        let path = default_path(Some(Path::new("/x")), Some(Path::new("/home/a")));
        assert_eq!(path, Some(PathBuf::from("/x/orlop/config.toml")));
        assert_eq!(default_path(None, Some(Path::new("/h"))), Some(PathBuf::from("/h/.config/orlop/config.toml")));
    }
}
