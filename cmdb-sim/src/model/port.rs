//! The grammar of a port property.

/// A comma list of ports and ranges, in which no two pieces overlap.
pub(crate) fn is_valid(text: &str) -> bool {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    text.split(',').all(|piece| {
        let Some((start, end)) = range(piece) else { return false };
        let fits = start <= end && ranges.iter().all(|&(low, high)| end < low || start > high);
        ranges.push((start, end));
        fits
    })
}

fn range(piece: &str) -> Option<(u16, u16)> {
    match piece.split_once('-') {
        Some((start, end)) => Some((port(start)?, port(end)?)),
        None => port(piece).map(|port| (port, port)),
    }
}

fn port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn ports_and_ranges_are_checked_as_the_server_does() {
        for good in ["1", "65535", "8000,8001", "8000-8010", "8000-8000", "1,3-5,9", "8000,8001-8003,9"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "", "0", "080", "65536", "a", " 80", "80,", ",80", "80,,81", "5-3", "1-", "-1", "1-2-3", "80,80", "1-5,3",
            "+80", "８０",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
