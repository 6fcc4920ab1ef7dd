//! How much of a long test is run: all of it, or a sample.

/// Whether everything is run, as `make endure` does. A plain run takes a sample.
pub fn is_whole() -> bool {
    std::env::var_os("PTSET_ENDURE").is_some()
}
