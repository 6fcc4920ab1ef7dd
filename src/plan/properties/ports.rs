//! Port texts: `8000`, `8000-8010`, `80,8000-8010`.

use crate::outside;

/// The ports of one text as inclusive ranges, in order.
///
/// # Errors
/// What is wrong with the text, for people.
pub fn ranges(text: &str) -> Result<Vec<(u16, u16)>, &'static str> {
    let mut ranges = Vec::new();
    for piece in text.split(',') {
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        let range = (port(first)?, port(last)?);
        if range.0 > range.1 {
            return Err("a range must not end before it begins");
        }
        if ranges.iter().any(|&(first, last)| range.0 <= last && first <= range.1) {
            return Err("ports must not overlap");
        }
        ranges.push(range);
    }
    Ok(ranges)
}

fn port(text: &str) -> Result<u16, &'static str> {
    outside::port(text).ok_or("a port is a number from 1 to 65535 without leading zeros")
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn ports_ranges_and_lists_are_read() {
        assert_eq!(ranges("80,8000-8010"), Ok(vec![(80, 80), (8000, 8010)]));
    }

    #[test]
    fn what_cmdb_refuses_is_refused() {
        for text in ["", "0", "080", "65536", "9000-8000", "80,80", "1-10,5", "80 ", "+80", "80-", "80-90-100"] {
            assert!(ranges(text).is_err(), "{text:?}");
        }
    }
}
