//! How a user's own loom model uses this crate: copy it. Run with
//!
//! ```sh
//! RUSTFLAGS="--cfg landbridge_loom" cargo test --release --test loom_user loom
//! ```
//!
//! The `--cfg` switches this crate's atomics and locks to loom's; your own code switches its own in the
//! same way. Workers have no place in a model: `spawn::model::spawn` stands in for one.

#![cfg(landbridge_loom)]

mod loom_user {
    use landbridge::{JoinHandle, channel, error::JoinError, spawn::model};
    use loom::{
        future::block_on,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    /// The code under test: a request is counted when it is done, and only then.
    struct Service {
        done: AtomicUsize,
    }

    impl Service {
        fn request(service: Arc<Self>) -> JoinHandle<usize> {
            model::spawn(async move { service.done.fetch_add(1, Ordering::Relaxed) + 1 })
        }
    }

    /// Whoever gets a result finds it counted; whoever cancels gets the one or the other, and no hang.
    #[test]
    fn a_request_is_counted_when_it_is_done_and_only_then() {
        loom::model(|| {
            let service = Arc::new(Service {
                done: AtomicUsize::new(0),
            });
            let outcome = block_on(Service::request(service.clone()).cancel());
            let done = service.done.load(Ordering::Relaxed);
            match outcome {
                Ok(count) => assert_eq!((count, done), (1, 1)),
                Err(JoinError::Cancelled) => assert_eq!(done, 0),
                Err(error) => unreachable!("{error}"),
            }
        });
    }

    /// A channel between the user's own loom threads, and a task that is waited for.
    #[test]
    fn what_a_task_sends_is_received_before_its_end() {
        loom::model(|| {
            let (mut sender, mut receiver) = channel::spsc::<usize>(1);
            let task = model::spawn(async move {
                sender.send(1).await.unwrap();
            });
            let reader = thread::spawn(move || {
                block_on(async {
                    let first = receiver.recv().await;
                    (first, receiver.recv().await)
                })
            });
            block_on(task).unwrap();
            assert_eq!(reader.join().unwrap(), (Some(1), None));
        });
    }

    // template
    /// The code under test: adds up what it gets, and takes nothing new after the first.
    async fn total(mut values: channel::spsc::Receiver<usize>) -> usize {
        let mut total = values.recv().await.unwrap_or(0);
        values.close();
        while let Some(value) = values.recv().await {
            total += value;
        }
        total
    }

    #[test]
    fn what_was_accepted_is_counted() {
        loom::model(|| {
            let (mut tx, values) = channel::spsc(1);
            let service = thread::spawn(move || block_on(total(values)));
            let mut accepted = 0;
            for value in [1, 2] {
                if block_on(tx.send(value)).is_ok() {
                    accepted += value;
                }
            }
            drop(tx);
            assert_eq!(service.join().unwrap(), accepted);
        });
    }
    // end of the template

    /// Who copies it from there has what compiles and runs here.
    #[test]
    fn the_template_in_the_docs_is_the_one_above() {
        let between = |text: &str, from: &str, to: &str| {
            let text = text.split_once(from).unwrap().1;
            let lines = text.split_once(to).unwrap().0.lines();
            lines.map(str::trim).collect::<Vec<_>>().join("\n")
        };
        let here = include_str!("loom_user.rs");
        let here = between(here, "    // template\n", "    // end of the template");
        let docs = include_str!("../docs/loom.md");
        let docs = between(docs, "<!-- template -->\n\n```rust\n", "```\n");
        assert_eq!(docs.trim(), here.trim());
    }

    /// Any number of senders, no bound: what each sends comes in its order.
    #[test]
    fn what_two_threads_send_without_a_bound_comes_in_each_ones_order() {
        loom::model(|| {
            let (sender, mut receiver) = channel::unbounded();
            let other = thread::spawn({
                let sender = sender.clone();
                move || sender.send((1, 0)).unwrap()
            });
            sender.send((0, 0)).unwrap();
            sender.send((0, 1)).unwrap();
            drop(sender);
            let received = block_on(async {
                let mut received = Vec::new();
                while let Some(message) = receiver.recv().await {
                    received.push(message);
                }
                received
            });
            other.join().unwrap();
            let of = |thread| {
                received
                    .iter()
                    .filter(move |it| it.0 == thread)
                    .map(|it| it.1)
            };
            assert!(of(0).eq([0, 1]) && of(1).eq([0]));
        });
    }

    /// A bound on the weight: a sender that has to wait is let in when there is room.
    #[test]
    fn a_heavy_message_gets_in_when_the_light_one_is_out() {
        loom::model(|| {
            let (sender, mut receiver) = channel::builder().bytes(2).mpsc::<&str>();
            let writer = thread::spawn(move || {
                block_on(async {
                    sender.send("a").await.unwrap();
                    sender.send("bc").await.unwrap();
                })
            });
            block_on(async {
                assert_eq!(receiver.recv().await, Some("a"));
                assert_eq!(receiver.recv().await, Some("bc"));
                assert_eq!(receiver.recv().await, None);
            });
            writer.join().unwrap();
        });
    }

    /// Threads without a runtime are loom's in a model: the blocking calls block those.
    #[test]
    fn the_blocking_calls_block_the_models_threads() {
        loom::model(|| {
            let (sender, mut receiver) = channel::builder().bytes(1).mpsc::<&str>();
            let reader =
                thread::spawn(move || (receiver.blocking_recv(), receiver.blocking_recv()));
            sender.blocking_send("a").unwrap();
            drop(sender);
            assert_eq!(reader.join().unwrap(), (Some("a"), None));
        });
        loom::model(|| {
            let (sender, mut receiver) = channel::unbounded::<&str>();
            let reader = thread::spawn(move || receiver.blocking_recv());
            sender.send("a").unwrap();
            assert_eq!(reader.join().unwrap(), Some("a"));
        });
    }
}
