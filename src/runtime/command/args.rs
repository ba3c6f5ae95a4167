//! Options as runc's parser takes them: `--name value`, `--name=value`, `-n value`, one dash or two, before or after the id.
//! Called by the commands; knows no command.

use super::super::error::Result;
use super::usage_error;
use std::collections::VecDeque;

/// Where options end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Options come before the first word only: what follows belongs to somebody else.
    AtFirstWord,
    /// One word (the id) may come before or between options; the second ends them.
    AtSecondWord,
    /// Anywhere.
    Never,
}

/// Options and words of one command.
#[derive(Debug, Default)]
pub(crate) struct Args {
    options: Vec<(String, Option<String>)>,
    words: VecDeque<String>,
}

impl Args {
    pub(crate) fn parse(argv: Vec<String>, values: &[&str], flags: &[&str], stop: Stop) -> Result<Self> {
        let mut args = Self::default();
        let mut argv = VecDeque::from(argv);
        while let Some(word) = argv.pop_front() {
            if word == "--" {
                break;
            }
            if !word.starts_with('-') || word == "-" {
                args.words.push_back(word);
                let limit = match stop {
                    Stop::AtFirstWord => 1,
                    Stop::AtSecondWord => 2,
                    Stop::Never => usize::MAX,
                };
                if args.words.len() >= limit {
                    break;
                }
                continue;
            }
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            };
            let name = known(&name, values).or_else(|| known(&name, flags));
            let Some(name) = name else { return Err(usage_error(format!("flag provided but not defined: {word}"))) };
            let value = if values.contains(&name) {
                let value = inline.or_else(|| argv.pop_front());
                Some(value.ok_or_else(|| usage_error(format!("flag needs an argument: {name}")))?)
            } else {
                inline
            };
            args.options.push((name.to_owned(), value));
        }
        args.words.extend(argv);
        Ok(args)
    }

    /// The last value given, as repeated options go.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(known, _)| known == name)?.1.as_deref()
    }

    /// All values given, in order.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(known, _)| known == name).filter_map(|(_, value)| value.as_deref())
    }

    /// A flag that is given and not `=false`.
    pub(crate) fn has(&self, name: &str) -> bool {
        let given = self.options.iter().rev().find(|(known, _)| known == name);
        given.is_some_and(|(_, value)| !matches!(value.as_deref(), Some("false" | "0" | "f")))
    }

    pub(crate) fn take_word(&mut self) -> Option<String> {
        self.words.pop_front()
    }

    /// The container's id, which must be there.
    pub(crate) fn id(&mut self) -> Result<String> {
        self.take_word().ok_or_else(|| usage_error("a container id is needed".to_owned()))
    }

    pub(crate) fn rest(self) -> Vec<String> {
        self.words.into()
    }

    pub(crate) fn expect_end(&self) -> Result<()> {
        match self.words.front() {
            None => Ok(()),
            Some(word) => Err(usage_error(format!("unexpected argument {word:?}"))),
        }
    }
}

/// The option as its table spells it: one dash before a long name is as good as two.
fn known<'a>(given: &str, table: &[&'a str]) -> Option<&'a str> {
    table.iter().find(|name| **name == given || name.strip_prefix('-') == Some(given) && given.len() > 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, stop: Stop) -> Result<Args> {
        Args::parse(
            text.split(' ').map(str::to_owned).collect(),
            &["--bundle", "-b", "--env"],
            &["--force", "-f"],
            stop,
        )
    }

    #[test]
    fn options_stand_before_or_after_the_id() {
        for text in ["--bundle /b -f id", "id --bundle /b --force", "--bundle=/b id -f", "-bundle /b -force id"] {
            let mut args = parse(text, Stop::Never).unwrap();
            assert_eq!(args.value("--bundle"), Some("/b"), "{text}");
            assert!(args.has("--force") || args.has("-f"), "{text}");
            assert_eq!(args.id().unwrap(), "id");
            args.expect_end().unwrap();
        }
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let mut args = parse("--env A=b=c id --env X=y sh -c --force", Stop::AtSecondWord).unwrap();
        assert_eq!(args.values("--env").collect::<Vec<_>>(), ["A=b=c", "X=y"]);
        assert_eq!(args.id().unwrap(), "id");
        assert!(!args.has("--force"));
        assert_eq!(args.rest(), ["sh", "-c", "--force"]);
        let mut args = parse("id -- --force x", Stop::AtSecondWord).unwrap();
        assert_eq!(args.id().unwrap(), "id");
        assert_eq!(args.rest(), ["--force", "x"]);
    }

    #[test]
    fn what_is_unknown_or_incomplete_is_refused() {
        assert!(parse("--nope id", Stop::Never).unwrap_err().to_string().contains("--nope"));
        assert!(parse("id --bundle", Stop::Never).unwrap_err().to_string().contains("--bundle"));
        assert!(!parse("--force=false id", Stop::Never).unwrap().has("--force"));
    }
}
