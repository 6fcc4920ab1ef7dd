//! Creates whose outcome is open, as other sets see them: while one may still be stored, no other set creates its name in the
//! service template, takes a template of that name over, or deletes one.
//!
//! *Flow.* A create is announced, sent, and over when the status of its set says what became of it ([`OpenCreates::stored`]).
//! Before each plan [`OpenCreates::marked`] puts into the other sets what is open of theirs: what this process has announced, which
//! the watch may not have delivered yet, and what their statuses announce.
//!
//! *Guarantees.*
//! * Nothing is open for ever. What was sent is open until no server can be working on it, and a moment longer, so that the set
//!   itself finds it first. What only a status announces is open for as long after it was first seen.
//! * A set that is gone has no open creates: only those of live sets are marked.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::plan::{Intent, IntentFate, Memory, OtherSet};

// A set has this time to find out by a list what became of its create, before others may.
const FIND_FIRST: Duration = Duration::from_mins(1);

// What was seen in a status is remembered this long after it is over: it may be there still, and is not new then.
const KNOWN_FOR: Duration = Duration::from_hours(1);

// An intent in a status: (uid of the set, key, hash, afterId).
type Seen = (String, String, String, i64);

/// The open creates of all sets.
#[derive(Debug)]
pub struct OpenCreates {
    lasts: Duration,
    // By uid and key: what this process has announced.
    announced: Mutex<HashMap<String, BTreeMap<String, Announced>>>,
    // Until when what only statuses announce is open.
    seen: Mutex<HashMap<Seen, Instant>>,
}

#[derive(Debug)]
struct Announced {
    // The service template.
    writer_key: String,
    intent: Intent,
    // None: its request has not been answered.
    until: Option<Instant>,
}

impl OpenCreates {
    /// None yet; `create_grace` is the time after which no server can still be working on a create.
    pub fn new(create_grace: Duration) -> Self {
        Self { lasts: create_grace + FIND_FIRST, announced: Mutex::default(), seen: Mutex::default() }
    }

    /// A reconcile starts with what a status remembers. What an earlier one announced and did not end may have been sent.
    pub fn start(&self, set: &str, memory: &Memory) {
        self.interrupted(set);
        self.stored(set, memory);
    }

    /// The writes of a set have ended, with a panic or without: none of its requests is in flight.
    pub fn interrupted(&self, set: &str) {
        let until = Instant::now() + self.lasts;
        for announced in self.announced.lock().get_mut(set).into_iter().flat_map(BTreeMap::values_mut) {
            announced.until.get_or_insert(until);
        }
    }

    /// The create is about to be announced in the status.
    pub fn announced(&self, set: &str, writer_key: &str, key: &str, intent: &Intent) {
        let announced = Announced { writer_key: writer_key.to_owned(), intent: intent.clone(), until: None };
        self.announced.lock().entry(set.to_owned()).or_default().insert(key.to_owned(), announced);
    }

    /// It was sent then.
    pub fn sent(&self, set: &str, key: &str, sent_at: Instant) {
        if let Some(announced) = self.announced.lock().get_mut(set).and_then(|of_set| of_set.get_mut(key)) {
            announced.until = Some(sent_at + self.lasts);
        }
    }

    /// It was never sent, or CMDB itself answered that it was not stored.
    pub fn not_stored(&self, set: &str, key: &str) {
        self.retain(set, |known, _| known != key);
    }

    /// The status of a set says this: what it does not announce is over. The process names of what has ended.
    pub fn stored(&self, set: &str, memory: &Memory) -> Vec<String> {
        self.retain(set, |key, intent| memory.intents.get(key).is_some_and(|pending| is_same(pending, intent)))
    }

    /// Other sets of a service template, with which of their creates are open now.
    pub fn marked<'a>(&self, others: &'a [OtherSet], writer_key: &str) -> Cow<'a, [OtherSet]> {
        let announced = self.announced.lock();
        if others.iter().all(|other| other.intents.is_empty() && !announced.contains_key(&other.uid)) {
            return Cow::Borrowed(others);
        }

        let now = Instant::now();
        let fate = |until: Option<Instant>| {
            if until.is_none_or(|until| now < until) { IntentFate::Open } else { IntentFate::Over }
        };
        let mut seen = self.seen.lock();
        seen.retain(|_, until| now < *until + KNOWN_FOR);
        let mut marked = others.to_vec();

        for other in &mut marked {
            let mut here = BTreeMap::new();
            for (key, announced) in announced.get(&other.uid).into_iter().flatten() {
                if announced.writer_key == writer_key {
                    here.insert(key.clone(), Intent { fate: fate(announced.until), ..announced.intent.clone() });
                }
            }
            for (key, intent) in &mut other.intents {
                let is_known = |known: &Intent| is_same(known, intent);
                if !here.get(key).is_some_and(is_known) {
                    let id = (other.uid.clone(), key.clone(), intent.hash.clone(), intent.after_id);
                    intent.fate = fate(Some(*seen.entry(id).or_insert(now + self.lasts)));
                }
            }
            other.intents.append(&mut here);
        }
        Cow::Owned(marked)
    }

    /// When the first open create of these sets is over at the latest; None: there is none.
    pub fn over_by(&self, others: &[OtherSet]) -> Option<Instant> {
        let now = Instant::now();
        let (announced, seen) = (self.announced.lock(), self.seen.lock());
        let is_others = |uid: &String| others.iter().any(|other| other.uid == *uid);
        let of_process = announced.iter().filter(|(uid, _)| is_others(uid)).flat_map(|(_, of_set)| of_set.values());
        let of_statuses = seen.iter().filter(|((uid, ..), _)| is_others(uid)).map(|(_, until)| *until);
        of_process.filter_map(|announced| announced.until).chain(of_statuses).filter(|until| *until > now).min()
    }

    /// How many creates are remembered.
    pub fn len(&self) -> usize {
        self.announced.lock().values().map(BTreeMap::len).sum::<usize>() + self.seen.lock().len()
    }

    /// Forgets a set that was deleted.
    pub fn forget(&self, set: &str) {
        self.announced.lock().remove(set);
        self.seen.lock().retain(|(owner, ..), _| owner != set);
    }

    fn retain(&self, set: &str, is_kept: impl Fn(&str, &Intent) -> bool) -> Vec<String> {
        let mut announced = self.announced.lock();
        let Some(of_set) = announced.get_mut(set) else { return Vec::new() };
        let mut ended = Vec::new();
        of_set.retain(|key, own| {
            let keeps = is_kept(key, &own.intent);
            if !keeps {
                ended.push(own.intent.process_name.clone());
            }
            keeps
        });
        if of_set.is_empty() {
            announced.remove(set);
        }
        ended
    }
}

fn is_same(one: &Intent, other: &Intent) -> bool {
    (&one.hash, one.after_id) == (&other.hash, other.after_id)
}
