//! The filter grammar of lists: words that must all hold. Called by lists on every change of rows or text; pure.
//!
//! `web` contains · `!web` does not · `~wb` fuzzy · `re:^web-\d` regular expression · `label=team` or `label=team=ops` · `state=exited` ·
//! any of them with `!` before it.

use std::collections::BTreeMap;

use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use regex::{Regex, RegexBuilder};

/// What a row offers to be filtered by.
pub trait Candidate {
    /// Texts a word is looked for in: names, ids, images, commands.
    fn texts(&self, visit: &mut dyn FnMut(&str) -> bool) -> bool;
    fn labels(&self) -> Option<&BTreeMap<String, String>>;
    /// `running`, `exited`, …; empty for rows without a state.
    fn state(&self) -> &str;
}

/// A parsed filter. The empty one lets everything pass.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    typed: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug)]
struct Term {
    is_negated: bool,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    /// Lower-case; compared without case.
    Contains(String),
    Fuzzy(Pattern),
    Matches(Regex),
    Label(String, Option<String>),
    State(String),
}

impl Filter {
    /// Reads what was typed.
    ///
    /// # Errors
    /// One sentence naming the bad regular expression; what was typed so far is not a mistake, so callers keep the previous filter.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let terms =
            typed.split_whitespace().filter_map(|word| parse_term(word).transpose()).collect::<Result<_, _>>()?;
        Ok(Self { typed: typed.to_owned(), terms })
    }

    pub fn typed(&self) -> &str {
        &self.typed
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn matches(&self, row: &impl Candidate) -> bool {
        self.terms.iter().all(|term| term.test.holds(row) != term.is_negated)
    }
}

fn parse_term(word: &str) -> Result<Option<Term>, String> {
    let (is_negated, body) = word.strip_prefix('!').map_or((false, word), |rest| (true, rest));
    let test = if let Some(fuzzy) = body.strip_prefix('~') {
        Test::Fuzzy(Pattern::parse(fuzzy, CaseMatching::Smart, Normalization::Smart))
    } else if let Some(expression) = body.strip_prefix("re:") {
        let regex = RegexBuilder::new(expression).case_insensitive(true).size_limit(1 << 20).build();
        Test::Matches(regex.map_err(|_| format!("`{expression}` is not a regular expression yet"))?)
    } else if let Some(label) = body.strip_prefix("label=") {
        let (key, value) = label.split_once('=').map_or((label, None), |(k, v)| (k, Some(v.to_owned())));
        Test::Label(key.to_owned(), value)
    } else if let Some(state) = body.strip_prefix("state=") {
        Test::State(state.to_lowercase())
    } else {
        Test::Contains(body.to_lowercase())
    };
    let is_open = matches!(&test, Test::Contains(text) if text.is_empty());
    Ok((!is_open).then_some(Term { is_negated, test }))
}

impl Test {
    fn holds(&self, row: &impl Candidate) -> bool {
        match self {
            Self::Contains(text) => row.texts(&mut |candidate| contains_ignoring_case(candidate, text)),
            Self::Matches(regex) => row.texts(&mut |candidate| regex.is_match(candidate)),
            Self::Fuzzy(pattern) => {
                let mut matcher = Matcher::new(Config::DEFAULT);
                let mut chars = Vec::new();
                row.texts(&mut |candidate| pattern.score(Utf32Str::new(candidate, &mut chars), &mut matcher).is_some())
            }
            Self::Label(key, value) => row
                .labels()
                .and_then(|labels| labels.get(key))
                .is_some_and(|present| value.as_ref().is_none_or(|wanted| wanted == present)),
            Self::State(state) => row.state().starts_with(state.as_str()),
        }
    }
}

/// `needle` is lower-case already.
fn contains_ignoring_case(hay: &str, needle: &str) -> bool {
    if hay.is_ascii() && needle.is_ascii() {
        return hay.as_bytes().windows(needle.len().max(1)).any(|part| part.eq_ignore_ascii_case(needle.as_bytes()));
    }
    hay.to_lowercase().contains(needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row(BTreeMap<String, String>);

    impl Candidate for Row {
        fn texts(&self, visit: &mut dyn FnMut(&str) -> bool) -> bool {
            ["web-1", "nginx:1.27", "0123456789ab"].iter().any(|text| visit(text))
        }
        fn labels(&self) -> Option<&BTreeMap<String, String>> {
            Some(&self.0)
        }
        fn state(&self) -> &str {
            "exited"
        }
    }

    #[test]
    fn each_form_of_the_grammar() {
        let row = Row(BTreeMap::from([("team".into(), "ops".into())]));
        for (typed, expected) in [
            ("", true),
            ("web", true),
            ("WEB nginx", true),
            ("web db", false),
            ("!db", true),
            ("!web", false),
            ("~wb1", true),
            ("~zz", false),
            (r"re:^web-\d$", true),
            (r"!re:^web", false),
            ("label=team", true),
            ("label=team=ops", true),
            ("label=team=dev", false),
            ("state=exited", true),
            ("state=ex", true),
            ("!state=running", true),
            ("0123", true),
            ("!", true),
        ] {
            assert_eq!(Filter::parse(typed).unwrap().matches(&row), expected, "{typed:?}");
        }
    }

    #[test]
    fn a_bad_expression_is_named() {
        assert_eq!(Filter::parse("web re:[a").unwrap_err(), "`[a` is not a regular expression yet");
    }
}
