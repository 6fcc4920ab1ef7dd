//! The bodies of requests and answers, as they are on the wire.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::intake::footprint::Footprint;
use super::intake::list_budget::{Demand, ListShare};
use super::intake::redact::Message;
use super::intake::text::{self, MaybeText};
use super::intake::too_large::{MAX_LIST, TooLarge};
use super::intake::value::{Bounded, Room};
use crate::outside::{self, Code};

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
    #[serde(deserialize_with = "outside::id")]
    pub id: i64,
    /// `bk_process_name`
    #[serde(deserialize_with = "text::name")]
    pub bk_process_name: String,
    /// `bk_biz_id`
    #[serde(default, deserialize_with = "outside::optional_id")]
    pub bk_biz_id: i64,
    /// `service_template_id`
    #[serde(default, deserialize_with = "outside::optional_id")]
    pub service_template_id: i64,
    /// `property`
    #[serde(default, deserialize_with = "properties")]
    pub property: Properties,
    /// `creator`
    #[serde(default, deserialize_with = "text::optional_name")]
    pub creator: String,
    /// `modifier`
    #[serde(default, deserialize_with = "text::optional_name")]
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
    #[serde(deserialize_with = "outside::id")]
    pub id: i64,
    /// `name`
    #[serde(deserialize_with = "text::name")]
    pub name: String,
    /// `bk_biz_id`
    #[serde(default, deserialize_with = "outside::optional_id")]
    pub bk_biz_id: i64,
    /// `service_category_id`
    #[serde(default, deserialize_with = "outside::optional_id")]
    pub service_category_id: i64,
}

/// A service category as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServiceCategory {
    /// `id`
    #[serde(deserialize_with = "outside::id")]
    pub id: i64,
    /// `name`
    #[serde(deserialize_with = "text::name")]
    pub name: String,
    /// `bk_parent_id`: 0 for a root.
    #[serde(default, deserialize_with = "outside::optional_id")]
    pub bk_parent_id: i64,
    /// `bk_biz_id`: 0 when every business can use it.
    #[serde(default, deserialize_with = "outside::optional_id")]
    pub bk_biz_id: i64,
}

/// The data of a success, as it is parsed.
pub trait Data: DeserializeOwned + Send + 'static {
    /// What it takes of the memory for lists.
    fn demand(&self) -> Demand {
        Demand { bytes: 0, is_page: false }
    }

    /// Takes its share of that memory along.
    fn hold(&mut self, _share: ListShare) {}
}

impl Data for Ids {}
impl Data for ProcessTemplate {}
impl Data for ServiceTemplate {}
impl Data for IgnoredAny {}

impl<T: DeserializeOwned + Footprint + Send + 'static> Data for List<T> {
    fn demand(&self) -> Demand {
        // Without a count there may always be more.
        let is_whole = self.count.is_some_and(|count| count <= self.info.len() as u64);
        Demand { bytes: self.bytes, is_page: !is_whole }
    }

    fn hold(&mut self, share: ListShare) {
        self.share = share;
    }
}

/// A list.
#[derive(Debug)]
pub struct List<T> {
    /// Number of items on all pages.
    pub count: Option<u64>,
    /// The page.
    pub info: Vec<T>,
    /// Bytes that the page takes.
    pub bytes: usize,
    /// Its share of the memory for lists.
    pub share: ListShare,
}

impl<'de, T: Deserialize<'de> + Footprint> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ListedPage { count, info: Page { items, bytes } } = ListedPage::deserialize(deserializer)?;
        Ok(Self { count, info: items, bytes, share: ListShare::default() })
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de> + Footprint"))]
struct ListedPage<T> {
    #[serde(default, deserialize_with = "outside::count")]
    count: Option<u64>,
    // A missing one is an error, not an empty list.
    info: Page<T>,
}

// The items of a list, counted while they are built.
struct Page<T> {
    items: Vec<T>,
    bytes: usize,
}

impl<'de, T: Deserialize<'de> + Footprint> Deserialize<'de> for Page<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PageVisitor(PhantomData))
    }
}

struct PageVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Footprint> Visitor<'de> for PageVisitor<T> {
    type Value = Page<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    // Go encodes an empty list as null.
    fn visit_unit<E>(self) -> Result<Page<T>, E> {
        Ok(Page { items: Vec::new(), bytes: 0 })
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Page<T>, E> {
        Err(E::custom("a list is no text"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Page<T>, A::Error> {
        let (mut items, mut bytes) = (Vec::new(), 0_usize);
        while let Some(item) = list.next_element::<T>()? {
            bytes = bytes.saturating_add(size_of::<T>()).saturating_add(item.heap_bytes());
            if bytes > MAX_LIST {
                return Err(A::Error::custom(TooLarge::List));
            }
            items.push(item);
        }
        items.shrink_to_fit();
        Ok(Page { items, bytes })
    }
}

/// IDs, flat or nested once: the older document shows `[[52]]`.
#[derive(Clone, Debug, Deserialize)]
pub struct Ids(#[serde(deserialize_with = "outside::ids")] pub Vec<i64>);

/// Longest ID of a request, in bytes.
pub const MAX_REQUEST_ID: usize = 128;

/// The envelope of every answer, in both of its forms. Fields that are not read are skipped: nothing is built of them.
#[derive(Debug, Deserialize)]
pub struct Envelope {
    result: Option<bool>,
    #[serde(default)]
    code: Code,
    #[serde(default)]
    bk_error_code: Code,
    #[serde(default)]
    message: MaybeText<4096>,
    #[serde(default)]
    bk_error_msg: MaybeText<4096>,
    #[serde(default)]
    request_id: MaybeText<MAX_REQUEST_ID>,
    #[serde(default, deserialize_with = "actions")]
    permission: Vec<String>,
}

impl Envelope {
    /// `code`, or `bk_error_code`.
    pub fn code(&self) -> Option<i64> {
        self.code.0.or(self.bk_error_code.0)
    }

    /// `message`, or `bk_error_msg`, with the actions of `permission` that the user lacks. None: there is no text.
    pub fn failure(&self) -> Option<Message> {
        let message = self.message.0.as_ref().or(self.bk_error_msg.0.as_ref());
        let message = message.filter(|message| !message.text.trim().is_empty());
        if self.permission.is_empty() {
            return message.cloned();
        }
        let needed = format!("needed: {}", self.permission.join(", "));
        let text = message.map_or_else(|| needed.clone(), |message| format!("{}; {needed}", message.text));
        Some(text.as_str().into())
    }

    /// What is odd about a failure that says nothing.
    pub fn oddity(&self) -> String {
        let result = match self.result {
            Some(true) => "result true",
            Some(false) => "result false",
            None => "no result",
        };
        self.code().map_or_else(|| format!("{result} and no code"), |code| format!("{result} and code {code}"))
    }

    /// `request_id`, if it is short enough to be one.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.0.as_ref().filter(|id| !id.is_cut).map(|id| id.text.as_str())
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

/// Most bytes of `permission` that are read: it names a few actions.
const MAX_PERMISSION: usize = 16 << 10;

/// Most actions of `permission` that are named.
const MAX_ACTIONS: usize = 4;

// The actions that a user lacks, as CMDB names them: "edit service template (edit_biz_service_template)". None, if the
// field has another form: it only explains.
fn actions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct Permission {
        actions: Vec<Action>,
    }
    #[derive(Deserialize)]
    struct Action {
        #[serde(default)]
        id: MaybeText<64>,
        #[serde(default)]
        name: MaybeText<64>,
    }
    let text = <&RawValue>::deserialize(deserializer)?.get();
    let permission = (text.len() <= MAX_PERMISSION).then(|| serde_json::from_str::<Permission>(text).ok()).flatten();
    let named = |action: Action| match (action.name.0, action.id.0) {
        (Some(name), Some(id)) => Some(format!("{} ({})", name.text, id.text)),
        (Some(only), None) | (None, Some(only)) => Some(only.text),
        (None, None) => None,
    };
    let actions = permission.map(|permission| permission.actions).unwrap_or_default();
    Ok(actions.into_iter().take(MAX_ACTIONS).filter_map(named).collect())
}

// A property that is null counts as missing. One of another form, as a private build of CMDB may have it, must not fail
// the whole list.
fn properties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Properties, D::Error> {
    deserializer.deserialize_any(PropertiesVisitor)
}

/// Most bytes of the name of a property. A set can name one of 64; what has a longer name is skipped.
const MAX_PROPERTY_NAME: usize = 256;

struct PropertiesVisitor;

impl<'de> Visitor<'de> for PropertiesVisitor {
    type Value = Properties;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("properties")
    }

    fn visit_unit<E>(self) -> Result<Properties, E> {
        Ok(Properties::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut listed: A) -> Result<Properties, A::Error> {
        let mut properties = Properties::new();
        while let Some(name) = listed.next_key::<MaybeText<MAX_PROPERTY_NAME>>()? {
            match name.0.filter(|name| !name.is_cut) {
                Some(name) => drop(properties.insert(name.text, listed.next_value::<ListedProperty>()?.0)),
                None => drop(listed.next_value::<IgnoredAny>()?),
            }
        }
        Ok(properties)
    }
}

struct ListedProperty(Property);

impl<'de> Deserialize<'de> for ListedProperty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PropertyVisitor)
    }
}

// A pair, whose unknown fields are skipped; or a bare value.
struct PropertyVisitor;

impl<'de> Visitor<'de> for PropertyVisitor {
    type Value = ListedProperty;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a property")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pair: A) -> Result<ListedProperty, A::Error> {
        let mut property = Property::default();
        while let Some(name) = pair.next_key::<MaybeText<32>>()? {
            match name.0.unwrap_or_default().text.as_str() {
                "value" => property.value = pair.next_value_seed(Bounded(&mut Room::default()))?,
                "as_default_value" => {
                    let flag = pair.next_value_seed(Bounded(&mut Room::default()))?;
                    property.as_default_value = flag.as_bool();
                }
                _ => drop(pair.next_value::<IgnoredAny>()?),
            }
        }
        Ok(ListedProperty(property))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<ListedProperty, A::Error> {
        Ok(bare(Bounded(&mut Room::default()).visit_seq(items)?))
    }

    fn visit_bool<E>(self, value: bool) -> Result<ListedProperty, E> {
        Ok(bare(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ListedProperty, E> {
        Ok(bare(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ListedProperty, E> {
        Ok(bare(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<ListedProperty, E> {
        Ok(bare(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<ListedProperty, E> {
        Ok(bare(Bounded(&mut Room::default()).visit_str(value)?))
    }

    fn visit_unit<E>(self) -> Result<ListedProperty, E> {
        Ok(bare(Value::Null))
    }
}

fn bare(value: Value) -> ListedProperty {
    ListedProperty(Property { value, as_default_value: None })
}

// Times have 0 to 9 fractional digits, and are in UTC or have an offset. One that cannot be parsed counts as missing.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let MaybeText(text) = MaybeText::<64>::deserialize(deserializer)?;
    Ok(text.as_ref().and_then(|text| outside::time(&text.text)))
}
