//! The structure of the source tree: floors, no circle of files, small folders, and the list in CONTRIBUTING.md of where to
//! find what.
//!
//! A file depends on another when a path in its production code leads to an item that the other defines: in a `use`, in a
//! signature, a body, an attribute or a macro, and through any number of imports, globs and re-exports. A method call on a
//! value is no path, a `mod x;` is no dependency, and neither is a path that leads to a module only. What is compiled only
//! for tests (`#[cfg(test)]`) is left out: a test may use its neighbours without tying the code that ships.

mod circles;
mod folders;
mod graph;
mod item;
mod layers;
mod places;
mod planted;
mod reader;
mod resolve;
pub mod sources;
mod tokens;
mod tree;
