//! CPU time and memory of this process, from Linux' /proc; zero elsewhere.

/// Clock ticks a second in /proc: 100 on every Linux that Rust supports (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// What the process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// User and system time, seconds.
    pub cpu_seconds: f64,
    /// Highest resident memory so far, bytes.
    pub peak_bytes: u64,
}

impl Usage {
    /// Begins a new peak of memory: what was loaded before does not count.
    pub(super) fn forget_peak() {
        // "5" resets the high-water mark (proc(5), clear_refs); where it cannot be written the peak is the whole run's.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    }

    pub(super) fn now() -> Self {
        let (user, system) = (11, 12);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak_kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or_default();
        Self { cpu_seconds: (ticks(user) + ticks(system)) / TICKS_PER_SECOND, peak_bytes: peak_kib * 1024 }
    }

    /// User and system time of the processes that this one started and that have ended, seconds.
    pub(super) fn of_children() -> f64 {
        let (user, system) = (13, 14);
        (ticks(user) + ticks(system)) / TICKS_PER_SECOND
    }

    /// What was used since; the peak is that of the whole process.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds - before.cpu_seconds, peak_bytes: self.peak_bytes }
    }
}

/// A field of this process' times, by its place behind the program's name.
fn ticks(index: usize) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may hold anything, also spaces; the fields after it do not.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.nth(index).and_then(|field| field.parse().ok()).unwrap_or_default()
}
