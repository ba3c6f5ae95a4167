//! Which key does what: the table's defaults, a preset, the user's own bindings, in this order. Called by `update` for every key, by
//! help, footer and palette for the keys they show.
//!
//! A binding of the user never fails the program: a clash or an unknown key is reported with file and line, and the old binding stays.

use std::collections::HashMap;

use super::action::{Action, Row, Scope, TABLE};
use super::keys::Chord;

/// Built-in presets: name and text of its file. They only re-bind.
pub const PRESETS: &[(&str, &str)] = &[
    ("lazydocker", include_str!("../../assets/keys/lazydocker.toml")),
    ("k9s", include_str!("../../assets/keys/k9s.toml")),
];

/// Keys by scope.
#[derive(Clone, Debug)]
pub struct Keymap {
    by_key: HashMap<(Scope, Chord), usize>,
    /// Keys of each row of the table, in order of preference.
    by_row: Vec<Vec<Chord>>,
}

/// A binding as somebody wrote it, with where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub id: String,
    pub keys: Vec<String>,
    pub file: String,
    /// From 1.
    pub line: usize,
}

impl Default for Keymap {
    fn default() -> Self {
        let mut keymap = Self { by_key: HashMap::new(), by_row: vec![Vec::new(); TABLE.len()] };
        for (at, row) in TABLE.iter().enumerate() {
            let chords = row.keys.iter().filter_map(|key| Chord::parse(key)).collect();
            keymap.assign(at, chords);
        }
        keymap
    }
}

impl Keymap {
    /// Lays bindings over the present ones, all at once, so that two actions may swap keys. What cannot be done is said, a sentence each.
    pub fn bind(&mut self, bindings: &[Binding]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut wanted = Vec::new();
        for binding in bindings {
            match resolve(binding) {
                Ok(found) => wanted.push(found),
                Err(problem) => problems.push(problem),
            }
        }
        let previous = self.by_row.clone();
        for (row, _, _) in &wanted {
            self.assign(*row, Vec::new());
        }
        for (row, chords, binding) in wanted {
            match chords.iter().find_map(|chord| self.owner(TABLE[row].scope, *chord).map(|owner| (*chord, owner))) {
                None => self.assign(row, chords),
                Some((chord, owner)) => {
                    problems.push(format!(
                        "{}:{}: {} cannot have {chord}: it belongs to {}",
                        binding.file, binding.line, binding.id, TABLE[owner].id
                    ));
                    let free = |chord: &Chord| self.owner(TABLE[row].scope, *chord).is_none();
                    let kept = previous[row].iter().copied().filter(free).collect();
                    self.assign(row, kept);
                }
            }
        }
        problems
    }

    /// The action of a key in the first of `scopes` that knows it.
    pub fn action(&self, scopes: &[Scope], chord: Chord) -> Option<(Action, &'static Row)> {
        let row = scopes.iter().find_map(|scope| self.by_key.get(&(*scope, chord)))?;
        Some((TABLE[*row].action, &TABLE[*row]))
    }

    /// The keys of a row.
    pub fn keys_of(&self, row: &Row) -> &[Chord] {
        TABLE.iter().position(|candidate| candidate.id == row.id).map_or(&[], |at| &self.by_row[at])
    }

    /// The key to show for an action where these scopes are active; `None` when it has none or a nearer scope hides it.
    pub fn shown_key(&self, scopes: &[Scope], action: Action) -> Option<Chord> {
        let rows = TABLE.iter().filter(|row| row.action == action && scopes.contains(&row.scope));
        rows.flat_map(|row| self.keys_of(row).iter().copied())
            .find(|chord| self.action(scopes, *chord).is_some_and(|(found, _)| found == action))
    }

    fn owner(&self, scope: Scope, chord: Chord) -> Option<usize> {
        self.by_key.get(&(scope, chord)).copied()
    }

    fn assign(&mut self, row: usize, chords: Vec<Chord>) {
        let scope = TABLE[row].scope;
        for chord in std::mem::take(&mut self.by_row[row]) {
            self.by_key.remove(&(scope, chord));
        }
        for chord in &chords {
            self.by_key.insert((scope, *chord), row);
        }
        self.by_row[row] = chords;
    }
}

fn resolve(binding: &Binding) -> Result<(usize, Vec<Chord>, &Binding), String> {
    let at = |what: String| format!("{}:{}: {what}", binding.file, binding.line);
    let row = TABLE.iter().position(|row| row.id == binding.id);
    let row = row.ok_or_else(|| at(format!("there is no action `{}`", binding.id)))?;
    let mut chords = Vec::new();
    for key in &binding.keys {
        chords.push(
            Chord::parse(key).ok_or_else(|| at(format!("`{key}` is not a key (write ctrl-x, alt-x, f5, space, S)")))?,
        );
    }
    Ok((row, chords, binding))
}

#[cfg(test)]
mod tests {
    use super::super::settings;
    use super::*;

    fn chord(written: &str) -> Chord {
        Chord::parse(written).unwrap()
    }

    fn binding(id: &str, keys: &[&str]) -> Binding {
        Binding {
            id: id.into(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            file: "keys.toml".into(),
            line: 7,
        }
    }

    fn id_of(keymap: &Keymap, scope: Scope, key: &str) -> Option<&'static str> {
        keymap.action(&[scope, Scope::Global], chord(key)).map(|(_, row)| row.id)
    }

    #[test]
    fn defaults_do_not_clash_within_a_scope() {
        for (at, row) in TABLE.iter().enumerate() {
            for other in &TABLE[at + 1..] {
                let shared = row.keys.iter().find(|key| row.scope == other.scope && other.keys.contains(key));
                assert_eq!(shared, None, "{} and {}", row.id, other.id);
            }
        }
    }

    #[test]
    fn a_clash_is_named_and_the_old_binding_stays() {
        let mut keymap = Keymap::default();
        let problems = keymap.bind(&[binding("container.stop", &["e"])]);
        assert_eq!(problems, ["keys.toml:7: container.stop cannot have e: it belongs to container.shell"]);
        assert_eq!(id_of(&keymap, Scope::Containers, "s"), Some("container.stop"));
        assert_eq!(id_of(&keymap, Scope::Containers, "e"), Some("container.shell"));
    }

    #[test]
    fn keys_may_be_swapped_freed_and_added() {
        let mut keymap = Keymap::default();
        assert!(
            keymap.bind(&[binding("container.stop", &["S"]), binding("container.start", &["s", "ctrl-t"])]).is_empty()
        );
        assert_eq!(id_of(&keymap, Scope::Containers, "S"), Some("container.stop"));
        assert_eq!(id_of(&keymap, Scope::Containers, "ctrl-t"), Some("container.start"));
        assert!(keymap.bind(&[binding("container.kill", &[])]).is_empty());
        assert_eq!(id_of(&keymap, Scope::Containers, "K"), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let problems = Keymap::default().bind(&[binding("container.fly", &["f"]), binding("quit", &["hyper-q"])]);
        assert_eq!(problems[0], "keys.toml:7: there is no action `container.fly`");
        assert!(problems[1].starts_with("keys.toml:7: `hyper-q` is not a key"), "{problems:?}");
    }

    #[test]
    fn presets_bind_without_a_clash() {
        for (name, source) in PRESETS {
            let (bindings, problems) = settings::read_bindings(source, name);
            assert!(!bindings.is_empty() && problems.is_empty(), "{name}: {problems:?}");
            assert_eq!(Keymap::default().bind(&bindings), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn a_hidden_key_is_not_shown() {
        let keymap = Keymap::default();
        let scopes = [Scope::Logs, Scope::Detail, Scope::Containers, Scope::Global];
        assert_eq!(keymap.shown_key(&scopes, Action::New), None, "n is the next match in logs");
        assert_eq!(keymap.shown_key(&scopes, Action::Stop), Some(chord("s")));
    }
}
