//! Paging and sorting of lists.

use std::cmp::Ordering;

use crate::access::refusal::{Refusal, code};
use crate::calls::decode::{self, Object};

/// The `page` of a request; a limit of 0 is whatever the call makes of it.
#[derive(Default)]
pub(crate) struct Page {
    pub start: i64,
    pub limit: i64,
    pub sort: String,
}

impl Page {
    pub fn decode(body: &Object) -> Result<Self, Refusal> {
        let Some(page) = decode::object(body, "page")? else { return Ok(Self::default()) };
        Ok(Self {
            start: decode::integer(page, "start")?,
            limit: decode::integer(page, "limit")?,
            sort: decode::text(page, "sort")?.to_owned(),
        })
    }

    /// The database knows no page that starts before the first item.
    pub fn check_start(&self) -> Result<(), Refusal> {
        if self.start < 0 { Err(Refusal::new(code::SELECT, &[])) } else { Ok(()) }
    }

    /// Sorts, newest first unless the page says otherwise, and cuts. `compare` knows the fields that can be sorted by.
    pub fn apply<T>(&self, items: &mut Vec<T>, compare: impl Fn(&str, &T, &T) -> Ordering) {
        let sort = if self.sort.is_empty() { "-id" } else { &self.sort };
        let keys: Vec<(&str, bool)> = sort.split(',').map(key).collect();
        items.sort_by(|one, other| {
            keys.iter().fold(Ordering::Equal, |ordering, (field, descending)| {
                ordering.then_with(|| {
                    let ordering = compare(field, one, other);
                    if *descending { ordering.reverse() } else { ordering }
                })
            })
        });
        let start = usize::try_from(self.start).unwrap_or(0).min(items.len());
        items.drain(..start);
        if let Ok(limit @ 1..) = usize::try_from(self.limit) {
            items.truncate(limit);
        }
    }
}

/// `id`, `+id`, `-id`, `id:1` and `id:-1`.
fn key(text: &str) -> (&str, bool) {
    let text = text.trim();
    if let Some((field, direction)) = text.split_once(':') {
        return (field.trim(), direction.trim() == "-1");
    }
    match text.strip_prefix('-') {
        Some(field) => (field, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn a_page_sorts_before_it_cuts() {
        let sorted = |sort: &str, start, limit| {
            let mut items = vec![2, 3, 1];
            Page { start, limit, sort: sort.to_owned() }.apply(&mut items, |_, one, other| one.cmp(other));
            items
        };
        assert_eq!(sorted("", 0, 0), [3, 2, 1]);
        assert_eq!(sorted("id", 1, 1), [2]);
        assert_eq!(sorted("id:-1", 0, 2), [3, 2]);
        assert_eq!(sorted("id:1", 5, 2), [0; 0]);
        assert_eq!(sorted("+id", -1, -1), [1, 2, 3]);
    }
}
