//! The bodies of requests and answers, as they are on the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A property of a process template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Property {
    /// The value; null when empty. The value of `bind_info` is a list of rows, in which each cell is again such a pair.
    #[serde(default)]
    pub value: Value,
    /// Whether instances must have this value; null counts as false.
    #[serde(default)]
    pub as_default_value: Option<bool>,
}

/// Properties by name. A server ignores those that it does not know.
pub type Properties = BTreeMap<String, Property>;

/// A process template as it is listed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ProcessTemplate {
    /// `id`
    pub id: i64,
    /// `bk_process_name`
    pub bk_process_name: String,
    /// `bk_biz_id`
    #[serde(default, deserialize_with = "or_default")]
    pub bk_biz_id: i64,
    /// `service_template_id`
    #[serde(default, deserialize_with = "or_default")]
    pub service_template_id: i64,
    /// `property`
    #[serde(default, deserialize_with = "properties")]
    pub property: Properties,
    /// `creator`
    #[serde(default, deserialize_with = "or_default")]
    pub creator: String,
    /// `modifier`
    #[serde(default, deserialize_with = "or_default")]
    pub modifier: String,
    /// `create_time`
    #[serde(default, deserialize_with = "time")]
    pub create_time: Option<Timestamp>,
    /// `last_time`
    #[serde(default, deserialize_with = "time")]
    pub last_time: Option<Timestamp>,
}

/// A service template as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServiceTemplate {
    /// `id`
    pub id: i64,
    /// `name`
    pub name: String,
    /// `bk_biz_id`
    #[serde(default, deserialize_with = "or_default")]
    pub bk_biz_id: i64,
    /// `service_category_id`
    #[serde(default, deserialize_with = "or_default")]
    pub service_category_id: i64,
}

/// A service category as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServiceCategory {
    /// `id`
    pub id: i64,
    /// `name`
    pub name: String,
    /// `bk_parent_id`: 0 for a root.
    #[serde(default, deserialize_with = "or_default")]
    pub bk_parent_id: i64,
    /// `bk_biz_id`: 0 when every business can use it.
    #[serde(default, deserialize_with = "or_default")]
    pub bk_biz_id: i64,
}

/// A list.
#[derive(Debug, Deserialize)]
pub struct List<T> {
    /// Number of items on all pages.
    #[serde(default)]
    pub count: Option<u64>,
    /// The page. Go encodes an empty one as null. A missing one is an error, not an empty list.
    #[serde(deserialize_with = "or_default", bound(deserialize = "T: Deserialize<'de>"))]
    pub info: Vec<T>,
}

/// IDs, flat or nested once: the older document shows `[[52]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Ids {
    /// `[52]`
    Flat(Vec<i64>),
    /// `[[52]]`
    Nested(Vec<Vec<i64>>),
}

impl From<Ids> for Vec<i64> {
    fn from(ids: Ids) -> Self {
        match ids {
            Ids::Flat(ids) => ids,
            Ids::Nested(ids) => ids.into_iter().flatten().collect(),
        }
    }
}

/// The envelope of every answer, in both of its forms.
#[derive(Debug, Deserialize)]
pub struct Envelope {
    result: Option<bool>,
    code: Option<Value>,
    bk_error_code: Option<Value>,
    message: Option<Value>,
    bk_error_msg: Option<Value>,
    request_id: Option<Value>,
}

impl Envelope {
    /// `code`, or `bk_error_code`.
    pub fn code(&self) -> Option<i64> {
        let code = self.code.as_ref().or(self.bk_error_code.as_ref())?;
        code.as_i64().or_else(|| code.as_str()?.parse().ok())
    }

    /// `message`, or `bk_error_msg`.
    pub fn message(&self) -> Option<&str> {
        self.message.as_ref().or(self.bk_error_msg.as_ref())?.as_str()
    }

    /// `request_id`
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref()?.as_str()
    }

    /// Success is code 0 and a true result; HTTP status alone says nothing.
    pub fn is_success(&self) -> bool {
        self.code() == Some(0) && self.result == Some(true)
    }
}

/// The data of a success.
#[derive(Debug, Deserialize)]
pub struct Success<T> {
    /// `data`
    pub data: T,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

// A property that is null counts as missing. One of another form, as a private build of CMDB may have it, must not fail
// the whole list.
fn properties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Properties, D::Error> {
    let listed: Option<BTreeMap<String, Value>> = Option::deserialize(deserializer)?;
    let pair = |listed: Value| match listed {
        Value::Object(mut pair) => Property {
            value: pair.remove("value").unwrap_or_default(),
            as_default_value: pair.get("as_default_value").and_then(Value::as_bool),
        },
        value => Property { value, as_default_value: None },
    };
    Ok(listed.into_iter().flatten().map(|(name, listed)| (name, pair(listed))).collect())
}

// Times have 0 to 9 fractional digits, and are in UTC or have an offset. One that cannot be parsed counts as missing.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<Value> = Option::deserialize(deserializer)?;
    Ok(text.as_ref().and_then(Value::as_str).and_then(|text| text.parse().ok()))
}
