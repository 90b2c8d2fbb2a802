//! Descriptors that share a position with others, as a child's inherited output does.

#![cfg(all(feature = "fs", target_os = "linux"))]

mod support;

use std::{
    io::{Read, Seek, Write},
    thread,
};

use futures::future::join;
use landbridge::fs::{File, Fs};
use support::{block_on, for_each_driver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LINES: usize = 500;
const LINE: &[u8] = b"aaaaaaaaa\n";

async fn write_lines(mut file: File) {
    for _ in 0..LINES {
        file.write_all(LINE).await.unwrap();
        file.flush().await.unwrap();
    }
}

/// Two files of a program that log to the same place: no line overwrites another.
#[test]
fn writers_that_share_a_position_lose_nothing() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let fs = Fs::new(&pool);
        let mut std = tempfile::tempfile().unwrap();
        let one = fs.from_std(std.try_clone().unwrap());
        let two = fs.from_std(std.try_clone().unwrap());
        let mut third = std.try_clone().unwrap();
        let outside =
            thread::spawn(move || (0..LINES).for_each(|_| third.write_all(LINE).unwrap()));
        block_on(join(write_lines(one), write_lines(two)));
        outside.join().unwrap();
        std.rewind().unwrap();
        let mut all = Vec::new();
        std.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 3 * LINES * LINE.len());
        assert!(all.chunks(LINE.len()).all(|line| line == LINE));
    });
}

/// Two readers share the work, and neither sees what the other has seen.
#[test]
fn readers_that_share_a_position_share_the_bytes() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        // All of them cross.
        let fs = Fs::new(&pool).nowait_limit(0);
        let mut std = tempfile::tempfile().unwrap();
        std.write_all(&vec![7; 200_000]).unwrap();
        std.rewind().unwrap();
        let read = async |file: std::fs::File| {
            let (mut file, mut all, mut some) = (fs.from_std(file), 0, [0; 500]);
            loop {
                match file.read(&mut some).await.unwrap() {
                    0 => return all,
                    n => all += n,
                }
            }
        };
        let (one, two) = (std.try_clone().unwrap(), std);
        let (one, two) = block_on(join(read(one), read(two)));
        assert_eq!(one + two, 200_000);
    });
}

/// What was read ahead for a reader that went away is still unread for std, though clones live on.
#[test]
fn a_duplicate_for_std_begins_with_what_nobody_was_given() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool).nowait_limit(0);
        let mut std = tempfile::tempfile().unwrap();
        std.write_all(b"0123456789").unwrap();
        std.rewind().unwrap();
        let mut file = fs.from_std(std);
        let clone = file.clone();
        let held = support::hold(&pool);
        let mut some = [0; 4];
        assert!(support::poll_times(file.read(&mut some), 1).is_none());
        drop(held);
        let mut std = block_on(file.into_std()).unwrap();
        let mut all = String::new();
        std.read_to_string(&mut all).unwrap();
        assert_eq!(all, "0123456789");
        drop(clone);
    });
}
