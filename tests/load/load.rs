//! Load benchmark.

fn main() {}
