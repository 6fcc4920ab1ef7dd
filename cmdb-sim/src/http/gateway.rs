//! The API gateway's own errors: their names, texts, statuses and envelope.

use serde_json::json;

/// The first digits that all of its codes have; the HTTP status follows.
const FAMILY: std::ops::Range<i64> = 1_600_000..1_700_000;

/// Whether a code is the gateway's own and not one of what is behind it.
pub(crate) fn is_own(code: i64) -> bool {
    FAMILY.contains(&code)
}

/// The HTTP status that a code is answered with.
pub(crate) fn http_status(code: i64) -> u16 {
    let status = u16::try_from((code - FAMILY.start) / 100).unwrap_or(500);
    if (400..600).contains(&status) { status } else { 500 }
}

/// The usual text of a code.
pub(crate) fn text(code: i64) -> &'static str {
    describe(code).1
}

/// The envelope of an error.
pub(crate) fn envelope(code: i64, message: &str) -> String {
    let name = describe(code).0;
    json!({"code": code, "code_name": name, "message": message, "result": false, "data": null}).to_string()
}

fn describe(code: i64) -> (&'static str, &'static str) {
    match code {
        1_640_001 => ("INVALID_ARGS", "Parameters error%s"),
        1_640_004 => ("JWT_VERIFY_FAILED", "JWT validation failed"),
        1_640_100 => ("UNAUTHORIZED", "Unauthorized"),
        1_640_101 => ("APP_VERIFY_FAILED", "App authentication failed"),
        1_640_102 => ("USER_VERIFY_FAILED", "User authentication failed"),
        1_640_301 => ("APP_NO_PERMISSION", "App has no permission to the resource"),
        1_640_302 => ("IP_NOT_ALLOWED", "Request rejected by ip restriction"),
        1_640_303 => ("BK_USER_NOT_ALLOWED", "Request rejected by bk-user restriction"),
        1_640_304 => ("BK_TENANT_NOT_ALLOWED", "Request rejected by bk-tenant restriction"),
        1_640_401 => ("API_NOT_FOUND", "API not found"),
        1_641_301 => ("BODY_SIZE_LIMIT_EXCEED", "Request body size too large."),
        1_642_901 => ("RATE_LIMIT_RESTRICTION", "API rate limit exceeded by stage global limit"),
        1_642_902 => ("RATE_LIMIT_RESTRICTION", "API rate limit exceeded by stage strategy"),
        1_642_903 => ("RATE_LIMIT_RESTRICTION", "API rate limit exceeded by resource strategy"),
        1_642_904 => ("CONCURRENCY_LIMIT_RESTRICTION", "Request concurrency exceeds"),
        1_650_000 => ("REQUEST_RESOURCE_5xx", "Request backend service status code is 5xx"),
        1_650_001 => ("INTERNAL_SERVER_ERROR", "Internal Server Error"),
        1_650_002 => ("INVALID_RESOURCE_CONFIG", "Resource configuration error"),
        1_650_200 => ("BAD_GATEWAY", "Bad Gateway"),
        1_650_201 => ("ERROR_REQUESTING_RESOURCE", "Request backend service failed"),
        1_650_300 => ("SERVICE_UNAVAILABLE", "Service Unavailable"),
        1_650_401 => ("REQUEST_BACKEND_TIMEOUT", "Request backend service timeout"),
        1_650_801 => ("RECURSIVE_REQUEST_DETECTED", "Recursive request detected"),
        _ => ("UNKNOWN_ERROR", "unknown error"),
    }
}
