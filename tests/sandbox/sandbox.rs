//! A local sandbox.

fn main() {}
