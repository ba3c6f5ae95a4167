//! Colours by meaning. Called by every page and widget; the only place (with `themes/*.toml`) where a colour is named.
//!
//! A theme is a TOML file: `[palette]` gives names to colours, `[roles]` says how each role looks, as words: modifiers, a foreground, and
//! `on` a background: `error = "bold red"`, `selection = "bold text on surface"`. Roles that a file leaves out come from the built-in
//! theme it names as `base` (default `dark`).
//!
//! `NO_COLOR` is kept here: [`Theme::without_color`] drops every colour and keeps meaning through bold, reverse and underline.

use std::fmt;

use ratatui::style::{Color, Modifier, Style};

use crate::engine::HostColor;

/// Built-in themes: name and text of its file.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("dark", include_str!("../../themes/dark.toml")),
    ("light", include_str!("../../themes/light.toml")),
    ("ansi16", include_str!("../../themes/ansi16.toml")),
    ("high-contrast", include_str!("../../themes/high-contrast.toml")),
];

/// Declares the roles once: the struct, the list of names and the lookup by name all come from here.
macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How each role looks. `Copy`-cheap to read, replaced as a whole when the user switches themes.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Theme {
            pub name: String,
            $($(#[$doc])* pub $name: Style,)*
        }

        impl Theme {
            /// Names of all roles, in the order of declaration.
            pub const ROLES: &[&str] = &[$(stringify!($name),)*];

            fn plain(name: &str) -> Self {
                Self { name: name.to_owned(), $($name: Style::new(),)* }
            }

            fn role_mut(&mut self, role: &str) -> Option<&mut Style> {
                match role {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }

            fn each_role(&mut self, mut change: impl FnMut(&str, &mut Style)) {
                $(change(stringify!($name), &mut self.$name);)*
            }
        }
    };
}

roles! {
    /// What is read: names, values.
    text,
    /// What can wait: units, paths, ages.
    dim,
    /// What is hardly there: separators, empty values, guides.
    faint,
    /// The one accent: the focused thing, the brand.
    accent,
    /// Column headings and section titles.
    heading,
    /// Titles in unfocused frames.
    title,
    /// Titles in the focused frame.
    title_focus,
    border,
    border_focus,
    /// A key to press, in footers and dialogs.
    key,
    /// What the key does.
    key_label,
    /// The selected row of the focused pane; laid over the row's own colours.
    selection,
    /// The selected row of another pane.
    selection_dim,
    /// The bar before the selected row.
    cursor,
    /// Marked rows.
    mark,
    /// Running, healthy, done.
    ok,
    /// Unhealthy, throttled, near a limit.
    warn,
    /// Failed, dead, out of memory.
    error,
    /// Neutral news.
    info,
    paused,
    /// Starting, restarting, removing.
    busy,
    /// Exited, created: present but not alive.
    stopped,
    /// Search match, and the one the cursor is on.
    search_match,
    search_current,
    level_trace,
    level_debug,
    level_info,
    level_warn,
    level_error,
    level_fatal,
    log_time,
    log_stderr,
    /// Colours of merged sources, used in turn.
    source_1,
    source_2,
    source_3,
    source_4,
    source_5,
    source_6,
    json_key,
    json_string,
    json_number,
    json_word,
    /// Charts: a gradient from calm to hot, the second series, the axis.
    chart_low,
    chart_mid,
    chart_high,
    chart_second,
    chart_axis,
    /// An input field, with and without the focus; its wrong value; text shown while empty.
    input,
    input_focus,
    input_error,
    placeholder,
    button,
    button_focus,
    button_danger,
    /// Dialogs and palettes: their ground, frame and title.
    dialog,
    dialog_border,
    dialog_title,
    dialog_danger,
    /// Banner over stale data.
    banner,
    scrollbar,
}

/// A theme file that cannot be read, with the line at fault (from 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ThemeError {
    pub file: String,
    pub line: usize,
    pub reason: String,
}

impl fmt::Display for ThemeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.reason)
    }
}

impl Theme {
    /// The colour that a host's owner gave it; `None` for none.
    pub fn host(&self, color: HostColor) -> Option<Style> {
        match color {
            HostColor::Plain => None,
            HostColor::Green => Some(self.ok),
            HostColor::Yellow => Some(self.warn),
            HostColor::Red => Some(self.error),
        }
    }

    /// The built-in theme of that name.
    pub fn built_in(name: &str) -> Option<Self> {
        let (name, source) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Self::parse(name, source, name).ok()
    }

    /// The theme used when nothing else is asked for.
    pub fn dark() -> Self {
        Self::built_in("dark").unwrap_or_else(|| Self::plain("dark"))
    }

    /// Reads a theme file. `file` is named in errors.
    ///
    /// # Errors
    /// Bad TOML, an unknown role, colour, modifier or base.
    pub fn parse(name: &str, source: &str, file: &str) -> Result<Self, ThemeError> {
        let fail = |at: usize, reason: String| ThemeError { file: file.to_owned(), line: line_of(source, at), reason };
        let table = toml::de::DeTable::parse(source)
            .map_err(|e| fail(e.span().map_or(0, |s| s.start), e.message().to_owned()))?;
        let mut theme = Self::plain(name);
        let base = table.get_ref().get("base").map(|value| (value.span().start, value.get_ref().as_str()));
        match base {
            None if name == "dark" => {}
            None => theme = Self::dark(),
            Some((at, base)) => {
                let base = base.unwrap_or_default();
                theme = Self::built_in(base).ok_or_else(|| fail(at, format!("unknown base theme `{base}`")))?;
            }
        }
        theme.name = name.to_owned();
        let palette = read_palette(&table).map_err(|(at, reason)| fail(at, reason))?;
        for (role, at, words) in string_entries(&table, "roles").map_err(|(at, reason)| fail(at, reason))? {
            let style = parse_style(words, &palette).map_err(|reason| fail(at, format!("{role}: {reason}")))?;
            *theme.role_mut(role).ok_or_else(|| fail(at, format!("unknown role `{role}`")))? = style;
        }
        Ok(theme)
    }

    /// The same theme for `NO_COLOR`: no colour at all, selection and alarms by reverse, bold and underline.
    #[must_use]
    pub fn without_color(mut self) -> Self {
        self.each_role(|role, style| {
            let modifiers = style.add_modifier | no_color_modifier(role);
            *style = Style::new().add_modifier(modifiers);
        });
        self
    }

    /// The colour of the n-th source of a merged view, in turn.
    pub fn source(&self, n: usize) -> Style {
        [self.source_1, self.source_2, self.source_3, self.source_4, self.source_5, self.source_6][n % 6]
    }

    /// The gradient of charts and gauges at `ratio` (0..=1).
    pub fn heat(&self, ratio: f64) -> Style {
        match ratio {
            r if r >= 0.85 => self.chart_high,
            r if r >= 0.6 => self.chart_mid,
            _ => self.chart_low,
        }
    }
}

fn no_color_modifier(role: &str) -> Modifier {
    match role {
        "selection" | "search_current" | "button_focus" | "banner" => Modifier::REVERSED,
        "selection_dim" | "search_match" | "input_focus" | "mark" => Modifier::UNDERLINED,
        "error" | "warn" | "level_error" | "level_fatal" | "title_focus" | "key" | "accent" | "cursor"
        | "dialog_danger" | "button_danger" | "border_focus" => Modifier::BOLD,
        "dim" | "faint" | "border" | "placeholder" | "stopped" | "log_time" => Modifier::DIM,
        _ => Modifier::empty(),
    }
}

fn line_of(source: &str, at: usize) -> usize {
    source.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

type Palette = Vec<(String, Color)>;
type Misread = (usize, String);
type Table<'a> = toml::Spanned<toml::de::DeTable<'a>>;

fn read_palette(table: &Table<'_>) -> Result<Palette, Misread> {
    let mut palette = Palette::new();
    for (name, at, value) in string_entries(table, "palette")? {
        let color = parse_color(value, &palette).ok_or_else(|| (at, format!("unknown colour `{value}`")))?;
        palette.push((name.to_owned(), color));
    }
    Ok(palette)
}

/// The entries of a sub-table whose values must be strings: key, offset of the value, value; in the order of the file.
fn string_entries<'a>(table: &'a Table<'_>, section: &str) -> Result<Vec<(&'a str, usize, &'a str)>, Misread> {
    let Some(section_value) = table.get_ref().get(section) else { return Ok(Vec::new()) };
    let at = section_value.span().start;
    let entries = section_value.get_ref().as_table().ok_or_else(|| (at, format!("`{section}` must be a table")))?;
    let mut found = Vec::new();
    for (key, value) in entries {
        let at = value.span().start;
        let words = value.get_ref().as_str().ok_or_else(|| (at, format!("`{}` must be a string", key.get_ref())))?;
        found.push((key.get_ref().as_ref(), at, words));
    }
    found.sort_by_key(|(_, at, _)| *at);
    Ok(found)
}

fn parse_style(words: &str, palette: &Palette) -> Result<Style, String> {
    let mut style = Style::new();
    let mut is_background = false;
    for word in words.split_whitespace() {
        if word == "on" {
            is_background = true;
        } else if let Some(modifier) = parse_modifier(word) {
            style = style.add_modifier(modifier);
        } else {
            let color = parse_color(word, palette).ok_or_else(|| format!("unknown colour or modifier `{word}`"))?;
            style = if is_background { style.bg(color) } else { style.fg(color) };
        }
    }
    Ok(style)
}

fn parse_modifier(word: &str) -> Option<Modifier> {
    Some(match word {
        "bold" => Modifier::BOLD,
        "faded" => Modifier::DIM,
        "italic" => Modifier::ITALIC,
        "underline" => Modifier::UNDERLINED,
        "reverse" => Modifier::REVERSED,
        _ => return None,
    })
}

fn parse_color(word: &str, palette: &Palette) -> Option<Color> {
    if let Some((_, color)) = palette.iter().rev().find(|(name, _)| name == word) {
        return Some(*color);
    }
    if word == "default" {
        return Some(Color::Reset);
    }
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_theme_loads_and_styles_what_must_stand_out() {
        for (name, source) in BUILT_IN {
            let theme = Theme::parse(name, source, name).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(theme.name, *name);
            for (role, style) in [("selection", theme.selection), ("error", theme.error), ("key", theme.key)] {
                assert_ne!(style, Style::new(), "{name} leaves {role} plain");
            }
            assert_ne!(theme.ok, theme.error, "{name}: states must differ");
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        let check = |source: &str, expected: &str| {
            assert_eq!(Theme::parse("mine", source, "mine.toml").unwrap_err().to_string(), expected);
        };
        check("[roles]\nok = \"gren\"\n", "mine.toml:2: ok: unknown colour or modifier `gren`");
        check("[roles]\n\nnope = \"red\"\n", "mine.toml:3: unknown role `nope`");
        check("base = \"neon\"\n", "mine.toml:1: unknown base theme `neon`");
        check("[palette]\nx = \"#12\"\n", "mine.toml:2: unknown colour `#12`");
        check("[roles]\nok = 3\n", "mine.toml:2: `ok` must be a string");
    }

    #[test]
    fn roles_left_out_come_from_the_base() {
        let mine = Theme::parse("mine", "base = \"light\"\n[roles]\nok = \"bold red on blue\"\n", "f").unwrap();
        let light = Theme::built_in("light").unwrap();
        assert_eq!(mine.error, light.error);
        assert_eq!(mine.ok, Style::new().fg(Color::Red).bg(Color::Blue).add_modifier(Modifier::BOLD));
    }

    #[test]
    fn no_color_keeps_selection_visible() {
        let mut theme = Theme::dark().without_color();
        theme.each_role(|role, style| assert!(style.fg.is_none() && style.bg.is_none(), "{role} still has a colour"));
        assert!(theme.selection.add_modifier.contains(Modifier::REVERSED));
        assert!(theme.error.add_modifier.contains(Modifier::BOLD));
    }
}
