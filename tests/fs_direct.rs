//! Direct I/O: buffers as the disk wants them, and errors that say what it wants.

#![cfg(all(feature = "fs", target_os = "linux"))]

mod support;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use compio::buf::IoBuf;
use landbridge::{
    error::Misaligned,
    fs::{AlignedBuf, DirectAlignment, File, Fs, OpenOptions},
    io::buf::BufError,
};
use support::{block_on, for_each_driver};

const BLOCK: usize = 4096;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A file whose byte at `n` is `n / 7`, of a length that is no multiple of any block.
fn contents(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 7) as u8).collect()
}

/// Whether direct I/O works in that directory; a note if it does not.
fn has_direct(directory: &Path) -> bool {
    use std::os::unix::fs::OpenOptionsExt;
    let path = directory.join("probe");
    std::fs::write(&path, []).unwrap();
    let opened = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path);
    if let Err(error) = &opened {
        eprintln!("not run: no direct I/O in {}: {error}", directory.display());
    }
    opened.is_ok()
}

/// Calls `test` for each driver with a file of so many bytes, opened for direct reading and writing.
fn with_direct(len: usize, test: impl AsyncFn(&Fs, File, PathBuf)) {
    let directory = directory();
    if !has_direct(directory.path()) {
        return;
    }
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let path = directory.path().join("file");
        std::fs::write(&path, contents(len)).unwrap();
        block_on(async {
            let mut options = OpenOptions::new();
            options.read(true).write(true).direct(true);
            let file = options.open_in(&fs, &path).await.unwrap();
            test(&fs, file, path.clone()).await;
        });
    });
}

fn misaligned<B>(error: BufError<B>) -> (Misaligned, B) {
    let (error, buffer) = error.into_parts();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let inner = error.get_ref().expect("not the kernel's own");
    let said = *inner.downcast_ref::<Misaligned>().expect("typed");
    (said, buffer.expect("nobody else has it"))
}

const _: () = {
    const fn shared<T: Send + Sync + Unpin + std::fmt::Debug>() {}
    shared::<AlignedBuf>();
    shared::<DirectAlignment>();
    shared::<Misaligned>();
};

/// The memory is right whatever was asked for, and bad requests are errors.
#[test]
fn an_aligned_buffer_is_aligned_and_never_shows_what_was_not_written() {
    for (capacity, alignment, wanted) in [
        (0, 512, 512),
        (1, 512, 512),
        (512, 512, 512),
        (513, 512, 1024),
        (3, 1, 3),
        (100_000, 1 << 16, 1 << 17),
    ] {
        let mut buffer = AlignedBuf::new(capacity, alignment).unwrap();
        assert_eq!(buffer.capacity(), wanted);
        assert_eq!(buffer.alignment(), alignment);
        assert!(buffer.as_ptr().addr().is_multiple_of(alignment));
        assert!(buffer.is_empty());
        let written = buffer.write(&vec![7; wanted + 1]).unwrap();
        assert_eq!(written, wanted, "it ends at its capacity");
        assert_eq!(buffer.write(&[7]).unwrap(), 0);
        assert!(buffer.iter().all(|byte| *byte == 7));
        buffer.truncate(wanted + 1);
        assert_eq!(buffer.len(), wanted);
        assert_eq!(buffer.pad(1), 0);
        buffer.truncate(wanted - 1);
        let padding = usize::from(alignment > 1);
        assert_eq!(buffer.pad(1), padding);
        assert_eq!(buffer.len(), wanted - 1 + padding);
        assert_eq!(buffer.last(), Some(if alignment > 1 { &1 } else { &7 }));
        buffer.clear();
        assert_eq!(buffer.pad(1), 0);
        assert!(buffer.is_empty());
    }
    for (capacity, alignment) in [(1, 0), (1, 3), (usize::MAX, 2), (1, usize::MAX / 2 + 1)] {
        let error = AlignedBuf::new(capacity, alignment).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
}

/// Zero copy into what the rest of a program passes around, and free of the buffer's own thread.
#[test]
fn a_frozen_buffer_is_the_same_memory_and_may_end_anywhere() {
    let mut buffer = AlignedBuf::new(BLOCK, BLOCK).unwrap();
    buffer.write_all(b"bytes").unwrap();
    let address = buffer.as_ptr();
    let bytes: Bytes = buffer.into();
    assert_eq!(bytes.as_ptr(), address);
    let part = Bytes::slice(&bytes, 1..);
    drop(bytes);
    std::thread::spawn(move || assert_eq!(part, b"ytes"[..]))
        .join()
        .unwrap();
}

#[test]
fn direct_reads_and_writes_carry_the_bytes() {
    with_direct(3 * BLOCK, async |_, file, path| {
        let alignment = file.direct_alignment().unwrap();
        assert!(alignment.position().is_power_of_two());
        let buffer = file.aligned_buffer(2 * BLOCK).unwrap();
        let buffer = file.read_exact_at(buffer, BLOCK as u64).await.unwrap();
        assert_eq!(buffer[..], contents(3 * BLOCK)[BLOCK..]);

        let mut buffer = buffer;
        buffer.fill(0xee);
        let buffer = file.write_all_at(buffer, 2 * BLOCK as u64).await.unwrap();
        let (n, buffer) = file.write_at(buffer, 0).await.unwrap();
        assert_eq!(n, 2 * BLOCK);
        file.write_bytes_at(buffer, 4 * BLOCK as u64).await.unwrap();
        file.sync_data().await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0xee; 6 * BLOCK]);

        let pair = [(); 2].map(|()| file.aligned_buffer(BLOCK).unwrap());
        let (n, pair) = file.read_vectored_at(pair, BLOCK as u64).await.unwrap();
        assert_eq!(n, 2 * BLOCK);
        assert!(
            pair.iter()
                .flat_map(|buffer| &buffer[..])
                .all(|byte| *byte == 0xee)
        );
        let (n, _) = file
            .write_vectored_at(pair, 6 * BLOCK as u64)
            .await
            .unwrap();
        assert_eq!(n, 2 * BLOCK);
        assert_eq!(std::fs::read(&path).unwrap(), [0xee; 8 * BLOCK]);
        file.close().await.unwrap();
    });
}

/// The kernel says `EINVAL`, and nothing else: users look for hours.
#[test]
fn what_is_misaligned_is_an_error_that_says_what_is_wanted_and_gives_the_buffer_back() {
    with_direct(3 * BLOCK, async |_, file, path| {
        let alignment = file.direct_alignment().unwrap();
        let (memory, position) = (alignment.memory(), alignment.position());
        if position == 1 {
            return eprintln!("not run: this file system takes everything");
        }
        let aligned = || {
            let mut buffer = file.aligned_buffer(2 * BLOCK).unwrap();
            buffer.write_all(&[7; 2 * BLOCK]).unwrap();
            buffer
        };
        let odd = position as u64 + 1;

        // Positions.
        let (said, buffer) = misaligned(file.read_at(aligned(), odd).await.unwrap_err());
        assert!(
            matches!(said, Misaligned::Position { position: p, alignment: a, .. }
            if p == odd && a == position)
        );
        assert!(said.to_string().contains(&position.to_string()), "{said}");
        assert!(said.to_string().contains(&odd.to_string()), "{said}");
        assert_eq!(buffer[..], [7; 2 * BLOCK]);
        for error in [
            file.read_exact_at(aligned(), odd).await.unwrap_err(),
            file.write_at(aligned(), odd).await.unwrap_err(),
            file.write_all_at(aligned(), odd).await.unwrap_err(),
        ] {
            assert_eq!(misaligned(error).0, said);
        }
        for error in [
            file.read_vectored_at([aligned()], odd).await.unwrap_err(),
            file.write_vectored_at([aligned()], odd).await.unwrap_err(),
        ] {
            assert_eq!(misaligned(error).0, said);
        }
        let error = file.read_bytes_at(position, odd).await.unwrap_err();
        assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&said));

        // Lengths.
        let (said, _) = misaligned(
            file.read_at(aligned().slice(..odd as usize), 0)
                .await
                .unwrap_err(),
        );
        assert!(
            matches!(said, Misaligned::Length { length, alignment: a, .. }
            if length == odd as usize && a == position)
        );
        for error in [
            file.read_exact_at(aligned().slice(..odd as usize), 0)
                .await
                .unwrap_err(),
            file.write_at(aligned().slice(..odd as usize), 0)
                .await
                .unwrap_err(),
        ] {
            assert_eq!(misaligned(error).0, said);
        }
        let pair = || [aligned().slice(..), aligned().slice(..odd as usize)];
        for error in [
            file.read_vectored_at(pair(), 0).await.unwrap_err(),
            file.write_vectored_at(pair(), 0).await.unwrap_err(),
        ] {
            assert_eq!(misaligned(error).0, said);
        }
        let error = file.read_bytes_at(odd as usize, 0).await.unwrap_err();
        assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&said));

        // Addresses.
        if memory > 1 {
            let off = || aligned().slice(1..=position);
            let (said, _) = misaligned(file.read_at(off(), 0).await.unwrap_err());
            assert!(matches!(said, Misaligned::Buffer { alignment: a, .. } if a == memory));
            assert_eq!(
                misaligned(file.write_at(off(), 0).await.unwrap_err()).0,
                said
            );
            let error = file.read_vectored_at([off()], 0).await.unwrap_err();
            assert_eq!(misaligned(error).0, said);
        }

        // Nothing at all is not misaligned, and nothing was written.
        assert_eq!(file.read_at(Vec::new(), odd).await.unwrap().0, 0);
        assert_eq!(file.write_at(Vec::new(), odd).await.unwrap().0, 0);
        assert_eq!(std::fs::read(path).unwrap(), contents(3 * BLOCK));
    });
}

/// A file ends where it ends; a loop that then asks for the rest of the block asks for what direct I/O
/// refuses.
#[test]
fn an_end_of_file_within_a_block_is_the_end_and_not_an_error() {
    let len = 2 * BLOCK + 100;
    with_direct(len, async |_, file, _| {
        let buffer = file.aligned_buffer(4 * BLOCK).unwrap();
        let (n, buffer) = file.read_at(buffer, 0).await.unwrap();
        assert_eq!((n, &buffer[..]), (len, &contents(len)[..]));

        let buffer = file.aligned_buffer(4 * BLOCK).unwrap();
        let error = file.read_exact_at(buffer, 0).await.unwrap_err();
        let (error, buffer) = error.into_parts();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
        assert_eq!(buffer.unwrap()[..], contents(len)[..]);

        let bytes = file.read_bytes_at(4 * BLOCK, 0).await.unwrap();
        assert_eq!(bytes, contents(len));
        let bytes = file.read_bytes_at(BLOCK, 2 * BLOCK as u64).await.unwrap();
        assert_eq!(bytes, contents(len)[2 * BLOCK..]);
        let bytes = file.read_bytes_at(BLOCK, 3 * BLOCK as u64).await.unwrap();
        assert!(bytes.is_empty());

        // What is not a whole block is written as one and cut off.
        let mut buffer = file.aligned_buffer(BLOCK).unwrap();
        buffer.write_all(b"the end").unwrap();
        buffer.pad(0);
        file.write_bytes_at(buffer, 3 * BLOCK as u64).await.unwrap();
        file.set_len(3 * BLOCK as u64 + 7).await.unwrap();
        let bytes = file.read_bytes_at(BLOCK, 3 * BLOCK as u64).await.unwrap();
        assert_eq!(bytes, b"the end"[..]);
    });
}

/// The kernel waits for the disk in spite of `RWF_NOWAIT` if the I/O is direct; so the caller's thread
/// must not even try, though the file's pages be in memory.
#[test]
fn a_direct_read_is_never_done_on_the_callers_thread() {
    let directory = directory();
    if !has_direct(directory.path()) {
        return;
    }
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let path = directory.path().join("file");
        std::fs::write(&path, contents(BLOCK)).unwrap();
        let crossings = || pool.metrics().total(|worker| worker.crossings_in);
        block_on(async {
            for options in [
                OpenOptions::new().read(true).direct(true),
                OpenOptions::new().read(true).custom_flags(libc::O_DIRECT),
            ] {
                let file = options.open_in(&fs, &path).await.unwrap();
                let before = crossings();
                let buffer = file.aligned_buffer(BLOCK).unwrap();
                let buffer = file.read_exact_at(buffer, 0).await.unwrap();
                assert_eq!(buffer[..], contents(BLOCK));
                assert!(crossings() > before);
                file.close().await.unwrap();
            }
        });
    });
}

/// Other files must not pay for it: they take any buffer.
#[test]
fn files_that_are_not_direct_take_anything() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool).nowait_limit(0);
        let directory = directory();
        let path = directory.path().join("file");
        std::fs::write(&path, contents(BLOCK)).unwrap();
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            let buffer = file.read_exact_at(vec![0; 10], 1).await.unwrap();
            assert_eq!(buffer, contents(BLOCK)[1..11]);
            let buffer = AlignedBuf::new(1, 1).unwrap();
            let (n, buffer) = file.read_at(buffer, 50).await.unwrap();
            assert_eq!((n, &buffer[..]), (1, &contents(BLOCK)[50..51]));
        });
    });
}

/// What fits a block device would be wrong for memory.
#[test]
fn an_alignment_is_always_usable_and_a_pipe_has_none_to_check() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        block_on(async {
            for path in ["/dev/shm", "/proc/self/status", "Cargo.toml"] {
                let Ok(file) = fs.open(path).await else {
                    continue;
                };
                match file.direct_alignment() {
                    Ok(alignment) => {
                        assert!(alignment.memory().is_power_of_two(), "{path}");
                        assert!(alignment.position().is_power_of_two(), "{path}");
                        assert!(alignment.of_both() >= alignment.memory());
                        assert!(alignment.of_both() >= alignment.position());
                    }
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{path}"),
                }
            }
        });
    });
}

/// What asks for ranges or chunks does not know of blocks: whole blocks are read, and the bytes cut out.
#[test]
fn ranges_and_streams_of_a_direct_file_begin_and_end_anywhere() {
    use futures::TryStreamExt;

    const LEN: usize = 1_000_003;
    with_direct(LEN, async |_, file, _| {
        let all = contents(LEN);
        let ranges = [
            0..1,
            1..2,
            4096..8192,
            511..513,
            700_000..1_000_003,
            999_999..2_000_000,
            5..5,
            3_000_000..4_000_000,
        ];
        let answers = file.read_ranges(&ranges).await.unwrap();
        for (range, answer) in ranges.iter().zip(answers) {
            let place = |at: u64| LEN.min(at as usize);
            assert!(
                answer == all[place(range.start)..place(range.end)],
                "{range:?}"
            );
        }
        for (start, chunk) in [
            (0, 4096),
            (1, 4096),
            (0, 1000),
            (4095, 1 << 20),
            (0, 16 << 20),
        ] {
            let chunks = file.read_stream(start.., chunk).try_collect::<Vec<_>>();
            let chunks = chunks.await.unwrap();
            assert!(
                chunks.concat() == all[start as usize..],
                "{start}.., {chunk}"
            );
            assert!(
                chunks
                    .iter()
                    .all(|bytes| bytes.len() <= chunk && !bytes.is_empty())
            );
        }
    });
}

/// An option is not undone by another.
#[test]
fn further_flags_leave_direct_as_it_is() {
    use std::os::fd::AsRawFd;

    with_direct(BLOCK, async |fs, _, path| {
        let mut direct = OpenOptions::new();
        direct.read(true).direct(true).custom_flags(libc::O_NOATIME);
        let mut further = OpenOptions::new();
        further
            .read(true)
            .custom_flags(libc::O_NOATIME)
            .direct(true);
        for options in [direct, further] {
            let file = options.open_in(fs, &path).await.unwrap();
            let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
            let flags = flags.unwrap();
            let line = flags.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = i32::from_str_radix(line.unwrap().trim(), 8).unwrap();
            assert_eq!(flags & libc::O_DIRECT, libc::O_DIRECT);
            assert_eq!(flags & libc::O_NOATIME, libc::O_NOATIME);
        }
    });
}
