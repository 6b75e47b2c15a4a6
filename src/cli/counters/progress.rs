//! How far a verification is: a bar on a terminal, else a line now and then.

use std::{
    convert::Infallible,
    io::{IsTerminal, stderr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::runtime::recount::Progress;

/// How often the bar moves.
const BAR_EVERY: Duration = Duration::from_millis(200);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows it on standard error until it is dropped.
pub(super) async fn show(progress: Arc<Progress>) -> Infallible {
    if stderr().is_terminal() { bar(&progress).await } else { lines(&progress).await }
}

/// Takes the bar away again.
struct Shown(ProgressBar);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

async fn bar(progress: &Progress) -> Infallible {
    let shown = Shown(ProgressBar::new(0));
    // A template that does not read well leaves the plain bar.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} offsets, {per_sec}, {eta} left {msg}") {
        shown.0.set_style(style);
    }
    loop {
        let compared = progress.compared.load(Ordering::Relaxed);
        let exchanged = progress.exchanged.load(Ordering::Relaxed);
        shown.0.set_length(progress.offsets.load(Ordering::Relaxed));
        shown.0.set_position(progress.read.load(Ordering::Relaxed));
        if compared > 0 {
            shown.0.set_message(format!("{compared} keys compared"));
        }
        if exchanged > 0 {
            shown.0.set_message(format!("{exchanged} keys exchanged"));
        }
        tokio::time::sleep(BAR_EVERY).await;
    }
}

#[expect(clippy::print_stderr, reason = "progress is for people, and beside what is written")]
async fn lines(progress: &Progress) -> Infallible {
    let began = Instant::now();
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        eprintln!(
            "{} of {} offsets recounted, {} keys compared or exchanged after {} s",
            progress.read.load(Ordering::Relaxed),
            progress.offsets.load(Ordering::Relaxed),
            progress.compared.load(Ordering::Relaxed) + progress.exchanged.load(Ordering::Relaxed),
            began.elapsed().as_secs()
        );
    }
}
