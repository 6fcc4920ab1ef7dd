//! Numbers in texts and in JSON.

use jiff::Timestamp;
use serde_json::Value;

/// Largest ID: the largest whole number that every JSON implementation keeps.
pub const MAX_ID: i64 = 9_007_199_254_740_991;

/// Highest rate of a connection, in requests per second, and most calls that it has in flight.
const MAX_RATE: i64 = 1000;
const MAX_IN_FLIGHT: i64 = 100;

/// Most digits of a whole number.
const MAX_DIGITS: usize = 20;

/// Whether a text has nothing but digits, and not too many.
#[must_use]
pub fn is_natural(text: &str) -> bool {
    (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A whole number from 0. `None`: the text is none, or too large.
#[must_use]
pub fn natural(text: &str) -> Option<u64> {
    Some(text).filter(|text| is_natural(text))?.parse().ok()
}

/// A whole number. `None`: the text is none, or too large.
#[must_use]
pub fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    Some(text).filter(|_| is_natural(digits))?.parse().ok()
}

/// A port from 1 to 65535, without leading zeros.
#[must_use]
pub fn port(text: &str) -> Option<u16> {
    Some(text).filter(|text| is_natural(text) && !text.starts_with('0'))?.parse().ok()
}

/// An index of a list.
#[must_use]
pub fn index(text: &str) -> Option<usize> {
    usize::try_from(natural(text)?).ok()
}

/// The resource version of an object, as a number. `None`: the API server writes another form.
#[must_use]
pub fn resource_version(text: &str) -> Option<u64> {
    natural(text).filter(|version| *version < u64::MAX)
}

/// A whole number of JSON. `None`: it is something else, or too large.
#[must_use]
pub fn json_integer(value: &Value) -> Option<i64> {
    value.as_i64()
}

/// A whole number of JSON from 0, as bounds of a schema are.
#[must_use]
pub fn json_bound(value: &Value) -> Option<u64> {
    value.as_u64()
}

/// A number of JSON with a fraction.
#[must_use]
pub fn json_float(value: &Value) -> Option<f64> {
    value.as_f64()
}

/// The number as a whole one. `None`: it has a fraction, or is too large.
#[must_use]
pub fn whole(number: f64) -> Option<i64> {
    format!("{number:.0}").parse().ok().filter(|_| number.fract() == 0.0)
}

/// A time with any fraction and offset. `None`: it is none.
#[must_use]
pub fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// The rate of a connection, in requests per second: at least 1.
#[must_use]
pub fn calls_per_second(rate: i64) -> u32 {
    u32::try_from(rate.clamp(1, MAX_RATE)).unwrap_or(1)
}

/// The calls that a connection has in flight: at least 1.
#[must_use]
pub fn calls_in_flight(calls: i64) -> usize {
    usize::try_from(calls.clamp(1, MAX_IN_FLIGHT)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::{calls_in_flight, calls_per_second, integer, natural, port, whole};

    #[test]
    fn only_plain_digits_are_numbers() {
        assert_eq!(natural("18446744073709551615"), Some(u64::MAX));
        for text in ["", "+1", "-1", " 1", "1.0", "1e3", "0x1", "18446744073709551616", "٣", &"0".repeat(21)] {
            assert_eq!(natural(text), None, "{text:?}");
        }
        assert_eq!((integer("-12"), integer("--1"), integer("-")), (Some(-12), None, None));
        assert_eq!((port("65535"), port("65536"), port("080"), port("0")), (Some(65535), None, None, None));
        assert_eq!((whole(3.0), whole(3.5), whole(f64::NAN), whole(1e300)), (Some(3), None, None, None));
    }

    #[test]
    fn limits_of_a_connection_are_at_least_one_and_not_absurd() {
        assert_eq!([-1, 0, 1, i64::MAX].map(calls_per_second), [1, 1, 1, 1000]);
        assert_eq!([-1, 0, 1, i64::MAX].map(calls_in_flight), [1, 1, 1, 100]);
    }
}
