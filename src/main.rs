//! The composition root: reads argv, picks the role this process plays (shim, runtime command, CLI verb or UI), builds the engine
//! and hands it to a face. Nothing else in the program names an engine implementation.

use std::process::ExitCode;

use orlop::embedded::init;
use orlop::shim;

fn main() -> ExitCode {
    // First of all: a shim starts often, stays small and must not set up anything of the faces.
    if shim::role::is_asked_for() {
        return ExitCode::from(shim::role::run());
    }
    if init::is_asked_for() {
        return ExitCode::from(init::run());
    }
    match std::env::args().nth(1).as_deref() {
        Some("--demo") => demo(std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(0)),
        _ => ExitCode::SUCCESS,
    }
}

/// The screen on a made-up engine with `n` quiet containers more than its scene has.
fn demo(n: usize) -> ExitCode {
    use std::io::Write;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "orlop: cannot start: {e}");
            return ExitCode::from(125);
        }
    };
    let engine = std::sync::Arc::new(orlop::engine::fake::Fake::crowded_demo(n));
    match runtime.block_on(orlop::tui::run(orlop::tui::TuiOptions::new(engine, "demo"))) {
        Ok(code) => code,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "orlop: {e}");
            ExitCode::from(125)
        }
    }
}
