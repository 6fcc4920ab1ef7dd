//! CMDBs that do less than was asked, or other than was asked, and what is said of it. On a clock that jumps.

mod old_servers;
mod unkept;
mod unknown_schema;
mod words;
