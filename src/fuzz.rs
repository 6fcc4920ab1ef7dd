//! Bytes from outside, many and odd: answers of a CMDB, Secrets, and objects as the watches deliver them. Nothing may panic,
//! show a secret, wait for too long or keep memory; every class of results has to be reached.
//!
//! `make test` runs a fixed sequence. `make fuzz SECONDS=600` runs others for that long. An input that fails is stored in
//! `tests/fuzz/corpus`, to be committed with the correction: what is there comes first each time.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use crate::cmdb::hostile::fuzz::World;
use crate::cmdb::hostile::{Piece, generate};
use crate::controller::fuzz as objects;

/// Inputs of the fixed sequence.
const CASES: u64 = 200_000;

/// Inputs that share what the limits have learned.
const IN_A_WORLD: u64 = 32;

const THREADS: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reply,
    Secret,
    Object,
}

/// One input: as a file, a line with its kind and two numbers, and its bytes.
#[derive(Clone, Debug)]
struct Input {
    kind: Kind,
    transport: usize,
    operation: usize,
    bytes: Vec<u8>,
}

impl Input {
    fn to_file(&self) -> Vec<u8> {
        let head = format!("{:?} {} {}\n", self.kind, self.transport, self.operation);
        [head.as_bytes(), &self.bytes].concat()
    }

    fn of_file(file: &[u8]) -> Option<Self> {
        let end = file.iter().position(|byte| *byte == b'\n')?;
        let head = std::str::from_utf8(&file[..end]).ok()?;
        let mut words = head.split(' ');
        let kind = match words.next()? {
            "Reply" => Kind::Reply,
            "Secret" => Kind::Secret,
            "Object" => Kind::Object,
            _ => return None,
        };
        let mut number = || words.next()?.parse().ok();
        Some(Self { kind, transport: number()?, operation: number()?, bytes: file[end + 1..].to_vec() })
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.transport, self.operation, &self.bytes).hash(&mut hasher);
        hasher.finish()
    }
}

/// What inputs are made from.
struct Recorded {
    replies: Vec<Vec<u8>>,
    set: Value,
    connection: Value,
    shared: Value,
    lease: Value,
    secret: Value,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name)
}

fn files(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

impl Recorded {
    fn read() -> Self {
        let object = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(folder("objects").join(name)).unwrap()).unwrap()
        };
        let connection = object("connection.json");
        Self {
            replies: files("replies"),
            set: object("set.json"),
            shared: objects::shared(&connection),
            connection,
            lease: object("lease.json"),
            secret: object("secret.json"),
        }
    }

    fn input(&self, rng: &mut Rng) -> Input {
        let (transport, operation) = (rng.usize(..3), rng.usize(..7));
        match rng.u8(..20) {
            0..2 => Input { kind: Kind::Secret, transport, operation, bytes: self.secret(rng) },
            2..6 => {
                let kind = rng.usize(..4);
                let object = [&self.set, &self.connection, &self.shared, &self.lease][kind];
                Input { kind: Kind::Object, transport: kind, operation, bytes: generate::object(rng, object) }
            }
            _ => {
                let bytes = generate::answer(rng, operation, &self.replies);
                Input { kind: Kind::Reply, transport, operation, bytes }
            }
        }
    }

    // Values are base64, which a mutation of the text would hardly ever be.
    fn secret(&self, rng: &mut Rng) -> Vec<u8> {
        use base64::Engine as _;
        let mut secret = self.secret.clone();
        if let Some(data) = secret["data"].as_object_mut() {
            for value in data.values_mut() {
                if rng.u8(..4) == 0 {
                    let length = rng.usize(..60);
                    let bytes: Vec<u8> =
                        (0..length).map(|_| if rng.bool() { rng.u8(32..127) } else { rng.u8(..) }).collect();
                    *value = base64::engine::general_purpose::STANDARD.encode(bytes).into();
                }
            }
            let dropped = rng.usize(..10);
            let name = data.keys().nth(dropped).cloned();
            if let Some(name) = name {
                data.remove(&name);
            }
        }
        if rng.u8(..4) == 0 { generate::object(rng, &secret) } else { secret.to_string().into_bytes() }
    }
}

// The next input, by its number. `None`: there is no other.
type Inputs = Box<dyn Fn(&mut Rng, &Recorded, u64) -> Option<Input> + Send>;

/// What one thread has seen.
#[derive(Default)]
struct Seen {
    cases: u64,
    reached: BTreeSet<String>,
    failures: Vec<String>,
}

/// One thread of inputs.
struct Worker {
    name: String,
    recorded: Arc<Recorded>,
    // Panics of all threads, with the name of the thread.
    panics: Arc<Mutex<Vec<(String, String)>>>,
    seen: Seen,
}

impl Worker {
    fn run(mut self, inputs: &Inputs, seed: u64) -> Seen {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .thread_name(self.name.clone())
            .build()
            .unwrap();
        let mut rng = Rng::with_seed(seed);
        let recorded = Arc::clone(&self.recorded);
        let mut number = 0;
        loop {
            let world = World::new();
            for _ in 0..IN_A_WORLD {
                let Some(input) = inputs(&mut rng, &recorded, number) else {
                    runtime.block_on(world.end(&mut self.seen.reached));
                    return self.seen;
                };
                number += 1;
                self.one(&runtime, &world, &input);
                if self.seen.failures.len() >= 10 {
                    return self.seen;
                }
            }
            runtime.block_on(world.end(&mut self.seen.reached));
        }
    }

    fn one(&mut self, runtime: &tokio::runtime::Runtime, world: &World, input: &Input) {
        self.seen.cases += 1;
        let reached = &mut self.seen.reached;
        let hash = input.hash();
        let run = AssertUnwindSafe(|| {
            runtime.block_on(async {
                let (numbers, bytes) = ((input.transport, input.operation), input.bytes.clone());
                match input.kind {
                    Kind::Reply => {
                        let is_gzip = memchr::memmem::find(&bytes, b"content-encoding: gzip").is_some();
                        let said = world.answer(numbers, vec![Piece::Bytes(bytes)], hash, reached).await;
                        if is_gzip && said == "ok" {
                            reached.insert("gzip".to_owned());
                        }
                    }
                    Kind::Secret => objects::secret(input.transport, &bytes, reached).await,
                    Kind::Object => {
                        // Plans and HTTP clients take longer.
                        let is_used = hash.is_multiple_of(if input.transport == 0 { 8 } else { 64 });
                        let templates = is_used.then(|| generate::templates(&mut Rng::with_seed(hash)));
                        objects::object(input.transport, &bytes, templates, reached).await;
                    }
                }
            });
        });
        let has_failed = catch_unwind(run).is_err();
        let mut panics = self.panics.lock().unwrap();
        let mine: Vec<String> =
            panics.extract_if(.., |(thread, _)| *thread == self.name).map(|(_, message)| message).collect();
        drop(panics);
        if has_failed || !mine.is_empty() {
            let path = folder("corpus").join(format!("{hash:016x}"));
            std::fs::write(&path, input.to_file()).unwrap();
            self.seen.failures.push(format!("{}: {}", path.display(), mine.join("; ")));
        }
    }
}

// Keeps the panics of our threads, for they are reported with their inputs.
fn keep_panics() -> Arc<Mutex<Vec<(String, String)>>> {
    let panics: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let (kept, others) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        if thread.starts_with("fuzz-") {
            kept.lock().unwrap().push((thread, panic.to_string().replace('\n', " ").chars().take(300).collect()));
        } else {
            others(panic);
        }
    }));
    panics
}

#[test]
fn nothing_from_outside_panics_and_every_class_is_reached() {
    let seconds = std::env::var("PTSET_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let start = if until.is_some() { fastrand::u64(..) } else { 1 };
    let (panics, recorded) = (keep_panics(), Arc::new(Recorded::read()));
    let worker = |name: String| Worker {
        name,
        recorded: Arc::clone(&recorded),
        panics: Arc::clone(&panics),
        seen: Seen::default(),
    };

    // What failed once.
    let corpus: Vec<Input> = files("corpus").iter().map(|file| Input::of_file(file).unwrap()).collect();
    let mut all = Seen::default();
    let mut add = |seen: Seen| {
        all.cases += seen.cases;
        all.reached.extend(seen.reached);
        all.failures.extend(seen.failures);
    };
    let run = |name: String, inputs: Inputs, seed: u64| {
        let worker = worker(name.clone());
        std::thread::Builder::new().name(name).spawn(move || worker.run(&inputs, seed)).unwrap()
    };
    let corpus_inputs =
        move |_: &mut Rng, _: &Recorded, number: u64| corpus.get(usize::try_from(number).ok()?).cloned();
    add(run("fuzz-corpus".to_owned(), Box::new(corpus_inputs), 0).join().unwrap());

    // Answers at the limits, and generated inputs beside them.
    let generated = move |rng: &mut Rng, recorded: &Recorded, number: u64| {
        let goes_on = until.map_or(number < CASES / THREADS, |until| Instant::now() < until);
        goes_on.then(|| recorded.input(rng))
    };
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| run(format!("fuzz-{thread}"), Box::new(generated), start.wrapping_add(thread)))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut limits = Seen::default();
    limits.cases = runtime.block_on(crate::cmdb::hostile::fuzz::limits(&mut limits.reached));
    add(limits);
    for thread in threads {
        add(thread.join().unwrap());
    }

    let wanted: BTreeSet<String> = crate::cmdb::hostile::fuzz::classes().union(&objects::classes()).cloned().collect();
    let missing: Vec<&String> = wanted.difference(&all.reached).collect();
    let reached = wanted.len() - missing.len();
    if until.is_some() {
        println!("fuzz: seed {start}");
    }
    println!("fuzz: cases={} panics={} classes_reached={reached} of {}", all.cases, all.failures.len(), wanted.len());
    assert!(all.failures.is_empty(), "{:#?}", all.failures);
    assert!(missing.is_empty(), "not reached: {missing:?}");
    assert!(until.is_some() || all.cases >= CASES, "{}", all.cases);
}
