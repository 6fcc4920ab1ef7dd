//! Writing to CMDB: the plan carried out, the create protocol, one writer a scope.

pub mod apply;
pub mod batch_size;
pub mod create;
mod create_queue;
pub mod former;
pub mod intents;
pub mod journal;
pub mod open_creates;
pub mod rejections;
pub mod renames;
pub mod unkept;
pub mod write_locks;
pub mod writes;
