//! Streams across, in both directions: every item, in order, then the end, whatever kind it is.

mod support;

use std::{
    cell::Cell,
    future::pending,
    panic::resume_unwind,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use futures::{
    Stream, StreamExt,
    channel::oneshot,
    future::{poll_immediate, ready},
    stream::{self, FusedStream},
};
use landbridge::{
    CompioHandle, CompioPool, JoinHandle, TokioHandleExt, error::JoinError, test_util::both,
};
use support::{
    OnDrop, Tally, assert_lives, block_on, eventually, eventually_async, for_each_driver, hold,
    poll_once, watchdog,
};

/// A stream of `Rc`s and Compio's timers: it cannot leave its thread.
fn staying(n: u32) -> impl Stream<Item = u32> {
    let home = thread::current().id();
    let state = Rc::new(Cell::new(0));
    stream::unfold(state, move |state| async move {
        let next = state.get();
        state.set(next + 1);
        if next % 7 == 0 {
            compio::time::sleep(Duration::from_micros(10)).await;
        }
        assert_eq!(home, thread::current().id());
        (next < n).then_some((next, state))
    })
}

/// Counts up and notes how far it got.
fn counting(made: &Arc<AtomicUsize>) -> impl Stream<Item = usize> + Send + use<> {
    let made = made.clone();
    stream::repeat_with(move || made.fetch_add(1, Ordering::SeqCst))
}

fn poll_next<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// The plain promise, for every size of room there is between the two sides.
#[test]
fn every_item_comes_across_once_and_in_order() {
    for_each_driver(|builder| {
        both(async || {
            let pool = builder().build().unwrap();
            for capacity in [0, 1, 3, 64] {
                let mut items = pool.stream(|| staying(200)).capacity(capacity);
                let mut expected = 0;
                while let Some(item) = items.next().await {
                    assert_eq!(item.unwrap(), expected);
                    expected += 1;
                }
                assert_eq!(expected, 200);
                assert!(items.is_terminated());
                assert!(items.next().await.is_none());
            }
        });
    });
}

/// Like `run`: what is never polled never happens.
#[test]
fn a_stream_does_nothing_before_its_first_poll() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let made = Arc::new(AtomicUsize::new(0));
        let counted = made.clone();
        let items = pool.stream(move || counting(&counted));
        assert!(!items.is_terminated());
        assert_lives(&pool);
        drop(items);
        let tokio = tokio_runtime();
        drop(tokio.handle().run_stream(counting(&made)));
        tokio.block_on(tokio.spawn(async {})).unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 0);
        assert_eq!(pool.metrics().workers[0].completed, 1);
    });
}

/// Back-pressure: a consumer that is slow holds the producer up, and no item is made for which there is
/// no room.
#[test]
fn no_more_items_are_made_than_there_is_room_for() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tokio = tokio_runtime();
        let tokio_lives = || tokio.block_on(tokio.spawn(async {})).unwrap();
        for (capacity, room) in [(None, 64), (Some(4), 4), (Some(1), 1)] {
            let made = Arc::new(AtomicUsize::new(0));
            let far = || made.load(Ordering::SeqCst);
            let counted = made.clone();
            let mut items = pool.stream(move || counting(&counted));
            if let Some(capacity) = capacity {
                items = items.capacity(capacity);
            }
            let mut taken = usize::from(poll_next(&mut items).is_ready());
            eventually("the room is filled", || far() >= room + taken);
            // It has stopped: the worker has nothing else to do, and does this.
            assert_lives(&pool);
            assert_eq!(far(), room + taken);
            for _ in 0..10 {
                assert_eq!(block_on(items.next()).unwrap().unwrap(), taken);
                taken += 1;
            }
            assert_lives(&pool);
            assert!(far() <= room + taken);
            drop(items);

            let made = Arc::new(AtomicUsize::new(0));
            let far = || made.load(Ordering::SeqCst);
            let mut items = tokio.handle().run_stream(counting(&made));
            if let Some(capacity) = capacity {
                items = items.capacity(capacity);
            }
            let taken = usize::from(poll_next(&mut items).is_ready());
            eventually("the room is filled", || far() >= room + taken);
            tokio_lives();
            assert_eq!(far(), room + taken);
        }
    });
}

/// A caller that wants no bound has no room of that size, and must not be told so by a panic.
#[test]
fn a_capacity_beyond_all_bounds_is_cut_to_the_largest() {
    let tokio = tokio_runtime();
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let made = Arc::new(AtomicUsize::new(0));
        let counted = made.clone();
        let mut here = pool.stream(move || counting(&counted)).capacity(usize::MAX);
        let taken = usize::from(poll_next(&mut here).is_ready());
        eventually("the room is filled", || {
            made.load(Ordering::SeqCst) == 65_536 + taken
        });
        assert_eq!(block_on(here.next()).unwrap().unwrap(), taken);
    });
    let mut there = tokio
        .handle()
        .run_stream(stream::repeat(1))
        .capacity(usize::MAX);
    assert_eq!(block_on(there.next()).unwrap().unwrap(), 1);
}

/// The items are there, and were made before the panic: losing them would lose good data.
#[test]
fn a_panic_comes_after_every_item_that_was_made_before_it() {
    for_each_driver(|builder| {
        both(async || {
            let pool = builder().build().unwrap();
            for n in [0, 1, 10, 64, 65, 200] {
                let panics = move || {
                    stream::iter(0..n)
                        .map(Ok)
                        .chain(stream::once(ready(Err(()))))
                        .map(|item| item.unwrap_or_else(|()| resume_unwind(Box::new("spoilt"))))
                };
                let mut here = pool.stream(panics);
                let tokio = tokio::runtime::Handle::try_current()
                    .is_err()
                    .then(tokio_runtime);
                let mut there = tokio
                    .as_ref()
                    .map(|tokio| tokio.handle().run_stream(panics()));
                for item in 0..n {
                    assert_eq!(here.next().await.unwrap().unwrap(), item);
                    if let Some(there) = &mut there {
                        assert_eq!(there.next().await.unwrap().unwrap(), item);
                    }
                }
                let ends = [
                    (here.next().await, here.next().await, here.is_terminated()),
                    match &mut there {
                        Some(there) => (
                            there.next().await,
                            there.next().await,
                            there.is_terminated(),
                        ),
                        None => continue,
                    },
                ];
                for (end, after, terminated) in ends {
                    let Some(Err(JoinError::Panicked(panic))) = end else {
                        panic!("{end:?}");
                    };
                    assert_eq!(panic.message().as_deref(), Some("spoilt"));
                    assert!(after.is_none() && terminated);
                }
            }
            assert_lives_async(&pool).await;
        });
    });
}

async fn assert_lives_async(pool: &CompioPool) {
    assert_eq!(pool.run(async || 42).await.unwrap(), 42);
}

/// The closure may panic before there is a stream, and the stream's destructor after its last item.
#[test]
fn a_panic_of_the_closure_or_of_the_destructor_is_the_last_item() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let none = || -> stream::Empty<u8> { resume_unwind(Box::new(())) };
        let items = block_on(pool.stream(none).collect::<Vec<_>>());
        assert!(matches!(items[..], [Err(JoinError::Panicked(_))]));
        let bomb = || {
            let bomb = OnDrop::new(|| resume_unwind(Box::new(())));
            stream::iter([1, 2]).map(move |n| {
                _ = &bomb;
                n
            })
        };
        let items = block_on(pool.stream(bomb).collect::<Vec<_>>());
        assert!(matches!(
            items[..],
            [Ok(1), Ok(2), Err(JoinError::Panicked(_))]
        ));
        let tokio = tokio_runtime();
        let items = block_on(tokio.handle().run_stream(bomb()).collect::<Vec<_>>());
        assert!(matches!(
            items[..],
            [Ok(1), Ok(2), Err(JoinError::Panicked(_))]
        ));
        assert_lives(&pool);
    });
}

/// A stream that is dropped is a stream nobody reads: what it holds over there is given back, on its
/// own thread, also while it waits for room or for the kernel.
#[test]
fn a_dropped_stream_is_cancelled_over_there() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tokio = tokio_runtime();
        let home = block_on(pool.run(async || thread::current().id())).unwrap();
        for endless in [false, true] {
            for take in [0, 1, 70] {
                let (inside, items) = (Tally::new(), Tally::new());
                let graves = || Arc::new(Mutex::new(Vec::new()));
                let (grave_here, grave_there) = (graves(), graves());
                let make = |graves: &Arc<Mutex<Vec<_>>>| {
                    let (inside, items, graves) = (inside.make(), items.clone(), graves.clone());
                    move || {
                        let grave = OnDrop::new(move || {
                            graves.lock().unwrap().push(thread::current().id());
                        });
                        let held = (grave, inside);
                        let first = stream::repeat_with(move || {
                            _ = &held;
                            items.make()
                        });
                        first
                            .take(if endless { usize::MAX } else { take })
                            .chain(stream::once(pending()))
                    }
                };
                let mut here = pool.stream(make(&grave_here));
                let mut there = tokio.handle().run_stream(make(&grave_there)());
                assert_eq!(inside.made(), 2);
                if take == 0 {
                    _ = poll_next(&mut here);
                    _ = poll_next(&mut there);
                }
                for _ in 0..take {
                    drop(block_on(here.next()).unwrap().unwrap());
                    drop(block_on(there.next()).unwrap().unwrap());
                }
                drop((here, there));
                eventually("the streams are dropped", || inside.alive() == 0);
                eventually("all items are", || items.alive() == 0);
                let grave = grave_here.lock().unwrap();
                // One that had not been begun was not made.
                assert!(grave.len() == 1 || take == 0 && grave.is_empty());
                assert!(grave.iter().all(|grave| *grave == home));
                assert_eq!(grave_there.lock().unwrap().len(), 1);
            }
        }
        assert_lives(&pool);
    });
}

/// Dropped after each number of polls, with items ready before each of them: nothing leaks.
#[test]
fn a_stream_may_be_dropped_after_any_number_of_polls() {
    const POLLS: usize = 5;

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tokio = tokio_runtime();
        for polls in 0..POLLS {
            for go_at in 0..=POLLS {
                for on_tokio in [false, true] {
                    let tally = Tally::new();
                    let (go, may_go) = oneshot::channel::<()>();
                    let mut go = Some(go);
                    let (inside, items) = (tally.make(), tally.clone());
                    let make = move || {
                        stream::unfold((inside, Some(may_go), 0), move |(inside, mut may_go, n)| {
                            let item = items.make();
                            async move {
                                if let Some(may_go) = may_go.take() {
                                    _ = may_go.await;
                                }
                                support::yield_now().await;
                                (n < 2).then_some((item, (inside, may_go, n + 1)))
                            }
                        })
                    };
                    let mut stream: Pin<Box<dyn Stream<Item = _>>> = if on_tokio {
                        Box::pin(tokio.handle().run_stream(make()).capacity(1))
                    } else {
                        Box::pin(pool.stream(make).capacity(1))
                    };
                    for poll in 0..=polls {
                        if poll == go_at {
                            _ = go.take().unwrap().send(());
                            if go_at % 2 == 0 {
                                assert_lives(&pool);
                            }
                        }
                        if poll < polls {
                            _ = poll_next(&mut stream);
                        }
                    }
                    drop(stream);
                    eventually("all is dropped", || tally.alive() == 0);
                }
            }
        }
        assert_lives(&pool);
    });
}

/// Waiting for an item and giving up is what every `select!` does.
#[test]
fn a_wait_for_an_item_that_is_given_up_loses_nothing() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let mut items = pool.stream(|| staying(100)).capacity(2);
        let seen = block_on(async {
            let mut seen = Vec::new();
            loop {
                match poll_immediate(items.next()).await {
                    Some(Some(item)) => seen.push(item.unwrap()),
                    Some(None) => return seen,
                    None => thread::yield_now(),
                }
            }
        });
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    });
}

/// A receiver that lets its neighbours run says that it has nothing, with the channel full and the
/// result there: that is not the end. (A channel does so after 128 messages.)
#[test]
fn a_result_that_is_there_before_the_items_are_taken_does_not_overtake_them() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let items = || {
            let last = stream::once(async { resume_unwind(Box::new(())) });
            stream::iter(0..200).chain(last)
        };
        let mut here = pool.stream(items).capacity(256);
        let taken = u32::from(poll_next(&mut here).is_ready());
        eventually("it is over there", || {
            pool.metrics().workers[0].panicked == 1
        });
        block_on(async {
            for expected in taken..200 {
                assert_eq!(here.next().await.unwrap().unwrap(), expected);
            }
            let end = here.next().await;
            assert!(matches!(end, Some(Err(JoinError::Panicked(_)))));
        });
    });
}

/// Whoever waits for an item of a pool that goes away must be told, after the items that were made.
#[test]
fn a_pool_that_goes_away_is_the_last_item() {
    for_each_driver(|builder| {
        both(async || {
            let pool = builder().build().unwrap();
            let items = || stream::iter([1, 2]).chain(stream::once(pending()));
            let mut running = pool.stream(items);
            assert_eq!(running.next().await.unwrap().unwrap(), 1);
            let release = hold(&pool);
            // Submitted, never begun.
            let mut queued = pool.stream(items);
            assert!(poll_immediate(queued.next()).await.is_none());
            let mut late = pool.stream(items);
            drop(pool);
            drop(release);
            assert_eq!(running.next().await.unwrap().unwrap(), 2);
            for mut stream in [running, queued] {
                loop {
                    // The turn of the loop that is under way may still begin what was queued.
                    match stream.next().await {
                        Some(Ok(item)) => assert!(item < 3),
                        end => break assert!(matches!(end, Some(Err(JoinError::RuntimeGone)))),
                    }
                }
                assert!(stream.next().await.is_none());
            }
            assert!(matches!(
                late.next().await,
                Some(Err(JoinError::RuntimeGone))
            ));
            assert!(late.is_terminated() && late.next().await.is_none());
        });
    });
}

/// A drain finishes what was taken on, streams included, as long as somebody takes their items.
#[test]
fn a_shutdown_waits_for_a_stream_that_is_read() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let mut items = pool.stream(|| staying(100)).capacity(2);
        assert_eq!(block_on(items.next()).unwrap().unwrap(), 0);
        let mut shutdown = pool.shutdown();
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        let rest = block_on(items.by_ref().collect::<Vec<_>>());
        assert_eq!(
            rest.into_iter().map(Result::unwrap).sum::<u32>(),
            99 * 100 / 2
        );
        block_on(shutdown);

        let pool = builder().build().unwrap();
        let mut stuck = pool.stream(|| stream::repeat(1)).capacity(2);
        assert_eq!(block_on(stuck.next()).unwrap().unwrap(), 1);
        assert_eq!(block_on(pool.shutdown_timeout(Duration::ZERO)), 1);
        let last = block_on(stuck.collect::<Vec<_>>()).pop();
        assert!(matches!(last, Some(Err(JoinError::Cancelled))));
    });
}

/// A stream takes one place for as long as it goes on, and waits for it like everybody.
#[test]
fn a_stream_waits_for_its_place_in_a_bounded_pool() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let (go, may_go) = oneshot::channel::<()>();
        let busy = pool.try_spawn(async move || may_go.await).unwrap();
        // More than there is room for: it goes on until it is read.
        let mut items = pool.stream(|| staying(100)).capacity(1);
        assert!(poll_next(&mut items).is_pending());
        assert_eq!(pool.metrics().waiting, 1);
        go.send(()).unwrap();
        block_on(busy).unwrap().unwrap();
        assert_eq!(block_on(items.next()).unwrap().unwrap(), 0);
        assert!(pool.try_spawn(async || ()).unwrap_err().is_full());
        assert_eq!(block_on(items.count()), 99);
        assert!(pool.try_spawn(async || ()).is_ok());
    });
}

/// From a job of the same worker the two sides share a thread, and must not wait for each other on it.
#[test]
fn a_stream_of_the_same_worker_makes_progress() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let sum = pool.run(async || {
            let here = CompioHandle::current().unwrap();
            let items = here.stream(|| staying(100)).capacity(1);
            items
                .map(Result::unwrap)
                .fold(0, async |sum, n| sum + n)
                .await
        });
        assert_eq!(block_on(sum).unwrap(), 99 * 100 / 2);
    });
}

/// The other direction, from every runtime: a stream of Tokio's timers.
#[test]
fn a_stream_on_tokio_comes_across_in_order() {
    both(async || {
        let outer = tokio::runtime::Handle::try_current();
        let own = outer.is_err().then(tokio_runtime);
        let handle = own
            .as_ref()
            .map_or_else(|| outer.unwrap(), |tokio| tokio.handle().clone());
        let ticks = stream::unfold(0, async |n| {
            if n % 10 == 0 {
                tokio::time::sleep(Duration::from_micros(10)).await;
            }
            (n < 200).then_some((n, n + 1))
        });
        let mut items = handle.run_stream(Box::pin(ticks)).capacity(3);
        let mut expected = 0;
        while let Some(item) = items.next().await {
            assert_eq!(item.unwrap(), expected);
            expected += 1;
        }
        assert_eq!(expected, 200);
        assert!(items.is_terminated() && items.next().await.is_none());
        if let Some(own) = own {
            own.shutdown_background();
        }
    });
}

/// Tokio's runtime may go first, too; nobody hangs, and nothing that was made is lost.
#[test]
fn a_tokio_runtime_that_goes_away_is_the_last_item() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle().clone();
    let items = || stream::iter([1, 2]).chain(stream::once(pending()));
    let mut running = handle.run_stream(items());
    assert_eq!(block_on(running.next()).unwrap().unwrap(), 1);
    // It has got to the end of what it can make.
    tokio.block_on(tokio.spawn(async {})).unwrap();
    drop(tokio);
    assert_eq!(block_on(running.next()).unwrap().unwrap(), 2);
    for mut stream in [running, handle.run_stream(items())] {
        assert!(matches!(
            block_on(stream.next()),
            Some(Err(JoinError::RuntimeGone))
        ));
        assert!(stream.is_terminated() && block_on(stream.next()).is_none());
    }
}

/// One handle for both sides: each promise of `JoinHandle`, with the work on Tokio.
#[test]
fn work_spawned_across_to_tokio_keeps_the_promises_of_a_join_handle() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle().clone();
    both(async || {
        let work = || async {
            tokio::time::sleep(Duration::from_micros(10)).await;
            42
        };
        assert_eq!(handle.spawn_across(work()).await.unwrap(), 42);

        let finished = handle.spawn_across(work());
        eventually_async("it is finished", || finished.is_finished()).await;
        // Too late: the output is there.
        finished.abort();
        assert_eq!(finished.cancel().await.unwrap(), 42);

        let panicked: JoinHandle<()> =
            handle.spawn_across(async { resume_unwind(Box::new("over")) });
        let Err(JoinError::Panicked(panic)) = panicked.await else {
            unreachable!()
        };
        assert_eq!(panic.message().as_deref(), Some("over"));

        // Dropping the handle lets the work go on.
        let (done, is_done) = oneshot::channel();
        let (go, may_go) = oneshot::channel::<()>();
        drop(handle.spawn_across(async move {
            may_go.await.unwrap();
            done.send(7).unwrap();
        }));
        go.send(()).unwrap();
        assert_eq!(is_done.await.unwrap(), 7);

        // `cancel` resolves when the future has been dropped.
        let tally = Tally::new();
        let counted = tally.make();
        let endless = handle.spawn_across(async move {
            let _counted = counted;
            pending::<()>().await;
        });
        assert!(!endless.is_finished());
        assert!(matches!(endless.cancel().await, Err(JoinError::Cancelled)));
        assert_eq!(tally.alive(), 0);

        let endless = handle.spawn_across(pending::<()>());
        let abort = endless.abort_handle();
        let (aborting, abort_again) = (abort.clone(), format!("{abort:?}"));
        thread::spawn(move || aborting.abort()).join().unwrap();
        assert!(matches!(endless.await, Err(JoinError::Cancelled)));
        abort.abort();
        assert!(abort_again.contains("AbortHandle"));
    });
}

/// A runtime that goes away is not the same as work that was aborted, and the handle knows.
#[test]
fn a_handle_of_work_on_tokio_tells_the_runtimes_end_from_an_abort() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle().clone();
    let (lost, aborted) = (
        handle.spawn_across(pending::<()>()),
        handle.spawn_across(pending::<()>()),
    );
    aborted.abort();
    drop(tokio);
    let abort = lost.abort_handle();
    // After the fact: it changes nothing.
    abort.abort();
    assert!(matches!(block_on(lost), Err(JoinError::RuntimeGone)));
    assert!(matches!(block_on(aborted), Err(JoinError::Cancelled)));
    let late = handle.spawn_across(async { 1 });
    assert!(matches!(block_on(late), Err(JoinError::RuntimeGone)));
}

/// Each wake-up of a stream must lead somewhere: polled only when woken, it gets to its end.
#[test]
fn a_stream_that_is_polled_only_when_woken_gets_to_its_end() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tokio = tokio_runtime();
        for capacity in [1, 2, 64] {
            // `block_on` polls when woken, and at no other time.
            let mut here = pin!(pool.stream(|| staying(50)).capacity(capacity));
            let slow = stream::iter(0..50).then(async |n: u32| {
                tokio::task::yield_now().await;
                n
            });
            let mut there = tokio.handle().run_stream(slow).capacity(capacity);
            block_on(async {
                for expected in 0..50 {
                    assert_eq!(here.next().await.unwrap().unwrap(), expected);
                    assert_eq!(there.next().await.unwrap().unwrap(), expected);
                }
                assert!(here.next().await.is_none());
                assert!(there.next().await.is_none());
            });
        }
    });
}
