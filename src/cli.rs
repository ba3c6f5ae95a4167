//! The command line: what was typed, what it means, how the answer is printed. Called by `main`; speaks to `dyn Engine` alone.
//!
//! ```text
//! argv --usage::parse--> args::Cli --create, values--> engine types --verbs--> dyn Engine --table, template, session--> Io
//! ```
//! A verb never touches stdout itself, only its [`io::Io`]; errors become text in [`failure`] alone.

pub mod args;
pub mod completion;
pub mod create;
pub mod failure;
pub mod io;
pub mod line;
mod printable;
pub mod progress;
pub mod session;
pub mod table;
pub mod template;
pub mod terminal;
pub mod usage;
pub mod values;
pub mod verbs;

use std::sync::Arc;

use crate::engine::{Engine, Hosts};

pub use self::args::{Cli, Global, Verb};
pub use self::io::Io;
pub use self::line::CommandLine;
pub use self::usage::Usage;

/// Reads argv, program name first.
///
/// # Errors
/// Help that was asked for (code 0), or usage.
pub fn parse(argv: &[String]) -> Result<Cli, Usage> {
    usage::parse(argv)
}

/// Runs one verb to its end; the exit code. Failures have been said on `io.err`.
pub async fn run(verb: Verb, engine: Arc<dyn Engine>, io: Io) -> u8 {
    run_among(verb, engine, None, io).await
}

/// The same where a verb may name other hosts too.
pub async fn run_among(verb: Verb, engine: Arc<dyn Engine>, hosts: Option<Arc<dyn Hosts>>, io: Io) -> u8 {
    let mut ctx = verbs::Ctx { engine, hosts, io };
    if ctx.io.is_out_tty && verbs::shows_text(&verb) {
        ctx.io.out = Box::new(printable::Printable::new(ctx.io.out));
    }
    let outcome = verbs::run(verb, &mut ctx).await;
    let flushed = ctx.io.out.flush().map_err(anyhow::Error::from);
    match outcome.and_then(|code| flushed.map(|()| code)) {
        Ok(code) => code,
        Err(error) => failure::report(&error, &mut ctx.io),
    }
}
