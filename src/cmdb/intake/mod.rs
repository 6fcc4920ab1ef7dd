//! Taking in an answer: how much of it is read, held and parsed, and what may be shown of it.
//!
//! # Flow
//! 1. The body is read piece by piece and decompressed, up to the limit of its call (`body.rs`). What it takes comes from
//!    a budget of the process (`budget.rs`): a body that outgrows its place waits for a larger one.
//! 2. One pass counts values and depth before anything is built (`shape.rs`).
//! 3. The envelope and the data are parsed, large ones on a thread of their own (`parse.rs`). Names and values are bounded
//!    (`too_large.rs`, `value.rs`), and each item of a list is brought into its final form before the next is parsed.
//!    What a list then takes comes from a second budget, for as long as the list is held (`list_budget.rs`).
//! 4. Texts are cut to a few kilobytes (`text.rs`), then secrets in them are masked (`redact.rs`), then tidied
//!    (`reply.rs`).
//!
//! # Guarantees
//! * The bodies of all calls together never take more than the budget, and one endpoint never more than is left to the
//!   others. The same holds for what was parsed of lists.
//! * What a body of n bytes costs is proportional to n.
//! * The deadline of a call holds to the end of its body, whatever pace the body comes at.

pub mod body;
pub mod budget;
pub mod footprint;
pub mod list_budget;
pub mod parse;
pub mod redact;
pub mod shape;
pub mod text;
pub mod too_large;
pub mod value;
