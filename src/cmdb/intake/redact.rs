//! Redacts secrets in texts of the other side, which may repeat what was sent, as it is or as a layer in between
//! encodes it. Pure.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

const MASK: &str = "***";

// Shorter texts are no secrets and would only garble the message. In base64, a match by chance is less likely from 8
// letters on.
const MIN_LENGTH: usize = 4;
const MIN_ENCODED_LENGTH: usize = 8;

// The entities of characters that HTML has to escape.
const ENTITIES: &[(char, &[&str])] = &[
    ('&', &["&#38;", "&#x26;"]),
    ('<', &["&lt;", "&#60;", "&#x3c;"]),
    ('>', &["&gt;", "&#62;", "&#x3e;"]),
    ('"', &["&quot;", "&#34;", "&#x22;"]),
    ('\'', &["&apos;", "&#39;", "&#x27;"]),
];

/// The text without these secrets: neither plain, nor as JSON, URLs, HTML or base64 encode them, nor in several of
/// these encodings at once.
pub fn redacted(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= MIN_LENGTH) {
        text = without(&text, secret, |_, found| found);
        for encoded in encoded(secret).iter().filter(|encoded| encoded.len() >= MIN_ENCODED_LENGTH) {
            // The whole word is removed, because the letters next to the match encode a part of the secret.
            text = without(&text, encoded, whole_word);
        }
    }
    text
}

fn without(text: &str, secret: &str, widened: impl Fn(&str, Range<usize>) -> Range<usize>) -> String {
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(found) = find(rest, secret) {
        let found = widened(rest, found);
        kept.push_str(&rest[..found.start]);
        kept.push_str(MASK);
        rest = &rest[found.end..];
    }
    kept + rest
}

fn find(text: &str, secret: &str) -> Option<Range<usize>> {
    text.char_indices().find_map(|(start, _)| {
        let rest = after(&text[start..], secret)?;
        Some(start..text.len() - rest.len())
    })
}

// The rest of the text after the secret, if the text starts with the secret.
fn after<'t>(mut text: &'t str, mut secret: &str) -> Option<&'t str> {
    while let Some(letter) = secret.chars().next() {
        secret = &secret[letter.len_utf8()..];
        text = match letter {
            // Each escaping doubles backslashes: any number of them counts as one, in the secret and in the text.
            '\\' => {
                secret = secret.trim_start_matches('\\');
                Some(without_backslashes(text)).filter(|rest| rest.len() < text.len())?
            }
            '%' => {
                secret = secret.trim_start_matches("25");
                without_backslashes(text).strip_prefix('%')?.trim_start_matches("25")
            }
            '&' => {
                secret = secret.trim_start_matches("amp;");
                after_letter(text, '&')?.trim_start_matches("amp;")
            }
            letter => after_letter(text, letter)?,
        };
    }
    Some(text)
}

fn after_letter(text: &str, letter: char) -> Option<&str> {
    let bare = without_backslashes(text);
    let escaped = || Some(bare).filter(|bare| bare.len() < text.len());
    let as_space = || bare.strip_prefix('+').filter(|_| letter == ' ');
    after_entity(bare, letter)
        .or_else(|| bare.strip_prefix(letter))
        .or_else(|| after_percent(bare, letter))
        .or_else(as_space)
        .or_else(|| after_escape(escaped()?, letter))
}

// Skips `\` and `%5C`, also when the latter was encoded again.
fn without_backslashes(mut text: &str) -> &str {
    while let Some(rest) = text.strip_prefix('\\').or_else(|| after_percent(text, '\\')) {
        text = rest;
    }
    text
}

// `%2F`, and so on in each byte; `%252F` when that was encoded again.
fn after_percent(mut text: &str, letter: char) -> Option<&str> {
    for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
        let digits = text.strip_prefix('%')?.trim_start_matches("25");
        let code = digits.get(..2)?;
        text = Some(&digits[2..]).filter(|_| code.eq_ignore_ascii_case(&format!("{byte:02x}")))?;
    }
    Some(text)
}

fn after_entity(text: &str, letter: char) -> Option<&str> {
    let (_, names) = ENTITIES.iter().find(|(known, _)| *known == letter)?;
    names.iter().find_map(|name| {
        let start = text.get(..name.len())?;
        Some(&text[name.len()..]).filter(|_| start.eq_ignore_ascii_case(name))
    })
}

// What JSON writes after a backslash: `n`, `u002f`.
fn after_escape(text: &str, letter: char) -> Option<&str> {
    if let Some(digits) = text.strip_prefix('u').and_then(|rest| rest.get(..4)) {
        return Some(&text[5..]).filter(|_| digits.eq_ignore_ascii_case(&format!("{:04x}", u32::from(letter))));
    }
    let short = match letter {
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        _ => return None,
    };
    text.strip_prefix(short)
}

// The base64 forms of a secret: three, by its offset in the encoded text, in two alphabets. Letters that also encode a
// neighbouring byte are left out.
fn encoded(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let text = STANDARD_NO_PAD.encode([&[0; 2][..before], secret.as_bytes()].concat());
        let own = &text[(before * 8).div_ceil(6)..text.len() - 1];
        forms.push(own.replace('+', "-").replace('/', "_"));
        forms.push(own.to_owned());
    }
    forms
}

fn whole_word(text: &str, found: Range<usize>) -> Range<usize> {
    let is_of_it = |letter: char| letter.is_ascii_alphanumeric() || "+/=-_".contains(letter);
    let start = text[..found.start].trim_end_matches(is_of_it).len();
    start..text.len() - text[found.end..].trim_start_matches(is_of_it).len()
}

#[cfg(test)]
mod tests {
    use super::redacted;

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
    fn other_words_stay_and_so_does_what_is_too_short_to_be_a_secret() {
        for text in ["nothing of it: 100 %", "\\", "%", "%2", "\\u00", "a-secre", "ü%"] {
            assert_eq!(redacted(text, &["a-secret", "", "not"]), text);
        }
    }
}
