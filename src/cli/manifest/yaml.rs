//! YAML values with their positions in the file, so that a finding can name line and column.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{Location, SnippetMode, Spanned};

use crate::outside;

/// A position in a file. Line and column are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// A YAML value with its position.
#[derive(Clone, Debug)]
pub struct YamlValue {
    /// Where the value starts; of an alias, where the alias is used.
    pub position: Position,
    /// What the value is.
    pub content: Content,
}

/// The content of a YAML value.
#[derive(Clone, Debug)]
pub enum Content {
    /// null, a boolean or a number.
    Plain(Value),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<YamlValue>),
    /// A mapping in the order of the file.
    Map(Vec<Entry>),
}

/// An entry of a mapping.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub name: String,
    /// Where the key starts.
    pub position: Position,
    /// The value under the key.
    pub value: YamlValue,
}

/// Why a text is not valid YAML.
#[derive(Debug)]
pub struct ParseError {
    /// Where it stops being valid, if that is known.
    pub position: Option<Position>,
    /// What is wrong there, without the text around it: that may hold a secret.
    pub message: String,
}

/// Parses the YAML documents of a text. Empty documents are left out.
pub fn read(text: &str) -> Result<Vec<YamlValue>, ParseError> {
    let options = serde_saphyr::options! {
        // A cluster's sets may come in one text; depth stays bounded.
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_documents: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_total_comment_bytes: usize::MAX,
        },
        // As kubectl reads it.
        legacy_octal_numbers: true,
    };
    serde_saphyr::from_multiple_with_options(&without_byte_order_marks(text), options).map_err(|error| {
        // Without the lines around it: they may hold a secret.
        let plain = serde_saphyr::render_options! { snippets: SnippetMode::Off };
        let message = error.render_with_options(plain);
        let position = error.location().and_then(known_position);
        let suffix = position.map(|Position { line, column }| format!(" at line {line}, column {column}"));
        let message = suffix.and_then(|suffix| Some(message.strip_suffix(&suffix)?.to_owned())).unwrap_or(message);
        // The library adds what a programmer can set.
        let message = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key:?} is duplicate"),
            serde_saphyr::Error::DuplicateMappingKey { key: None, .. } => "a key is duplicate".to_owned(),
            _ => message,
        };
        ParseError { position, message }
    })
}

// Each document may start with one, as files that were joined do. kubectl reads each document by itself.
fn without_byte_order_marks(text: &str) -> Cow<'_, str> {
    const MARK: char = '\u{feff}';
    if !text.contains(MARK) {
        return Cow::Borrowed(text);
    }
    let mut is_start = true;
    let lines = text.split_inclusive('\n').map(|line| {
        let is_first = std::mem::replace(&mut is_start, line.starts_with("---"));
        if is_first { line.trim_start_matches(MARK) } else { line }
    });
    Cow::Owned(lines.collect())
}

fn known_position(location: Location) -> Option<Position> {
    let position = Position { line: location.line(), column: location.column() };
    (position.line > 0).then_some(position)
}

impl YamlValue {
    /// The value under a key, if it is a mapping that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|entry| entry.name == name).map(|entry| &entry.value)
    }

    /// The string under a key, if it is a mapping that has one.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.get(name)?.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; none of any other value.
    pub fn items(&self) -> &[Self] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self.content, Content::Plain(Value::Null))
    }

    /// The value at a path such as `spec.processes[3].port`; if there is none, the innermost value on the path.
    pub fn nearest(&self, path: &str) -> &Self {
        let mut value = self;
        for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
            let next = match part.strip_suffix(']') {
                Some(index) => outside::index(index).and_then(|index| value.items().get(index)),
                None => value.get(part),
            };
            match next {
                Some(next) => value = next,
                None => break,
            }
        }
        value
    }

    /// The value without positions, as JSON.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Plain(value) => value.clone(),
            Content::Text(text) => text.as_str().into(),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.name.clone(), entry.value.to_json())).collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for YamlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { position: position_of(spanned.referenced), content: spanned.value })
    }
}

fn position_of(location: Location) -> Position {
    known_position(location).unwrap_or(Position { line: 1, column: 1 })
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Plain(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Plain(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Plain(value.into()))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Content, E> {
        Err(E::custom("the number is too large"))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Content, E> {
        Err(E::custom("the number is too large"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Content, E> {
        // On its way to the API server, 1.0 becomes 1.
        let number = outside::whole(value).map(Number::from).or_else(|| Number::from_f64(value));
        Ok(Content::Plain(number.ok_or_else(|| E::custom("the number has no JSON form"))?.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = access.next_key::<Spanned<String>>()? {
            entries.push(Entry {
                position: position_of(name.referenced),
                name: name.value,
                value: access.next_value()?,
            });
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Content, Position, read};

    #[test]
    fn every_value_and_every_key_has_its_position() {
        let text = "# one\na: 1\nb:\n- {c: x, d: [true, null]}\n---\n---\n{\"e\":\n\t\"ü\", \"f\": 2}\n";
        let documents = read(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].to_json(), json!({ "a": 1, "b": [{ "c": "x", "d": [true, null] }] }));
        assert_eq!(documents[0].nearest("b[0].c").position, Position { line: 4, column: 7 });
        assert_eq!(documents[0].nearest("b[0].d[1]").position, Position { line: 4, column: 20 });
        assert_eq!(documents[0].nearest("b[0].x.y").position, Position { line: 4, column: 3 });
        assert_eq!(documents[1].nearest("f").position, Position { line: 8, column: 12 });
        let Content::Map(entries) = &documents[1].content else { panic!() };
        assert_eq!(entries[1].position, Position { line: 8, column: 7 });
    }

    #[test]
    fn an_alias_counts_where_it_is_used() {
        let documents = read("a: &a 1\nb: *a\nc: &c {d: 2}\ne: {<<: *c, f: 3}\n").unwrap();
        assert_eq!(documents[0].nearest("b").position, Position { line: 2, column: 4 });
        assert_eq!(documents[0].nearest("e").to_json(), json!({ "d": 2, "f": 3 }));
    }

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let documents = read("[0755, 1.0, 1.5, \"1\", yes, ~, 6390, 2024-01-01, 1_000]").unwrap();
        assert_eq!(documents[0].to_json(), json!([493, 1, 1.5, "1", true, null, 6390, "2024-01-01", 1000]));
    }

    #[test]
    fn what_cannot_be_read_is_pointed_at_without_its_text() {
        let error = read("a: 1\nbk_app_secret: \"top\na: [\n").unwrap_err();
        assert!(error.position.is_some() && !error.message.contains("top"), "{error:?}");
        let error = read("a: 1\na: 2\n").unwrap_err();
        assert_eq!(error.position, Some(Position { line: 2, column: 1 }));
        assert!(!error.message.contains('\n') && !error.message.contains("line 2"), "{error:?}");
    }
}
