//! Queueing, rejections, probes and readings of the limiter.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{CallOutcome, Limiter, LimiterHandle, Permit, Rejected};
use crate::cmdb::limits::lanes::Lanes;
use crate::cmdb::limits::quota::Quota;
use crate::cmdb::limits::wait::Wait;
use crate::cmdb::{LimiterReadings, Limits, PollKey, Priority};

// Calls in no namespace's name.
static ALONE: LazyLock<Wait> = LazyLock::new(Wait::default);

fn limits(requests_per_second: u32, max_concurrent: usize) -> Limits {
    Limits { requests_per_second, max_concurrent }
}

fn limiter(requests_per_second: u32, max_concurrent: usize) -> (Arc<Limiter>, LimiterHandle) {
    limiter_until(&CancellationToken::new(), requests_per_second, max_concurrent)
}

fn limiter_until(
    shutdown: &CancellationToken,
    requests_per_second: u32,
    max_concurrent: usize,
) -> (Arc<Limiter>, LimiterHandle) {
    let limiter = Limiter::new(shutdown.clone());
    let handle = limiter.join(limits(requests_per_second, max_concurrent));
    (limiter, handle)
}

async fn work(limiter: &Arc<Limiter>) -> Permit {
    limiter.admit(Priority::Interactive, &ALONE).await.unwrap()
}

// A poll is admitted or rejected at once.
fn poll(limiter: &Arc<Limiter>, of: u32) -> Result<Permit, Rejected> {
    limiter.admit(Priority::Background(PollKey::of(of)), &ALONE).now_or_never().unwrap()
}

fn busy_for(rejected: &Result<Permit, Rejected>) -> Duration {
    let Err(Rejected::Busy(wait)) = rejected else { panic!("{rejected:?}") };
    *wait
}

async fn fail(limiter: &Arc<Limiter>, times: usize) {
    for _ in 0..times {
        work(limiter).await.finish(CallOutcome::NotReached("no connection"), None);
    }
}

async fn until_probe(limiter: &Arc<Limiter>) {
    let (cause, wait) = limiter.down().unwrap();
    assert_eq!(cause, "no connection");
    sleep(wait).await;
}

#[tokio::test(start_paused = true)]
async fn work_is_admitted_in_the_order_in_which_it_came() {
    let (limiter, _handle) = limiter(1000, 1);
    let held = work(&limiter).await;
    let (sender, mut order) = mpsc::unbounded_channel();
    for number in 0..5 {
        let (limiter, sender) = (Arc::clone(&limiter), sender.clone());
        tokio::spawn(async move {
            let _permit = work(&limiter).await;
            sender.send(number).unwrap();
        });
        tokio::task::yield_now().await;
    }
    drop(held);
    for number in 0..5 {
        assert_eq!(order.recv().await, Some(number));
    }
}

// Calls of namespaces that queue behind one in flight: the order in which they are admitted.
async fn order_of(limiter: &Arc<Limiter>, waits: Vec<Wait>) -> Vec<usize> {
    let held = work(limiter).await;
    let (sender, mut admitted) = mpsc::unbounded_channel();
    for (number, wait) in waits.into_iter().enumerate() {
        let (limiter, sender) = (Arc::clone(limiter), sender.clone());
        tokio::spawn(async move {
            let permit = limiter.admit(Priority::Interactive, &wait).await.unwrap();
            sender.send(number).unwrap();
            sleep(Duration::from_secs(1)).await;
            drop(permit);
        });
        tokio::task::yield_now().await;
    }
    drop((held, sender));
    let mut order = Vec::new();
    while let Some(number) = admitted.recv().await {
        order.push(number);
    }
    order
}

fn in_lane(namespace: &str) -> Wait {
    Wait { lanes: Lanes::of(namespace), ..Wait::default() }
}

#[tokio::test(start_paused = true)]
async fn namespaces_take_turns_and_each_is_served_in_its_order() {
    let (limiter, _handle) = limiter(1000, 1);
    let waits = ["shop", "shop", "shop", "shop", "bank", "bank", "mall"].map(in_lane);
    assert_eq!(order_of(&limiter, waits.to_vec()).await, [0, 4, 6, 1, 5, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_another_namespace_waits_for_too_is_served_in_its_turn() {
    let (limiter, _handle) = limiter(1000, 1);
    let waits = ["shop", "shop", "shop", "shop", "bank"].map(in_lane);
    let _waits_too = waits[3].lanes.join("mall");
    assert_eq!(order_of(&limiter, waits.to_vec()).await, [0, 3, 4, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_set_that_has_changed_waits_no_longer_and_holds_up_nothing() {
    let (limiter, _handle) = limiter(1000, 1);
    let held = work(&limiter).await;
    let wait = in_lane("shop");
    let mut changed = Box::pin(limiter.admit(Priority::Resolve, &wait));
    assert!(futures::poll!(&mut changed).is_pending());
    let (other, no_wait) = (in_lane("shop"), Duration::ZERO);
    let mut behind = Box::pin(limiter.admit(Priority::Interactive, &other));
    assert!(futures::poll!(&mut behind).is_pending());
    let started = Instant::now();
    wait.superseded.cancel();
    assert_eq!(changed.await.map(drop), Err(Rejected::Superseded));
    drop(held);
    assert!(behind.await.is_ok());
    assert_eq!(started.elapsed(), no_wait);
}

#[tokio::test(start_paused = true)]
async fn shutdown_rejects_all_waiting_calls_except_those_that_resolve_a_write() {
    let shutdown = CancellationToken::new();
    let (limiter, _handle) = limiter_until(&shutdown, 1, 1);
    drop(work(&limiter).await);
    let admit = |priority| {
        let limiter = Arc::clone(&limiter);
        async move { (limiter.admit(priority, &ALONE).await.map(drop), Instant::now()) }
    };
    let waiting =
        [Priority::Interactive, Priority::Interactive, Priority::Resolve, Priority::Resolve, Priority::Interactive];
    let started = Instant::now();
    let (outcomes, ()) = tokio::join!(join_all(waiting.map(admit)), async {
        sleep(Duration::from_millis(100)).await;
        shutdown.cancel();
    });
    for (priority, (outcome, at)) in waiting.into_iter().zip(outcomes) {
        let after = at - started;
        match priority {
            // It is admitted in its order, without waiting for those that were rejected.
            Priority::Resolve => {
                assert!(outcome.is_ok() && after < Duration::from_millis(2100), "{outcome:?} {after:?}");
            }
            _ => assert_eq!(outcome, Err(Rejected::ShuttingDown)),
        }
    }
    assert_eq!(admit(Priority::Interactive).await.0, Err(Rejected::ShuttingDown));
    assert_eq!(poll(&limiter, 1).map(drop), Err(Rejected::ShuttingDown));
}

#[tokio::test(start_paused = true)]
async fn work_is_admitted_at_the_rate() {
    let (limiter, _handle) = limiter(20, 4);
    let started = Instant::now();
    for _ in 0..120 {
        drop(work(&limiter).await);
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_millis(5200), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_poll_is_admitted_after_its_retry_after() {
    let (limiter, _handle) = limiter(20, 4);
    while poll(&limiter, 0).is_ok() {}
    let waits: Vec<Duration> = (0..200).map(|of| busy_for(&poll(&limiter, of))).collect();
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "each has a later one");
    let again = (0..).zip(waits).map(|(of, wait)| {
        let limiter = Arc::clone(&limiter);
        async move {
            sleep(wait).await;
            poll(&limiter, of).is_ok()
        }
    });
    let started = Instant::now();
    let sent = join_all(again).await;
    assert!(sent.iter().filter(|sent| **sent).count() > 190);
    assert!(started.elapsed() < Duration::from_secs(11));
}

// Polls `sets` sets, each again an interval after it was sent. Returns how often each was sent.
async fn sent_polls(limiter: &Arc<Limiter>, sets: u32, interval: Duration, time: Duration) -> Vec<u32> {
    let until = Instant::now() + time;
    let set = |of: u32| async move {
        let mut sent = 0;
        sleep(interval * of / sets).await;
        while Instant::now() < until {
            let wait = match poll(limiter, of) {
                Ok(permit) => {
                    sleep(Duration::from_millis(20)).await;
                    permit.finish(CallOutcome::Reached, None);
                    sent += 1;
                    interval
                }
                rejected => busy_for(&rejected),
            };
            sleep(wait).await;
        }
        sent
    };
    join_all((0..sets).map(set)).await
}

#[tokio::test(start_paused = true)]
async fn polls_beyond_the_limit_are_admitted_equally_often() {
    for rate in [1, 5, 20] {
        let (limiter, _handle) = limiter(rate, 4);
        let interval = Duration::from_secs(20);
        // Three times as many as the rate admits.
        let sets = rate * 60;
        let sent = sent_polls(&limiter, sets, interval, interval * 15).await;
        let (least, most) = (*sent.iter().min().unwrap(), *sent.iter().max().unwrap());
        assert!(least >= 4 && most <= 6, "with {rate} a second: {least} to {most} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_does_not_come_again_costs_two_seconds_at_most() {
    let (limiter, _handle) = limiter(1, 1);
    drop(poll(&limiter, 0).unwrap());
    let (first, second) = (busy_for(&poll(&limiter, 1)), busy_for(&poll(&limiter, 2)));
    assert!(first < second);
    advance(second).await;
    busy_for(&poll(&limiter, 2));
    advance(Duration::from_secs(1)).await;
    assert!(poll(&limiter, 2).is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_of_several_calls_in_flight_is_reserved_for_work() {
    let (limiter, handle) = limiter(1000, 3);
    let _held = [poll(&limiter, 0).unwrap(), poll(&limiter, 0).unwrap()];
    busy_for(&poll(&limiter, 0));
    let _work = work(&limiter).await;
    drop(handle);
    let (single, _handle) = self::limiter(1000, 1);
    let _held = poll(&single, 0).unwrap();
    busy_for(&poll(&single, 0));
}

#[tokio::test(start_paused = true)]
async fn no_poll_is_admitted_while_work_is_queued() {
    let (limiter, _handle) = limiter(1000, 2);
    let held = [work(&limiter).await, work(&limiter).await];
    let mut waiting = Box::pin(limiter.admit(Priority::Interactive, &ALONE));
    assert!(futures::poll!(&mut waiting).is_pending());
    let mut behind = Box::pin(limiter.admit(Priority::Interactive, &ALONE));
    assert!(futures::poll!(&mut behind).is_pending());
    drop(held);
    busy_for(&poll(&limiter, 0));
    drop((waiting.await, behind.await));
    assert!(poll(&limiter, 0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_queued_call_that_is_dropped_does_not_block_the_queue() {
    let (limiter, _handle) = limiter(1000, 1);
    let held = work(&limiter).await;
    let mut waiting = Box::pin(limiter.admit(Priority::Interactive, &ALONE));
    assert!(futures::poll!(&mut waiting).is_pending());
    let mut behind = Box::pin(limiter.admit(Priority::Interactive, &ALONE));
    assert!(futures::poll!(&mut behind).is_pending());
    drop(waiting);
    drop(held);
    assert!(behind.await.is_ok());
    assert!(poll(&limiter, 0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_lowest_limits_of_all_clients_apply() {
    let (limiter, _handle) = limiter(100, 10);
    assert!((limiter.rate() - 100.0).abs() < 1e-9);
    let lower = limiter.join(limits(5, 1));
    assert!((limiter.rate() - 5.0).abs() < 1e-9);
    let held = work(&limiter).await;
    assert!(
        timeout(Duration::from_mins(1), limiter.admit(Priority::Interactive, &ALONE)).await.is_err(),
        "one at a time"
    );
    drop(lower);
    assert!((limiter.rate() - 100.0).abs() < 1e-9);
    let _second = work(&limiter).await;
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn work_waits_for_a_near_reset_and_is_rejected_for_a_far_one() {
    let (limiter, _handle) = limiter(100, 4);
    let quota = |seconds| Some(Quota { limit: Some(100), remaining: 0, reset: Duration::from_secs(seconds) });
    work(&limiter).await.finish(CallOutcome::Throttled, quota(30));
    let rejected = limiter.admit(Priority::Interactive, &ALONE).await.unwrap_err();
    assert_eq!(rejected, Rejected::QuotaExhausted(Duration::from_secs(30)));
    assert!(busy_for(&poll(&limiter, 0)) >= Duration::from_secs(30));
    advance(Duration::from_secs(21)).await;
    let started = Instant::now();
    drop(work(&limiter).await);
    assert_eq!(started.elapsed(), Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn after_throttling_work_waits_for_the_outcome_of_a_probe() {
    let (limiter, _handle) = limiter(100, 4);
    work(&limiter).await.finish(CallOutcome::Throttled, None);
    let started = Instant::now();
    let probe = work(&limiter).await;
    assert_eq!(started.elapsed(), Duration::from_millis(500));
    busy_for(&poll(&limiter, 0));
    let mut waiting = Box::pin(limiter.admit(Priority::Interactive, &ALONE));
    assert!(timeout(Duration::from_secs(20), &mut waiting).await.is_err());
    probe.finish(CallOutcome::Reached, None);
    drop(waiting.await);
    advance(Duration::from_millis(100)).await;
    assert!(poll(&limiter, 0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_down_endpoint_is_probed_by_one_call_and_recovers_for_all() {
    let (limiter, _handle) = limiter(1000, 10);
    fail(&limiter, 2).await;
    assert_eq!(limiter.down(), None);
    fail(&limiter, 1).await;
    for priority in [Priority::Interactive, Priority::Background(PollKey::default())] {
        let rejected = limiter.admit(priority, &ALONE).now_or_never().unwrap().unwrap_err();
        assert!(matches!(&rejected, Rejected::Down(cause, _) if cause == "no connection"), "{rejected:?}");
    }
    until_probe(&limiter).await;
    let probe = poll(&limiter, 0).unwrap();
    let mut others: Vec<_> = (0..5).map(|_| Box::pin(limiter.admit(Priority::Interactive, &ALONE))).collect();
    others.extend((0..3).map(|_| Box::pin(limiter.admit(Priority::Background(PollKey::default()), &ALONE))));
    for other in &mut others {
        assert!(futures::poll!(other).is_pending(), "waits for the outcome");
    }
    probe.finish(CallOutcome::Reached, None);
    let sent = join_all(others.drain(..5)).await;
    assert!(sent.iter().all(Result::is_ok));
    assert_eq!(limiter.down(), None);
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_rejects_all_calls_that_waited_for_it() {
    let (limiter, _handle) = limiter(1000, 10);
    fail(&limiter, 3).await;
    until_probe(&limiter).await;
    let probe = work(&limiter).await;
    let others = join_all((0..5).map(|_| limiter.admit(Priority::Interactive, &ALONE)));
    let (others, ()) = tokio::join!(others, async {
        sleep(Duration::from_secs(45)).await;
        probe.finish(CallOutcome::NotReached("no answer in time"), None);
    });
    for rejected in others {
        let Err(Rejected::Down(cause, wait)) = rejected else { panic!("{rejected:?}") };
        assert_eq!(cause, "no connection");
        assert!(wait >= Duration::from_millis(1600), "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_half_a_second_for_a_hanging_probe() {
    let (limiter, _handle) = limiter(1000, 10);
    fail(&limiter, 3).await;
    until_probe(&limiter).await;
    let _probe = work(&limiter).await;
    let started = Instant::now();
    busy_for(&limiter.admit(Priority::Background(PollKey::default()), &ALONE).await);
    assert_eq!(started.elapsed(), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn after_an_abandoned_probe_the_next_call_probes() {
    let (limiter, _handle) = limiter(1000, 10);
    fail(&limiter, 3).await;
    until_probe(&limiter).await;
    let probe = work(&limiter).await;
    let waiting = limiter.admit(Priority::Interactive, &ALONE);
    let (next, ()) = tokio::join!(waiting, async { drop(probe) });
    let mut behind = Box::pin(limiter.admit(Priority::Interactive, &ALONE));
    assert!(timeout(Duration::from_mins(1), &mut behind).await.is_err(), "another probe is in flight");
    next.unwrap().finish(CallOutcome::Reached, None);
    assert!(behind.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_earlier_call_closes_the_circuit() {
    let (limiter, _handle) = limiter(1000, 10);
    let slow = work(&limiter).await;
    fail(&limiter, 3).await;
    assert!(limiter.down().is_some());
    slow.finish(CallOutcome::Throttled, None);
    assert_eq!(limiter.down(), None, "an endpoint that throttles is up");
}

#[tokio::test(start_paused = true)]
async fn readings_show_the_state_of_a_limiter() {
    let (limiter, _handle) = limiter(20, 2);
    let read = || {
        let mut readings = LimiterReadings::default();
        limiter.read(&mut readings);
        readings
    };
    let full = LimiterReadings { full: 1, ..LimiterReadings::default() };
    assert_eq!(read(), full);
    let (first, second) = (work(&limiter).await, work(&limiter).await);
    let waiting = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { work(&limiter).await.finish(CallOutcome::Throttled, None) }
    });
    tokio::task::yield_now().await;
    assert!(poll(&limiter, 0).is_err());
    assert_eq!(read(), LimiterReadings { in_flight: 2, edits_waiting: 1, polls_waiting: 1, ..full });
    drop((first, second));
    waiting.await.unwrap();
    advance(Duration::from_secs(10)).await;
    assert_eq!(read(), LimiterReadings { slowed: 1, ..LimiterReadings::default() }, "it was throttled");
    work(&limiter).await.finish(CallOutcome::Reached, None);
    advance(Duration::from_mins(10)).await;
    assert_eq!(read(), full, "the rate has recovered");
    fail(&limiter, 3).await;
    assert_eq!(read(), LimiterReadings { down: 1, ..LimiterReadings::default() });
}
