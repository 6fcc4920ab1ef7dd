//! Declarative process templates for BlueKing CMDB.
//!
//! Floors, from the lowest: [`outside`] (below all), [`api`] (0), [`plan`] (1), [`cmdb`] (2), [`engine`] (3), [`controller`] (4),
//! [`telemetry`] (5), [`cli`] (6).

pub mod api;
pub mod cli;
pub mod cmdb;
pub mod controller;
pub mod engine;
#[cfg(test)]
mod fuzz;
pub mod outside;
pub mod plan;
pub mod telemetry;
