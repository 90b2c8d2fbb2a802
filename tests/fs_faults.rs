//! What becomes of files when things go wrong: futures dropped, limits reached, pools and runtimes gone.

#![cfg(all(feature = "fs", target_os = "linux"))]
#![allow(unsafe_code, reason = "limits of the process")]

mod support;

use std::{
    io,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::{StreamExt, stream::FuturesUnordered};
use landbridge::{
    CompioPool, Driver, JoinError,
    error::CloseError,
    fs::{File, Fs, OpenOptions},
};
use support::{
    assert_lives, block_on, descriptor_count, eventually, for_each_driver, in_child,
    in_child_that_leaks, poll_times,
};

const PAGE: usize = 4096;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Files whose every read needs the pool.
fn all_cross(pool: &CompioPool) -> Fs {
    Fs::new(pool).nowait_limit(0)
}

async fn open_new(fs: &Fs, path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    options.open_in(fs, path).await.unwrap()
}

fn is_gone(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(JoinError::RuntimeGone))
}

/// Everything that was given to the pool is done, closes included.
fn settle(pool: &CompioPool) {
    eventually("the pool has nothing left to do", || {
        pool.metrics().total(|worker| worker.in_flight as u64) == 0
    });
    assert_lives(pool);
}

fn set_descriptor_limit(soft: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is written to and alive.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(done, 0);
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: plain numbers.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(done, 0);
}

/// Waits until no pool is left of those that ended, whose descriptors would be counted.
fn earlier_pools_end() {
    eventually("earlier pools end", || {
        support::threads_named("landbridge-0") + support::threads_named("counted") == 0
    });
}

/// Descriptors are the process's: these tests count them in one of their own.
fn counted(test: &str, body: impl Fn(&CompioPool, &Fs, PathBuf)) {
    in_child(test, || {
        for_each_driver(|builder| {
            earlier_pools_end();
            let pool = builder().thread_name("counted").build().unwrap();
            let fs = all_cross(&pool);
            let directory = directory();
            let path = directory.path().join("file");
            // Whatever is set up at the first use is set up now.
            block_on(async { open_new(&fs, &path).await.close().await }).unwrap();
            _ = block_on(pool.run_blocking(|| ()));
            body(&pool, &fs, path);
            block_on(pool.shutdown());
            assert_eq!(pool.metrics().total(|worker| worker.leaked_runtimes), 0);
        });
    });
}

/// A request that times out drops its future anywhere: no descriptor may be left behind, and what is not
/// done must not look done.
#[test]
fn operations_dropped_at_any_poll_leak_no_descriptor() {
    counted(
        "operations_dropped_at_any_poll_leak_no_descriptor",
        |pool, fs, path| {
            let before = descriptor_count();
            for polls in 0..6 {
                for _ in 0..10 {
                    let opened = poll_times(fs.open(&path), polls);
                    drop(opened);
                    drop(poll_times(fs.create(&path), polls));

                    let file = block_on(open_new(fs, &path));
                    drop(poll_times(file.write_at(vec![7; PAGE], 0), polls));
                    drop(poll_times(file.read_at(vec![0; PAGE], 0), polls));
                    drop(poll_times(file.write_all_at(vec![7; PAGE], 0), polls));
                    drop(poll_times(file.read_exact_at(vec![0; PAGE], 0), polls));
                    drop(poll_times(file.read_bytes_at(PAGE, 0), polls));
                    drop(poll_times(file.read_vectored_at([vec![0; PAGE]], 0), polls));
                    drop(poll_times(
                        file.write_vectored_at([vec![0; PAGE]], 0),
                        polls,
                    ));
                    drop(poll_times(file.sync_all(), polls));
                    drop(poll_times(file.sync_data(), polls));
                    drop(poll_times(file.metadata(), polls));
                    drop(poll_times(file.set_len(10), polls));
                    drop(poll_times(file.try_clone(), polls));
                    drop(poll_times(file.clone().into_std(), polls));
                    drop(poll_times(file.close(), polls));
                }
            }
            eventually("every descriptor is closed", || {
                descriptor_count() == before
            });
            settle(pool);
            assert_eq!(descriptor_count(), before);
        },
    );
}

/// What a `write_at` reports is there, whatever became of those that reported nothing.
#[test]
fn a_write_is_reported_when_it_is_whole_and_dropped_ones_do_no_harm() {
    counted(
        "a_write_is_reported_when_it_is_whole_and_dropped_ones_do_no_harm",
        |pool, fs, path| {
            let file = block_on(open_new(fs, &path));
            let len = 16 * PAGE;
            for round in 0..60_u64 {
                let position = round * len as u64;
                let reported = poll_times(
                    file.write_at(vec![round as u8 + 1; len], position),
                    round as usize % 4,
                );
                settle(pool);
                let there = std::fs::read(&path).unwrap();
                let part = there.get(position as usize..).unwrap_or_default();
                if let Some(written) = reported {
                    let (n, buffer) = written.unwrap();
                    assert_eq!((n, buffer.len()), (len, len));
                    assert_eq!(part, buffer);
                }
                // Whole or not at all: the kernel does not begin what it can cancel.
                assert!(part.is_empty() || part == vec![round as u8 + 1; len]);
            }
        },
    );
}

#[test]
fn a_thousand_files_and_ten_thousand_reads_in_flight() {
    in_child("a_thousand_files_and_ten_thousand_reads_in_flight", || {
        set_descriptor_limit(4_096);
        for_each_driver(|builder| {
            earlier_pools_end();
            let pool = builder().threads(2).thread_name("counted").build().unwrap();
            let fs = all_cross(&pool);
            let directory = directory();
            // Whatever is set up at the first use is set up now.
            block_on(async {
                open_new(&fs, &directory.path().join("0"))
                    .await
                    .close()
                    .await
            })
            .unwrap();
            let before = descriptor_count();
            block_on(async {
                let mut files = Vec::new();
                for n in 0..1_000_u32 {
                    let file = open_new(&fs, &directory.path().join(n.to_string())).await;
                    let bytes: Vec<u8> = (0..1_000).flat_map(|m| (n * m).to_le_bytes()).collect();
                    file.write_all_at(bytes, 0).await.unwrap();
                    files.push(file);
                }
                let reads: FuturesUnordered<_> = (0..10_000_u32)
                    .map(|n| {
                        let (file, at) = (&files[n as usize % 1_000], n % 997);
                        async move {
                            let read = file.read_exact_at(Vec::with_capacity(4), u64::from(at) * 4);
                            (n % 1_000 * at, read.await.unwrap())
                        }
                    })
                    .collect();
                let read = reads.fold(0, async |count, (expected, bytes)| {
                    assert_eq!(bytes, expected.to_le_bytes());
                    count + 1
                });
                assert_eq!(read.await, 10_000);
            });
            settle(&pool);
            eventually("all are closed", || descriptor_count() == before);
        });
    });
}

/// Thousands of pending operations, dropped at once: more than the ring has room for.
#[test]
fn ten_thousand_reads_dropped_at_once_leak_nothing() {
    counted(
        "ten_thousand_reads_dropped_at_once_leak_nothing",
        |pool, fs, path| {
            let before = descriptor_count();
            std::fs::write(&path, [7; PAGE]).unwrap();
            for round in 0..3 {
                let file = block_on(fs.open(&path)).unwrap();
                let mut reads: Vec<_> = (0..10_000)
                    .map(|_| Box::pin(file.read_at(Vec::with_capacity(64), 0)))
                    .collect();
                let mut cx = Context::from_waker(Waker::noop());
                for read in &mut reads {
                    _ = read.as_mut().poll(&mut cx);
                }
                if round == 1 {
                    _ = block_on(&mut reads[9_999]).unwrap();
                }
                drop(reads);
                let (n, read) = block_on(file.read_at(Vec::with_capacity(64), 0)).unwrap();
                assert_eq!((n, read), (64, vec![7; 64]));
                block_on(file.close()).unwrap();
            }
            settle(pool);
            assert_eq!(descriptor_count(), before);
        },
    );
}

/// A service at its limit: typed errors, and back to work when there is room.
#[test]
fn exhausted_descriptors_are_errors_and_files_that_are_open_go_on() {
    counted(
        "exhausted_descriptors_are_errors_and_files_that_are_open_go_on",
        |pool, fs, path| {
            let file = block_on(open_new(fs, &path));
            block_on(file.write_all_at(vec![7; PAGE], 0)).unwrap();
            set_descriptor_limit(descriptor_count() as u64 + 20);
            let mut files = Vec::new();
            let error = loop {
                match block_on(fs.open(&path)) {
                    Ok(file) => files.push(file),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
            let cached = block_on(Fs::new(pool).open(&path)).unwrap_err();
            assert_eq!(cached.raw_os_error(), Some(libc::EMFILE), "{cached}");
            assert_eq!(
                block_on(file.read_exact_at(vec![0; PAGE], 0)).unwrap(),
                [7; PAGE]
            );
            block_on(file.sync_data()).unwrap();
            block_on(files.pop().unwrap().close()).unwrap();
            files.push(block_on(fs.open(&path)).unwrap());
            drop(files);
            settle(pool);
            block_on(fs.open(&path)).unwrap();
            set_descriptor_limit(4_096);
        },
    );
}

/// A pool that ends does not hang those who wait for its files.
#[test]
fn after_a_shutdown_every_call_says_that_the_runtime_is_gone_and_gives_the_buffer_back() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = all_cross(&pool);
        let directory = directory();
        let path = directory.path().join("file");
        let file = block_on(open_new(&fs, &path));
        block_on(file.write_all_at(vec![7; 10], 0)).unwrap();
        block_on(pool.shutdown());

        block_on(async {
            for result in [
                file.read_at(vec![1; 3], 0).await.map(drop),
                file.read_exact_at(vec![1; 3], 0).await.map(drop),
                file.write_at(vec![1; 3], 0).await.map(drop),
                file.write_all_at(vec![1; 3], 0).await.map(drop),
            ] {
                let (error, buffer) = result.unwrap_err().into_parts();
                assert!(is_gone(&error), "{error:?}");
                assert_eq!(buffer.unwrap(), [1; 3]);
            }
            for result in [
                file.read_vectored_at([vec![1; 3]], 0).await,
                file.write_vectored_at([vec![1; 3]], 0).await,
            ] {
                let (error, buffers) = result.unwrap_err().into_parts();
                assert!(is_gone(&error), "{error:?}");
                assert_eq!(buffers.unwrap(), [[1; 3]]);
            }
            for error in [
                file.sync_all().await.unwrap_err(),
                file.sync_data().await.unwrap_err(),
                file.set_len(3).await.unwrap_err(),
                file.metadata().await.map(drop).unwrap_err(),
                file.read_bytes_at(3, 0).await.map(drop).unwrap_err(),
                fs.open(&path).await.map(drop).unwrap_err(),
                fs.create(&path).await.map(drop).unwrap_err(),
                Fs::new(&pool).open(&path).await.map(drop).unwrap_err(),
            ] {
                assert!(is_gone(&error), "{error:?}");
            }
        });
        // Closed here, since there is nobody else; and what can be said is said.
        block_on(file.close()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [7; 10]);
    });
}

/// Queued behind a worker that does something else, and then the pool goes: never begun, so the buffer
/// comes back.
#[test]
fn operations_that_were_queued_when_the_pool_was_dropped_give_the_buffer_back() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = all_cross(&pool);
        let directory = directory();
        let file = block_on(open_new(&fs, &directory.path().join("file")));
        let held = support::hold(&pool);
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = pin!(file.read_at(vec![1; 3], 0));
        let mut write = pin!(file.write_at(vec![2; 3], 0));
        let mut sync = pin!(file.sync_all());
        assert!(read.as_mut().poll(&mut cx).is_pending());
        assert!(write.as_mut().poll(&mut cx).is_pending());
        assert!(sync.as_mut().poll(&mut cx).is_pending());
        drop(fs);
        drop(pool);
        drop(held);
        let (error, buffer) = block_on(read).unwrap_err().into_parts();
        assert!(is_gone(&error), "{error:?}");
        assert_eq!(buffer.unwrap(), [1; 3]);
        let (error, buffer) = block_on(write).unwrap_err().into_parts();
        assert!(is_gone(&error), "{error:?}");
        assert_eq!(buffer.unwrap(), [2; 3]);
        assert!(is_gone(&block_on(sync).unwrap_err()));
    });
}

/// In flight in every state, from many threads, and the pool dropped or shut down under them: each ends,
/// with bytes or with `RuntimeGone`, and every descriptor is closed.
#[test]
fn a_pool_that_goes_under_pending_operations_hangs_nobody_and_leaks_no_descriptor() {
    in_child(
        "a_pool_that_goes_under_pending_operations_hangs_nobody_and_leaks_no_descriptor",
        || {
            for_each_driver(|builder| {
                let directory = directory();
                let path = directory.path().join("file");
                std::fs::write(&path, [7; PAGE]).unwrap();
                drop(builder().thread_name("counted").build().unwrap());
                earlier_pools_end();
                let before = descriptor_count();
                for round in 0..12 {
                    let pool = builder().thread_name("counted").build().unwrap();
                    let fs = all_cross(&pool);
                    let file = block_on(fs.open(&path)).unwrap();
                    let others: Vec<_> =
                        (0..50).map(|_| block_on(fs.open(&path)).unwrap()).collect();
                    let reads: Vec<_> = (0..200)
                        .map(|_| {
                            let file = file.clone();
                            let mut read =
                                Box::pin(async move { file.read_at(vec![0; 100], 0).await });
                            let polled =
                                read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                            (polled, read)
                        })
                        .collect();
                    drop(others);
                    drop(file);
                    drop(fs);
                    if round % 2 == 0 {
                        drop(pool);
                    } else {
                        block_on(pool.shutdown());
                    }
                    for (polled, read) in reads {
                        let done = match polled {
                            Poll::Ready(done) => done,
                            Poll::Pending => block_on(read),
                        };
                        match done {
                            Ok((n, buffer)) => assert_eq!((n, buffer), (100, vec![7; 100])),
                            Err(error) => assert!(is_gone(error.error()), "{error:?}"),
                        }
                    }
                    earlier_pools_end();
                    eventually("all is closed", || descriptor_count() == before);
                }
            });
        },
    );
}

/// A Tokio runtime that is dropped drops its tasks wherever they are; the pool and its files go on.
#[test]
fn a_tokio_runtime_dropped_under_pending_operations_leaves_the_pool_whole() {
    counted(
        "a_tokio_runtime_dropped_under_pending_operations_leaves_the_pool_whole",
        |pool, fs, path| {
            std::fs::write(&path, [7; PAGE]).unwrap();
            let before = descriptor_count();
            for _ in 0..5 {
                let tokio = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .build()
                    .unwrap();
                let file = block_on(fs.open(&path)).unwrap();
                for n in 0..200 {
                    let (fs, path, file) = (fs.clone(), path.clone(), file.clone());
                    tokio.spawn(async move {
                        loop {
                            let own = fs.open(&path).await.unwrap();
                            own.read_at(vec![0; 100], n).await.unwrap();
                            file.read_at(vec![0; 100], n).await.unwrap();
                        }
                    });
                }
                let own = block_on(fs.open(&path)).unwrap();
                block_on(own.read_at(vec![0; 100], 0)).unwrap();
                drop(tokio);
                let read = block_on(file.read_exact_at(vec![0; PAGE], 0)).unwrap();
                assert_eq!(read, [7; PAGE]);
            }
            eventually("all is closed", || descriptor_count() == before);
            settle(pool);
        },
    );
}

/// The case that it is built for.
#[test]
fn clones_on_many_threads_read_and_write_one_file_at_once() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let fs = all_cross(&pool);
        let directory = directory();
        let file = block_on(open_new(&fs, &directory.path().join("file")));
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let file = file.clone();
                scope.spawn(move || {
                    block_on(async {
                        let at = |n: u64| (n * 8 + u64::from(thread)) * 64;
                        let writes = (0..100).map(|n| file.write_all_at(vec![thread; 64], at(n)));
                        for written in futures::future::join_all(writes).await {
                            written.unwrap();
                        }
                        let reads = (0..100).map(|n| file.read_exact_at(vec![9; 64], at(n)));
                        for read in futures::future::join_all(reads).await {
                            assert_eq!(read.unwrap(), [thread; 64]);
                        }
                    });
                });
            }
        });
        block_on(file.close()).unwrap();
    });
}

/// A descriptor that is closed while an operation holds its number would send that one to another file.
#[test]
fn a_file_stays_open_until_its_operations_are_done() {
    counted(
        "a_file_stays_open_until_its_operations_are_done",
        |pool, fs, path| {
            let before = descriptor_count();
            std::fs::write(&path, [7; PAGE]).unwrap();
            let file = block_on(fs.open(&path)).unwrap();
            let held = support::hold(pool);
            let clone = file.clone();
            let mut read = Box::pin(async move {
                let read = clone.inner_read();
                read.await
            });
            assert!(
                read.as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            drop(file);
            drop(read);
            // The read is not begun, and does not know yet that nobody wants it.
            assert_eq!(descriptor_count(), before + 1);
            drop(held);
            eventually("it is closed", || descriptor_count() == before);
        },
    );
}

trait InnerRead {
    fn inner_read(self) -> impl Future<Output = usize>;
}

impl InnerRead for File {
    async fn inner_read(self) -> usize {
        self.read_at(vec![0; 100], 0).await.unwrap().0
    }
}

/// `close(2)` may wait for a network or a disk: not on the thread that drops.
#[test]
fn the_last_clone_is_closed_on_a_worker_and_not_by_who_drops_it() {
    counted(
        "the_last_clone_is_closed_on_a_worker_and_not_by_who_drops_it",
        |pool, fs, path| {
            let before = descriptor_count();
            let file = block_on(open_new(fs, &path));
            let clone = file.clone();
            assert_eq!(descriptor_count(), before + 1);
            drop(file);
            let held = support::hold(pool);
            drop(clone);
            assert_eq!(
                descriptor_count(),
                before + 1,
                "the worker has not been asked yet"
            );
            drop(held);
            eventually("it is closed", || descriptor_count() == before);
        },
    );
}

/// Dropping must work wherever it happens: on the worker, in a blocking thread, on Tokio, in a panic, in
/// the destructors of a thread, in a pool with room for one job, and without a pool.
#[test]
fn a_file_may_be_dropped_anywhere() {
    counted("a_file_may_be_dropped_anywhere", |pool, fs, path| {
        // Tokio's first runtime opens what stays open.
        drop(tokio::runtime::Runtime::new().unwrap());
        let before = descriptor_count();
        let open = || block_on(open_new(fs, &path));

        let file = open();
        block_on(pool.run(async move || drop(file))).unwrap();
        let file = open();
        block_on(pool.run_blocking(move || drop(file))).unwrap();
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let file = open();
        tokio.block_on(async move { drop(file) });
        let file = open();
        tokio.spawn(async move {
            let _file = file;
            std::future::pending::<()>().await;
        });
        drop(tokio);
        let file = open();
        let panicked = std::thread::spawn(move || {
            let _file = file;
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        panicked.join().unwrap_err();
        let file = open();
        let panicked = block_on(pool.run(async move || {
            let _file = file;
            std::panic::resume_unwind(Box::new("on purpose"));
        }));
        assert!(matches!(panicked, Err(JoinError::Panicked(_))));
        let file = open();
        std::thread::spawn(move || {
            thread_local!(static KEPT: std::cell::RefCell<Option<File>> = const { std::cell::RefCell::new(None) });
            KEPT.set(Some(file));
        })
        .join()
        .unwrap();
        eventually("all are closed", || descriptor_count() == before);

        // In a job that is cancelled while it reads.
        let file = open();
        let job = pool.spawn(async move || {
            loop {
                _ = file.read_at(vec![0; 10], 0).await;
            }
        });
        _ = block_on(job.cancel());
        eventually("it is closed", || descriptor_count() == before);
    });
}

#[test]
fn a_pool_with_room_for_one_job_opens_reads_and_closes_many_files() {
    in_child(
        "a_pool_with_room_for_one_job_opens_reads_and_closes_many_files",
        || {
            for_each_driver(|builder| {
                earlier_pools_end();
                let pool = builder()
                    .thread_name("counted")
                    .max_in_flight(1)
                    .build()
                    .unwrap();
                let fs = all_cross(&pool);
                let directory = directory();
                let path = directory.path().join("file");
                std::fs::write(&path, [7; 100]).unwrap();
                block_on(async { fs.open(&path).await.unwrap().close().await.unwrap() });
                let before = descriptor_count();
                block_on(async {
                    let jobs = (0..200).map(async |n| {
                        let file = fs.open(&path).await.unwrap();
                        assert_eq!(file.read_at(vec![0; 100], 0).await.unwrap().0, 100);
                        if n % 2 == 0 {
                            file.close().await.unwrap();
                        }
                    });
                    futures::future::join_all(jobs).await;
                });
                // From inside: a job that has the only place.
                let inside = fs.clone();
                let from = path.clone();
                block_on(pool.run(async move || {
                    let file = inside.open(&from).await.unwrap();
                    assert_eq!(file.read_at(vec![0; 100], 0).await.unwrap().0, 100);
                    file.sync_all().await.unwrap();
                    file.close().await.unwrap();
                }))
                .unwrap();
                eventually("all are closed", || descriptor_count() == before);
            });
        },
    );
}

/// Thousands of files whose close is still queued when the pool goes: none is forgotten.
#[test]
fn files_on_their_way_to_be_closed_when_the_pool_goes_are_closed() {
    in_child(
        "files_on_their_way_to_be_closed_when_the_pool_goes_are_closed",
        || {
            set_descriptor_limit(4_096);
            for_each_driver(|builder| {
                let directory = directory();
                let path = directory.path().join("file");
                std::fs::write(&path, [7; 100]).unwrap();
                for round in 0..6 {
                    earlier_pools_end();
                    let before = descriptor_count();
                    let pool = builder().thread_name("counted").build().unwrap();
                    let fs = Fs::new(&pool);
                    let files: Vec<_> = (0..3_000)
                        .map(|_| block_on(fs.open(&path)).unwrap())
                        .collect();
                    let held = support::hold(&pool);
                    drop(files);
                    drop(fs);
                    match round % 3 {
                        0 => {
                            drop(pool);
                            drop(held);
                        }
                        1 => {
                            drop(held);
                            drop(pool);
                        }
                        _ => {
                            drop(held);
                            block_on(pool.shutdown());
                        }
                    }
                    earlier_pools_end();
                    eventually("all are closed", || descriptor_count() == before);
                }
            });
        },
    );
}

#[test]
fn a_close_waits_for_the_descriptor_and_gives_a_shared_file_back() {
    counted(
        "a_close_waits_for_the_descriptor_and_gives_a_shared_file_back",
        |_, fs, path| {
            let before = descriptor_count();
            let file = block_on(open_new(fs, &path));
            let clone = file.clone();
            let Err(CloseError::Shared(file)) = block_on(file.close()) else {
                panic!("it has a clone");
            };
            block_on(file.write_all_at(vec![7; 3], 0)).unwrap();
            drop(clone);
            block_on(file.close()).unwrap();
            assert_eq!(descriptor_count(), before);
        },
    );
}

/// Whoever does not get its answer must not take that for success.
#[test]
fn a_close_reports_what_the_kernel_says() {
    in_child_that_leaks("a_close_reports_what_the_kernel_says", || {
        let pool = CompioPool::builder()
            .threads(1)
            .driver(Driver::Polling)
            .build()
            .unwrap();
        let file = block_on(all_cross(&pool).open("/dev/null")).unwrap();
        support::seccomp::refuse_everywhere(libc::SYS_close, libc::EIO);
        let Err(CloseError::Io(error)) = block_on(file.close()) else {
            panic!("the kernel refused it");
        };
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    });
}

#[test]
fn a_file_becomes_stds_unless_it_is_shared() {
    counted(
        "a_file_becomes_stds_unless_it_is_shared",
        |pool, fs, path| {
            let before = descriptor_count();
            let file = block_on(open_new(fs, &path));
            let clone = file.clone();
            let file = file.try_into_std().unwrap_err();
            drop(clone);
            block_on(file.write_all_at(vec![7; 3], 0)).unwrap();
            settle(pool);
            let mut file = block_on(file.into_std()).unwrap();
            assert_eq!(descriptor_count(), before + 1);
            let mut read = Vec::new();
            io::Read::read_to_end(&mut file, &mut read).unwrap();
            assert_eq!(read, [7; 3]);
            drop(file);
            assert_eq!(descriptor_count(), before);
        },
    );
}

/// Threads are the only way without a ring, and a pool may have none.
#[test]
fn without_blocking_threads_the_polling_driver_says_so_and_gives_the_buffer_back() {
    let _watchdog = support::watchdog();
    let pool = CompioPool::builder()
        .threads(1)
        .driver(Driver::Polling)
        .blocking_threads(0)
        .build()
        .unwrap();
    let says_so = |error: &io::Error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        matches!(inner, Some(JoinError::NoBlockingThreads))
    };
    let directory = directory();
    let path = directory.path().join("file");
    std::fs::write(&path, [7; 100]).unwrap();
    block_on(async {
        let error = fs_error(all_cross(&pool).open(&path).await);
        assert!(says_so(&error), "{error:?}");
        // What is in the caches is opened and read without anybody.
        let Ok(file) = Fs::new(&pool).open(&path).await else {
            return eprintln!("not run: nothing is opened on the caller's thread");
        };
        // More than is read on the caller's thread.
        let buffer = Vec::<u8>::with_capacity(1 << 20);
        let (error, buffer) = file.read_at(buffer, 0).await.unwrap_err().into_parts();
        assert!(says_so(&error), "{error:?}");
        assert_eq!(buffer.unwrap().capacity(), 1 << 20);
        let (error, buffer) = file.write_at(vec![1; 3], 0).await.unwrap_err().into_parts();
        assert!(says_so(&error), "{error:?}");
        assert_eq!(buffer.unwrap(), [1; 3]);
        for error in [
            fs_error(file.sync_all().await),
            fs_error(file.metadata().await),
        ] {
            assert!(says_so(&error), "{error:?}");
        }
        file.close().await.unwrap();
    });
}

fn fs_error<T>(result: io::Result<T>) -> io::Error {
    result.map(drop).unwrap_err()
}

/// Not only the descriptor: the memory, too. What is shared with a dropped operation is let go of.
#[test]
fn buffers_of_dropped_operations_are_freed_in_the_end() {
    struct Shared(#[expect(dead_code, reason = "held")] Arc<()>, Vec<u8>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &self.1
        }
    }
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = all_cross(&pool);
        let directory = directory();
        let file = block_on(open_new(&fs, &directory.path().join("file")));
        let alive = Arc::new(());
        for polls in 0..4 {
            for _ in 0..20 {
                let buffer = Shared(alive.clone(), vec![7; PAGE]);
                let write = file.write_at(landbridge::io::buf::AsBuf::new(buffer), 0);
                drop(poll_times(write, polls));
            }
        }
        eventually("all are freed", || Arc::strong_count(&alive) == 1);
    });
}

/// A buffer whose destructor panics takes nobody with it, least of all the neighbours on its worker.
#[test]
fn a_buffer_that_panics_when_it_is_dropped_leaves_the_worker_alive() {
    struct Bad(Vec<u8>);

    impl compio::buf::IoBuf for Bad {
        fn as_init(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Bad {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("a buffer's destructor");
            }
        }
    }

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = all_cross(&pool);
        let directory = directory();
        let file = block_on(open_new(&fs, &directory.path().join("file")));
        for polls in 1..4 {
            let write = file.write_at(Bad(vec![1; 1 << 20]), 0);
            let written = support::poll_times(write, polls);
            if let Some(Ok((_, mut bad))) = written {
                drop(std::mem::take(&mut bad.0));
                std::mem::forget(bad);
            }
        }
        assert_eq!(block_on(pool.run(|| async { 1 })).unwrap(), 1);
        settle(&pool);
        assert_eq!(block_on(pool.run(|| async { 2 })).unwrap(), 2);
    });
}

/// Gone is gone, also for what would not have needed the pool.
#[test]
fn after_a_shutdown_what_is_in_memory_is_not_read_either() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let directory = directory();
        let path = directory.path().join("file");
        std::fs::write(&path, "there").unwrap();
        let mut file = block_on(fs.open(&path)).unwrap();
        assert_eq!(block_on(file.read_bytes_at(5, 0)).unwrap(), "there");
        block_on(pool.shutdown());
        let (error, buffer) = block_on(file.read_at(vec![0; 5], 0))
            .unwrap_err()
            .into_parts();
        assert!(is_gone(&error) && buffer.is_some());
        assert!(is_gone(&block_on(file.read_bytes_at(5, 0)).unwrap_err()));
        assert!(is_gone(
            &block_on(file.read_ranges(&[0..1, 5..6])).unwrap_err()
        ));
        let mut stream = file.read_stream(.., 10);
        let item = block_on(futures::StreamExt::next(&mut stream)).unwrap();
        assert!(is_gone(&item.unwrap_err()));
        let read = tokio::io::AsyncReadExt::read_u8(&mut file);
        assert!(is_gone(&block_on(read).unwrap_err()));
        assert!(is_gone(&block_on(fs.read(&path)).unwrap_err()));
    });
}

/// With no descriptor left in the middle of it all, reads go on, and opening fails at once.
#[test]
fn descriptors_run_out_under_ten_thousand_reads() {
    support::in_child("descriptors_run_out_under_ten_thousand_reads", || {
        for_each_driver(|builder| {
            let pool = builder().build().unwrap();
            let fs = all_cross(&pool);
            let directory = directory();
            let path = directory.path().join("file");
            std::fs::write(&path, vec![7; 10_000]).unwrap();
            set_descriptor_limit(200);
            let mut files = Vec::new();
            let error = loop {
                match block_on(fs.open(&path)) {
                    Ok(file) => files.push(file),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            let reads = (0..10_000).map(|n| {
                let file = &files[n % files.len()];
                let (fs, path) = (&fs, &path);
                async move {
                    if n % 100 == 50 {
                        let error = fs.open(path).await.unwrap_err();
                        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                    }
                    let (read, buffer) = file.read_at(vec![0; 1], n as u64).await.unwrap();
                    assert_eq!((read, &buffer[..]), (1, &[7][..]));
                }
            });
            block_on(futures::future::join_all(reads));
            drop(files);
            settle(&pool);
            block_on(fs.open(&path)).unwrap();
        });
    });
}
