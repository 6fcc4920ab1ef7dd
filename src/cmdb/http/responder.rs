//! Who has spoken: by the numbers that each gives to its errors.

use std::ops::RangeInclusive;

/// Codes of the ESB (legacy ESB `common/errors.py`).
const ESB_CODES: RangeInclusive<i64> = 1_306_000..=1_306_999;

/// Codes of the API gateway (blueking-apigateway `bk-core/errorx.lua`).
const GATEWAY_CODES: RangeInclusive<i64> = 1_640_000..=1_659_999;

/// Who has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responder {
    /// CMDB.
    Cmdb,
    /// The ESB before it.
    Esb,
    /// The API gateway before it.
    Gateway,
    /// Somebody else: a proxy, or a server that is no CMDB.
    Stranger,
    /// Nobody: no answer came.
    Nobody,
}

impl Responder {
    /// Who gives this code, with this HTTP status. 0 is that of a success, which may come from anywhere.
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
