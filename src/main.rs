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
    ExitCode::SUCCESS
}
