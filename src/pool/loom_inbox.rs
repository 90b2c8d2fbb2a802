//! Models of the inbox and the doorbell; see `docs/loom.md` for what each has been seen to catch.

use std::ptr::NonNull;

use loom::{
    cell::UnsafeCell,
    model,
    sync::{
        Arc, Notify,
        atomic::{AtomicPtr, AtomicUsize, Ordering},
    },
    thread,
};

use super::inbox::{Inbox, Node, Push, PushAll, Stack};

/// A node whose content loom checks: reading it without having synchronised with its writer is a
/// failure.
struct Item {
    next: AtomicPtr<Item>,
    value: UnsafeCell<usize>,
}

#[expect(unsafe_code, reason = "the trait is unsafe")]
// SAFETY: `next` is a field.
unsafe impl Node for Item {
    fn next(&self) -> &AtomicPtr<Self> {
        &self.next
    }
}

impl Item {
    fn new(value: usize) -> NonNull<Self> {
        let item = Self {
            next: AtomicPtr::default(),
            value: UnsafeCell::new(0),
        };
        // Written after the construction, as a task's fields are.
        #[expect(unsafe_code, reason = "loom's cell")]
        item.value.with_mut(|place| {
            // SAFETY: nobody else has it yet.
            unsafe { *place = value }
        });
        NonNull::from(Box::leak(Box::new(item)))
    }

    #[expect(unsafe_code, reason = "the inbox hands out pointers")]
    fn take(node: NonNull<Self>) -> usize {
        // SAFETY: made by `new`, and the inbox gives each node out once, which is what is modelled.
        let item = unsafe { Box::from_raw(node.as_ptr()) };
        item.value.with(|place| {
            // SAFETY: loom checks it.
            unsafe { *place }
        })
    }
}

/// An inbox, its bell and what has happened to them.
struct Setup {
    inbox: Inbox<Item>,
    bell: Notify,
    rings: AtomicUsize,
    command: AtomicUsize,
}

impl Setup {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inbox: Inbox::new(),
            bell: Notify::new(),
            rings: AtomicUsize::new(0),
            command: AtomicUsize::new(0),
        })
    }

    #[expect(unsafe_code, reason = "as in `pool::worker::send`")]
    fn push(&self, value: usize) -> bool {
        // SAFETY: the node is leaked until `Item::take`.
        match unsafe { self.inbox.push(Item::new(value)) } {
            Push::Queued => true,
            Push::Ring => {
                self.ring();
                true
            }
            Push::Closed(node) => {
                assert_eq!(Item::take(node), value, "another node was handed back");
                false
            }
        }
    }

    /// Pushes them as one; whether they were taken.
    #[expect(unsafe_code, reason = "as in `pool::worker::Batch`")]
    fn push_all(&self, values: &[usize]) -> bool {
        let mut stack = Stack::new();
        for value in values {
            // SAFETY: the node is leaked until `Item::take`.
            unsafe { stack.push(Item::new(*value)) }
        }
        match self.inbox.push_all(stack) {
            PushAll::Queued => true,
            PushAll::Ring => {
                self.ring();
                true
            }
            PushAll::Closed(nodes) => {
                let back: Vec<_> = nodes.map(Item::take).collect();
                assert_eq!(back, values, "other nodes were handed back");
                false
            }
        }
    }

    fn order(&self) {
        self.command.store(1, Ordering::Relaxed);
        if self.inbox.nudge() {
            self.ring();
        }
    }

    fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.bell.notify();
    }

    fn collect(&self, into: &mut Vec<usize>) {
        into.extend(self.inbox.take().map(Item::take));
    }
}

/// No lost ring: a worker that sleeps is woken for every job, whatever the producers' order; and no
/// job is lost or doubled. One ring per sleep: there are never more rings than sleeps.
#[test]
fn a_sleeping_worker_is_rung_once_and_gets_every_job() {
    model(|| {
        let setup = Setup::new();
        let producers: Vec<_> = [1, 2]
            .map(|value| {
                let setup = setup.clone();
                thread::spawn(move || assert!(setup.push(value)))
            })
            .into();
        let mut got = Vec::new();
        let mut sleeps = 0;
        while got.len() < 2 {
            setup.collect(&mut got);
            if got.len() < 2 && setup.inbox.try_sleep() {
                sleeps += 1;
                setup.bell.wait();
            }
        }
        for producer in producers {
            producer.join().unwrap();
        }
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        // Loom's bell also wakes for no reason.
        assert!(setup.rings.load(Ordering::Relaxed) <= sleeps);
    });
}

/// One producer's jobs come out in the order in which they went in.
#[test]
fn jobs_of_one_producer_keep_their_order() {
    model(|| {
        let setup = Setup::new();
        let producer = {
            let setup = setup.clone();
            thread::spawn(move || {
                for value in 1..=3 {
                    setup.push(value);
                }
            })
        };
        let mut got = Vec::new();
        setup.collect(&mut got);
        producer.join().unwrap();
        setup.collect(&mut got);
        assert_eq!(got, [1, 2, 3]);
    });
}

/// A command reaches a worker that is about to sleep: it sees the command, or it is rung.
#[test]
fn a_command_is_seen_or_rung_for() {
    model(|| {
        let setup = Setup::new();
        let owner = {
            let setup = setup.clone();
            thread::spawn(move || setup.order())
        };
        while setup.command.load(Ordering::Relaxed) == 0 {
            setup.collect(&mut Vec::new());
            if setup.inbox.try_sleep() && setup.command.load(Ordering::Relaxed) == 0 {
                setup.bell.wait();
            }
        }
        owner.join().unwrap();
    });
}

/// The same with a job that comes at the same time: neither hides the other.
#[test]
fn a_command_and_a_job_do_not_hide_each_other() {
    model(|| {
        let setup = Setup::new();
        let owner = {
            let setup = setup.clone();
            thread::spawn(move || setup.order())
        };
        let producer = {
            let setup = setup.clone();
            thread::spawn(move || {
                setup.push(7);
            })
        };
        let mut got = Vec::new();
        loop {
            let seen = setup.command.load(Ordering::Relaxed);
            setup.collect(&mut got);
            if seen == 1 && got == [7] {
                break;
            }
            if setup.inbox.try_sleep() && setup.command.load(Ordering::Relaxed) == seen {
                setup.bell.wait();
            }
        }
        owner.join().unwrap();
        producer.join().unwrap();
    });
}

/// A worker that drains waits for what others still hold of its jobs; the last of them may be dropped
/// by another thread, which never touches the inbox otherwise.
#[test]
fn a_job_that_ends_elsewhere_does_not_strand_a_drain() {
    model(|| {
        let setup = Setup::new();
        let in_flight = Arc::new(AtomicUsize::new(1));
        let dropper = {
            let (setup, in_flight) = (setup.clone(), in_flight.clone());
            thread::spawn(move || {
                in_flight.fetch_sub(1, Ordering::Relaxed);
                if setup.inbox.nudge() {
                    setup.ring();
                }
            })
        };
        loop {
            setup.collect(&mut Vec::new());
            let seen = in_flight.load(Ordering::Relaxed);
            if seen == 0 {
                break;
            }
            if setup.inbox.try_sleep() && in_flight.load(Ordering::Relaxed) == seen {
                setup.bell.wait();
            }
        }
        dropper.join().unwrap();
    });
}

/// A job that races the worker's end is run, or found by the end, or handed back: once.
#[test]
fn a_job_that_races_the_close_is_somewhere_once() {
    model(|| {
        let setup = Setup::new();
        let producers: Vec<_> = [1, 2]
            .map(|value| {
                let setup = setup.clone();
                thread::spawn(move || setup.push(value))
            })
            .into();
        let mut got = Vec::new();
        setup.collect(&mut got);
        setup.inbox.try_sleep();
        got.extend(setup.inbox.close().map(Item::take));
        let accepted = producers
            .into_iter()
            .map(|producer| producer.join().unwrap())
            .filter(|accepted| *accepted)
            .count();
        assert_eq!(got.len(), accepted);
        assert!(!setup.push(3), "a closed inbox took a job");
    });
}

/// Many jobs pushed as one: none is lost or doubled, they keep their order beside another producer's,
/// and a worker that sleeps is rung once for them.
#[test]
fn a_chain_of_jobs_comes_whole_and_rings_once() {
    model(|| {
        let setup = Setup::new();
        let producers: [_; 2] = [&[1, 2, 3][..], &[10]].map(|values| {
            let setup = setup.clone();
            thread::spawn(move || assert!(setup.push_all(values)))
        });
        let mut got = Vec::new();
        let mut sleeps = 0;
        while got.len() < 4 {
            setup.collect(&mut got);
            if got.len() < 4 && setup.inbox.try_sleep() {
                sleeps += 1;
                setup.bell.wait();
            }
        }
        for producer in producers {
            producer.join().unwrap();
        }
        assert!(setup.rings.load(Ordering::Relaxed) <= sleeps);
        assert!(got.contains(&10));
        got.retain(|value| *value != 10);
        assert_eq!(got, [1, 2, 3]);
    });
}

/// A chain that races the worker's end comes out whole or is handed back whole, beside a job that
/// comes at the same time.
#[test]
fn a_chain_that_races_the_close_is_somewhere_once() {
    model(|| {
        let setup = Setup::new();
        let chain = {
            let setup = setup.clone();
            thread::spawn(move || setup.push_all(&[1, 2]))
        };
        let single = {
            let setup = setup.clone();
            thread::spawn(move || setup.push(10))
        };
        let mut got = Vec::new();
        setup.collect(&mut got);
        got.extend(setup.inbox.close().map(Item::take));
        let mut expected = Vec::new();
        if chain.join().unwrap() {
            expected.extend([1, 2]);
        }
        if single.join().unwrap() {
            expected.push(10);
        }
        got.sort_unstable();
        assert_eq!(got, expected);
        assert!(!setup.push_all(&[4, 5, 6]), "a closed inbox took jobs");
    });
}
