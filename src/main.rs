//! The binary: arguments, then one command, then its exit code.

// The futures of the commands lie deep in each other.
#![recursion_limit = "256"]

use std::process::ExitCode;

use clap::Parser;
use streamgauge::cli::{Cli, explain, has_lost_its_reader};

/// musl's own allocator is slow under several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    streamgauge::tls::install_provider();
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
        // `streamgauge … | head`: whoever reads has enough.
        Err(error) if has_lost_its_reader(&error) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("streamgauge: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}
