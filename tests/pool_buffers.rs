//! A buffer that the kernel may still write to is never freed: not when its future is dropped, and not
//! when the pool ends.
//!
//! AddressSanitizer does not see what the kernel writes. So this binary has an allocator of its own,
//! which keeps the memory of the buffers under watch (they are known by their size): it fills them with
//! a pattern when they are freed, and gives them back once a test has seen that the pattern is whole.
//!
//! That the test can fail is shown by a control: `LANDBRIDGE_CONTROL=1` runs the same load on a bare
//! Compio runtime that is simply dropped, and expects to catch it. It is off by default, because what
//! it does is undefined behaviour on purpose (were it not for the allocator).

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "an allocator")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs::File,
    future::{Future, pending},
    io::Write,
    os::{
        fd::{FromRawFd, IntoRawFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use compio::{
    buf::BufResult,
    io::{AsyncRead, AsyncReadAt},
};
use landbridge::{CompioPool, JoinError};
use support::{block_on, eventually, for_each_driver, socket_pair};

/// No buffer of anybody else's has this size; a multiple of every block size, for direct I/O.
const WATCHED: usize = 9 * 4_096;
/// What no file and no peer here ever writes.
const PATTERN: u8 = 0xd5;
const WRITTEN: u8 = 0x2a;

struct Canary;

#[global_allocator]
static ALLOCATOR: Canary = Canary;

/// Freed buffers, by address, and how many. Room for all of one test: the allocator may not allocate.
static FREED: Mutex<([usize; 4_096], usize)> = Mutex::new(([0; 4_096], 0));

fn layout() -> Layout {
    // Direct I/O wants its buffers aligned.
    Layout::from_size_align(WATCHED, 4_096).expect("a power of two")
}

// SAFETY: passes everything on to the system's allocator. A watched buffer gets more alignment than
// was asked for, and is given back by `spoiled` alone.
unsafe impl GlobalAlloc for Canary {
    unsafe fn alloc(&self, asked: Layout) -> *mut u8 {
        if asked.size() == WATCHED {
            // SAFETY: not of size 0.
            unsafe { System.alloc(layout()) }
        } else {
            // SAFETY: the caller's contract.
            unsafe { System.alloc(asked) }
        }
    }

    unsafe fn dealloc(&self, buffer: *mut u8, asked: Layout) {
        if asked.size() != WATCHED {
            // SAFETY: the caller's contract, and `alloc` left the layout as it was.
            return unsafe { System.dealloc(buffer, asked) };
        }
        // SAFETY: the buffer is the caller's until this call returns, and nobody's afterwards.
        unsafe { buffer.write_bytes(PATTERN, WATCHED) };
        let mut freed = FREED.lock().unwrap();
        let n = freed.1;
        freed.0[n] = buffer.expose_provenance();
        freed.1 += 1;
    }
}

fn freed() -> usize {
    FREED.lock().unwrap().1
}

/// How many of the buffers that were freed since the last call somebody has written to. Those to which
/// nobody has are really freed now.
fn spoiled() -> usize {
    let mut freed = FREED.lock().unwrap();
    let count = std::mem::take(&mut freed.1);
    let mut spoiled = 0;
    for address in &freed.0[..count] {
        let buffer = std::ptr::with_exposed_provenance_mut::<u8>(*address);
        // SAFETY: allocated, and initialised by `dealloc`. The kernel may write at the same time,
        // which is what is to be caught; a volatile read of each byte sees it or does not.
        let whole =
            (0..WATCHED).all(|n| unsafe { buffer.wrapping_add(n).read_volatile() } == PATTERN);
        if whole {
            // SAFETY: `alloc` allocated it with this layout, and it was taken off the list.
            unsafe { System.dealloc(buffer, layout()) };
        } else {
            spoiled += 1;
        }
    }
    spoiled
}

fn buffer() -> Vec<u8> {
    Vec::with_capacity(WATCHED)
}

/// One test at a time: there is one list of freed buffers.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, buffers: usize) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        for _ in 0..buffers {
            file.write_all(&[WRITTEN; WATCHED]).unwrap();
        }
        file.sync_all().unwrap();
        Self(path)
    }

    /// Opened for direct I/O, where the file system has it: such a read is the device writing to the
    /// buffer, and cannot be cancelled.
    fn open(&self) -> Option<File> {
        File::options()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(&self.0)
            .ok()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// Takes the file over to Compio.
fn attach(file: File) -> compio::fs::File {
    // SAFETY: the descriptor is open and, from here on, Compio's alone.
    unsafe { compio::fs::File::from_raw_fd(file.into_raw_fd()) }
}

/// Starts reads of `file` and leaves them in flight.
async fn start_reads(file: File, buffers: usize) {
    let file = attach(file);
    let reads = (0..buffers).map(|n| {
        let file = file.clone();
        Box::pin(async move { file.read_at(buffer(), (n * WATCHED) as u64).await })
    });
    let mut reads = futures::future::join_all(reads);
    _ = futures::future::poll_immediate(&mut reads).await;
    // Out to the kernel, and away.
    compio::runtime::Runtime::with_current(|runtime| runtime.flush());
    IN_FLIGHT.with_borrow_mut(|kept| kept.push(Box::pin(async move { _ = reads.await })));
}

thread_local! {
    /// What the control keeps in flight.
    static IN_FLIGHT: std::cell::RefCell<Vec<futures::future::LocalBoxFuture<'static, ()>>> =
        const { std::cell::RefCell::new(Vec::new()) };
}

/// Starts so many reads of the file in jobs, and returns once all are with the kernel.
fn read_in_jobs(
    pool: &CompioPool,
    file: &File,
    jobs: usize,
    each: usize,
) -> Vec<landbridge::JoinHandle<()>> {
    let started = Arc::new(AtomicUsize::new(0));
    let handles = (0..jobs)
        .map(|job| {
            let file = file.try_clone().unwrap();
            let started = started.clone();
            pool.spawn(async move || {
                let file = attach(file);
                let reads = (0..each).map(|n| {
                    let file = file.clone();
                    let position = ((job * each + n) * WATCHED) as u64;
                    Box::pin(async move { file.read_at(buffer(), position).await })
                });
                let mut reads = futures::future::join_all(reads);
                let at_once = futures::future::poll_immediate(&mut reads).await;
                compio::runtime::Runtime::with_current(|runtime| runtime.flush());
                started.fetch_add(1, Ordering::SeqCst);
                if at_once.is_none() {
                    for BufResult(result, _) in reads.await {
                        result.unwrap();
                    }
                }
            })
        })
        .collect::<Vec<_>>();
    eventually("all are started", || started.load(Ordering::SeqCst) == jobs);
    handles
}

/// Ends the pool's only worker by a panic that no job is to blame for.
fn kill_worker(pool: &CompioPool) {
    struct Bomb;

    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("in a waker that the driver calls");
        }
    }

    let (near, mut far) = socket_pair();
    let job = pool.spawn(async move || {
        let mut near = compio::net::UnixStream::from_std(near).unwrap();
        let mut read = pin!(near.read(Vec::with_capacity(8)));
        let bomb = Waker::from(Arc::new(Bomb));
        let polled = read.as_mut().poll(&mut Context::from_waker(&bomb));
        assert!(polled.is_pending());
        far.write_all(b"x").unwrap();
        pending::<()>().await;
    });
    assert!(matches!(block_on(job), Err(JoinError::RuntimeGone)));
}

/// Direct reads of a real file, the pool dropped at once, or its worker dead: the device writes to the buffers whenever it
/// likes. With a bare Compio runtime this test catches it nearly every time (see above).
#[test]
fn direct_reads_in_flight_when_the_pool_is_dropped_do_not_write_to_freed_memory() {
    let _alone = alone();
    let file = TemporaryFile::new("direct", 64);
    let Some(file) = file.open() else {
        eprintln!("not run: no direct I/O on this file system");
        return;
    };
    for_each_driver(|builder| {
        spoiled();
        for round in 0..20 {
            let pool = builder().thread_name("lb-direct").build().unwrap();
            let handles = read_in_jobs(&pool, &file, 4, 16);
            match round % 5 {
                0 => drop(pool),
                3 => kill_worker(&pool),
                4 => _ = block_on(pool.shutdown_timeout(Duration::ZERO)),
                1 => {
                    handles.iter().for_each(landbridge::JoinHandle::abort);
                    drop(pool);
                }
                _ => {
                    handles.iter().for_each(landbridge::JoinHandle::abort);
                    block_on(pool.shutdown());
                }
            }
            eventually("the worker ends", || {
                support::threads_named("lb-direct") == 0
            });
        }
        assert!(freed() > 0, "the buffers are watched");
        assert_eq!(spoiled(), 0);
    });
}

/// The same for a thread that drives both runtimes, whoever has started the reads.
#[cfg(feature = "net")]
#[test]
fn direct_reads_in_flight_when_a_dual_runtime_is_dropped_do_not_write_to_freed_memory() {
    use landbridge::context::{DualRuntime, OnThread};

    let _alone = alone();
    let file = TemporaryFile::new("dual", 64);
    let Some(file) = file.open() else {
        eprintln!("not run: no direct I/O on this file system");
        return;
    };
    let _watchdog = support::watchdog();
    for driver in support::drivers() {
        spoiled();
        for _ in 0..20 {
            let dual = DualRuntime::builder().driver(driver).build().unwrap();
            let reads = |position: usize| {
                let file = file.try_clone().unwrap();
                async move {
                    let file = attach(file);
                    let reads = (0..16).map(|n| {
                        let file = file.clone();
                        let position = (position + n) * WATCHED;
                        Box::pin(async move { file.read_at(buffer(), position as u64).await })
                    });
                    drop(futures::future::join_all(reads).await);
                }
            };
            drop(dual.spawn_local(reads(0)));
            drop(dual.enter(|| tokio::spawn(OnThread::new(reads(16)))));
            dual.enter(|| compio::runtime::spawn(reads(32))).detach();
            dual.block_on(async {
                let mut reads = pin!(reads(48));
                _ = futures::future::poll_immediate(&mut reads).await;
                tokio::task::yield_now().await;
                compio::runtime::Runtime::with_current(|runtime| runtime.flush());
            });
            drop(dual);
        }
        assert!(freed() > 0, "the buffers are watched");
        assert_eq!(spoiled(), 0);
    }
}

/// The same while the pool lives: aborted jobs drop their futures, and the kernel is still at it.
#[test]
fn direct_reads_whose_jobs_are_aborted_do_not_write_to_freed_memory() {
    let _alone = alone();
    let file = TemporaryFile::new("aborted", 64);
    let Some(file) = file.open() else {
        eprintln!("not run: no direct I/O on this file system");
        return;
    };
    for_each_driver(|builder| {
        spoiled();
        let pool = builder().build().unwrap();
        for _ in 0..20 {
            let handles = read_in_jobs(&pool, &file, 4, 16);
            for handle in handles {
                _ = block_on(handle.cancel());
            }
        }
        block_on(pool.shutdown());
        assert!(freed() > 0);
        assert_eq!(spoiled(), 0);
    });
}

/// Sockets: the read waits, is dropped, and then the peer writes. Were the request still there, and its
/// buffer not, that is where the bytes would go.
#[test]
fn a_peer_that_writes_after_the_drop_does_not_write_to_freed_memory() {
    let _alone = alone();
    for_each_driver(|builder| {
        spoiled();
        for round in 0..20 {
            let pool = builder().thread_name("peer").build().unwrap();
            let started = Arc::new(AtomicUsize::new(0));
            let (handles, peers): (Vec<_>, Vec<_>) = (0..50)
                .map(|_| {
                    let (near, far) = socket_pair();
                    let started = started.clone();
                    let handle = pool.spawn(async move || {
                        let mut near = compio::net::UnixStream::from_std(near).unwrap();
                        let mut read = std::pin::pin!(near.read(buffer()));
                        assert!(futures::future::poll_immediate(&mut read).await.is_none());
                        started.fetch_add(1, Ordering::SeqCst);
                        _ = read.await;
                    });
                    (handle, far)
                })
                .unzip();
            eventually("all wait", || started.load(Ordering::SeqCst) == 50);
            // From another thread, all the time: before, during and after the end.
            let writer = thread::spawn(move || {
                for _ in 0..20 {
                    for mut peer in &peers {
                        _ = peer.set_nonblocking(true);
                        _ = peer.write(&[WRITTEN; 1_024]);
                    }
                    thread::yield_now();
                }
                peers
            });
            if round % 2 == 0 {
                handles.iter().for_each(landbridge::JoinHandle::abort);
                block_on(pool.shutdown());
            } else {
                drop(pool);
            }
            let peers = writer.join().unwrap();
            eventually("the worker ends", || support::threads_named("peer") == 0);
            for mut peer in &peers {
                _ = peer.write(&[WRITTEN; 1_024]);
            }
        }
        assert!(freed() > 0);
        assert_eq!(spoiled(), 0);
    });
}

/// Reads in Compio's own tasks, which the pool knows nothing of, and the pool dropped under them.
#[test]
fn direct_reads_of_compios_own_tasks_do_not_write_to_freed_memory() {
    let _alone = alone();
    let file = TemporaryFile::new("inner", 64);
    let Some(file) = file.open() else {
        eprintln!("not run: no direct I/O on this file system");
        return;
    };
    for_each_driver(|builder| {
        spoiled();
        for _ in 0..20 {
            let pool = builder().thread_name("inner").build().unwrap();
            let file = file.try_clone().unwrap();
            block_on(pool.run(async move || {
                let file = attach(file);
                for n in 0..64 {
                    let file = file.clone();
                    let position = (n * WATCHED) as u64;
                    compio::runtime::spawn(async move {
                        _ = file.read_at(buffer(), position).await;
                    })
                    .detach();
                }
                // They are started, and submitted, while this waits its turn.
                support::yield_now().await;
                compio::runtime::Runtime::with_current(|runtime| runtime.flush());
            }))
            .unwrap();
            drop(pool);
            eventually("the worker ends", || support::threads_named("inner") == 0);
        }
        assert!(freed() > 0);
        assert_eq!(spoiled(), 0);
    });
}

/// The same through `landbridge::fs`: futures of direct reads dropped by who waits for them, while the pool
/// lives and while it goes.
#[cfg(feature = "fs")]
#[test]
fn direct_reads_of_files_that_are_dropped_do_not_write_to_freed_memory() {
    use landbridge::fs::{AlignedBuf, Fs, OpenOptions};

    let _alone = alone();
    let temporary = TemporaryFile::new("fs", 64);
    if temporary.open().is_none() {
        eprintln!("not run: no direct I/O on this file system");
        return;
    }
    for_each_driver(|builder| {
        spoiled();
        for round in 0..20 {
            let pool = builder().thread_name("lb-fs").build().unwrap();
            let fs = Fs::new(&pool);
            let mut options = OpenOptions::new();
            options.read(true).direct(true);
            let file = block_on(options.open_in(&fs, &temporary.0)).unwrap();
            let reads: Vec<_> = (0..64)
                .map(|n| {
                    let buffer = AlignedBuf::new(WATCHED, 4_096).unwrap();
                    let mut read = Box::pin(file.read_at(buffer, n * WATCHED as u64));
                    _ = futures::FutureExt::now_or_never(&mut read);
                    read
                })
                .collect();
            // They are with the kernel, or on their way.
            (0..round).for_each(|_| thread::yield_now());
            drop(reads);
            drop(file);
            if round % 2 == 0 {
                drop((fs, pool));
            } else {
                block_on(pool.shutdown());
                drop((fs, pool));
            }
            eventually("the worker ends", || support::threads_named("lb-fs") == 0);
        }
        assert!(freed() > 0, "the buffers are watched");
        assert_eq!(spoiled(), 0);
    });
}

/// The control: a bare Compio runtime under the same load. See the head of this file.
#[test]
fn control_a_bare_runtime_is_caught() {
    if std::env::var_os("LANDBRIDGE_CONTROL").is_none() || !support::has_io_uring() {
        return;
    }
    let _alone = alone();
    let file = TemporaryFile::new("control", 64);
    let Some(file) = file.open() else {
        return;
    };
    spoiled();
    let mut caught = 0;
    for _ in 0..20 {
        let file = file.try_clone().unwrap();
        thread::spawn(move || {
            let runtime = compio::runtime::Runtime::new().unwrap();
            runtime.block_on(start_reads(file, 64));
            runtime.enter(|| IN_FLIGHT.take());
            drop(runtime);
        })
        .join()
        .unwrap();
        // Time for the device; a control may take some.
        thread::sleep(Duration::from_millis(20));
        caught += usize::from(spoiled() > 0);
    }
    eprintln!("caught in {caught} of 20 rounds");
    assert!(caught > 0);
}
