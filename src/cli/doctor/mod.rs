//! `ptset doctor`: checks a connection step by step, and says what to do.
//!
//! *Flow*: `command` reads the options. `files` or `cluster` loads each connection as a `Target`, with its Secrets and the
//! labels of namespaces as `RelatedObjects`. `examine` takes the steps in their order, with `grants` and `lists`. `failed_step`
//! sorts a failed call to its step, and `advice` says what to do. `report` prints.
//!
//! *Guarantees*: nothing is written, neither to CMDB nor to a cluster, and no value of a Secret is printed.

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
