//! Completion scripts for shells, from the one definition.

use std::io::Write;
use std::str::FromStr;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::failure::Said;
use super::io::Io;

/// # Errors
/// A shell nobody knows.
pub fn print(shell: &str, io: &mut Io) -> anyhow::Result<u8> {
    let shell = Shell::from_str(shell).map_err(|_| {
        Said(format!("orlop: no completion for shell '{shell}': one of bash, zsh, fish, elvish, powershell"))
    })?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "orlop", &mut script);
    io.out.write_all(&script)?;
    Ok(0)
}
