//! The calls of the API, one file each, and what they share.

pub(crate) mod create;
pub(crate) mod decode;
pub(crate) mod delete;
pub(crate) mod edit;
pub(crate) mod hold;
pub(crate) mod lie;
pub(crate) mod list;
pub(crate) mod page;
pub(crate) mod service_category;
pub(crate) mod service_template;
pub(crate) mod unique;
pub(crate) mod update;
