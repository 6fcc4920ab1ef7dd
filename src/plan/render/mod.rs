//! A plan as people and programs read it.

pub mod explain;
pub mod plan;
pub mod values;
