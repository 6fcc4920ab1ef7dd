//! Floor 1: the planner. From what is wanted ([`Desired`]), what is there ([`Observed`]) and what we remember
//! ([`Memory`]) to a [`Plan`]. Synchronous, total and deterministic: no clock, no randomness, no I/O.

mod check;
mod compare;
mod decision;
mod desired;
mod explain;
mod forecast;
mod hash;
mod memory;
mod observed;
mod order;
mod planner;
mod policy;
mod ports;
mod property;
mod recall;
mod render;
mod rival;
mod rows;
mod sockets;
mod temporary;

pub use check::{Violation, check, check_update};
pub use compare::Difference;
pub use decision::{Basis, Cause, Change, Conflict, Create, Decision, Fate, Found, Item, Owner, Plan, Removal, Step};
pub use desired::{Desired, DesiredItem, SetName};
pub use explain::{count, explain, state};
pub use forecast::{MOST_PLANS, forecast};
use hash::applied_hash;
pub use hash::intent_hash;
pub use memory::{Intent, IntentFate, Memory, Remembered};
pub use observed::{Observed, ServerSchema, Template};
pub use planner::plan;
pub use policy::Policy;
pub use property::{Name, Pair, Properties, Row, Value, interned};
pub use recall::{Place, Recall, recall};
pub use render::{Counts, Preview, Stage};
pub use rival::{Rival, Whereabouts};
pub use temporary::temporary_name;
