//! How far a call came on its way to CMDB. Pure.

use super::step::Name;
use crate::cmdb::{Error, Responder};

/// The step at which a call failed; None: CMDB answered, and it is about the call and not about the way.
pub fn stage(error: &Error) -> Option<Name> {
    if let Some(obstacle) = error.reply().and_then(|reply| reply.obstacle) {
        return Some(if obstacle.is_of_tls() { Name::Tls } else { Name::Network });
    }
    let speaker = error.reply().map_or(Responder::Nobody, crate::cmdb::Reply::speaker);
    match (error, speaker) {
        (Error::Unavailable { .. }, Responder::Nobody) => Some(Name::Network),
        // Whatever it says: it is not said by CMDB, nor by what belongs to it.
        (_, Responder::Stranger)
        | (
            Error::Protocol { .. }
            | Error::OutcomeUnknown { .. }
            | Error::Unavailable { .. }
            | Error::Busy { .. }
            | Error::Halted { .. }
            | Error::Ending { .. },
            _,
        ) => Some(Name::Cmdb),
        (Error::Authentication { .. } | Error::Throttled { .. } | Error::Configuration { .. }, _) => {
            Some(Name::Credentials)
        }
        (Error::Permission { .. }, Responder::Esb | Responder::Gateway) => Some(Name::Permission),
        (
            Error::Permission { .. } | Error::Invalid { .. } | Error::Conflict { .. } | Error::NotFound { .. },
            Responder::Cmdb | Responder::Esb | Responder::Gateway | Responder::Nobody,
        ) => None,
    }
}
