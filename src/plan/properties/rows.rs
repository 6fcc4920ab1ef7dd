//! Rows of `bind_info` for an update: paired with the server's, whose `row_id`s instances hold on to.

use super::property::{Pair, Row, Value};
use crate::api::BindCell;

/// The wanted rows with the server's ids: equal rows first, then rows of an equal port, then in order. A row that has no
/// partner gets no id. What a private build keeps in a row beside the known cells stays.
pub(crate) fn paired(wanted: &Pair, found: &Pair) -> Pair {
    let (Value::Rows(wanted_rows), Value::Rows(found_rows)) = (&wanted.value, &found.value) else {
        return wanted.clone();
    };
    let mut rows = wanted_rows.to_vec();
    let mut partners: Vec<Option<usize>> = vec![None; rows.len()];
    // A cell that is sent for an absent one is the null of older versions.
    pair_off(&rows, found_rows, &mut partners, |row, other| row.says_the_same(&other.as_sent()));
    pair_off(&rows, found_rows, &mut partners, |row, other| row.port.value == other.port.value);
    pair_off(&rows, found_rows, &mut partners, |_, _| true);

    for (row, partner) in rows.iter_mut().zip(partners) {
        if let Some(partner) = partner.map(|index| &found_rows[index]) {
            row.id = partner.id;
            row.others.clone_from(&partner.others);
        }
    }
    Pair { value: Value::rows(rows), locked: wanted.locked }
}

// Gives each row that has no partner yet the first free one that fits.
fn pair_off(rows: &[Row], found: &[Row], partners: &mut [Option<usize>], fits: impl Fn(&Row, &Row) -> bool) {
    for (index, row) in rows.iter().enumerate() {
        if partners[index].is_none() {
            let is_free = |candidate: &usize| !partners.contains(&Some(*candidate));
            partners[index] = (0..found.len()).filter(is_free).find(|&candidate| fits(row, &found[candidate]));
        }
    }
}

/// The position of a row, from 0, that blocks every update of its template: an older server's data that were migrated
/// without a port or protocol, which CMDB refuses when it judges the whole template again.
pub(crate) fn blocking(rows: &Value) -> Option<usize> {
    let Value::Rows(rows) = rows else { return None };
    let is_empty = |pair: &Pair| pair.value.as_text().is_none_or(str::is_empty);
    rows.iter().position(|row| is_empty(&row.port) || is_empty(&row.protocol))
}

/// The locked `enable` and `ip` of null of listed rows, with the port of their row.
pub(crate) fn lagging(rows: &Value) -> impl Iterator<Item = (BindCell, &str)> {
    let rows: &[Row] = if let Value::Rows(rows) = rows { rows } else { &[] };
    rows.iter().flat_map(|row| {
        let cells = [(BindCell::Enable, &row.enable), (BindCell::Ip, &row.ip)];
        let lagging = cells.into_iter().filter(|(_, pair)| pair.is_locked_null());
        lagging.map(|(cell, _)| (cell, row.port.value.as_text().unwrap_or_default()))
    })
}
