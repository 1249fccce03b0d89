//! How busy the processors are, by what the kernel counts (proc(5), `/proc/stat`).

/// Ticks since the machine started, over all processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks {
    idle: u64,
    total: u64,
}

impl Ticks {
    /// From the text of `/proc/stat`, whose first line is the sum.
    pub(super) fn read(text: &str) -> Option<Self> {
        let fields = text.lines().next()?.strip_prefix("cpu ")?;
        // user nice system idle iowait irq softirq steal; guests are counted in the first two already.
        let ticks: Vec<u64> = fields.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let idle = ticks.get(3)?.saturating_add(ticks.get(4).copied().unwrap_or(0));
        Some(Self { idle, total: ticks.iter().fold(0, |sum, &ticks| sum.saturating_add(ticks)) })
    }

    /// In percent, since an earlier moment; `None` when no time has passed.
    pub(super) fn load_since(self, before: Self) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)?;
        // The kernel's idle ticks may go back by a little.
        let idle = self.idle.saturating_sub(before.idle).min(total);
        Some(100.0 * (total - idle) as f64 / total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_what_was_not_idle() {
        let before = Ticks::read("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4\n").expect("ticks");
        let after = Ticks::read("cpu  150 0 150 800 200 0 0 0 60 0\n").expect("ticks");
        assert_eq!(before, Ticks { idle: 800, total: 1000 });
        assert_eq!(after.load_since(before).map(f64::round), Some(33.0));
        assert_eq!(before.load_since(before), None);
        assert_eq!(before.load_since(after), None);
    }

    #[test]
    fn other_texts_are_none() {
        for text in ["", "cpu", "cpu  1 2 3", "intr 1 2 3 4 5", "cpu  a b c d"] {
            assert_eq!(Ticks::read(text), None, "{text:?}");
        }
    }
}
