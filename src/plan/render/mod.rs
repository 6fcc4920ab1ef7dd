//! A plan as people and programs read it.

pub mod explain;
pub mod instances;
pub mod plan;
pub mod values;
