//! Words → [`Cli`], and what is wrong with them in docker's words: `unknown flag: --x`, usage, where to read more. Pure.

use clap::builder::{BoolishValueParser, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use super::args::Cli;

/// What to print instead of running a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub text: String,
    /// Help that was asked for goes to stdout with 0.
    pub code: u8,
}

/// Parses `argv`, program name first.
///
/// # Errors
/// Help that was asked for, or what is wrong.
pub fn parse(argv: &[String]) -> Result<Cli, Usage> {
    let matches = definition(argv).try_get_matches_from(argv);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| explain(&error, argv))
}

/// The definition as these words are parsed: every switch of the verb they name takes `=true` and `=false` too, as Go's flags do.
fn definition(argv: &[String]) -> Command {
    switches(Cli::command().args_override_self(true), &mut named(argv))
}

/// The words that may name a verb: all but options, and the values of those that come before it.
fn named(argv: &[String]) -> impl Iterator<Item = &str> {
    const WITH_VALUE: [&str; 5] = ["--root", "--run-root", "--config", "--log-level", "-l"];
    let mut words = argv.iter().skip(1).map(String::as_str);
    std::iter::from_fn(move || {
        loop {
            match words.next()? {
                option if WITH_VALUE.contains(&option) => drop(words.next()),
                option if option.starts_with('-') => {}
                word => return Some(word),
            }
        }
    })
}

/// Goes down to the verb that the words name; only its flags are built.
fn switches<'a>(mut command: Command, words: &mut impl Iterator<Item = &'a str>) -> Command {
    if !command.has_subcommands() {
        command.build();
        return command.mut_args(as_go_switch);
    }
    let command = command.mut_args(as_go_switch);
    match words.next().and_then(|word| command.find_subcommand(word)).map(|found| found.get_name().to_owned()) {
        Some(name) => command.mut_subcommand(name, |verb| switches(verb, words)),
        None => command,
    }
}

fn as_go_switch(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .hide_possible_values(true)
        .value_parser(ValueParser::from(BoolishValueParser::new()))
}

fn explain(error: &clap::Error, argv: &[String]) -> Usage {
    let (path, mut command) = subject(argv);
    let synopsis = usage_line(&mut command, &path);
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let wrong = |text: &str| Usage {
        text: format!("{text}\n\n{synopsis}\n\nRun '{path} --help' for more information"),
        code: 125,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Usage { text: help(&command, &path, &synopsis), code: 0 }
        }
        ErrorKind::DisplayVersion => Usage { text: error.to_string().trim_end().to_owned(), code: 0 },
        ErrorKind::UnknownArgument => {
            let typed = context(ContextKind::InvalidArg);
            let mut usage = if typed.starts_with("--") {
                wrong(&format!("unknown flag: {}", typed.split('=').next().unwrap_or(&typed)))
            } else if let Some(letter) = typed.strip_prefix('-').and_then(|rest| rest.chars().next()) {
                wrong(&format!("unknown shorthand flag: '{letter}' in {typed}"))
            } else {
                count_error(&command, &path, &synopsis)
            };
            let near = nearest_flag(&command, typed.trim_start_matches('-'));
            if let Some(near) = near.filter(|_| typed.starts_with("--")) {
                usage.text = usage.text.replacen('\n', &format!("\nDid you mean --{near}?\n"), 1);
            }
            usage
        }
        ErrorKind::InvalidSubcommand => {
            let typed = context(ContextKind::InvalidSubcommand);
            let near = command.get_subcommands().map(Command::get_name).filter(|known| distance(known, &typed) <= 2);
            let near = near.min_by_key(|known| distance(known, &typed));
            let hint = near.map(|near| format!("\nDid you mean '{path} {near}'?\n")).unwrap_or_default();
            let text =
                format!("orlop: unknown command: {path} {typed}\n{hint}\nRun '{path} --help' for more information");
            Usage { text, code: 1 }
        }
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            wrong(&format!("flag needs an argument: {}", flag_name(&context(ContextKind::InvalidArg))))
        }
        ErrorKind::NoEquals | ErrorKind::TooFewValues => {
            wrong(&format!("flag needs an argument: {}", flag_name(&context(ContextKind::InvalidArg))))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let (flag, value) = (flag_name(&context(ContextKind::InvalidArg)), context(ContextKind::InvalidValue));
            wrong(&format!(
                "invalid argument {value:?} for \"{flag}\" flag: strconv.ParseBool: parsing {value:?}: invalid syntax"
            ))
        }
        ErrorKind::MissingRequiredArgument | ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues => {
            count_error(&command, &path, &synopsis)
        }
        _ => wrong(error.to_string().trim_start_matches("error: ").trim_end()),
    }
}

/// `--memory <bytes>` → `--memory`.
fn flag_name(text: &str) -> String {
    text.split([' ', '[', '=']).next().unwrap_or(text).to_owned()
}

/// The command the words name, and its full name.
fn subject(argv: &[String]) -> (String, Command) {
    let mut command = Cli::command();
    let mut path = "orlop".to_owned();
    for word in named(argv) {
        let Some(found) = command.find_subcommand(word).cloned() else { break };
        path = format!("{path} {}", found.get_name());
        command = found;
        if !command.has_subcommands() {
            break;
        }
    }
    command.build();
    (path, command)
}

/// `Usage:  orlop rm [OPTIONS] CONTAINER [CONTAINER...]`
fn usage_line(command: &mut Command, path: &str) -> String {
    if command.has_subcommands() {
        let options = if path == "orlop" { "[OPTIONS] " } else { "" };
        return format!("Usage:  {path} {options}COMMAND");
    }
    let has_options = command.get_opts().count() + command.get_arguments().filter(|arg| is_switch(arg)).count() > 0;
    let mut text = format!("Usage:  {path}{}", if has_options { " [OPTIONS]" } else { "" });
    for arg in command.get_positionals() {
        let name = arg.get_value_names().and_then(|names| names.first()).map_or("ARG", |name| name.as_str());
        let is_list = matches!(arg.get_action(), ArgAction::Append);
        let word = match (arg.is_required_set(), is_list, name.contains(' ')) {
            (_, _, true) => name.to_owned(),
            (true, true, _) => format!("{name} [{name}...]"),
            (true, false, _) => name.to_owned(),
            (false, true, _) => format!("[{name}...]"),
            (false, false, _) => format!("[{name}]"),
        };
        text.push(' ');
        text.push_str(&word);
    }
    text
}

fn is_switch(arg: &clap::Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue) && arg.get_id() != "help"
}

/// `'orlop rm' requires at least 1 argument`
fn count_error(command: &Command, path: &str, synopsis: &str) -> Usage {
    let required: Vec<_> = command.get_positionals().filter(|arg| arg.is_required_set()).collect();
    let is_open = command.get_positionals().any(|arg| matches!(arg.get_action(), ArgAction::Append));
    let n: usize = required
        .iter()
        .map(|arg| arg.get_value_names().and_then(|names| names.first()).map_or(1, |name| n_words(name)))
        .sum();
    let s = if n == 1 { "" } else { "s" };
    let needs = match (n, is_open) {
        (0, _) => "accepts no arguments".to_owned(),
        (n, true) => format!("requires at least {n} argument{s}"),
        (n, false) => format!("requires {n} argument{s}"),
    };
    Usage {
        text: format!("orlop: '{path}' {needs}\n\n{synopsis}\n\nRun '{path} --help' for more information"),
        code: 1,
    }
}

/// Words of `CONTAINER COMMAND [ARG...]` that must be there.
fn n_words(name: &str) -> usize {
    let before = name.split('[').next().unwrap_or(name).split_whitespace().count();
    before.max(1)
}

fn help(command: &Command, path: &str, synopsis: &str) -> String {
    let mut text = format!("{synopsis}\n");
    if let Some(about) = command.get_about() {
        text.push_str(&format!("\n{about}\n"));
    }
    let subcommands: Vec<_> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    if !subcommands.is_empty() {
        text.push_str("\nCommands:\n");
        for sub in subcommands {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("  {:<11} {about}\n", sub.get_name()));
        }
    }
    let mut options: Vec<_> =
        command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set()).collect();
    options.sort_by_key(|arg| arg.get_long()); // as docker: by the long name
    if !options.is_empty() {
        text.push_str("\nOptions:\n");
        let lines: Vec<_> = options.iter().map(|arg| option_line(arg)).collect();
        let width = lines.iter().map(|(left, _)| left.len()).max().unwrap_or(0) + 3;
        for (left, about) in lines {
            text.push_str(&format!("  {left:<width$}{about}\n"));
        }
    }
    if command.has_subcommands() {
        text.push_str(&format!("\nRun '{path} COMMAND --help' for more information on a command.\n"));
    }
    text.trim_end().to_owned()
}

fn option_line(arg: &clap::Arg) -> (String, String) {
    let short = arg.get_short().map_or("    ".to_owned(), |short| format!("-{short}, "));
    let long = arg.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && !arg.is_require_equals_set();
    let value = arg.get_value_names().and_then(|names| names.first()).filter(|_| takes_value);
    let value = value.map(|value| format!(" {value}")).unwrap_or_default();
    (format!("{short}{long}{value}"), arg.get_help().map(ToString::to_string).unwrap_or_default())
}

fn nearest_flag(command: &Command, typed: &str) -> Option<String> {
    let typed = typed.split('=').next()?;
    let flags = command.get_arguments().filter_map(|arg| arg.get_long());
    let near = flags.filter(|known| distance(known, typed) <= 2).min_by_key(|known| distance(known, typed));
    near.map(str::to_owned)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
