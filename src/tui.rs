//! The full-screen terminal UI. Called by `main`; speaks to `dyn Engine` alone.

pub mod text;
pub mod theme;
