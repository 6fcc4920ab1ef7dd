//! Every call that a reconcile or a deletion can make, and the right taken away at every moment around it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cmdb_sim::{Effect, Fault, RequestRecord};
use process_template_operator::cmdb::Operation;
use tokio::time::{Instant, sleep};

use crate::stories::Story;
use crate::takings::{Taking, Via, granted};
use crate::world::{FOREIGN, Fence, LONG};

// How long CMDB is watched after the right was lost: longer than the grace of a create, and several retries.
const WATCHED: Duration = Duration::from_mins(4);

// How often the requests are looked at: more often than one is answered.
const LOOK: Duration = Duration::from_millis(5);

// Requests per second of a connection whose calls never wait, and of one where each waits for its turn.
const FAST: u32 = 1000;
const SLOW: u32 = 1;

// Crossings of each kind of moment that are made without the check.
const SAMPLE: usize = 6;

/// When the right is lost. Calls of the story are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Before the story starts.
    Before,
    /// Before the story starts, while the operator is down.
    WhileDown,
    /// While this call is in flight: between it and the next one.
    InFlight(usize),
    /// While the call after this one waits for the limiter.
    InQueue(usize),
    /// After an attempt of this read has failed, before its retry.
    InRetry(usize),
}

/// Whether the operator can see that the right is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    On,
    /// Its watches still show all that covered the set: like an operator whose check lets everything pass.
    Off,
}

/// One crossing.
#[derive(Clone, Copy, Debug)]
struct Crossing {
    story: Story,
    via: Via,
    moment: Moment,
    taking: Taking,
}

/// A story that nothing disturbed: its calls, in their order.
struct Undisturbed {
    story: Story,
    via: Via,
    calls: Vec<RequestRecord>,
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => formatter.write_str("before the start"),
            Self::WhileDown => formatter.write_str("while the operator is down"),
            Self::InFlight(call) => write!(formatter, "call {call} in flight"),
            Self::InQueue(call) => write!(formatter, "call {} waits for the limiter", call + 1),
            Self::InRetry(call) => write!(formatter, "call {call} before its retry"),
        }
    }
}

impl Undisturbed {
    fn new(story: Story, via: Via) -> Self {
        let calls = in_a_paused_world(async {
            let fence = begun(story, via, FAST).await;
            story.start(&fence, &via.reference());
            fence.paused.until(LONG, &format!("{story:?} over {via:?} is over"), |_| story.is_over(&fence)).await;
            fence.of_businesses()
        });
        Self { story, via, calls }
    }

    // What can be lost, and when.
    fn crossings(&self) -> Vec<Crossing> {
        let Self { story, via, calls } = self;
        let mut crossings = Vec::new();
        let mut add = |moment: Moment, taking: Taking, left: &[RequestRecord]| {
            // A crossing without anything that could cross it shows nothing.
            if taking.is_of_another_set() || left.iter().any(|record| taking.forbids(*via, record)) {
                crossings.push(Crossing { story: *story, via: *via, moment, taking });
            }
        };

        let takings = Taking::all(*via, story.is_deletion());
        for (number, taking) in takings.iter().enumerate() {
            match (number + *story as usize) % 3 {
                0 => add(Moment::Before, *taking, calls),
                1 if !taking.is_of_another_set() => add(Moment::WhileDown, *taking, calls),
                _ => {}
            }
        }
        for call in 1..calls.len() {
            for taking in Taking::at(*via, story.is_deletion(), call + *story as usize) {
                add(Moment::InFlight(call), taking, &calls[call..]);
            }
            if *via == Via::Shared {
                let turn = call + *story as usize;
                add(Moment::InQueue(call), Taking::while_waiting(turn), &calls[call..]);
                if is_read(&calls[call - 1]) {
                    add(Moment::InRetry(call), Taking::while_waiting(turn + 3), &calls[call - 1..]);
                }
            }
        }
        crossings
    }
}

impl Crossing {
    // What CMDB received beside the right; an error if the moment never came.
    fn leaked(self, check: Check) -> Vec<String> {
        let Self { story, via, moment, taking } = self;
        in_a_paused_world(async move {
            let take = async |fence: &Fence| {
                if check == Check::On {
                    taking.take(fence, via).await;
                }
            };
            let rate = if matches!(moment, Moment::InQueue(_)) { SLOW } else { FAST };
            let mut fence = begun(story, via, rate).await;
            if taking.is_of_another_set() {
                fence.by_hand(fence.id_of(FOREIGN, "web"), "nginx", "nginx", "./run");
            }
            match moment {
                Moment::Before => take(&fence).await,
                Moment::WhileDown => {
                    fence.paused.stop_operator().await;
                    take(&fence).await;
                    fence.start();
                }
                Moment::InRetry(call) => {
                    let nth = u64::try_from(call).unwrap();
                    fence.paused.sim().add_fault(Fault::nth("*", nth, Effect::raw(502, "text/html", "Bad Gateway")));
                }
                Moment::InFlight(_) | Moment::InQueue(_) => {}
            }
            if !(taking.is_of_another_set() && moment == Moment::Before) {
                story.start(&fence, &via.reference());
            }
            match moment {
                Moment::Before | Moment::WhileDown => {}
                Moment::InFlight(call) => until(&fence, |calls| calls.len() == call && !calls[call - 1].finished).await,
                Moment::InQueue(call) | Moment::InRetry(call) => {
                    until(&fence, |calls| calls.len() == call && calls[call - 1].finished).await;
                    sleep(4 * LOOK).await;
                }
            }
            let before = fence.of_businesses().len();
            match moment {
                Moment::Before | Moment::WhileDown => {}
                Moment::InFlight(call) | Moment::InQueue(call) | Moment::InRetry(call) => {
                    assert_eq!(before, call, "{self:?}: the moment has passed");
                    take(&fence).await;
                }
            }
            sleep(WATCHED).await;
            let after = fence.of_businesses().split_off(before);
            let leaked = after.iter().filter(|record| taking.forbids(via, record));
            leaked.map(|record| format!("{} {}", record.call, record.body)).collect()
        })
    }
}

impl fmt::Display for Crossing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { story, via, moment, taking } = self;
        write!(formatter, "{story:?} over {via:?}, {moment}: {taking:?}")
    }
}

// A world at the start of a story.
async fn begun(story: Story, via: Via, rate: u32) -> Fence {
    let mut fence = Fence::new();
    fence.rate = rate;
    via.put(&fence, "cmdb", &granted());
    fence.start();
    story.prepare(&fence, &via.reference()).await;
    fence.paused.sim().clear_requests();
    fence
}

async fn until(fence: &Fence, holds: impl Fn(&[RequestRecord]) -> bool) {
    let begun = Instant::now();
    while !holds(&fence.of_businesses()) {
        assert!(begun.elapsed() < LONG, "the moment never comes: {:#?}", fence.of_businesses());
        sleep(LOOK).await;
    }
}

fn is_read(record: &RequestRecord) -> bool {
    Operation::ALL.iter().any(|operation| operation.as_str() == record.call && !operation.is_write())
}

fn in_a_paused_world<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(story)
}

// Does all of it, as much at a time as there are processors; the results are in the order of the work.
fn at_once<W: Sync, R: Send>(work: &[W], each: impl Fn(&W) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while let Some((number, work)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|number| Some((number, work.get(number)?)))
                {
                    let result = each(work);
                    done.lock().unwrap().push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

// Every story over every kind of connection, undisturbed.
fn undisturbed() -> Vec<Undisturbed> {
    let stories: Vec<(Story, Via)> =
        Via::ALL.iter().flat_map(|via| Story::ALL.iter().map(|story| (*story, *via))).collect();
    at_once(&stories, |(story, via)| Undisturbed::new(*story, *via))
}

#[test]
fn without_the_check_the_matrix_sees_the_crossings() {
    let all: Vec<Crossing> = undisturbed().iter().flat_map(Undisturbed::crossings).collect();
    // What is forbidden to another set of the name is nothing that the story would ask for.
    let real: Vec<Crossing> = all.into_iter().filter(|crossing| !crossing.taking.is_of_another_set()).collect();
    let of = |kind: fn(Moment) -> bool| {
        let of_kind: Vec<Crossing> = real.iter().filter(|crossing| kind(crossing.moment)).copied().collect();
        let step = of_kind.len().div_ceil(SAMPLE);
        assert!(of_kind.len() >= SAMPLE, "{of_kind:?}");
        of_kind.into_iter().step_by(step).collect::<Vec<Crossing>>()
    };
    let sample = [
        of(|moment| matches!(moment, Moment::Before)),
        of(|moment| matches!(moment, Moment::WhileDown)),
        of(|moment| matches!(moment, Moment::InFlight(_))),
        of(|moment| matches!(moment, Moment::InQueue(_))),
        of(|moment| matches!(moment, Moment::InRetry(_))),
    ]
    .concat();

    let leaked = at_once(&sample, |crossing| crossing.leaked(Check::Off));
    let missed: Vec<String> = sample
        .iter()
        .zip(&leaked)
        .filter(|(_, leaked)| leaked.is_empty())
        .map(|(crossing, _)| crossing.to_string())
        .collect();
    println!("fence without its check: crossings={} seen={}", sample.len(), sample.len() - missed.len());
    assert!(missed.is_empty(), "not seen as crossings: {missed:#?}");
}

#[test]
fn after_a_set_has_lost_the_right_cmdb_receives_nothing_that_needs_it() {
    let undisturbed = undisturbed();
    for Undisturbed { story, via, calls } in &undisturbed {
        let calls: Vec<&str> = calls.iter().map(|record| &*record.call).collect();
        println!("{story:?} over {via:?}: {}", calls.join(", "));
    }
    let made: BTreeSet<&str> = undisturbed.iter().flat_map(|it| &it.calls).map(|record| &*record.call).collect();
    let every: BTreeSet<&str> = Operation::ALL.iter().map(|operation| operation.as_str()).collect();
    assert_eq!(made, every, "the stories make every call");

    let crossings: Vec<Crossing> = undisturbed.iter().flat_map(Undisturbed::crossings).collect();
    let leaked = at_once(&crossings, |crossing| crossing.leaked(Check::On));
    for (crossing, leaked) in crossings.iter().zip(&leaked) {
        let result = if leaked.is_empty() { "refused".to_owned() } else { format!("LEAKED {leaked:?}") };
        println!("{crossing}: {result}");
    }
    let refused = leaked.iter().filter(|leaked| leaked.is_empty()).count();
    let waiting = crossings.iter().filter(|it| matches!(it.moment, Moment::InQueue(_) | Moment::InRetry(_)));
    let ways: BTreeSet<String> = waiting.map(|crossing| format!("{:?}", crossing.taking)).collect();
    println!("fence: crossings={} refused={refused} ways_while_waiting={}", crossings.len(), ways.len());
    assert_eq!(ways.len(), Taking::WHILE_WAITING.len(), "{ways:?}");
    assert_eq!(refused, crossings.len());
}
