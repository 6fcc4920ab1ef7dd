//! Floor 1: the planner. From what is wanted ([`Desired`]), what CMDB lists ([`Observed`]), what other sets claim
//! ([`OtherSet`]) and what we remember ([`Memory`]) to a [`Plan`]. Synchronous, total and deterministic: no clock, no randomness, no I/O.

mod check;
mod decision;
mod desired;
mod forecast;
mod given;
mod intent;
mod matching;
mod memory;
mod observed;
mod obstacles;
mod order;
mod other_set;
mod planner;
mod policy;
mod properties;
mod provenance;
mod render;
mod temporary_name;

pub use check::{Violation, check, check_update};
pub use decision::{
    Basis, Cause, Change, Conflict, Create, Decision, Fate, Found, Hold, Item, LaggingCell, Owner, Plan, Removal, Step,
};
pub use desired::{Desired, DesiredItem, SetName};
pub use forecast::{MOST_PLANS, forecast};
pub use intent::{Intent, IntentFate};
pub use memory::{Memory, Remembered, Unkept};
pub use observed::{Observed, ServerSchema, Template};
pub use obstacles::MOST_UPDATES;
pub use other_set::{OtherSet, Whereabouts};
pub use planner::plan;
pub use policy::Policy;
pub use properties::compare::Difference;
use properties::hash::applied_hash;
pub use properties::hash::intent_hash;
pub use properties::property::{Name, Pair, Properties, Row, Value, interned};
pub use provenance::{Place, Provenance, check_provenance};
pub use render::explain::{changed_by, count, explain, state};
pub use render::instances::effects;
pub use render::plan::{Counts, Preview, Stage};
pub use temporary_name::temporary_name;
