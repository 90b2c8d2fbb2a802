//! Members that all send to each other, and a receiver that sleeps on many lanes at once.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    thread,
};

use channel_support::{
    Drops, Wakes, cancel_after,
    ends::{ENDS, WAITS},
    poll, poll_once,
};
use futures::{Stream, StreamExt, executor::block_on, future::join};
use landbridge::channel::{
    self, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError, Wait,
    mesh::{Member, Receiver},
    spsc,
};
use proptest::prelude::*;

/// Enough to wait, to be served, and to finish.
const POLLS: usize = 5;

/// The lanes of `peers` peers, and the receiver at their end, which is the first member's.
fn lanes<T>(peers: usize, capacity: usize) -> (Vec<spsc::Sender<T>>, Receiver<T>) {
    let mut members = channel::mesh(peers + 1, capacity).into_iter();
    let (_, rx) = members.next().unwrap().split();
    let lane = |member: Member<T>| member.split().0.into_lanes().swap_remove(0).1;
    (members.map(lane).collect(), rx)
}

/// The index is the address: a message must come to whom it was sent to, from whom it was sent by.
#[test]
fn a_message_comes_to_the_named_member_and_names_its_sender() {
    const MEMBERS: usize = 4;
    let mut members = channel::mesh(MEMBERS, 1);
    for (index, member) in members.iter_mut().enumerate() {
        assert_eq!((member.index(), member.members()), (index, MEMBERS));
        assert!(
            member
                .peers()
                .eq((0..MEMBERS).filter(|peer| *peer != index))
        );
        for to in member.peers() {
            member.try_send(to, (index, to)).unwrap();
            assert!(member.try_send(to, (9, 9)).is_err_and(|it| it.is_full()));
        }
    }
    for (index, member) in members.iter_mut().enumerate() {
        for peer in member.peers() {
            assert_eq!(member.try_recv(), Ok((peer, (peer, index))));
        }
        assert_eq!(member.try_recv(), Err(TryRecvError::Empty));
    }
}

/// A pool may have one worker, and a computed number of members may be none.
#[test]
fn a_member_without_peers_is_at_its_end_at_once() {
    let mut alone = channel::mesh::<u32>(1, 4).pop().unwrap();
    assert_eq!(alone.peers().count(), 0);
    assert_eq!(poll(alone.recv()), Poll::Ready(None));
    assert_eq!(alone.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(poll(alone.recv_many(&mut Vec::new(), 4)), Poll::Ready(0));
    assert_eq!(alone.size_hint(), (0, Some(0)));
    let (tx, rx) = alone.split();
    assert!(rx.is_closed() && rx.is_empty());
    assert!(tx.into_lanes().is_empty());

    assert!(channel::mesh::<u32>(0, 4).is_empty());
}

/// A mistake in routing must not look like a peer that is gone.
#[test]
fn sending_to_oneself_or_to_no_member_panics() {
    let mut members = channel::mesh(2, 1);
    for to in [0, 2, usize::MAX] {
        let sent = catch_unwind(AssertUnwindSafe(|| members[0].try_send(to, 1)));
        assert!(sent.is_err(), "to {to}");
        let sent = catch_unwind(AssertUnwindSafe(|| poll(members[0].send(to, 1))));
        assert!(sent.is_err(), "to {to}");
        let (tx, _) = members[0].halves();
        assert!(catch_unwind(AssertUnwindSafe(|| tx.lane(to).len())).is_err());
    }
    // Nothing came of it.
    assert_eq!(members[0].try_send(1, 2), Ok(()));
    assert_eq!(members[1].try_recv(), Ok((0, 2)));
}

/// Otherwise one busy core stops all others.
#[test]
fn a_peer_that_floods_its_lane_does_not_starve_the_others() {
    let (mut peers, mut rx) = lanes(3, 64);
    for n in 0..64 {
        peers[0].try_send(n).unwrap();
    }
    let mut from = Vec::new();
    for n in 0..8 {
        // Its lane is full again before each message that is received.
        let _ = peers[0].try_send(n);
        if n == 2 {
            peers[2].try_send(n).unwrap();
            peers[1].try_send(n).unwrap();
            peers[1].try_send(n).unwrap();
        }
        from.push(poll(rx.recv()));
    }
    let from: Vec<_> = from
        .into_iter()
        .map(|it| match it {
            Poll::Ready(Some((from, _))) => from,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(from, [1, 1, 2, 3, 1, 2, 1, 1]);
}

/// The same by the batch: who floods has what the others leave, and no more.
#[test]
fn a_peer_that_floods_its_lane_has_no_more_than_its_share_of_a_batch() {
    let (mut peers, mut rx) = lanes(3, 64);
    let mut shares = Vec::new();
    for _ in 0..2 {
        for n in 0..64 {
            let _ = peers[0].try_send(n);
        }
        peers[1].try_send(0).unwrap();
        for n in 0..9 {
            peers[2].try_send(n).unwrap();
        }
        let mut batch = Vec::new();
        assert_eq!(poll(rx.recv_many(&mut batch, 8)), Poll::Ready(8));
        shares.push([1, 2, 3].map(|peer| batch.iter().filter(|(from, _)| *from == peer).count()));
    }
    // The odd one is the first's, and then the other's whose turn it is.
    assert_eq!(shares, [[4, 1, 3], [3, 1, 4]]);
}

/// Whoever waits for all peers must be woken by each of them, and by each of them only while it waits.
#[test]
fn a_sleep_on_all_lanes_is_ended_once_by_any_of_them() {
    const PEERS: usize = 4;
    for first in 0..PEERS {
        let (mut peers, mut rx) = lanes(PEERS, 8);
        // The flags that a sleep leaves in the other lanes are there in the next.
        for sleep in 0..3 {
            let (wakes, waker) = Wakes::new();
            assert!(poll_once(&waker, rx.recv()).is_pending());
            for turn in 0..2 {
                peers[(first + sleep + turn) % PEERS]
                    .try_send(sleep)
                    .unwrap();
                assert_eq!(wakes.count(), 1);
            }
            for _ in 0..2 {
                assert_eq!(rx.try_recv().map(|(_, sleep)| sleep), Ok(sleep));
            }
            assert_eq!(wakes.count(), 1);
        }
    }
}

/// Peers come and go one by one; the sleep is that of the task, not of one lane.
#[test]
fn a_lane_that_ends_between_two_polls_leaves_the_sleep_on_the_others() {
    let (mut peers, mut rx) = lanes(2, 2);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, rx.recv()).is_pending());
    drop(peers.remove(0));
    assert_eq!(wakes.count(), 1);
    assert!(poll_once(&waker, rx.recv()).is_pending());
    peers[0].try_send("next").unwrap();
    assert_eq!(wakes.count(), 2);

    let (mut peers, mut rx) = lanes(2, 2);
    let (wakes, waker) = Wakes::new();
    drop(peers.remove(0));
    let mut cx = Context::from_waker(&waker);
    assert!(rx.poll_recv(&mut cx).is_pending());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    peers[0].try_send("next").unwrap();
    assert_eq!(wakes.count(), 1);
}

/// The end of a core is not the end of the mesh: what it sent is received, and the rest go on.
#[test]
fn the_lane_of_a_peer_that_is_gone_is_drained_and_then_skipped() {
    let mut members = channel::mesh(3, 4);
    let mut gone = members.pop().unwrap();
    gone.try_send(0, "last").unwrap();
    gone.try_send(0, "words").unwrap();
    drop(gone);
    let [one, other] = &mut members[..] else {
        unreachable!()
    };
    assert_eq!(one.try_send(2, "back"), Err(TrySendError::Closed("back")));
    assert_eq!(
        poll(one.send(2, "back")),
        Poll::Ready(Err(SendError("back")))
    );
    assert!(one.halves().0.lane(2).is_closed());
    assert!(poll(one.halves().0.lane_mut(2).closed()).is_ready());
    other.try_send(0, "still").unwrap();
    assert_eq!(one.try_recv(), Ok((1, "still")));
    assert_eq!(one.try_recv(), Ok((2, "last")));
    assert_eq!(one.try_recv(), Ok((2, "words")));
    assert_eq!(one.try_recv(), Err(TryRecvError::Empty));
    assert!(poll(one.recv()).is_pending());

    let other = members.pop().unwrap();
    let (tx, mut rx) = other.split();
    drop(tx);
    // It sends no more, and still receives.
    assert_eq!(members[0].try_recv(), Err(TryRecvError::Closed));
    assert_eq!(poll(members[0].recv()), Poll::Ready(None));
    assert_eq!(members[0].try_send(1, "heard"), Ok(()));
    assert_eq!(poll(rx.recv()), Poll::Ready(Some((0, "heard"))));
    drop(members);
    assert_eq!(poll(rx.recv()), Poll::Ready(None));
    assert_eq!(poll(rx.recv()), Poll::Ready(None));
}

/// A peer that has seen the last of a member must not lose a value to it, which nobody would receive.
#[test]
fn the_lanes_to_a_member_that_is_dropped_close_before_its_own_end() {
    struct Notes(&'static str, Arc<Mutex<Vec<&'static str>>>);
    impl Wake for Notes {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = |what| Waker::from(Arc::new(Notes(what, seen.clone())));
    let mut members = channel::mesh::<u32>(2, 1);
    let goes = members.pop().unwrap();
    let (tx, rx) = members[0].halves();
    assert!(poll_once(&notes("closed"), tx.lane_mut(1).closed()).is_pending());
    assert!(poll_once(&notes("end"), rx.recv()).is_pending());
    drop(goes);
    assert_eq!(*seen.lock().unwrap(), ["closed", "end"]);
}

/// A member that stops must let every peer know, those that wait for room in its lanes first.
#[test]
fn a_receiver_that_closes_or_goes_wakes_the_sender_of_every_lane() {
    for by_drop in [false, true] {
        let (mut peers, rx) = lanes(3, 1);
        let mut rx = Some(rx);
        let (wakes, waker) = Wakes::new();
        for peer in &mut peers {
            peer.try_send(1).unwrap();
            assert!(poll_once(&waker, peer.send(2)).is_pending());
        }
        if by_drop {
            rx = None;
        } else {
            rx.as_mut().unwrap().close();
        }
        assert_eq!(wakes.count(), 3);
        for peer in &mut peers {
            assert_eq!(poll(peer.send(2)), Poll::Ready(Err(SendError(2))));
        }
        if let Some(mut rx) = rx {
            assert!(rx.is_closed());
            assert_eq!(rx.size_hint(), (3, Some(3)));
            assert_eq!(block_on(rx.by_ref().collect::<Vec<_>>()).len(), 3);
            assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
        }
    }
}

/// `select!` drops the arms that lose, at any time: a value must be sent once or dropped once.
#[test]
fn a_send_cancelled_at_any_poll_has_sent_its_value_or_dropped_it() {
    for room_at in 1..POLLS {
        for polls in 0..POLLS {
            let drops = Drops::new(3);
            let mut members = channel::mesh(2, 1);
            let [one, other] = &mut members[..] else {
                unreachable!()
            };
            one.try_send(1, drops.value(0)).unwrap();
            let mut received = Vec::new();
            let sent = cancel_after(polls, one.send(1, drops.value(1)), |poll| {
                if poll == room_at {
                    received.push(other.try_recv().unwrap().1.number);
                }
            });
            assert_eq!(sent.is_some(), polls > room_at);
            assert_eq!(drops.of(1), usize::from(sent.is_none()));

            // The lane is as good as before.
            received.extend(other.try_recv().ok().map(|(_, value)| value.number));
            one.try_send(1, drops.value(2)).unwrap();
            received.extend(other.try_recv().ok().map(|(_, value)| value.number));
            let mut expected = vec![0, 1, 2];
            expected.retain(|number| *number != 1 || sent.is_some());
            assert_eq!(received, expected);
            drops.assert_all_once();
        }
    }
}

/// The same for a receiver, whichever lane its message comes by: it goes to the next `recv`.
#[test]
fn a_recv_cancelled_at_any_poll_has_taken_nothing_unless_it_was_ready() {
    for many in [false, true] {
        for peer in 0..3 {
            for sent_at in 1..POLLS {
                for polls in 0..POLLS {
                    let drops = Drops::new(1);
                    let (mut peers, mut rx) = lanes(3, 2);
                    let mut value = Some(drops.value(0));
                    let send = |poll| {
                        if poll == sent_at {
                            peers[peer].try_send(value.take().unwrap()).unwrap();
                        }
                    };
                    let mut batch = Vec::new();
                    let done = if many {
                        let done = cancel_after(polls, rx.recv_many(&mut batch, 4), send);
                        done.map(|count| assert_eq!(count, 1)).is_some()
                    } else {
                        let received = cancel_after(polls, rx.recv(), send);
                        received.map(|it| batch.extend(it)).is_some()
                    };
                    assert_eq!(done, polls > sent_at);
                    if let Some(value) = value {
                        peers[peer].try_send(value).unwrap();
                    }
                    batch.extend(rx.try_recv().ok());
                    assert!(batch.iter().map(|(from, _)| *from).eq([peer + 1]));
                    assert!(rx.try_recv().is_err());
                    drop(batch);
                    drops.assert_all_once();
                }
            }
        }
    }
}

/// The wake-up that a dropped future has asked for belongs to the next one, not to nobody.
#[test]
fn a_wait_after_a_cancelled_wait_is_woken() {
    for peer in 0..2 {
        let (mut peers, mut rx) = lanes(2, 1);
        let (wakes, waker) = Wakes::new();
        assert!(poll_once(Waker::noop(), rx.recv()).is_pending());
        assert!(poll_once(&waker, rx.recv_many(&mut Vec::new(), 2)).is_pending());
        peers[peer].try_send(1).unwrap();
        assert_eq!(wakes.count(), 1);
    }
}

/// A batch empties what it can of every lane, and each sender that waits is told once.
#[test]
fn a_batch_wakes_each_sender_once_and_only_those_that_it_made_room_for() {
    let (mut peers, mut rx) = lanes(3, 4);
    let (wakes, waker) = Wakes::new();
    for peer in &mut peers[..2] {
        for n in 0..4 {
            peer.try_send(n).unwrap();
        }
        assert!(poll_once(&waker, peer.send(9)).is_pending());
    }
    let mut batch = Vec::new();
    assert_eq!(poll(rx.recv_many(&mut batch, 100)), Poll::Ready(8));
    assert_eq!(wakes.count(), 2);
    assert_eq!(
        batch,
        [
            (1, 0),
            (1, 1),
            (1, 2),
            (1, 3),
            (2, 0),
            (2, 1),
            (2, 2),
            (2, 3)
        ]
    );
    assert_eq!((rx.len(), rx.high_water(), rx.capacity()), (0, 4, 4));
    drop(peers);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(rx.high_water(), 4);
}

/// A batch of nothing must not wait, nor say that there is an end.
#[test]
fn a_batch_of_at_most_nothing_is_nothing() {
    let (mut peers, mut rx) = lanes(2, 4);
    assert_eq!(poll(rx.recv_many(&mut Vec::new(), 0)), Poll::Ready(0));
    peers[1].try_send(1).unwrap();
    assert_eq!(poll(rx.recv_many(&mut Vec::new(), 0)), Poll::Ready(0));
    assert_eq!(rx.try_recv(), Ok((2, 1)));
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    SendAll(usize, usize),
    End(usize),
    Recv,
    RecvMany(usize),
}

fn step(peers: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..peers).prop_map(Step::Send),
        3 => (0..peers, 0..6_usize).prop_map(|(peer, n)| Step::SendAll(peer, n)),
        1 => (0..peers).prop_map(Step::End),
        6 => Just(Step::Recv),
        3 => (1..12_usize).prop_map(Step::RecvMany),
    ]
}

/// What each peer has sent, and whose turn it is.
struct Model {
    lanes: Vec<VecDeque<u32>>,
    /// The peer behind the one that was served last.
    turn: usize,
}

impl Model {
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (turn, peers) = (self.turn, self.lanes.len());
        (0..peers).map(move |n| (turn + n) % peers)
    }

    fn recv(&mut self) -> Option<(usize, u32)> {
        let peer = self.in_turn().find(|peer| !self.lanes[*peer].is_empty())?;
        self.turn = (peer + 1) % self.lanes.len();
        Some((peer + 1, self.lanes[peer].pop_front()?))
    }

    /// Deals out places one by one to those that have use for one.
    fn recv_many(&mut self, max: usize) -> Vec<(usize, u32)> {
        let mut shares = vec![0; self.lanes.len()];
        let mut left = max;
        let mut turn = self.turn;
        loop {
            let wants = |peer: &usize| shares[*peer] < self.lanes[*peer].len();
            let wanting: Vec<_> = self.in_turn().filter(wants).collect();
            if left == 0 || wanting.is_empty() {
                break;
            }
            for peer in wanting.iter().take(left) {
                shares[*peer] += 1;
                if left < wanting.len() {
                    // Not for all: those who come first next time are the others.
                    turn = (peer + 1) % self.lanes.len();
                }
            }
            left -= left.min(wanting.len());
        }
        let mut batch = Vec::new();
        for peer in self.in_turn() {
            let values = self.lanes[peer].drain(..shares[peer]);
            batch.extend(values.map(|value| (peer + 1, value)));
        }
        self.turn = turn;
        batch
    }
}

proptest! {
    /// Whatever the order of things: nothing lost, each peer's in order, everybody in turn, batches shared.
    #[test]
    fn a_mesh_is_a_queue_for_each_peer_served_in_turn(
        capacity in 1..6_usize,
        peers in 1..5_usize,
        steps in prop::collection::vec(step(4), 0..80),
    ) {
        let (txs, mut rx) = lanes(peers, capacity);
        let mut txs: Vec<_> = txs.into_iter().map(Some).collect();
        let mut model = Model { lanes: vec![VecDeque::new(); peers], turn: 0 };
        let mut values = 0..;
        for step in steps {
            match step {
                Step::Send(peer) => if let Some(Some(tx)) = txs.get_mut(peer) {
                    let value = values.next().unwrap();
                    match tx.try_send(value) {
                        Ok(()) => model.lanes[peer].push_back(value),
                        Err(error) => {
                            prop_assert_eq!(error, TrySendError::Full(value));
                            prop_assert_eq!(model.lanes[peer].len(), capacity);
                        }
                    }
                },
                Step::SendAll(peer, n) => if let Some(Some(tx)) = txs.get_mut(peer) {
                    let n = n.min(capacity - model.lanes[peer].len());
                    let batch: Vec<_> = values.by_ref().take(n).collect();
                    model.lanes[peer].extend(&batch);
                    prop_assert_eq!(poll(tx.send_all(batch)), Poll::Ready(Ok(())));
                },
                Step::End(peer) => if let Some(tx) = txs.get_mut(peer) {
                    *tx = None;
                },
                Step::Recv => match rx.try_recv() {
                    Ok(received) => prop_assert_eq!(Some(received), model.recv()),
                    Err(error) => {
                        prop_assert_eq!(model.recv(), None);
                        let ended = txs.iter().all(Option::is_none);
                        prop_assert_eq!(error == TryRecvError::Closed, ended);
                    }
                },
                Step::RecvMany(max) => if !rx.is_empty() {
                    let mut batch = Vec::new();
                    prop_assert_eq!(poll(rx.recv_many(&mut batch, max)), Poll::Ready(batch.len()));
                    let expected = model.recv_many(max);
                    prop_assert_eq!(batch, expected);
                },
            }
            prop_assert_eq!(rx.len(), model.lanes.iter().map(VecDeque::len).sum::<usize>());
        }
    }
}

/// Also when the values themselves misbehave, in every lane: each is dropped, and nothing aborts.
#[test]
fn values_that_panic_when_dropped_cost_no_other_value_its_drop() {
    struct Panics(Drops, usize);
    impl Drop for Panics {
        fn drop(&mut self) {
            drop(self.0.value(self.1));
            panic!("on purpose");
        }
    }
    let drops = Drops::new(6);
    let (mut peers, rx) = lanes(3, 2);
    for number in 0..6 {
        let value = Panics(drops.clone(), number);
        assert!(peers[number % 3].try_send(value).is_ok());
    }
    assert!(catch_unwind(AssertUnwindSafe(|| drop(rx))).is_err());
    drops.assert_all_once();
    assert!(peers.iter().all(spsc::Sender::is_closed));
}

/// A waker belongs to the other side: its panic must cost this side neither message nor thread.
#[test]
fn a_waker_that_panics_costs_the_other_side_nothing() {
    struct Panicking;
    impl Wake for Panicking {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }
    let panicking = Waker::from(Arc::new(Panicking));
    let (mut peers, mut rx) = lanes(2, 1);
    assert!(poll_once(&panicking, rx.recv()).is_pending());
    assert_eq!(peers[1].try_send("sent"), Ok(()));
    assert!(poll_once(&panicking, peers[1].send("pending")).is_pending());
    assert_eq!(rx.try_recv(), Ok((2, "sent")));

    for peer in &mut peers {
        assert_eq!(peer.try_send("next"), Ok(()));
        assert!(poll_once(&panicking, peer.send("pending")).is_pending());
    }
    let mut batch = Vec::new();
    assert_eq!(poll(rx.recv_many(&mut batch, 2)), Poll::Ready(2));
    assert!(poll_once(&panicking, rx.recv()).is_pending());
    drop(peers.pop());
    assert!(poll_once(&panicking, rx.recv()).is_pending());
    rx.close();
    assert!(peers[0].is_closed());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

/// An executor may poll right in the waker; a lock held meanwhile would be taken twice.
#[test]
fn a_waker_may_use_the_receiver_at_once() {
    type Received = Vec<(usize, u32)>;
    struct Reenters(Mutex<(Receiver<u32>, Received)>);
    impl Wake for Reenters {
        fn wake(self: Arc<Self>) {
            let waker = Waker::from(self.clone());
            let mut guard = self.0.lock().unwrap();
            let (rx, received) = &mut *guard;
            while let Poll::Ready(Some(value)) = poll_once(&waker, rx.recv()) {
                received.push(value);
            }
        }
    }
    let (mut peers, rx) = lanes(2, 1);
    let reenters = Arc::new(Reenters(Mutex::new((rx, Vec::new()))));
    reenters.clone().wake();
    for value in 0..4 {
        peers[value as usize % 2].try_send(value).unwrap();
    }
    let received = reenters.0.lock().unwrap().1.clone();
    assert_eq!(received, [(1, 0), (2, 1), (1, 2), (2, 3)]);
    drop(peers);
}

/// Peers that are always ready are no reason to stop the neighbours of the receiver.
#[test]
fn after_128_messages_one_poll_makes_way_and_is_woken() {
    const BUDGET: usize = 128;
    let (mut peers, mut rx) = lanes(2, 2 * BUDGET);
    for peer in &mut peers {
        block_on(peer.send_all(0..2 * BUDGET)).unwrap();
    }
    let (wakes, waker) = Wakes::new();
    for _ in 0..BUDGET {
        assert!(poll_once(&waker, rx.recv()).is_ready());
    }
    assert_eq!(wakes.count(), 0);
    assert!(poll_once(&waker, rx.recv()).is_pending());
    assert_eq!(wakes.count(), 1);
    let mut batch = Vec::new();
    assert_eq!(
        poll_once(&waker, rx.recv_many(&mut batch, 300)),
        Poll::Ready(300)
    );
    assert!(poll_once(&waker, rx.recv()).is_pending());
    assert_eq!(wakes.count(), 2);
    assert_eq!(rx.len(), 4 * BUDGET - BUDGET - 300);
}

/// A value without a size has no slots, and a capacity of 0 is one.
#[test]
fn values_without_a_size_and_a_capacity_of_0_work() {
    let (mut peers, mut rx) = lanes(2, 0);
    for peer in &mut peers {
        assert_eq!(peer.try_send(()), Ok(()));
        assert_eq!(peer.try_send(()), Err(TrySendError::Full(())));
    }
    assert_eq!(rx.capacity(), 1);
    let mut batch = Vec::new();
    assert_eq!(poll(rx.recv_many(&mut batch, 9)), Poll::Ready(2));
    assert_eq!(batch, [(1, ()), (2, ())]);
}

/// A time-out is in the hands of whoever polls, and takes no message with it.
#[test]
fn a_time_out_ends_a_wait_on_both_runtimes() {
    let test = async || {
        let patience = std::time::Duration::from_millis(1);
        let (mut peers, mut rx) = lanes(2, 1);
        let timed_out = rx.recv_timeout(patience).await;
        assert_eq!(timed_out, Err(RecvTimeoutError::Timeout));
        peers[1].try_send(1).unwrap();
        let refused = peers[1].send_timeout(2, patience).await;
        assert_eq!(refused, Err(SendTimeoutError::Timeout(2)));
        assert_eq!(rx.recv_timeout(patience).await, Ok((2, 1)));
        drop(peers);
        let closed = rx.recv_timeout(patience).await;
        assert_eq!(closed, Err(RecvTimeoutError::Closed));
    };
    landbridge::test_util::both(test);
}

/// All to all, a member on each runtime: lanes always full or empty, so that everybody sleeps all the time.
fn everything_arrives_in_order(wait: Wait) {
    const MESSAGES: usize = 400;
    for capacity in [1, 7] {
        let members: Vec<Member<Box<usize>>> = channel::builder()
            .capacity(capacity)
            .wait(wait)
            .mesh(ENDS.len());
        let members = members.into_iter().zip(ENDS).map(|(member, end)| {
            end.run(async move {
                let (mut tx, mut rx) = member.split();
                let send = async move {
                    for message in 0..MESSAGES {
                        for peer in tx.peers() {
                            tx.send(peer, Box::new(message)).await.unwrap();
                        }
                    }
                };
                let receive = async {
                    let mut next = [0; ENDS.len()];
                    let mut batch = Vec::new();
                    for max in (1..9).cycle() {
                        if max == 8 {
                            // Now and then one, and by another way.
                            batch.extend(rx.next().await);
                        } else if rx.recv_many(&mut batch, max).await == 0 {
                            break;
                        }
                        for (from, message) in batch.drain(..) {
                            assert_eq!(*message, next[from]);
                            next[from] += 1;
                        }
                    }
                    next
                };
                let ((), received) = join(send, receive).await;
                (rx.index(), received)
            })
        });
        // All run before the first is waited for.
        for member in members.collect::<Vec<_>>() {
            let (me, mut received) = member.join().unwrap();
            assert_eq!(std::mem::replace(&mut received[me], MESSAGES), 0);
            assert_eq!(received, [MESSAGES; ENDS.len()]);
        }
    }
}

/// Each end sleeps at once: every message may be a wake-up, of each kind of sleeper by each other.
#[test]
fn all_messages_arrive_in_order_between_all_runtimes_with_park() {
    everything_arrives_in_order(Wait::Park);
}

/// The default, whose looks race with what the others do.
#[test]
fn all_messages_arrive_in_order_between_all_runtimes_with_adaptive() {
    everything_arrives_in_order(Wait::Adaptive);
}

/// The longest looks.
#[test]
fn all_messages_arrive_in_order_between_all_runtimes_with_spin() {
    everything_arrives_in_order(WAITS[2]);
}

/// One message goes round all runtimes: all but one member sleep, so a lost wake-up hangs.
#[test]
fn a_message_goes_round_all_runtimes() {
    const ROUNDS: usize = 200;
    for wait in WAITS {
        let mut members = channel::builder().capacity(1).wait(wait).mesh(ENDS.len());
        members[0].try_send(1, 0).unwrap();
        let members = members.into_iter().zip(ENDS).map(|(mut member, end)| {
            end.run(async move {
                let (me, n) = (member.index(), member.members());
                let (before, next) = ((me + n - 1) % n, (me + 1) % n);
                for round in 0..ROUNDS {
                    assert_eq!(member.recv().await, Some((before, round)));
                    let round = round + usize::from(me == 0);
                    if round < ROUNDS {
                        member.send(next, round).await.unwrap();
                    }
                }
                member
            })
        });
        let members: Vec<_> = members.collect();
        for member in members {
            member.join().unwrap();
        }
    }
}

/// A thread without a runtime is a member like any other.
#[test]
fn plain_threads_are_members_with_the_blocking_calls() {
    let mut members = channel::mesh(3, 2).into_iter();
    let (mut ask, mut answers) = members.next().unwrap().split();
    let servers: Vec<_> = members
        .map(|server| {
            thread::spawn(move || {
                let (mut tx, mut rx) = server.split();
                // The other server has its lane open as long as it serves.
                while let Some((from, n)) = rx.blocking_recv() {
                    if n == 0 {
                        break;
                    }
                    tx.lane_mut(from).blocking_send(n + 1).unwrap();
                }
            })
        })
        .collect();
    for n in 1..100 {
        for peer in ask.peers() {
            ask.lane_mut(peer).blocking_send(n).unwrap();
        }
        let mut from = [(); 2].map(|()| {
            let (from, answer) = answers.blocking_recv().unwrap();
            assert_eq!(answer, n + 1);
            from
        });
        from.sort();
        assert_eq!(from, [1, 2]);
    }
    for peer in ask.peers() {
        ask.lane_mut(peer).blocking_send(0).unwrap();
    }
    for server in servers {
        server.join().unwrap();
    }
    assert_eq!(answers.blocking_recv(), None);
}

/// A core that panics drops its member as it unwinds: the others must not wait for it, nor lose what it sent.
#[test]
fn a_member_that_panics_ends_its_lanes_on_every_runtime() {
    for end in ENDS {
        let mut members = channel::mesh(2, 4);
        let mut panics = members.pop().unwrap();
        let panicked = end.run(async move {
            panics.send(0, "before").await.unwrap();
            assert!(panics.try_recv() == Ok((0, "never")), "on purpose");
        });
        let mut rest = members.pop().unwrap();
        assert_eq!(block_on(rest.recv()), Some((1, "before")));
        assert_eq!(block_on(rest.recv()), None);
        assert_eq!(block_on(rest.send(1, "back")), Err(SendError("back")));
        assert!(panicked.join().is_err());
    }
}
