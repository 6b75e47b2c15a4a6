//! The binary: arguments, then one command, then its exit code.

use std::process::ExitCode;

use clap::Parser;
use streamgauge::cli::{Cli, explain};

/// musl's own allocator is slow under several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("streamgauge: cannot start its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("streamgauge: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}
