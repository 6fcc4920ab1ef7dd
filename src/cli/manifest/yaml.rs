//! YAML with the place of every value, so that whatever is found can be pointed at.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{Location, SnippetMode, Spanned};

/// A place in a file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins; an alias counts where it is used.
    pub place: Place,
    /// The value.
    pub content: Content,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Content {
    /// null, a truth value or a number.
    Plain(Value),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file.
    Map(Vec<Entry>),
}

/// An entry of a mapping.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub place: Place,
    /// Its value.
    pub value: Node,
}

/// Why a text cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// Where, if that is known.
    pub place: Option<Place>,
    /// Why.
    pub message: String,
}

/// The documents of a text; those without content are left out.
pub fn read(text: &str) -> Result<Vec<Node>, Unreadable> {
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
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        // Without the lines around it: they may hold a secret.
        let plain = serde_saphyr::render_options! { snippets: SnippetMode::Off };
        let message = error.render_with_options(plain);
        let place = error.location().and_then(known);
        let suffix = place.map(|Place { line, column }| format!(" at line {line}, column {column}"));
        let message = suffix.and_then(|suffix| Some(message.strip_suffix(&suffix)?.to_owned())).unwrap_or(message);
        Unreadable { place, message }
    })
}

fn known(location: Location) -> Option<Place> {
    let place = Place { line: location.line(), column: location.column() };
    (place.line > 0).then_some(place)
}

impl Node {
    /// The value under a name of a mapping.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|entry| entry.name == name).map(|entry| &entry.value)
    }

    /// The text under a name of a mapping.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.get(name)?.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if it is a list.
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

    /// What stands under a path such as `spec.processes[3].port`, or the nearest that holds it.
    pub fn nearest(&self, path: &str) -> &Self {
        let mut node = self;
        for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
            let next = match part.strip_suffix(']') {
                Some(index) => index.parse().ok().and_then(|index: usize| node.items().get(index)),
                None => node.get(part),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// The value without its places.
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

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { place: at(spanned.referenced), content: spanned.value })
    }
}

fn at(location: Location) -> Place {
    known(location).unwrap_or(Place { line: 1, column: 1 })
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
        let whole = Some(format!("{value:.0}")).filter(|_| value.fract() == 0.0).and_then(|text| text.parse().ok());
        let number = whole.map(|whole: i64| whole.into()).or_else(|| Number::from_f64(value));
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
            entries.push(Entry { place: at(name.referenced), name: name.value, value: access.next_value()? });
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Content, Place, read};

    #[test]
    fn every_value_and_every_name_knows_its_place() {
        let text = "# one\na: 1\nb:\n- {c: x, d: [true, null]}\n---\n---\n{\"e\":\n\t\"ü\", \"f\": 2}\n";
        let documents = read(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].to_json(), json!({ "a": 1, "b": [{ "c": "x", "d": [true, null] }] }));
        assert_eq!(documents[0].nearest("b[0].c").place, Place { line: 4, column: 7 });
        assert_eq!(documents[0].nearest("b[0].d[1]").place, Place { line: 4, column: 20 });
        assert_eq!(documents[0].nearest("b[0].x.y").place, Place { line: 4, column: 3 });
        assert_eq!(documents[1].nearest("f").place, Place { line: 8, column: 12 });
        let Content::Map(entries) = &documents[1].content else { panic!() };
        assert_eq!(entries[1].place, Place { line: 8, column: 7 });
    }

    #[test]
    fn an_alias_counts_where_it_is_used() {
        let documents = read("a: &a 1\nb: *a\nc: &c {d: 2}\ne: {<<: *c, f: 3}\n").unwrap();
        assert_eq!(documents[0].nearest("b").place, Place { line: 2, column: 4 });
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
        assert!(error.place.is_some() && !error.message.contains("top"), "{error:?}");
        let error = read("a: 1\na: 2\n").unwrap_err();
        assert_eq!(error.place, Some(Place { line: 2, column: 1 }));
        assert!(!error.message.contains('\n') && !error.message.contains("line 2"), "{error:?}");
    }
}
