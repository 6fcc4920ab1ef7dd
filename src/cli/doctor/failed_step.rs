//! Sorts a failed call to CMDB to the step of the check that failed. Pure.

use super::step::StepName;
use crate::cmdb::{Error, Responder};

/// The step at which a call failed. None: CMDB itself answered, so the connection works and the error is about the call.
pub fn failed_step(error: &Error) -> Option<StepName> {
    if let Some(obstacle) = error.reply().and_then(|reply| reply.obstacle) {
        return Some(if obstacle.is_of_tls() { StepName::Tls } else { StepName::Network });
    }
    let responder = error.reply().map_or(Responder::Nobody, crate::cmdb::Reply::speaker);
    match (error, responder) {
        (Error::Unavailable { .. }, Responder::Nobody) => Some(StepName::Network),
        // Neither CMDB nor its ESB or gateway answered, whatever the error says.
        (_, Responder::Stranger)
        | (
            Error::Protocol { .. }
            | Error::OutcomeUnknown { .. }
            | Error::Unavailable { .. }
            | Error::Busy { .. }
            | Error::Halted { .. }
            | Error::NotGranted { .. }
            | Error::Ending { .. },
            _,
        ) => Some(StepName::Cmdb),
        (Error::Authentication { .. } | Error::Throttled { .. } | Error::Configuration { .. }, _) => {
            Some(StepName::Credentials)
        }
        (Error::Permission { .. }, Responder::Esb | Responder::Gateway) => Some(StepName::Permission),
        (
            Error::Permission { .. } | Error::Invalid { .. } | Error::Conflict { .. } | Error::NotFound { .. },
            Responder::Cmdb | Responder::Esb | Responder::Gateway | Responder::Nobody,
        ) => None,
    }
}
