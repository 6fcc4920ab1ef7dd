//! What every kind of object needs of the API server: conditions, status writes, retry state.

pub mod api_call;
pub mod conditions;
pub mod events;
pub mod retry_state;
pub mod status_writer;
