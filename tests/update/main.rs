//! The `update` module from outside: its machine, what it takes in, and the actor round both.

mod bench;
mod images;
mod machine;
mod support;
mod walk;
