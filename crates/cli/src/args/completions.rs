//! `exbit completions`.

use clap::Args;
use clap_complete::Shell;

/// Print the completion script of a shell.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit completions bash > ~/.local/share/bash-completion/completions/exbit
  exbit completions zsh > ~/.zfunc/_exbit
  exbit completions fish > ~/.config/fish/completions/exbit.fish"))]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}
