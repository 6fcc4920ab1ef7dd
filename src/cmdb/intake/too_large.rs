//! What of an answer is larger than anything that CMDB keeps. The call then fails, and says what was too large without quoting it.

use std::fmt::{self, Write as _};

use strum::VariantArray;

/// Most bytes of a name. CMDB has none of more than 256.
pub const MAX_NAME: usize = 1024;

/// Most bytes of a text of a property. Instances take 2000, and templates are not limited.
pub const MAX_TEXT: usize = 64 << 10;

/// Most bytes of the value of a property, [`VALUE_BYTES`] for each value in it: some 200 rows of `bind_info`.
pub const MAX_PROPERTY: usize = 256 << 10;

/// What each value counts beside its text.
pub const VALUE_BYTES: usize = 32;

/// Most bytes that a list may take in the form in which it is kept: 5000 process templates with long commands.
pub const MAX_LIST: usize = 12 << 20;

/// What was too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum TooLarge {
    /// A name.
    Name,
    /// A text of a property.
    Text,
    /// The value of a property.
    Property,
    /// A list.
    List,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(formatter, "a name of more than {MAX_NAME} bytes"),
            Self::Text => write!(formatter, "a text of more than {MAX_TEXT} bytes in a property"),
            Self::Property => write!(formatter, "a property of more than {MAX_PROPERTY} bytes"),
            Self::List => write!(formatter, "a list that takes more than {MAX_LIST} bytes of memory"),
        }
    }
}

impl TooLarge {
    /// What this error of the parser says was too large. `None`: it says something else.
    pub fn of(error: &serde_json::Error) -> Option<Self> {
        let mut start = Start(String::new());
        // It ends with an error when it has enough.
        let _ = write!(start, "{error}");
        Self::VARIANTS.iter().copied().find(|what| start.0.starts_with(&what.to_string()))
    }
}

// The start of a text, which may quote a large value.
struct Start(String);

impl fmt::Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const ENOUGH: usize = 128;
        let left = ENOUGH.saturating_sub(self.0.len());
        self.0.push_str(text.get(..text.floor_char_boundary(left)).unwrap_or_default());
        if self.0.len() < ENOUGH { Ok(()) } else { Err(fmt::Error) }
    }
}
