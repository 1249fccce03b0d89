//! Under construction.
pub mod uno;
