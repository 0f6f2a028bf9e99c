//! The `gatewright` command: one subcommand a file, each a thin edge around `crds` and `authz`.
//!
//! Owns flags, files, signals, exit codes and what is printed. Must never decide: `run` and `explain` ask `authz::decide`, `check`
//! asks `crds::compile`.

mod apikey;
mod authz;
mod check;
pub mod cli;
mod config;
mod envoy_config;
mod explain;
mod logging;
mod operator;
mod probe;
mod process;
mod run;
mod worker;

use std::{io::Write, process::ExitCode};

use clap::CommandFactory;

use crate::cli::{Cli, Command};

/// Exit code for usage, and for files that cannot be read or parsed.
const USAGE: u8 = 2;

/// Runs a command to its exit code. 0: done, or allowed. 1: a verdict or decision is negative, or the work failed. 2: usage.
pub fn run_command(cli: Cli) -> ExitCode {
    let code = match cli.command {
        Command::Run(args) => run::command(&args),
        Command::Authz(args) => authz::command(&args),
        Command::Operator(args) => operator::command(&args),
        Command::Check(args) => check::command(&args, &mut out()),
        Command::Explain(args) => explain::command(&args, &mut out()),
        Command::EnvoyConfig(args) => envoy_config::command(&args, &mut out()),
        Command::Probe(args) => probe::command(&args, &mut out()),
        Command::Crds => print(&mut out(), crds::v1alpha1::crds_yaml().map_err(|error| error.to_string())),
        Command::Apikey(action) => apikey::command(&action, &mut out()),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "gatewright", &mut out());
            0
        }
    };
    ExitCode::from(code)
}

/// Standard output, locked: for commands that end. Of one that serves, the thread of its audit log would wait for ever.
fn out() -> impl Write {
    anstream::stdout().lock()
}

fn print(out: &mut impl Write, text: Result<String, String>) -> u8 {
    match text {
        // A reader that went away, such as `head`, is no error of ours.
        Ok(text) => {
            let _ = out.write_all(text.as_bytes());
            0
        }
        Err(error) => fail(1, &error),
    }
}

/// Tells on standard error what went wrong, and gives the exit code on.
fn fail(code: u8, message: &str) -> u8 {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    let _ = writeln!(anstream::stderr(), "{style}error{style:#}: {message}");
    code
}
