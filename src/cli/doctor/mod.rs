//! `ptset doctor`: checks a connection step by step, and says what to do.

mod advice;
mod cluster;
mod command;
mod examine;
mod failed_step;
mod files;
mod grants;
mod lists;
mod report;
mod step;
mod target;

pub use command::{Options, doctor};
