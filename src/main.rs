//! The binary: arguments, then one command, then its exit code.

// The futures of the commands lie deep in each other.
#![recursion_limit = "256"]

use std::{num::NonZero, process::ExitCode};

use clap::Parser;
use streamgauge::cli::{Cli, explain, has_lost_its_reader};

/// musl's own allocator is slow under several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where the system hands out huge pages unasked, a process of a hundred megabytes takes a quarter more, and is no faster.
#[cfg(target_os = "linux")]
fn refuse_huge_pages() {
    // A kernel that cannot be asked has none.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(not(target_os = "linux"))]
fn refuse_huge_pages() {}

fn main() -> ExitCode {
    refuse_huge_pages();
    streamgauge::tls::install_provider();
    let cli = Cli::parse();
    // One more than decode blocks at a time (`runtime::decoding`).
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get) + 1;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
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
