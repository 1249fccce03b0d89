//! How often ports are opened to ask: each has so many questions, and gets them back one by one. Pure; that time has passed is
//! told by whoever has a clock.
//!
//! A port is known by its socket, so that a board which comes and goes is not asked all over again each time: it may be
//! restarting because it is asked.

use std::collections::BTreeMap;

/// What is spent, by port.
#[derive(Debug)]
pub(super) struct Budget {
    each: u32,
    spent: BTreeMap<String, u32>,
}

impl Budget {
    pub(super) fn new(each: u32) -> Self {
        Self { each, spent: BTreeMap::new() }
    }

    /// That a port has none left, as an operator reads it.
    pub(super) fn used_up(&self) -> String {
        format!(
            "the port was opened {} times to ask: `[serial] budget` is used up, and one more comes each `again_after`",
            self.each
        )
    }

    /// Whether a port may be opened once more.
    pub(super) fn left(&self, port: &str) -> bool {
        self.spent.get(port).copied().unwrap_or_default() < self.each
    }

    /// It is opened.
    pub(super) fn spend(&mut self, port: String) {
        let spent = self.spent.entry(port).or_default();
        *spent = spent.saturating_add(1);
    }

    /// It was not opened after all.
    pub(super) fn give_back(&mut self, port: &str) {
        if let Some(spent) = self.spent.get_mut(port) {
            *spent = spent.saturating_sub(1);
        }
    }

    /// Each port gets so many back.
    pub(super) fn refill(&mut self, turns: u32) {
        self.spent.retain(|_, spent| {
            *spent = spent.saturating_sub(turns);
            *spent > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_its_own_and_gets_it_back() {
        let mut budget = Budget::new(2);
        budget.spend("a".to_owned());
        budget.spend("a".to_owned());
        assert!(!budget.left("a") && budget.left("b"));
        budget.give_back("a");
        assert!(budget.left("a"));
        budget.spend("a".to_owned());
        budget.refill(1);
        assert!(budget.left("a"));
        budget.refill(100);
        assert!(budget.spent.is_empty());
        assert!(!Budget::new(0).left("a"));
    }
}
