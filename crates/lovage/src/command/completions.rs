//! `lovage completions`: a script that completes the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, failure::Failure, output};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage completions bash > ~/.local/share/bash-completion/completions/lovage
  lovage completions zsh > ~/.zfunc/_lovage
  lovage completions fish > ~/.config/fish/completions/lovage.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut command = Cli::command();
    // A user's own binary completes under its own name.
    let called = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = called
        .as_deref()
        .and_then(|path| path.file_name()?.to_str())
        .unwrap_or("lovage")
        .to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    output::data(String::from_utf8_lossy(&script).trim_end())?;
    Ok(0)
}
