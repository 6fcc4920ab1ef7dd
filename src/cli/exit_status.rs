//! The exit statuses of `ptset`.

use std::process::ExitCode;

/// What a command's process exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: the command succeeded, and has nothing to report that needs an action.
    Success,
    /// 1: the command failed, or something is wrong with its input.
    Failure,
    /// 2: only of `ptset plan`: applying the files would write to CMDB.
    Changes,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Success => Self::SUCCESS,
            ExitStatus::Failure => Self::FAILURE,
            ExitStatus::Changes => Self::from(2),
        }
    }
}
