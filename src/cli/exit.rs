//! What a command ends with.

use std::process::ExitCode;

/// There was nothing to do, or nothing to say.
pub const NOTHING: ExitCode = ExitCode::SUCCESS;
/// It failed, or something is wrong with what it was given.
pub const FAILED: ExitCode = ExitCode::FAILURE;
/// Something would be written.
pub const CHANGES: u8 = 2;
