//! Large bodies. Those that are not repetitions of one text are built once and kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, LazyLock, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::script::{Request, Script, Step, list, polite, text, with_headers};

/// One mebibyte.
pub const MIB: u64 = 1 << 20;

static MADE: LazyLock<Mutex<BTreeMap<String, Arc<[u8]>>>> = LazyLock::new(Mutex::default);

// Bytes that are built at their first use.
fn made(name: &str, make: impl FnOnce() -> Vec<u8>) -> Step {
    let mut all = MADE.lock().unwrap();
    let bytes = all.entry(name.to_owned()).or_insert_with(|| make().into());
    Step::Bytes(Arc::clone(bytes))
}

/// A small item of the requested list, with a comma after it.
pub fn tiny_item(request: &Request) -> &'static str {
    if request.is("list_proc_template") { r#"{"id":1,"bk_process_name":"p"},"# } else { r#"{"id":1,"name":"n"},"# }
}

/// A list of about this many bytes, whose items all have the same ID.
pub fn tiny_items(request: &Request, bytes: u64) -> Script {
    let item = tiny_item(request);
    let times = bytes / item.len() as u64;
    list(times + 1, vec![Step::Repeat(item, times), text(item.trim_end_matches(','))])
}

/// A list of this many items with IDs from `from` on. Calls that are no lists get a well-behaved answer.
pub fn numbered_items(request: &Request, count: u64, from: i64) -> Script {
    if !request.is_list() {
        return polite();
    }
    let is_process = request.is("list_proc_template");
    let biz = request.body["bk_biz_id"].as_i64().unwrap_or_default();
    let template = request.body["service_template_id"].as_i64().unwrap_or_default();
    let name = format!("{count} from {from}, {biz}, {template}, {is_process}");
    let items = made(&name, || {
        let mut items = String::new();
        for number in 0..i64::try_from(count).unwrap() {
            let (id, comma) = (from + number, if number == 0 { "" } else { "," });
            let written = if is_process {
                write!(
                    items,
                    r#"{comma}{{"id":{id},"bk_process_name":"p{id}","bk_biz_id":{biz},"service_template_id":{template}}}"#
                )
            } else {
                write!(items, r#"{comma}{{"id":{id},"name":"n{id}","bk_biz_id":{biz}}}"#)
            };
            written.unwrap();
        }
        items.into_bytes()
    });
    list(count, vec![items])
}

/// A compressed body that is small on the wire: `before`, `filling` up to this many bytes, `after`.
pub fn bomb(name: &str, (before, filling, after): (&str, &str, &str), bytes: u64) -> Script {
    let packed = made(name, || {
        let filled = filling.repeat(usize::try_from(MIB).unwrap() / filling.len());
        let many = packed(&filled).repeat(usize::try_from(bytes / MIB).unwrap());
        [packed(before), many, packed(after)].concat()
    });
    with_headers("200 OK", "Content-Encoding: gzip\r\n", vec![packed])
}

// A member of a gzip file; a file is any number of them.
fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A success of this many bytes whose data are arrays, each nested this deep.
pub fn deep(depth: usize, bytes: u64) -> Step {
    made("deep", || {
        let array = format!("{}{},", "[".repeat(depth), "]".repeat(depth));
        let arrays = array.repeat(usize::try_from(bytes).unwrap() / array.len());
        format!(r#"{{"result":true,"code":0,"data":[{arrays}0]}}"#).into_bytes()
    })
}

/// A hostile answer to one call, and well-behaved answers to all others.
pub fn only(request: &Request, operation: &str, script: impl FnOnce() -> Script) -> Script {
    if request.is(operation) { script() } else { polite() }
}

/// A text in JSON.
pub fn quoted(steps: Vec<Step>) -> Vec<Step> {
    [vec![text("\"")], steps, vec![text("\"")]].concat()
}
