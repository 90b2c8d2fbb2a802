//! An end that never has to wait shares its thread all the same.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{cell::Cell, rc::Rc, task::Poll};

use channel_support::{Wakes, poll_once};
use futures::{
    executor::LocalPool,
    future::{join, poll_fn},
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
