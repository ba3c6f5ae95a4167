//! The command line: what was typed, what it means, how the answer is printed. Called by `main`; speaks to `dyn Engine` alone.

pub mod args;
pub mod create;
pub mod table;
pub mod template;
pub mod values;
