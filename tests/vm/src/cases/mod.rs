//! The cases, by the names under which `make test-vm` tells and chooses them.

mod serial;

use vm::Lab;

/// A case panics when it fails.
pub(crate) type Case = fn(&Lab);

/// In the order in which they run.
pub(crate) const ALL: &[(&str, Case)] =
    &[("a_board_is_registered_while_it_is_plugged", serial::a_board_is_registered_while_it_is_plugged)];
