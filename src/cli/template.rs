//! Go templates, the subset that `--format` strings use: actions, pipelines, variables, if/else/with/range, comparisons and docker's
//! helper functions, over JSON values. Called by the output of every verb; total: any text gives text or an error, never a panic.

mod eval;
mod functions;
mod parse;

use serde_json::Value;

pub(crate) use self::functions::{json, pretty};

/// What is wrong with a template, in Go's words where scripts know them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("template: :1: {0}")]
    Parse(String),
    #[error("template: :1: executing \"\" at <{at}>: {why}")]
    Execute { at: String, why: String },
}

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// # Errors
    /// [`TemplateError::Parse`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map(|nodes| Self { nodes }).map_err(TemplateError::Parse)
    }

    /// # Errors
    /// [`TemplateError::Execute`]; nothing is returned of what was written before.
    pub fn render(&self, data: &Value) -> Result<String, TemplateError> {
        let mut out = String::new();
        eval::run(&self.nodes, data, &mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
