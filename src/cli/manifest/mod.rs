//! Manifests: files, YAML with positions, schema and rules.

pub mod files;
pub mod finding;
pub mod inventory;
pub mod schema_check;
pub mod validate_object;
pub mod yaml;
