//! The shape of a body: how many values it has, and how deep they lie in each other. Known before anything is built of it,
//! because a value takes many times its text: `[[],[],[]]`.

/// Deepest nesting. A row of `bind_info` in a list has eleven levels.
const MAX_DEPTH: usize = 32;

/// Most values of a body, whatever its size: a list of about 5000 process templates.
pub const MAX_VALUES: usize = 600_000;

/// Values that a small body may have, and bytes for each further one. A real one has a value for each twenty bytes or
/// more, and a list of IDs one for each three.
const FREE_VALUES: usize = 16_384;
const BYTES_PER_VALUE: usize = 8;

/// Whether a body has no more values, and no deeper ones, than an answer of CMDB. Anything but JSON may have any shape:
/// it is not parsed.
pub fn is_bounded(bytes: &[u8]) -> bool {
    let most = bytes.len().checked_div(BYTES_PER_VALUE).unwrap_or_default().saturating_add(FREE_VALUES).min(MAX_VALUES);
    let (mut values, mut depth) = (0_usize, 0_usize);
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                values = values.saturating_add(1);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values = values.saturating_add(1),
            _ => {}
        }
        if depth > MAX_DEPTH || values > most {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_bounded;

    #[test]
    fn many_values_and_deep_ones_are_found_before_they_are_parsed() {
        let list = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
        assert!(is_bounded(list(r#"{"id":1,"name":"a [ in a \" text","bk_biz_id":2}"#, 100_000).as_bytes()));
        assert!(is_bounded(list("12345", 4_000).as_bytes()));
        assert!(is_bounded(format!("{{\"message\":\"{}\"}}", "[{,".repeat(500_000)).as_bytes()));
        for (item, count) in [("[]", 10_000_000), ("1", 1_000_000), (r#"{"a":{}}"#, 400_000), ("[[[[]]]]", 20_000)] {
            assert!(!is_bounded(list(item, count).as_bytes()), "{item}");
        }
        assert!(!is_bounded("[".repeat(33).as_bytes()));
        assert!(!is_bounded(r#"{"a":"#.repeat(1_000_000).as_bytes()));
    }
}
