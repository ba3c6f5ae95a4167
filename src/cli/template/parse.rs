//! Template text → nodes. A recursive descent over two lexers: text with actions, and the words inside an action.

use serde_json::{Number, Value};

#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// Condition and body of each `if`/`else if`; the last `else` has none.
    If(Vec<(Option<Pipeline>, Vec<Node>)>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

/// `$a, $b := first | second`; printing is off for declarations.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
    pub(super) text: String,
}

/// An operand and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Command(pub(super) Vec<Operand>);

#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// Fields after the dot; none is the dot itself.
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Literal(Value),
    Function(String),
    /// A pipeline in parentheses and the fields after it.
    Inner(Box<Pipeline>, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
enum Word {
    /// `.a.b`; empty is `.`.
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Name(String),
    Literal(Value),
    Open,
    /// `)` and the fields after it.
    Close(Vec<String>),
    Pipe,
    Comma,
    Declare,
    Assign,
}

const MAX_DEPTH: usize = 64;

pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut actions = split(text)?;
    actions.reverse();
    let mut parser = Parser { rest: actions };
    let (nodes, end) = parser.list(0)?;
    match end {
        None => Ok(nodes),
        Some(End::End) => Err("unexpected {{end}}".to_owned()),
        Some(End::Else(_)) => Err("unexpected {{else}}".to_owned()),
    }
}

enum Piece {
    Text(String),
    Action(String),
}

/// Cuts text from actions; `{{-` and `-}}` eat the white space beside them.
fn split(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let (mut rest, mut trims) = (text, false);
    while let Some(open) = rest.find("{{") {
        let (before, after) = (&rest[..open], &rest[open + 2..]);
        let left = after.strip_prefix('-').filter(|inner| inner.starts_with(char::is_whitespace));
        let before = if trims { before.trim_start() } else { before };
        let before = if left.is_some() { before.trim_end() } else { before };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let inner = left.unwrap_or(after);
        let close = action_end(inner)?;
        let action = &inner[..close];
        let right = action.strip_suffix('-').filter(|inner| inner.ends_with(char::is_whitespace));
        trims = right.is_some();
        let action = right.unwrap_or(action).trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(action.to_owned()));
        }
        rest = &inner[close + 2..];
    }
    let rest = if trims { rest.trim_start() } else { rest };
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// Where `}}` stands, not counting those in strings.
fn action_end(text: &str) -> Result<usize, String> {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some('"'), '\\') => drop(chars.next()),
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '`') => quote = Some(c),
            (None, '}') if text[at..].starts_with("}}") => return Ok(at),
            _ => {}
        }
    }
    Err(if quote.is_some() { "unterminated quoted string".to_owned() } else { "unclosed action".to_owned() })
}

/// What closes a list of nodes.
enum End {
    End,
    /// The rest of the `else` action: empty, or `if …`.
    Else(String),
}

struct Parser {
    /// Last first.
    rest: Vec<Piece>,
}

impl Parser {
    fn list(&mut self, depth: usize) -> Result<(Vec<Node>, Option<End>), String> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.rest.pop() {
            let action = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(action) => action,
            };
            let (name, rest) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
            let node = match name {
                "end" => return Ok((nodes, Some(End::End))),
                "else" => return Ok((nodes, Some(End::Else(rest.trim().to_owned())))),
                "if" => self.conditional(rest, depth)?,
                "with" => {
                    let (body, other) = self.body_and_else(depth)?;
                    Node::With(pipeline(rest)?, body, other)
                }
                "range" => {
                    let (body, other) = self.body_and_else(depth)?;
                    Node::Range(pipeline(rest)?, body, other)
                }
                "break" => Node::Break,
                "continue" => Node::Continue,
                "define" | "template" | "block" => return Err(format!("{name} is not supported here")),
                _ => Node::Print(pipeline(&action)?),
            };
            nodes.push(node);
        }
        Ok((nodes, None))
    }

    fn conditional(&mut self, condition: &str, depth: usize) -> Result<Node, String> {
        let mut arms = Vec::new();
        let mut next = Some(pipeline(condition)?);
        loop {
            let (body, end) = self.list(depth + 1)?;
            let is_else = next.is_none();
            arms.push((next, body));
            match end {
                None => return Err("unexpected EOF".to_owned()),
                Some(End::End) => return Ok(Node::If(arms)),
                Some(End::Else(_)) if is_else => return Err("expected end; found {{else}}".to_owned()),
                Some(End::Else(rest)) => {
                    next = match rest.strip_prefix("if") {
                        Some(condition) => Some(pipeline(condition)?),
                        None if rest.is_empty() => None,
                        None => return Err(format!("unexpected <{rest}> in else")),
                    }
                }
            }
        }
    }

    fn body_and_else(&mut self, depth: usize) -> Result<(Vec<Node>, Vec<Node>), String> {
        let (body, end) = self.list(depth + 1)?;
        match end {
            None => Err("unexpected EOF".to_owned()),
            Some(End::End) => Ok((body, Vec::new())),
            Some(End::Else(_)) => match self.list(depth + 1)? {
                (other, Some(End::End)) => Ok((body, other)),
                _ => Err("unexpected EOF".to_owned()),
            },
        }
    }
}

fn pipeline(text: &str) -> Result<Pipeline, String> {
    let mut words = words(text)?;
    words.reverse();
    let parsed = pipeline_of(&mut words, text.trim(), 0)?;
    match words.pop() {
        None => Ok(parsed),
        Some(word) => Err(format!("unexpected {} in command", describe(&word))),
    }
}

fn describe(word: &Word) -> String {
    match word {
        Word::Close(_) => "right paren".to_owned(),
        Word::Comma => "\",\"".to_owned(),
        Word::Declare => "\":=\"".to_owned(),
        Word::Assign => "\"=\"".to_owned(),
        other => format!("{other:?}"),
    }
}

/// `words` last first.
fn pipeline_of(words: &mut Vec<Word>, text: &str, depth: usize) -> Result<Pipeline, String> {
    if depth > MAX_DEPTH {
        return Err("nested too deeply".to_owned());
    }
    let (variables, declares) = variables_of(words);
    let mut commands = vec![Command(Vec::new())];
    loop {
        let operand = match words.last() {
            None | Some(Word::Close(_) | Word::Comma | Word::Declare | Word::Assign) => break,
            Some(Word::Pipe) => {
                words.pop();
                commands.push(Command(Vec::new()));
                continue;
            }
            Some(Word::Open) => {
                words.pop();
                let inner = pipeline_of(words, text, depth + 1)?;
                let Some(Word::Close(fields)) = words.pop() else { return Err("unclosed left paren".to_owned()) };
                Operand::Inner(Box::new(inner), fields)
            }
            Some(_) => match words.pop() {
                Some(Word::Field(path)) => Operand::Field(path),
                Some(Word::Variable(name, path)) => Operand::Variable(name, path),
                Some(Word::Literal(value)) => Operand::Literal(value),
                Some(Word::Name(name)) => Operand::Function(super::functions::known(name)?),
                _ => break,
            },
        };
        if let Some(command) = commands.last_mut() {
            command.0.push(operand);
        }
    }
    if commands.iter().any(|command| command.0.is_empty()) {
        return Err("missing value for command".to_owned());
    }
    Ok(Pipeline { variables, declares, commands, text: text.to_owned() })
}

/// Takes `$a, $b :=` or `$a =` off the front.
fn variables_of(words: &mut Vec<Word>) -> (Vec<String>, bool) {
    let mut ahead = words.iter().rev();
    let mut names = Vec::new();
    loop {
        let Some(Word::Variable(name, path)) = ahead.next() else { return (Vec::new(), false) };
        if !path.is_empty() {
            return (Vec::new(), false);
        }
        names.push(name.clone());
        let declares = match ahead.next() {
            Some(Word::Comma) => continue,
            Some(Word::Declare) => true,
            Some(Word::Assign) => false,
            _ => return (Vec::new(), false),
        };
        words.truncate(words.len() - names.len() * 2);
        return (names, declares);
    }
}

fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '|' => (Word::Pipe, &rest[1..]),
            ',' => (Word::Comma, &rest[1..]),
            '(' => (Word::Open, &rest[1..]),
            ')' => {
                let (path, after) = path(&rest[1..]);
                (Word::Close(path), after)
            }
            ':' if rest.starts_with(":=") => (Word::Declare, &rest[2..]),
            '=' => (Word::Assign, &rest[1..]),
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let (path, after) = path(rest);
                (Word::Field(path), if after.len() == rest.len() { &rest[1..] } else { after })
            }
            '$' => {
                let (name, after) = name(&rest[1..]);
                let (path, after) = path(after);
                (Word::Variable(name.to_owned(), path), after)
            }
            '"' => quoted(rest)?,
            '`' => {
                let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                (Word::Literal(Value::from(&rest[1..=end])), &rest[end + 2..])
            }
            '\'' => {
                let mut inner = rest[1..].chars();
                let (Some(c), Some('\'')) = (inner.next(), inner.next()) else {
                    return Err("unterminated character constant".to_owned());
                };
                (Word::Literal(Value::from(u32::from(c))), inner.as_str())
            }
            '-' | '+' | '.' | '0'..='9' => number(rest)?,
            _ => {
                let (name, after) = name(rest);
                if name.is_empty() {
                    return Err(format!("unexpected {first:?} in command"));
                }
                let word = match name {
                    "true" => Word::Literal(Value::Bool(true)),
                    "false" => Word::Literal(Value::Bool(false)),
                    "nil" => Word::Literal(Value::Null),
                    _ => Word::Name(name.to_owned()),
                };
                (word, after)
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

fn name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len()))
}

/// `.a.b` off the front.
fn path(mut text: &str) -> (Vec<String>, &str) {
    let mut fields = Vec::new();
    while let Some(after) = text.strip_prefix('.') {
        let (field, after) = name(after);
        if field.is_empty() {
            break;
        }
        fields.push(field.to_owned());
        text = after;
    }
    (fields, text)
}

fn quoted(text: &str) -> Result<(Word, &str), String> {
    let mut out = String::new();
    let mut chars = text[1..].chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok((Word::Literal(Value::from(out)), chars.as_str())),
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(c @ ('\\' | '"' | '\'')) => out.push(c),
                _ => return Err("invalid syntax".to_owned()),
            },
            _ => out.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}

fn number(text: &str) -> Result<(Word, &str), String> {
    let end = text.char_indices().skip(1).find(|(_, c)| !(c.is_ascii_alphanumeric() || *c == '.' || *c == '_'));
    let (digits, after) = text.split_at(end.map_or(text.len(), |(at, _)| at));
    let bad = || format!("bad number syntax: {digits:?}");
    let value = match digits.parse::<i64>() {
        Ok(whole) => Value::from(whole),
        Err(_) => Value::Number(digits.parse().ok().and_then(Number::from_f64).ok_or_else(bad)?),
    };
    Ok((Word::Literal(value), after))
}
