//! Which server answered a call: known by its error code, because CMDB, the ESB and the gateway have ranges of their
//! own.

use std::ops::RangeInclusive;

/// Codes of the ESB (legacy ESB `common/errors.py`).
const ESB_CODES: RangeInclusive<i64> = 1_306_000..=1_306_999;

/// Codes of the API gateway (blueking-apigateway `bk-core/errorx.lua`).
const GATEWAY_CODES: RangeInclusive<i64> = 1_640_000..=1_659_999;

/// Which server answered a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responder {
    /// CMDB.
    Cmdb,
    /// The ESB in front of CMDB.
    Esb,
    /// The API gateway in front of CMDB.
    Gateway,
    /// Another server: a proxy, or one that is not a CMDB.
    Stranger,
    /// None: no answer came.
    Nobody,
}

impl Responder {
    /// The server that answers with this code and HTTP status. Code 0 is that of a success, which any server may send.
    pub(in crate::cmdb) fn of(code: Option<i64>, http_status: Option<u16>) -> Self {
        match code.filter(|code| *code != 0) {
            Some(code) if ESB_CODES.contains(&code) => Self::Esb,
            Some(code) if GATEWAY_CODES.contains(&code) => Self::Gateway,
            Some(_) => Self::Cmdb,
            None if http_status.is_some() => Self::Stranger,
            None => Self::Nobody,
        }
    }
}
