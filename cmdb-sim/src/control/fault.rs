//! Faults on demand: which calls go wrong, and how.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::control::effect::{Delay, Effect};

/// A rule that makes matching calls go wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Given by the simulator.
    #[serde(default)]
    pub id: u64,
    /// Name of the call, `*` for every one.
    #[serde(default = "every_call")]
    pub call: String,
    /// Applies to the n-th matching call after it was added. Without this, `every` and `probability`: to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// Applies to every matching call.
    #[serde(default, skip_serializing_if = "is_false")]
    pub every: bool,
    /// Applies to a matching call with this probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Start of the random numbers behind `probability`.
    #[serde(default)]
    pub seed: u64,
    /// How many hits until it is spent: 1 for `nth` unless said otherwise, else without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Keys that the body must have with these values.
    #[serde(default, rename = "match", skip_serializing_if = "Map::is_empty")]
    pub matching: Map<String, Value>,
    /// What happens.
    #[serde(rename = "do")]
    pub effect: Effect,
    /// How many calls it has applied to.
    #[serde(default)]
    pub hits: u64,
    /// How many calls matched it.
    #[serde(default)]
    pub matched: u64,
}

impl Fault {
    /// A fault of the n-th matching call from now on.
    #[must_use]
    pub fn nth(call: &str, nth: u64, effect: Effect) -> Self {
        Self { nth: Some(nth), ..Self::every(call, effect) }.only_nth()
    }

    /// A fault of every matching call.
    #[must_use]
    pub fn every(call: &str, effect: Effect) -> Self {
        Self {
            id: 0,
            call: call.to_owned(),
            nth: None,
            every: true,
            probability: None,
            seed: 0,
            times: None,
            matching: Map::new(),
            effect,
            hits: 0,
            matched: 0,
        }
    }

    /// Applies only to calls whose body has this key with this value.
    #[must_use]
    pub fn when(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.matching.insert(key.to_owned(), value.into());
        self
    }

    /// Limits how many calls it applies to.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    fn only_nth(mut self) -> Self {
        self.every = false;
        self
    }

    /// Whether it applies to a call; counts the call.
    fn is_due(&mut self, call: &str, body: &Map<String, Value>) -> bool {
        let matches = (self.call == "*" || self.call == call)
            && self.matching.iter().all(|(key, value)| body.get(key) == Some(value));
        if !matches {
            return false;
        }
        self.matched += 1;
        let limit = if self.every || self.probability.is_some() { self.times } else { Some(self.times.unwrap_or(1)) };
        if limit.is_some_and(|limit| self.hits >= limit) {
            return false;
        }
        match self.probability {
            Some(probability) => fraction(self.seed, self.matched) < probability,
            None if self.every => true,
            None => self.matched >= self.nth.unwrap_or(1),
        }
    }
}

/// All faults, in the order in which they were added.
#[derive(Default)]
pub(crate) struct FaultBook {
    faults: Vec<Fault>,
    last_id: u64,
}

/// What applies to one call.
#[derive(Default)]
pub(crate) struct Selection {
    pub delays: Vec<Delay>,
    pub effect: Option<Effect>,
    /// Whether the effect applies for the first time.
    pub is_first: bool,
}

impl Selection {
    /// Names of what applies, for the record.
    pub fn label(&self) -> Option<String> {
        let delay = (!self.delays.is_empty()).then_some("delay");
        let labels: Vec<_> = delay.into_iter().chain(self.effect.as_ref().map(Effect::label)).collect();
        if labels.is_empty() { None } else { Some(labels.join("+")) }
    }
}

impl FaultBook {
    pub fn add(&mut self, mut fault: Fault) -> u64 {
        self.last_id += 1;
        fault.id = self.last_id;
        fault.hits = 0;
        fault.matched = 0;
        self.faults.push(fault);
        self.last_id
    }

    pub fn all(&self) -> &[Fault] {
        &self.faults
    }

    pub fn clear(&mut self) {
        self.faults.clear();
    }

    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.faults.len();
        self.faults.retain(|fault| fault.id != id);
        self.faults.len() < before
    }

    /// All delays that are due and the first other effect that is.
    pub fn select(&mut self, call: &str, body: &Map<String, Value>) -> Selection {
        let mut selection = Selection::default();
        for fault in &mut self.faults {
            if !fault.is_due(call, body) {
                continue;
            }
            match &fault.effect {
                Effect::Delay(delay) => selection.delays.push(delay.clone()),
                effect if selection.effect.is_none() => {
                    selection.effect = Some(effect.clone());
                    selection.is_first = fault.hits == 0;
                }
                _ => continue,
            }
            fault.hits += 1;
        }
        selection
    }
}

/// A number in 0..1 that only seed and count decide (splitmix64).
fn fraction(seed: u64, count: u64) -> f64 {
    let mut bits = seed.wrapping_add(count.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let high = u32::try_from((bits ^ (bits >> 31)) >> 32).unwrap_or(0);
    f64::from(high) / 4_294_967_296.0
}

fn every_call() -> String {
    "*".to_owned()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Fault, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn every_form_of_the_admin_route_is_read() {
        for effect in [
            r#"{"drop":"before_commit"}"#,
            r#"{"drop":"after_commit"}"#,
            r#"{"hold_names_seconds":60,"stored":true}"#,
            r#"{"surplus_ids":3}"#,
            r#"{"short_ids":1}"#,
            r#"{"code":1199018,"message":"x","http_status":500,"after_commit":true,"headers":{"a":"b"}}"#,
            r#"{"http_status":504,"body":"<html>","content_type":"text/html"}"#,
            r#"{"redirect":"http://elsewhere/","http_status":307}"#,
            r#"{"delay_ms":20,"delay_per_item_ms":2}"#,
            r#"{"hang_seconds":0.5,"commit":true}"#,
            r#"{"hold_templates_seconds":60,"stored":true}"#,
            r#"{"count_off":-1}"#,
            r#"{"foreign_items":1,"scope":"service_template"}"#,
            r#"{"page_limit":200,"refuse":true}"#,
            r#"{"killed":"coreservice","hold_names_seconds":1.0}"#,
            r#"{"late_seconds":2.5}"#,
        ] {
            let fault = parse(&format!(r#"{{"call":"*","nth":3,"match":{{"bk_biz_id":2}},"do":{effect}}}"#)).unwrap();
            let value: Value = serde_json::from_str(effect).unwrap();
            let written = serde_json::to_value(&fault.effect).unwrap();
            assert!(value.as_object().unwrap().iter().all(|(key, _)| written.get(key).is_some()), "{effect} {written}");
        }
        assert!(parse(r#"{"do":{"drop":"sometimes"}}"#).is_err());
        assert!(parse(r#"{"do":{"drop":"before_commit","code":1}}"#).is_err());
    }

    #[test]
    fn the_nth_matching_call_is_hit_once_and_the_others_are_not() {
        let mut book = FaultBook::default();
        book.add(Fault::nth("create", 2, Effect::drop_after_commit()).when("bk_biz_id", 2));
        let two = serde_json::json!({"bk_biz_id": 2}).as_object().unwrap().clone();
        let hits: Vec<bool> =
            [("create", &two), ("list", &two), ("create", &Map::new()), ("create", &two), ("create", &two)]
                .into_iter()
                .map(|(call, body)| book.select(call, body).effect.is_some())
                .collect();
        assert_eq!(hits, [false, false, false, true, false]);
    }

    #[test]
    fn a_probability_is_the_same_every_time_it_is_seeded_the_same() {
        let draw = |seed| -> Vec<bool> { (0..200).map(|count| fraction(seed, count) < 0.25).collect() };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let hits = draw(7).into_iter().filter(|hit| *hit).count();
        assert!((25..75).contains(&hits), "{hits}");
    }

    #[test]
    fn delays_add_up_and_one_other_effect_joins_them() {
        let mut book = FaultBook::default();
        for effect in [Effect::delay(1), Effect::code(1), Effect::delay(2), Effect::code(2)] {
            book.add(Fault::every("*", effect));
        }
        let selection = book.select("list", &Map::new());
        assert_eq!(selection.delays.len(), 2);
        assert_eq!(selection.effect, Some(Effect::code(1)));
        assert_eq!(selection.label().as_deref(), Some("delay+code"));
        assert_eq!(book.all().iter().map(|fault| fault.hits).collect::<Vec<_>>(), [1, 1, 1, 0]);
    }
}
