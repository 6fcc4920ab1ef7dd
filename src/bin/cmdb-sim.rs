//! The CMDB simulator as a program.

fn main() {}
