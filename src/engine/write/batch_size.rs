//! How many process templates one create request carries, learned from what the requests of a service template took.
//!
//! *Flow.* [`BatchSizes::size`] is asked before each request. A service template that is not known yet starts at
//! [`FIRST`] items. After a success the size follows the time that the request took ([`BatchSizes::note_stored`]): about
//! [`AIM`] a request, 1 to [`MOST`] items. After a request that was late ([`BatchSizes::note_unknown`]) it is half of what that
//! request had.
//!
//! *Guarantees.* No size is final: each success sets it again, up or down. A request that costs much whatever it carries does
//! not shrink the size for good: when a request of half the items took nearly as long, the time of the request itself is
//! set apart, and only what the items cost decides.
//!
//! *Assumptions.* The servers give a create up after 25 s, and an item may cost more the more templates there are: the aim
//! leaves room for both.
//!
//! *Caveats.* Nothing is stored: after a restart each service template starts with [`FIRST`] items again. What is learned is
//! dropped with the connection, and with the last set that has created something in the service template.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;

use crate::engine::scope::{Scope, object_of};

/// Most process templates of one create request: CMDB takes 100, at about 20 ms each where it is fast.
const MOST: usize = 50;

/// Process templates of the first request. CMDB finishes them within its 25 s unless an item takes longer than 2.5 s.
const FIRST: usize = 10;

/// Time that a request should take.
const AIM: Duration = Duration::from_secs(5);

/// A request whose outcome is not known after this time was too large, whatever was answered.
const LATE: Duration = Duration::from_secs(10);

// A size is kept while its items take between these percentages of the time that they should.
const LEAST_PERCENT: u32 = 50;
const MOST_PERCENT: u32 = 140;

/// Largest growth from one request to the next.
const GROWTH: usize = 2;

/// Growth after the first request, which was small by intent.
const FIRST_GROWTH: usize = 5;

// The connection object, URL, business and service template.
type Place = (String, String, i64, i64);

/// The batch sizes of all service templates.
#[derive(Debug, Default)]
pub struct BatchSizes {
    learned: Mutex<HashMap<Place, Learned>>,
}

#[derive(Debug)]
struct Learned {
    size: usize,
    // No request has been answered yet.
    is_new: bool,
    // The last request that was stored: its items, and its time.
    last: Option<(usize, Duration)>,
    // What a request costs without its items.
    fixed: Duration,
    // The sets that have created something here.
    sets: BTreeSet<String>,
}

impl BatchSizes {
    /// Most items of the next request.
    pub fn size(&self, scope: &Scope) -> usize {
        self.learned.lock().get(&place(scope)).map_or(FIRST, |learned| learned.size)
    }

    /// A request of this many items was stored, and it took this long.
    pub fn note_stored(&self, set: &str, scope: &Scope, items: usize, took: Duration) {
        self.note(set, scope, |learned| learned.note_stored(items, took));
    }

    /// A request of this many items failed after this time, and its outcome is not known.
    pub fn note_unknown(&self, set: &str, scope: &Scope, items: usize, took: Duration, is_timeout: bool) {
        if is_timeout || took >= LATE {
            self.note(set, scope, |learned| learned.note_late(items));
        }
    }

    /// How many service templates are known.
    pub fn len(&self) -> usize {
        self.learned.lock().len()
    }

    /// Forgets a set that was deleted.
    pub fn forget(&self, set: &str) {
        leave(&mut self.learned.lock(), set, None);
    }

    /// Forgets a connection that is gone, by its uid.
    pub fn forget_connection(&self, uid: &str) {
        self.learned.lock().retain(|(connection, ..), _| connection != uid);
    }

    fn note(&self, set: &str, scope: &Scope, change: impl FnOnce(&mut Learned)) {
        let mut learned = self.learned.lock();
        let place = place(scope);
        // A set has one service template at a time.
        leave(&mut learned, set, Some(&place));
        let here = learned.entry(place).or_insert_with(|| Learned {
            size: FIRST,
            is_new: true,
            last: None,
            fixed: Duration::ZERO,
            sets: BTreeSet::new(),
        });
        if !here.sets.contains(set) {
            here.sets.insert(set.to_owned());
        }
        change(here);
    }
}

impl Learned {
    fn note_stored(&mut self, items: usize, took: Duration) {
        let count = u32::try_from(items).unwrap_or(u32::MAX).max(1);
        let mut growth = items * if self.is_new { FIRST_GROWTH } else { GROWTH };

        // What a request costs without its items shows when one of at most half the size took much the same.
        self.fixed = self.fixed.min(took);
        if let Some((items_then, took_then)) = self.last
            && (items * 2 <= items_then || items_then * 2 <= items)
        {
            let more = u32::try_from(items.abs_diff(items_then)).unwrap_or(u32::MAX).max(1);
            let difference = if items > items_then { took.checked_sub(took_then) } else { took_then.checked_sub(took) };
            let per_item = difference.unwrap_or_default() / more;
            self.fixed = took.saturating_sub(per_item.saturating_mul(count));
            growth = growth.max(items_then * GROWTH);
        }
        (self.last, self.is_new) = (Some((items, took)), false);

        // The items of a request have what is left of the aim, and half of it at least.
        let budget = AIM.saturating_sub(self.fixed).max(AIM / 2);
        let of_items = took.saturating_sub(self.fixed);
        let (least, most) = (budget * LEAST_PERCENT / 100, budget * MOST_PERCENT / 100);
        if items == self.size && (least..=most).contains(&of_items) {
            return;
        }
        let per_item = (of_items / count).max(Duration::from_micros(1));
        let fitting = usize::try_from(budget.as_micros() / per_item.as_micros()).unwrap_or(usize::MAX);
        // The last request of a plan may be small because nothing is left: that says nothing against the size.
        self.size = fitting.min(growth.max(self.size)).clamp(1, MOST);
    }

    fn note_late(&mut self, items: usize) {
        (self.size, self.last, self.is_new) = ((items / 2).max(1), None, false);
    }
}

fn place(scope: &Scope) -> Place {
    (object_of(&scope.connection).to_owned(), scope.endpoint.clone(), scope.biz_id, scope.service_template_id)
}

// The set is in no place but this one any more.
fn leave(learned: &mut HashMap<Place, Learned>, set: &str, but_for: Option<&Place>) {
    learned.retain(|place, here| {
        if Some(place) == but_for {
            return true;
        }
        here.sets.remove(set);
        !here.sets.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BatchSizes, MOST, Scope};

    fn scope(connection: &str, id: i64) -> Scope {
        let endpoint = "http://cmdb".to_owned();
        Scope { connection: format!("{connection}/1"), endpoint, biz_id: 2, service_template_id: id }
    }

    // The sizes of this many requests to a server that needs `fixed` seconds for each, and `per_item` for each of its items.
    fn sizes(sizes: &BatchSizes, requests: usize, fixed: f64, per_item: f64) -> Vec<usize> {
        let scope = scope("a", 1);
        let request = |_| {
            let items = sizes.size(&scope);
            let took = fixed + per_item * f64::from(u32::try_from(items).unwrap());
            if took > 25.0 {
                sizes.note_unknown("set", &scope, items, Duration::from_secs(25), true);
            } else {
                sizes.note_stored("set", &scope, items, Duration::from_secs_f64(took));
            }
            items
        };
        (0..requests).map(request).collect()
    }

    #[test]
    fn the_size_follows_what_an_item_costs() {
        assert_eq!(sizes(&BatchSizes::default(), 4, 0.02, 0.02), [10, 50, 50, 50]);
        assert_eq!(sizes(&BatchSizes::default(), 4, 0.02, 1.0), [10, 4, 4, 4]);
        assert_eq!(sizes(&BatchSizes::default(), 4, 0.0, 0.2), [10, 25, 25, 25]);
        assert_eq!(sizes(&BatchSizes::default(), 6, 0.0, 12.0), [10, 5, 2, 1, 1, 1]);
    }

    #[test]
    fn no_size_is_final() {
        let learned = BatchSizes::default();
        assert_eq!(sizes(&learned, 4, 0.0, 30.0), [10, 5, 2, 1]);
        assert_eq!(sizes(&learned, 3, 0.0, 30.0), [1, 1, 1]);
        assert_eq!(sizes(&learned, 7, 0.02, 0.02), [1, 2, 4, 8, 16, 32, MOST]);
        assert_eq!(sizes(&learned, 3, 0.0, 1.0), [MOST, 25, 4]);
    }

    #[test]
    fn a_request_that_costs_much_whatever_it_carries_stays_large() {
        for fixed in [3.0, 6.0, 10.0, 20.0] {
            let sizes = sizes(&BatchSizes::default(), 12, fixed, 0.02);
            assert!(sizes[6..].iter().all(|size| *size >= 10), "{fixed}: {sizes:?}");
        }
    }

    #[test]
    fn only_an_outcome_that_is_late_makes_requests_smaller() {
        let (sizes, scope) = (BatchSizes::default(), scope("a", 1));
        sizes.note_unknown("set", &scope, 10, Duration::from_secs(1), false);
        assert_eq!(sizes.size(&scope), 10);
        sizes.note_unknown("set", &scope, 10, Duration::from_secs(12), false);
        assert_eq!(sizes.size(&scope), 5);
        sizes.note_unknown("set", &scope, 5, Duration::from_secs(1), true);
        assert_eq!(sizes.size(&scope), 2);
    }

    #[test]
    fn nothing_is_left_of_sets_and_connections_that_are_gone() {
        let sizes = BatchSizes::default();
        let stored = |set: &str, scope: &Scope| sizes.note_stored(set, scope, 10, Duration::from_secs(1));
        for (set, scope) in [("x", scope("a", 1)), ("y", scope("a", 1)), ("y", scope("a", 2)), ("z", scope("b", 1))] {
            stored(set, &scope);
        }
        assert_eq!(sizes.len(), 3);
        sizes.forget("x");
        sizes.forget_connection("b");
        assert_eq!((sizes.len(), sizes.size(&scope("a", 2))), (1, MOST));
        sizes.forget("y");
        assert_eq!(sizes.len(), 0);
    }
}
