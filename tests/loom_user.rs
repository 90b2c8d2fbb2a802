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
}
