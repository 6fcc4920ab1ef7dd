//! Declarative process templates for `BlueKing` CMDB.
//!
//! Floors, from the lowest: [`cmdb`] (floor 2). Beside them stands [`sim`].

pub mod cmdb;
pub mod sim;
