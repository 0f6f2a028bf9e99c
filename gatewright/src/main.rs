//! The `gatewright` binary: an allocator and a call.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    gatewright::run_command(gatewright::cli::Cli::parse())
}
