//! Nodes and data → text. Missing lower-case keys (labels) print `<no value>`, missing fields are an error, as Go tells maps from structs.

use serde_json::Value;

use super::TemplateError;
use super::functions::{self, print_value};
use super::parse::{Command, Node, Operand, Pipeline};

/// How many times bodies may run in all: a template must end.
const MAX_STEPS: u64 = 5_000_000;

pub(super) fn run(nodes: &[Node], data: &Value, out: &mut String) -> Result<(), TemplateError> {
    let mut state = State { root: data, variables: Vec::new(), n_steps: 0 };
    state.list(nodes, data, out).map(drop)
}

struct State<'a> {
    root: &'a Value,
    variables: Vec<(String, Value)>,
    n_steps: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl State<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value, out: &mut String) -> Result<Flow, TemplateError> {
        let depth = self.variables.len();
        for node in nodes {
            let flow = self.node(node, dot, out)?;
            if flow != Flow::On {
                self.variables.truncate(depth);
                return Ok(flow);
            }
        }
        self.variables.truncate(depth);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value, out: &mut String) -> Result<Flow, TemplateError> {
        self.n_steps += 1;
        if self.n_steps > MAX_STEPS {
            return Err(TemplateError::Execute {
                at: "range".to_owned(),
                why: "the template does too much".to_owned(),
            });
        }
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    match value {
                        None | Some(Value::Null) => out.push_str("<no value>"),
                        Some(value) => out.push_str(&print_value(&value)),
                    }
                } else {
                    self.store(pipeline, value.unwrap_or_default());
                }
            }
            Node::If(arms) => {
                for (condition, body) in arms {
                    let holds = match condition {
                        None => true,
                        Some(condition) => {
                            self.pipeline(condition, dot)?.is_some_and(|value| functions::is_true(&value))
                        }
                    };
                    if holds {
                        return self.list(body, dot, out);
                    }
                }
            }
            Node::With(pipeline, body, other) => {
                let value = self.pipeline(pipeline, dot)?.unwrap_or_default();
                self.store(pipeline, value.clone());
                let flow =
                    if functions::is_true(&value) { self.list(body, &value, out) } else { self.list(other, dot, out) };
                return flow;
            }
            Node::Range(pipeline, body, other) => return self.range(pipeline, body, other, dot, out),
        }
        Ok(Flow::On)
    }

    fn store(&mut self, pipeline: &Pipeline, value: Value) {
        let Some(name) = pipeline.variables.first() else { return };
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known.filter(|_| !pipeline.declares) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.clone(), value)),
        }
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        other: &[Node],
        dot: &Value,
        out: &mut String,
    ) -> Result<Flow, TemplateError> {
        let items: Vec<(Value, Value)> = match self.pipeline(pipeline, dot)?.unwrap_or_default() {
            Value::Array(items) => items.into_iter().enumerate().map(|(i, item)| (Value::from(i), item)).collect(),
            Value::Object(map) => {
                let mut pairs: Vec<_> = map.into_iter().filter(|(key, _)| !key.starts_with('@')).collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                pairs.into_iter().map(|(key, item)| (Value::from(key), item)).collect()
            }
            Value::Null => Vec::new(),
            value => {
                let why = format!("range can't iterate over {}", print_value(&value));
                return Err(TemplateError::Execute { at: pipeline.text.clone(), why });
            }
        };
        if items.is_empty() {
            return self.list(other, dot, out);
        }
        let depth = self.variables.len();
        for (key, item) in items {
            match pipeline.variables.as_slice() {
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
                [] => {}
            }
            let flow = self.list(body, &item, out)?;
            self.variables.truncate(depth);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Option<Value>, TemplateError> {
        let mut piped: Option<Option<Value>> = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, dot, piped.take(), &pipeline.text)?);
        }
        Ok(piped.flatten())
    }

    /// `piped` is the last argument, when there is one.
    fn command(
        &mut self,
        command: &Command,
        dot: &Value,
        piped: Option<Option<Value>>,
        text: &str,
    ) -> Result<Option<Value>, TemplateError> {
        let Some((first, arguments)) = command.0.split_first() else { return Ok(None) };
        if let Operand::Function(name) = first {
            let mut values = Vec::with_capacity(arguments.len() + 1);
            for argument in arguments {
                let value = self.operand(argument, dot, text)?.unwrap_or_default();
                // `and` and `or` stop at the first that decides.
                let decides =
                    (name == "or" && functions::is_true(&value)) || (name == "and" && !functions::is_true(&value));
                if decides {
                    return Ok(Some(value));
                }
                values.push(value);
            }
            values.extend(piped.map(Option::unwrap_or_default));
            let failed = |why| TemplateError::Execute { at: name.clone(), why: format!("error calling {name}: {why}") };
            return functions::call(name, values).map(Some).map_err(failed);
        }
        let argument = match (arguments, piped) {
            ([], None) => return self.operand(first, dot, text),
            ([argument], None) => self.operand(argument, dot, text)?,
            ([], Some(piped)) => piped,
            _ => None,
        };
        self.label(first, dot, argument).ok_or_else(|| TemplateError::Execute {
            at: text.to_owned(),
            why: "can't give argument to non-function".to_owned(),
        })
    }

    /// `.Label "key"`: the one method docker's rows have.
    fn label(&mut self, first: &Operand, dot: &Value, argument: Option<Value>) -> Option<Option<Value>> {
        let Operand::Field(path) = first else { return None };
        let key = argument?;
        let labels = dot.get("@labels").filter(|_| path.len() == 1 && path[0] == "Label")?;
        Some(Some(labels.get(key.as_str()?).cloned().unwrap_or_else(|| Value::from(""))))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value, text: &str) -> Result<Option<Value>, TemplateError> {
        match operand {
            Operand::Literal(value) => Ok(Some(value.clone())),
            Operand::Field(path) => fields(dot, path),
            Operand::Variable(name, path) if name.is_empty() => fields(self.root, path),
            Operand::Variable(name, path) => {
                let Some((_, value)) = self.variables.iter().rev().find(|(known, _)| known == name) else {
                    return Err(TemplateError::Parse(format!("undefined variable \"${name}\"")));
                };
                fields(value, path)
            }
            Operand::Inner(pipeline, path) => {
                let value = self.pipeline(pipeline, dot)?.unwrap_or_default();
                fields(&value, path)
            }
            Operand::Function(_) => self.command(&Command(vec![operand.clone()]), dot, None, text),
        }
    }
}

fn fields(value: &Value, path: &[String]) -> Result<Option<Value>, TemplateError> {
    let mut value = value;
    for (depth, field) in path.iter().enumerate() {
        let at = || path[..=depth].iter().map(|part| format!(".{part}")).collect::<String>();
        let found = match value {
            Value::Object(map) => map.get(field),
            Value::Null => {
                return Err(TemplateError::Execute {
                    at: at(),
                    why: format!("nil pointer evaluating interface {{}}.{field}"),
                });
            }
            _ => return Err(TemplateError::Execute { at: at(), why: format!("can't evaluate field {field}") }),
        };
        let is_field = field.starts_with(char::is_uppercase);
        value = match found {
            Some(found) => found,
            None if is_field => {
                return Err(TemplateError::Execute { at: at(), why: format!("map has no entry for key \"{field}\"") });
            }
            None => return Ok(None),
        };
    }
    Ok(Some(value.clone()))
}
