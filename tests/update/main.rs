//! The `update` module from outside: its machine, what it takes in, and the actor round both.

mod bench;
mod download;
mod gateway;
mod images;
mod machine;
mod manager;
mod power;
mod support;
mod walk;
mod wayback;
mod web;
