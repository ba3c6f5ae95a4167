//! The full-screen terminal UI. Called by `main`; speaks to `dyn Engine` alone.

pub mod charts;
pub mod edit;
pub mod filter;
pub mod input;
pub mod listing;
pub mod logs;
pub mod screen;
pub mod terminal;
pub mod terminal_view;
pub mod text;
pub mod theme;
pub mod units;
