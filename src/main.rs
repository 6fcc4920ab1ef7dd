//! The controller and its command line.

fn main() {}
