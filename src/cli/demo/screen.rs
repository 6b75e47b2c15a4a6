//! What the demo shows: a table that is drawn anew each second on a terminal, a line a second elsewhere.

use std::io::{IsTerminal, Write};

use comfy_table::{Table, presets};

use super::Proof;
use crate::app::App;

/// Rows of the ranking.
const TOP: usize = 5;

/// The demo's output.
pub(super) struct Screen {
    is_terminal: bool,
    /// Lines of the last drawing, to be drawn over.
    drawn: usize,
    last_counted: u64,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), drawn: 0, last_counted: 0 }
    }

    pub(super) fn welcome(&self, app: &App) {
        let broker = app.broker_addr.map(|addr| addr.to_string()).unwrap_or_default();
        self.write(&format!(
            "streamgauge demo: embedded log and store, video catalogue\n\
             HTTP   http://{}   (try /api/counters/video:v0:views, /api/trending/trending:videos, /metrics)\n\
             Kafka  {broker}   (try kcat -b {broker} -t video.views.dlq -C -e)\n",
            app.http_addr
        ));
    }

    pub(super) async fn show(&mut self, app: &App, published: u64) {
        let tally = app.engine.counting.tally.total();
        let rate = tally.records - self.last_counted.min(tally.records);
        self.last_counted = tally.records;
        let line = format!(
            "published {published}  counted {}  rate {rate}/s  dead letters {}  behind {}",
            tally.events,
            tally.dead_letters,
            published.saturating_sub(tally.records)
        );
        let now_ms = chrono::Utc::now().timestamp_millis();
        let top = app
            .reads
            .ranking("trending:videos", None, now_ms, TOP)
            .await
            .map(|ranking| ranking.items)
            .unwrap_or_default();
        if !self.is_terminal {
            let top: Vec<String> = top.iter().map(|item| format!("{} {}", item.element, item.sum)).collect();
            return self.write(&format!("{line}  top {}\n", top.join(", ")));
        }
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["top videos this hour", "views"]);
        for item in &top {
            table.add_row([item.element.clone(), item.sum.to_string()]);
        }
        let text = format!("{line}\n{table}\n");
        // Up to where the last drawing began, and clear from there.
        let up = if self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
        self.write(&format!("{up}{text}"));
        self.drawn = text.lines().count();
    }

    pub(super) fn proof(&self, proof: &Proof) {
        let Proof { published, counted, dead, keys, difference } = proof;
        self.write(&format!(
            "published {published}, counted {counted}, dead {dead}, difference {difference} \
             (each of {keys} counters read back from the store and compared with what the traffic must come to)\n"
        ));
    }

    /// A closed pipe must not end the demo before its proof is known to the exit code.
    fn write(&self, text: &str) {
        let mut out = std::io::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
