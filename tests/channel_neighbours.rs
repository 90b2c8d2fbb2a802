//! An end that never has to wait shares its thread all the same.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    cell::Cell,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use channel_support::{Wakes, poll_once};
use futures::{
    FutureExt, SinkExt, StreamExt,
    executor::LocalPool,
    future::{join, poll_fn},
    stream,
    task::LocalSpawnExt,
};
use landbridge::channel;

/// In a row, before the neighbours have their turn: documented.
const BUDGET: usize = 128;
const MESSAGES: usize = 100 * BUDGET;

/// Drains a full channel while a neighbour counts its turns; how many it had by then.
async fn turns_beside_a_receiver(
    spawn: impl AsyncFnOnce(Rc<Cell<usize>>, Rc<Cell<bool>>),
) -> usize {
    let (mut tx, mut rx) = channel::spsc(MESSAGES);
    for message in 0..MESSAGES {
        tx.try_send(message).unwrap();
    }
    let (turns, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    spawn(turns.clone(), done.clone()).await;
    for message in 0..MESSAGES {
        assert_eq!(rx.recv().await, Some(message));
    }
    done.set(true);
    turns.get()
}

/// The same beside a sender that always finds room.
async fn turns_beside_a_sender(spawn: impl AsyncFnOnce(Rc<Cell<usize>>, Rc<Cell<bool>>)) -> usize {
    let (mut tx, _rx) = channel::spsc(MESSAGES);
    let (turns, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    spawn(turns.clone(), done.clone()).await;
    for message in 0..MESSAGES {
        tx.send(message).await.unwrap();
    }
    done.set(true);
    turns.get()
}

/// A task that counts how often it is its turn, and never sleeps until it is told to.
async fn neighbour(turns: Rc<Cell<usize>>, done: Rc<Cell<bool>>) {
    poll_fn(|cx| {
        turns.set(turns.get() + 1);
        if done.get() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The first pause may come before the neighbour has begun.
const ENOUGH: usize = MESSAGES / BUDGET - 2;

/// On Tokio a stream of messages would otherwise stop timers and sockets of the same thread.
#[test]
fn an_end_that_is_always_ready_lets_its_neighbours_run_on_tokio() {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let spawn = async |turns, done| drop(tokio::task::spawn_local(neighbour(turns, done)));
    let turns = local.block_on(&tokio, turns_beside_a_receiver(spawn));
    assert!(turns >= ENOUGH, "{turns} turns");
    let turns = local.block_on(&tokio, turns_beside_a_sender(spawn));
    assert!(turns >= ENOUGH, "{turns} turns");
}

/// Compio has no budget of its own.
#[test]
fn an_end_that_is_always_ready_lets_its_neighbours_run_on_compio() {
    let compio = compio::runtime::Runtime::new().unwrap();
    let spawn = async |turns, done| compio::runtime::spawn(neighbour(turns, done)).detach();
    let turns = compio.block_on(turns_beside_a_receiver(spawn));
    assert!(turns >= ENOUGH, "{turns} turns");
    let turns = compio.block_on(turns_beside_a_sender(spawn));
    assert!(turns >= ENOUGH, "{turns} turns");
    // Also as one task among others, not as the future that is blocked on.
    let task = async { compio::runtime::spawn(turns_beside_a_receiver(spawn)).await };
    let turns = compio.block_on(task).unwrap();
    assert!(turns >= ENOUGH, "{turns} turns");
}

/// Any other executor: the budget is the channel's own.
#[test]
fn an_end_that_is_always_ready_lets_its_neighbours_run_anywhere() {
    let mut pool = LocalPool::new();
    let spawner = pool.spawner();
    let spawn = async |turns, done| spawner.spawn_local(neighbour(turns, done)).unwrap();
    let turns = pool.run_until(turns_beside_a_receiver(spawn));
    assert!(turns >= ENOUGH, "{turns} turns");
}

/// Within one task too: the other arm of a `join!` is a neighbour.
#[test]
fn an_end_that_is_always_ready_lets_the_rest_of_its_task_run() {
    let (turns, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let receiver = async {
        let (mut tx, mut rx) = channel::spsc(MESSAGES);
        for message in 0..MESSAGES {
            tx.try_send(message).unwrap();
        }
        for _ in 0..MESSAGES {
            rx.recv().await;
        }
        done.set(true);
        turns.get()
    };
    let (turns, ()) =
        futures::executor::block_on(join(receiver, neighbour(turns.clone(), done.clone())));
    assert!(turns >= ENOUGH, "{turns} turns");
}

/// The pause must come with its own wake-up, be just one poll long, and lose nothing.
#[test]
fn after_128_messages_one_poll_makes_way_and_is_woken() {
    let (mut tx, mut rx) = channel::spsc(2 * BUDGET);
    for message in 0..2 * BUDGET {
        tx.try_send(message).unwrap();
    }
    let (wakes, waker) = Wakes::new();
    for message in 0..BUDGET {
        assert_eq!(poll_once(&waker, rx.recv()), Poll::Ready(Some(message)));
    }
    assert_eq!(wakes.count(), 0);
    assert_eq!(poll_once(&waker, rx.recv()), Poll::Pending);
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll_once(&waker, rx.recv()), Poll::Ready(Some(BUDGET)));
    // What does not wait for anything has no budget.
    assert!((BUDGET + 1..2 * BUDGET).all(|message| rx.try_recv() == Ok(message)));
}

/// In how many polls the future is ready; it is polled only when it was woken.
fn polls(future: impl Future<Output = ()>) -> usize {
    let mut future = pin!(future);
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    for poll in 1.. {
        if future.as_mut().poll(&mut cx).is_ready() {
            return poll;
        }
        assert!(wakes.count() >= poll, "pending and not woken");
    }
    unreachable!("it is ready some day");
}

/// A task that clones a sender for each message is no better a neighbour for it.
#[test]
fn handles_that_live_for_one_message_make_way_as_one_does() {
    let (tx, _rx) = channel::mpsc(2 * MESSAGES);
    let by_clones = polls(async {
        for message in 0..MESSAGES {
            tx.clone().send(message).await.unwrap();
        }
    });
    assert!(by_clones >= ENOUGH, "{by_clones} polls");
    let (tx, _rx) = channel::mpsc(2 * MESSAGES);
    let by_permits = polls(async {
        for message in 0..MESSAGES {
            let permit = tx.clone().reserve_owned().await.unwrap();
            permit.send(message).unwrap();
        }
    });
    assert!(by_permits >= ENOUGH, "{by_permits} polls");
    let (tx, _rx) = channel::mpsc(2 * MESSAGES);
    let weak = tx.downgrade();
    let by_upgrades = polls(async {
        for message in 0..MESSAGES {
            weak.upgrade().unwrap().send(message).await.unwrap();
        }
    });
    assert!(by_upgrades >= ENOUGH, "{by_upgrades} polls");
    let (tx, _rx) = channel::builder().bytes(MESSAGES).mpsc();
    let by_weight = polls(async {
        for _ in 0..MESSAGES {
            tx.clone().send("x").await.unwrap();
        }
    });
    assert!(by_weight >= ENOUGH, "{by_weight} polls");
    let (tx, _rx) = channel::builder().bytes(MESSAGES).mpsc();
    let weak = tx.downgrade();
    let by_weight = polls(async {
        for _ in 0..MESSAGES {
            weak.upgrade().unwrap().send("x").await.unwrap();
        }
    });
    assert!(by_weight >= ENOUGH, "{by_weight} polls");
}

/// `forward` never waits for a channel without a bound.
#[test]
fn a_sink_without_a_bound_lets_its_neighbours_run() {
    let (mut tx, _rx) = channel::unbounded();
    let all = polls(async {
        let mut messages = stream::iter(0..MESSAGES).map(Ok);
        SinkExt::send_all(&mut tx, &mut messages).await.unwrap();
    });
    assert!(all >= ENOUGH, "{all} polls");
    let (tx, _rx) = channel::unbounded();
    let by_clones = polls(async {
        for message in 0..MESSAGES {
            SinkExt::send(&mut tx.clone(), message).await.unwrap();
        }
    });
    assert!(by_clones >= ENOUGH, "{by_clones} polls");
}

/// Who sends to many in turn waits for none of them for long.
#[test]
fn a_task_counts_over_all_that_it_sends_to() {
    const PEERS: usize = 16;
    let mut members = channel::mesh(PEERS + 1, MESSAGES / PEERS);
    let (tx, _) = members[0].halves();
    let all = polls(async {
        for message in 0..MESSAGES {
            tx.send(1 + message % PEERS, message).await.unwrap();
        }
    });
    assert!((ENOUGH..2 * ENOUGH).contains(&all), "{all} polls");
    let mut members = channel::mesh(PEERS + 1, MESSAGES / PEERS);
    let (tx, _) = members[0].halves();
    let by_lane = polls(async {
        for message in 0..MESSAGES {
            let lane = tx.lane_mut(1 + message % PEERS);
            lane.send(message).await.unwrap();
        }
    });
    assert!(by_lane >= ENOUGH, "{by_lane} polls");
    let (tx, _rx) = channel::mpsc(2 * MESSAGES);
    let clones: Vec<_> = (0..PEERS).map(|_| tx.clone()).collect();
    let by_clones = polls(async {
        for message in 0..MESSAGES {
            clones[message % PEERS].send(message).await.unwrap();
        }
    });
    assert!(by_clones >= ENOUGH, "{by_clones} polls");
}

/// One arm that makes way is not enough: the others would go on in its place.
#[test]
fn a_select_over_several_ends_makes_way() {
    let open = || {
        let (mut tx, rx) = channel::spsc(MESSAGES);
        while tx.try_send(()).is_ok() {}
        (tx, rx)
    };
    let (_keep, [mut a, mut b, mut c]) = {
        let [a, b, c] = [open(), open(), open()];
        ([a.0, b.0, c.0], [a.1, b.1, c.1])
    };
    let fair = polls(async {
        for _ in 0..MESSAGES {
            tokio::select! {
                Some(()) = a.recv() => {}
                Some(()) = b.recv() => {}
            }
        }
    });
    assert!(fair >= ENOUGH, "{fair} polls");
    let biased = polls(async {
        for _ in 0..MESSAGES {
            tokio::select! {
                biased;
                Some(()) = c.recv() => {}
                Some(()) = b.recv() => {}
                Some(()) = a.recv() => {}
            }
        }
    });
    assert!(biased >= ENOUGH, "{biased} polls");
}

/// A loop that forgets to look whether there is an end must not take its thread with it.
#[test]
fn an_end_is_an_answer_like_any_other() {
    macro_rules! polls_at_the_end {
        ($rx:expr) => {{
            let mut rx = $rx;
            let all = polls(async {
                for _ in 0..MESSAGES {
                    assert!(rx.recv().await.is_none());
                }
            });
            assert!(all >= ENOUGH, "{all} polls");
        }};
    }
    polls_at_the_end!(channel::spsc::<()>(1).1);
    polls_at_the_end!(channel::mpsc::<()>(1).1);
    polls_at_the_end!(channel::unbounded::<()>().1);
    polls_at_the_end!(channel::builder().bytes(1).mpsc::<&str>().1);
    polls_at_the_end!(channel::pipe(1).1);
    macro_rules! polls_when_refused {
        ($tx:expr) => {{
            #[allow(unused_mut, reason = "some senders are used by reference")]
            let mut tx = $tx;
            let all = polls(async {
                for _ in 0..MESSAGES {
                    assert!(tx.send("x").await.is_err());
                }
            });
            assert!(all >= ENOUGH, "{all} polls");
        }};
    }
    polls_when_refused!(channel::spsc(1).0);
    polls_when_refused!(channel::mpsc(1).0);
    polls_when_refused!(channel::builder().bytes(1).mpsc().0);
}

/// Whoever asks with a new handle each time must get an answer some day, though no handle ever comes back.
#[test]
fn a_pause_ends_though_nobody_comes_back_from_it() {
    let (tx, _rx) = channel::mpsc::<()>(2 * MESSAGES);
    let (_, waker) = Wakes::new();
    let sent = (0..MESSAGES).filter(|_| poll_once(&waker, tx.clone().reserve_owned()).is_ready());
    assert!(sent.count() > MESSAGES / 2);
}

/// Who cannot be woken is not sent away.
#[test]
fn a_single_look_is_no_turn() {
    let (mut tx, mut rx) = channel::spsc(MESSAGES);
    for message in 0..MESSAGES {
        assert_eq!(tx.send(message).now_or_never(), Some(Ok(())));
    }
    for message in 0..MESSAGES {
        assert_eq!(rx.recv().now_or_never(), Some(Some(message)));
    }
}

/// Time-outs of nothing poll a channel in a loop, and would hold the thread for ever.
#[test]
fn waits_for_no_time_let_the_neighbours_run() {
    let runtime = compio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        macro_rules! polls_of_both {
            ($channel:expr) => {{
                let (mut tx, mut rx) = $channel;
                let empty = polls(async {
                    for _ in 0..MESSAGES {
                        assert!(rx.recv_timeout(Duration::ZERO).await.is_err());
                    }
                });
                assert!(empty >= ENOUGH, "{empty} polls");
                while tx.try_send("x").is_ok() {}
                let full = polls(async {
                    for _ in 0..MESSAGES {
                        assert!(tx.send_timeout("x", Duration::ZERO).await.is_err());
                    }
                });
                assert!(full >= ENOUGH, "{full} polls");
                let ready = polls(async {
                    for _ in 0..MESSAGES {
                        assert!(rx.recv_timeout(Duration::ZERO).await.is_ok());
                        tx.try_send("x").unwrap();
                    }
                });
                assert!(ready >= ENOUGH, "{ready} polls");
            }};
        }
        polls_of_both!(channel::spsc(4));
        #[allow(unused_mut, reason = "these senders are used by reference")]
        {
            polls_of_both!(channel::mpsc(4));
            polls_of_both!(channel::builder().bytes(4).mpsc());
        }
    });
}
