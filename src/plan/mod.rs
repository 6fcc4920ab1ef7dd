//! Floor 1: the planner. From what is wanted ([`Desired`]), what is there ([`Observed`]) and what we remember
//! ([`Memory`]) to a [`Plan`]. Synchronous, total and deterministic: no clock, no randomness, no I/O.

mod check;
mod compare;
mod desired;
mod hash;
mod memory;
mod observed;
mod planner;
mod ports;
mod property;
mod recall;
mod sockets;

pub use check::{Violation, check, check_update};
pub use compare::Difference;
pub use desired::{Desired, DesiredItem};
pub use hash::{applied_hash, intent_hash};
pub use memory::{Intent, IntentFate, Memory, Remembered};
pub use observed::{Observed, ServerSchema, Template};
pub use planner::{Basis, Create, Decision, Item, Plan, plan};
pub use property::{Name, Pair, Properties, Row, Value, interned};
pub use recall::{Place, Recall, recall};
