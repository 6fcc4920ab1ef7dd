//! Masks secrets in texts of the other side, which may repeat what was sent, as it is or as a layer in between encodes
//! it. Pure, and linear in the text: [`Message`] bounds that to a few kilobytes, whatever was sent.
//!
//! Text and secret are decoded in the same ways, and the decoded secret is searched in the decoded text.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memmem;

use super::text::Cut;

/// A text that secrets are masked in.
pub type Message = Cut<4096>;

const MASK: &str = "***";

// Shorter texts are no secrets and would only garble the message. In base64, a match by chance is less likely from 8
// letters on.
const MIN_LENGTH: usize = 4;
const MIN_ENCODED_LENGTH: usize = 8;

// Bytes of a secret that are looked at. A longer one does not fit into a message: what starts like it is masked to the
// end.
const MAX_SECRET: usize = 8192;

// Longest encoding of a letter.
const MAX_ENCODED_LETTER: usize = 12;

// How often a text is decoded that was encoded several times.
const ROUNDS: usize = 6;

// The entities of characters that HTML has to escape.
const ENTITIES: &[(&[u8], u8)] = &[
    (b"lt;", b'<'),
    (b"#60;", b'<'),
    (b"#x3c;", b'<'),
    (b"gt;", b'>'),
    (b"#62;", b'>'),
    (b"#x3e;", b'>'),
    (b"quot;", b'"'),
    (b"#34;", b'"'),
    (b"#x22;", b'"'),
    (b"apos;", b'\''),
    (b"#39;", b'\''),
    (b"#x27;", b'\''),
    (b"#38;", b'&'),
    (b"#x26;", b'&'),
];

/// The text without these secrets: neither plain, nor as JSON, URLs, HTML, base64 or hexadecimal digits encode them, nor in several of
/// these encodings at once. If the text was cut, it does not end with the start of one either.
pub fn redacted(message: &Message, secrets: &[&str]) -> String {
    let text = if message.is_cut { without_cut_letter(&message.text) } else { message.text.as_str() };

    let mut found: Vec<Range<usize>> = Vec::new();
    for decoding in [Decoding::None, Decoding::Backslashes, Decoding::All] {
        let decoded = Decoded::of(text, decoding);
        for secret in secrets.iter().filter(|secret| secret.len() >= MIN_LENGTH) {
            let start = secret.get(..secret.floor_char_boundary(MAX_SECRET)).unwrap_or_default();
            let is_whole = start.len() == secret.len();
            let to_end = |range: Range<usize>| if is_whole { range } else { range.start..text.len() };
            let plain = Decoded::of(start, decoding).bytes();
            found.extend(decoded.find(&plain, message.is_cut).into_iter().map(to_end));
            for encoded in encoded(start).iter().filter(|encoded| encoded.len() >= MIN_ENCODED_LENGTH) {
                let encoded = Decoded::of(encoded, decoding).bytes();
                let words = decoded.find(&encoded, message.is_cut).into_iter().map(|range| whole_word(text, range));
                found.extend(words.map(to_end));
            }
        }
    }
    masked(text, found)
}

// Replaces these parts.
fn masked(text: &str, mut parts: Vec<Range<usize>>) -> String {
    parts.sort_unstable_by_key(|part| (part.start, part.end));
    let (mut kept, mut until) = (String::new(), 0);
    for part in parts {
        if part.start >= until {
            kept.push_str(text.get(until..text.floor_char_boundary(part.start)).unwrap_or_default());
            kept.push_str(MASK);
        }
        until = until.max(text.ceil_char_boundary(part.end));
    }
    kept.push_str(text.get(until..).unwrap_or_default());
    kept
}

// Without a letter at the end whose encoding may have been cut.
fn without_cut_letter(text: &str) -> &str {
    let tail = text.ceil_char_boundary(text.len().saturating_sub(MAX_ENCODED_LETTER));
    let encoded = text.get(tail..).unwrap_or_default().find(['\\', '%', '&']);
    let end = encoded.map_or(text.len(), |at| tail.saturating_add(at));
    text.get(..end).unwrap_or_default().trim_end_matches('\\')
}

// How a text is decoded. In a text that is not encoded, a letter before a secret may look like the start of an encoding:
// `100%abc`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decoding {
    None,
    // Each escaping doubles backslashes: any number of them counts as none.
    Backslashes,
    All,
}

// A decoded byte, and the bytes of the text that it comes from.
#[derive(Clone, Copy)]
struct Unit {
    byte: u8,
    start: usize,
    end: usize,
}

struct Decoded(Vec<Unit>);

impl Decoded {
    fn of(text: &str, decoding: Decoding) -> Self {
        let unit = |(start, byte)| Unit { byte, start, end: start.saturating_add(1) };
        let mut units: Vec<Unit> = text.bytes().enumerate().map(unit).collect();
        for _ in 0..ROUNDS {
            let before = units.len();
            match decoding {
                Decoding::None => {}
                Decoding::Backslashes => units.retain(|unit| unit.byte != b'\\'),
                Decoding::All => units = decoded(&units),
            }
            if units.len() == before {
                break;
            }
        }
        Self(units)
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().map(|unit| unit.byte).collect()
    }

    // Where it is in the text; and if the text was cut, where it may start at the end.
    fn find(&self, secret: &[u8], is_cut: bool) -> Vec<Range<usize>> {
        let bytes = self.bytes();
        let range = |start: usize, length: usize| {
            let first = self.0.get(start)?;
            let last = self.0.get(start.checked_add(length)?.checked_sub(1)?)?;
            Some(first.start..last.end)
        };
        if secret.is_empty() {
            return Vec::new();
        }
        let whole = memmem::find_iter(&bytes, secret).filter_map(|start| range(start, secret.len()));
        let mut found: Vec<Range<usize>> = whole.collect();
        if is_cut {
            let ends = |length: &usize| secret.get(..*length).is_some_and(|start| bytes.ends_with(start));
            let longest = (1..=secret.len().min(bytes.len())).rev().find(ends);
            let start = longest.and_then(|length| bytes.len().checked_sub(length));
            found.extend(start.and_then(|start| Some(self.0.get(start)?.start..self.0.last()?.end)));
        }
        found
    }
}

// One round of decoding.
fn decoded(units: &[Unit]) -> Vec<Unit> {
    let mut found = Vec::with_capacity(units.len());
    let mut rest = units;
    while let [first, after @ ..] = rest {
        let mut letter = [0; 4];
        let (bytes, then) = match first.byte {
            b'\\' => after_backslashes(after, &mut letter),
            b'%' => after_percent(after, &mut letter),
            b'&' => after_ampersand(after, &mut letter),
            // A form writes a blank as a plus.
            b'+' => (one(b' ', &mut letter), after),
            byte => (one(byte, &mut letter), after),
        };
        let end = units.len().saturating_sub(then.len()).checked_sub(1).and_then(|last| units.get(last));
        let end = end.map_or(first.end, |last| last.end);
        found.extend(bytes.iter().map(|byte| Unit { byte: *byte, start: first.start, end }));
        rest = then;
    }
    found
}

fn one(byte: u8, letter: &mut [u8; 4]) -> &[u8] {
    letter[0] = byte;
    &letter[..1]
}

// Backslashes are left out, and what JSON writes after one is decoded: `n`, `u002f`.
fn after_backslashes<'l, 'u>(mut rest: &'u [Unit], letter: &'l mut [u8; 4]) -> (&'l [u8], &'u [Unit]) {
    while let [Unit { byte: b'\\', .. }, after @ ..] = rest {
        rest = after;
    }
    let short = |byte, letter: &'l mut [u8; 4], after| (one(byte, letter), after);
    match rest {
        [Unit { byte: b'n', .. }, after @ ..] => short(b'\n', letter, after),
        [Unit { byte: b'r', .. }, after @ ..] => short(b'\r', letter, after),
        [Unit { byte: b't', .. }, after @ ..] => short(b'\t', letter, after),
        [Unit { byte: b'u', .. }, after @ ..] => match escaped(after) {
            Some((decoded, after)) => (decoded.encode_utf8(letter).as_bytes(), after),
            None => (&[], rest),
        },
        rest => (&[], rest),
    }
}

// The digits after `\u`; of a letter beyond 16 bits, which JSON writes as two, both.
fn escaped(rest: &[Unit]) -> Option<(char, &[Unit])> {
    let (first, rest) = hex(rest, 4)?;
    if let Some(letter) = char::from_u32(first) {
        return Some((letter, rest));
    }
    let mut second = rest;
    while let [Unit { byte: b'\\', .. }, after @ ..] = second {
        second = after;
    }
    let [Unit { byte: b'u', .. }, digits @ ..] = second else { return None };
    let (low, rest) = hex(digits, 4)?;
    let units = [u16::try_from(first).ok()?, u16::try_from(low).ok()?];
    Some((char::decode_utf16(units).next()?.ok()?, rest))
}

// `%2F`; `%252F` when that was encoded again.
fn after_percent<'l, 'u>(mut rest: &'u [Unit], letter: &'l mut [u8; 4]) -> (&'l [u8], &'u [Unit]) {
    while let [Unit { byte: b'2', .. }, Unit { byte: b'5', .. }, after @ ..] = rest {
        rest = after;
    }
    match hex(rest, 2).and_then(|(code, after)| Some((u8::try_from(code).ok()?, after))) {
        Some((byte, after)) => (one(byte, letter), after),
        None => (one(b'%', letter), rest),
    }
}

// `&lt;`; `&amp;lt;` when that was encoded again.
fn after_ampersand<'l, 'u>(mut rest: &'u [Unit], letter: &'l mut [u8; 4]) -> (&'l [u8], &'u [Unit]) {
    while let Some(after) = after_name(rest, b"amp;") {
        rest = after;
    }
    let entity = ENTITIES.iter().find_map(|(name, byte)| Some((*byte, after_name(rest, name)?)));
    let (byte, rest) = entity.unwrap_or((b'&', rest));
    (one(byte, letter), rest)
}

fn after_name<'u>(rest: &'u [Unit], name: &[u8]) -> Option<&'u [Unit]> {
    let (start, after) = rest.split_at_checked(name.len())?;
    start.iter().zip(name).all(|(unit, byte)| unit.byte.eq_ignore_ascii_case(byte)).then_some(after)
}

fn hex(rest: &[Unit], digits: usize) -> Option<(u32, &[Unit])> {
    let (digits, after) = rest.split_at_checked(digits)?;
    let value = digits
        .iter()
        .try_fold(0_u32, |value, unit| value.checked_mul(16)?.checked_add(char::from(unit.byte).to_digit(16)?));
    Some((value?, after))
}

// The forms of a secret in words of letters and digits. Hexadecimal digits in both cases. Base64: three, by its offset in the encoded text, in two alphabets. Letters that also encode a
// neighbouring byte are left out.
fn encoded(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for (before, skipped) in [(&[][..], 0), (&[0], 2), (&[0, 0], 3)] {
        let text = STANDARD_NO_PAD.encode([before, secret.as_bytes()].concat());
        let own = text.get(skipped..text.len().saturating_sub(1)).unwrap_or_default();
        forms.push(own.replace('+', "-").replace('/', "_"));
        forms.push(own.to_owned());
    }
    for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
        let digit = |half: u8| digits.get(usize::from(half)).copied().map(char::from);
        forms.push(secret.bytes().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(digit).collect());
    }
    forms
}

fn whole_word(text: &str, found: Range<usize>) -> Range<usize> {
    let is_of_it = |letter: char| letter.is_ascii_alphanumeric() || "+/=-_".contains(letter);
    let before = text.get(..found.start).unwrap_or_default();
    let after = text.get(found.end..).unwrap_or_default();
    let end = text.len().saturating_sub(after.trim_start_matches(is_of_it).len());
    before.trim_end_matches(is_of_it).len()..end
}

#[cfg(test)]
mod tests {
    use super::{MASK, Message};

    fn redacted(text: &str, secrets: &[&str]) -> String {
        super::redacted(&text.into(), secrets)
    }

    #[test]
    fn a_secret_is_masked_in_every_writing_and_the_rest_stays() {
        let secret = "a\\\\b\"c/d e%25+f&g'ü";
        for written in [
            secret,
            "a\\\\\\\\b\\\"c\\/d e%25+f&g'\\u00fc",
            "a\\\\\\\\\\\\\\\\b\\\\\\\"c/d e%25+f&g'ü",
            "a%5C%5Cb%22c%2Fd%20e%2525%2Bf%26g%27%C3%BC",
            "a%5c%5cb%22c%2fd+e%2525%2bf%26g'%c3%bc",
            "a%255C%255Cb%2522c%252Fd%2520e%252525%252Bf%2526g%2527%25C3%25BC",
            "a\\\\b&quot;c/d e%25+f&amp;g&#x27;ü",
        ] {
            assert_eq!(redacted(&format!("app <{written}> failed"), &[secret]), "app <***> failed", "{written}");
        }
    }

    #[test]
    fn a_secret_is_masked_in_base64_with_all_that_is_encoded_around_it() {
        // "app:" or more before it, and in the other alphabet.
        let secret = "s3cr?t>key~";
        for encoded in ["czNjcj90PmtleX4=", "YXBwOnMzY3I/dD5rZXl+", "YXBwOnMzY3I_dD5rZXl-", "YXBwczpzM2NyP3Q+a2V5fjp4"]
        {
            assert_eq!(redacted(&format!("Basic {encoded}, twice: {encoded}."), &[secret]), "Basic ***, twice: ***.");
        }
    }

    #[test]
    fn a_secret_is_masked_in_hexadecimal_digits_of_both_cases() {
        for encoded in ["73336372c3bc743e6b6579", "73336372C3BC743E6B6579", "00ff73336372c3bc743e6b6579ff00"] {
            assert_eq!(redacted(&format!("key {encoded}: no"), &["s3crüt>key"]), "key ***: no");
        }
        assert_eq!(redacted("key %37%33336372: no", &["s3cr"]), "key ***: no");
        let text = Message::from(format!("{}73336372c3bc743e6b6579", " ".repeat(4096 - 9)).as_str());
        assert_eq!(super::redacted(&text, &["s3crüt>key"]).trim(), MASK);
    }

    #[test]
    fn other_words_stay_and_so_does_what_is_too_short_to_be_a_secret() {
        for text in ["nothing of it: 100 %", "\\", "%", "%2", "\\u00", "a-secre", "ü%"] {
            assert_eq!(redacted(text, &["a-secret", "", "not"]), text);
        }
    }

    #[test]
    fn what_stands_before_a_secret_does_not_hide_it() {
        for (text, secret) in
            [("100%abcdef", "abcdef"), ("C:\\nabcd", "nabcd"), ("\\\\u00e9abc", "u00e9abc"), ("&lt;xy", "lt;xy")]
        {
            assert!(redacted(text, &[secret]).ends_with(MASK), "{text}");
        }
        assert_eq!(redacted("\\ud83d\\ude00-key", &["😀-key"]), MASK);
    }

    #[test]
    fn a_text_is_cut_before_it_is_masked_and_no_half_of_a_secret_is_left() {
        let secret = "s3cr?t>key~%ü";
        let forms = [
            "s3cr?t>key~%ü",
            "s3cr?t%3Ekey~%25%C3%BC",
            "s3cr?t\\u003ekey~%\\u00fc",
            "s3cr?t&gt;key~%ü",
            "czNjcj90PmtleX4lw7w=",
        ];
        for form in forms {
            for shift in 0..form.len() {
                let text = format!("{}{form}{}", &"x ".repeat(2048)[shift + 1..], " y".repeat(9));
                let message = Message::from(text.as_str());
                assert!(message.is_cut && message.text.len() <= 4096);
                let shown = super::redacted(&message, &[secret]);
                let tail = shown.trim_start_matches(['x', ' ']);
                assert!(["", MASK].contains(&tail), "{form} {shift}: {tail}");
            }
        }
    }

    #[test]
    fn what_is_masked_is_a_few_kilobytes_whatever_was_sent_and_the_secret_may_be_large() {
        let text = "ab".repeat(1 << 20);
        let message = Message::from(text.as_str());
        assert!(message.text.len() <= 4096);
        let secret = "ab".repeat(1 << 19);
        assert_eq!(super::redacted(&message, &[&secret, &secret[1..]]), MASK);
        assert_eq!(redacted(&"a".repeat(4096), &[&"a".repeat(4097)]), "a".repeat(4096));
    }
}
