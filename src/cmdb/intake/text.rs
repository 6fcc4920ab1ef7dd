//! Texts of the other side, cut to what is worth looking at. Anything else where a text should be is ignored, and nothing is
//! built of it.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::too_large::{MAX_NAME, TooLarge};

/// A text of at most `MAX` bytes: the start of what the other side sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut<const MAX: usize> {
    /// The text.
    pub text: String,
    /// Whether there was more of it.
    pub is_cut: bool,
}

impl<const MAX: usize> From<&str> for Cut<MAX> {
    fn from(text: &str) -> Self {
        let start = text.get(..text.floor_char_boundary(MAX)).unwrap_or_default();
        Self { text: start.to_owned(), is_cut: start.len() < text.len() }
    }
}

/// A text, or `None` for anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaybeText<const MAX: usize>(pub Option<Cut<MAX>>);

impl<'de, const MAX: usize> Deserialize<'de> for MaybeText<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for TextVisitor<MAX> {
    type Value = MaybeText<MAX>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(MaybeText(Some(text.into())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(MaybeText(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(MaybeText(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(MaybeText(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(MaybeText(None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(MaybeText(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(MaybeText(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(MaybeText(None))
    }
}

/// A name. One that is longer than any of CMDB is an error.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let MaybeText(text) = MaybeText::<MAX_NAME>::deserialize(deserializer)?;
    whole(text.ok_or_else(|| D::Error::custom("a name is a text"))?)
}

/// The same, where it may be missing or null.
pub fn optional_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let MaybeText(text) = MaybeText::<MAX_NAME>::deserialize(deserializer)?;
    whole(text.unwrap_or_default())
}

fn whole<E: Error>(name: Cut<MAX_NAME>) -> Result<String, E> {
    if name.is_cut { Err(E::custom(TooLarge::Name)) } else { Ok(name.text) }
}

#[cfg(test)]
mod tests {
    use super::MaybeText;

    fn read(text: &str) -> MaybeText<8> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_text_is_cut_between_letters_and_anything_else_is_none() {
        let text = |text: &str| read(text).0.map(|cut| (cut.text, cut.is_cut));
        assert_eq!(text(r#""short""#), Some(("short".to_owned(), false)));
        assert_eq!(text(r#""名名名名""#), Some(("名名".to_owned(), true)));
        for other in ["null", "true", "-1", "1", "1.5", "[[[]],{}]", r#"{"a":[{"b":"c"}]}"#] {
            assert_eq!(text(other), None, "{other}");
        }
    }
}
