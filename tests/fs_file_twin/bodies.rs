//! What is done to a file, whichever module it is of.

use std::{
    ffi::OsStr,
    fs::Permissions,
    future::poll_fn,
    io::{self, IoSlice, Read, Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
    pin::Pin,
};

use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncSeek, AsyncSeekExt, AsyncWrite, AsyncWriteExt, BufReader,
};

use super::{File, Notes, OpenOptions, Setting};

fn reading() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    options
}

fn writing() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options
}

fn both() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    options
}

async fn read_some(file: &mut File, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    let n = file.read(&mut buffer).await?;
    buffer.truncate(n);
    Ok(buffer)
}

pub async fn the_end_of_a_file_is_not_sticky(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("log");
    std::fs::write(&path, "0123456789").unwrap();
    let mut file = s.open(&reading(), &path).await.unwrap();
    for _ in 0..5 {
        notes.result("read", read_some(&mut file, 4).await);
    }
    let mut more = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    more.write_all(b"more").unwrap();
    for _ in 0..3 {
        notes.result("read what came", read_some(&mut file, 3).await);
    }
    notes.result("position", file.stream_position().await);
}

pub async fn a_seek_leads_where_tokios_does(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    std::fs::write(&path, "0123456789").unwrap();
    let mut file = s.open(&both(), &path).await.unwrap();
    for to in [
        SeekFrom::Start(3),
        SeekFrom::Current(2),
        SeekFrom::Current(-1),
        SeekFrom::Current(0),
        SeekFrom::End(-2),
        SeekFrom::End(0),
        SeekFrom::End(10),
        SeekFrom::Start(0),
        SeekFrom::Current(-1),
        SeekFrom::End(-11),
        SeekFrom::Start(u64::MAX),
        SeekFrom::Current(i64::MAX),
        SeekFrom::Current(i64::MIN),
        SeekFrom::Start(1 << 40),
    ] {
        notes.result(&format!("{to:?}"), file.seek(to).await);
        notes.result("position", file.stream_position().await);
        notes.result("then", read_some(&mut file, 2).await);
    }
    notes.result("back", file.rewind().await);
    notes.result("then", read_some(&mut file, 2).await);
    notes.result(
        "without a seek",
        poll_fn(|cx| Pin::new(&mut file).poll_complete(cx)).await,
    );
}

pub async fn reads_and_writes_of_one_handle_are_in_order(
    s: &Setting,
    dir: &Path,
    notes: &mut Notes,
) {
    let path = dir.join("file");
    std::fs::write(&path, "0123456789").unwrap();
    let mut file = s.open(&both(), &path).await.unwrap();
    notes.result("read", read_some(&mut file, 2).await);
    notes.result("write", file.write(b"ab").await);
    notes.result("read", read_some(&mut file, 2).await);
    notes.result("write", file.write(b"cd").await);
    notes.result("write", file.write(b"ef").await);
    notes.result("seek", file.seek(SeekFrom::Current(-3)).await);
    notes.result("write", file.write(b"X").await);
    notes.result("read", read_some(&mut file, 9).await);
    notes.result("write", file.write_all(b"tail").await);
    notes.result("flush", file.flush().await);
    notes.result("what std sees", std::fs::read_to_string(&path));
    notes.result("position", file.stream_position().await);
}

pub async fn what_is_appended_goes_to_the_end(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    std::fs::write(&path, "0123").unwrap();
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    let mut one = s.open(&options, &path).await.unwrap();
    let mut other = s.open(&options, &path).await.unwrap();
    notes.result("position", one.stream_position().await);
    notes.result("write", one.write_all(b"one").await);
    notes.result("position", one.stream_position().await);
    notes.result("write", other.write_all(b"other").await);
    notes.result("position", other.stream_position().await);
    notes.result("rewind", one.rewind().await);
    notes.result("write", one.write_all(b"!").await);
    notes.result("position", one.stream_position().await);
    notes.result("seek", one.seek(SeekFrom::Start(2)).await);
    notes.result("read", read_some(&mut one, 100).await);
}

pub async fn opening_fails_in_the_same_way(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    std::fs::write(&path, "0123").unwrap();
    let mut new = OpenOptions::new();
    new.write(true).create_new(true);
    let mut nothing = OpenOptions::new();
    nothing.custom_flags(0);
    let mut cut = OpenOptions::new();
    cut.read(true).truncate(true);
    let mut append_and_cut = OpenOptions::new();
    append_and_cut.append(true).truncate(true);
    let mut only_directories = reading();
    only_directories.custom_flags(libc::O_DIRECTORY);
    let mut not_through_links = reading();
    not_through_links.custom_flags(libc::O_NOFOLLOW);
    let link = dir.join("link");
    symlink(&path, &link).unwrap();
    let locked = dir.join("locked");
    std::fs::write(&locked, "").unwrap();
    std::fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
    for (what, options, path) in [
        ("nothing there", &reading(), dir.join("nothing")),
        ("nothing there either", &writing(), dir.join("a/b")),
        ("it is there", &new, path.clone()),
        ("no access asked for", &nothing, path.clone()),
        ("truncate to read", &cut, path.clone()),
        ("append and truncate", &append_and_cut, path.clone()),
        ("a file as a directory", &reading(), path.join("below")),
        ("a directory, to write", &writing(), dir.to_owned()),
        ("a directory only", &only_directories, path.clone()),
        ("a link", &not_through_links, link),
        ("no name", &reading(), "".into()),
        ("a NUL", &reading(), "a\0b".into()),
        ("too long", &reading(), dir.join("x".repeat(300))),
        // Whoever is root may.
        ("not allowed", &reading(), locked),
    ] {
        notes.result(what, s.open(options, path).await.map(drop));
    }
    notes.result("untouched", std::fs::read_to_string(&path));
    notes.result("cut", s.open(&writing(), &path).await.map(drop));
    notes.result("empty", std::fs::read_to_string(&path));
}

pub async fn links_are_followed_in_the_same_way(s: &Setting, dir: &Path, notes: &mut Notes) {
    let (dangling, circle, folder) = (dir.join("dangling"), dir.join("circle"), dir.join("folder"));
    symlink(dir.join("target"), &dangling).unwrap();
    symlink(&circle, &circle).unwrap();
    symlink(dir, &folder).unwrap();
    let mut new = OpenOptions::new();
    new.write(true).create_new(true);
    notes.result("read", s.open(&reading(), &dangling).await.map(drop));
    notes.result("circle", s.open(&reading(), &circle).await.map(drop));
    notes.result("new", s.open(&new, &dangling).await.map(drop));
    notes.result("folder", s.open(&writing(), &folder).await.map(drop));
    let mut file = s.open(&writing(), &dangling).await.unwrap();
    notes.result("write", file.write_all(b"through").await);
    notes.result("flush", file.flush().await);
    notes.result("target", std::fs::read_to_string(dir.join("target")));
}

pub async fn names_need_not_be_utf8(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join(OsStr::from_bytes(b"\xff\xfe name"));
    notes.result("nothing", s.open(&reading(), &path).await.map(drop));
    let mut file = s.open(&both(), &path).await.unwrap();
    notes.result("write", file.write_all(b"there").await);
    notes.result("flush", file.flush().await);
    let mut file = s.open(&reading(), &path).await.unwrap();
    notes.result("read", read_some(&mut file, 10).await);
}

pub async fn a_late_error_is_reported_once(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    std::fs::write(&path, "0123456789").unwrap();
    let mut file = s.open(&reading(), &path).await.unwrap();
    notes.result("write", file.write(b"ab").await);
    notes.result("flush", file.flush().await);
    notes.result("flush again", file.flush().await);
    notes.result("write", file.write(b"ab").await);
    notes.result("write again", file.write(b"ab").await);
    notes.result("and again", file.write(b"ab").await);
    notes.result("shutdown", file.shutdown().await);
    notes.result("shutdown again", file.shutdown().await);
    notes.result("write", file.write(b"ab").await);
    notes.result("read", read_some(&mut file, 4).await);
    notes.kind("flush", file.flush().await);
    notes.result("flush again", file.flush().await);
    notes.result("write", file.write(b"ab").await);
    notes.result("seek", file.seek(SeekFrom::Current(1)).await);
    notes.result("read", read_some(&mut file, 2).await);
    notes.kind("write again", file.write(b"ab").await);
    notes.result("flush", file.flush().await);
    notes.result(
        "vectored",
        file.write_vectored(&[IoSlice::new(b"ab")]).await,
    );
    notes.result(
        "vectored again",
        file.write_vectored(&[IoSlice::new(b"ab")]).await,
    );
    notes.result("untouched", std::fs::read_to_string(&path));
}

pub async fn a_read_of_what_is_only_written_is_refused(s: &Setting, dir: &Path, notes: &mut Notes) {
    let mut file = s.open(&writing(), dir.join("file")).await.unwrap();
    notes.result("read", read_some(&mut file, 4).await);
    notes.result("read again", read_some(&mut file, 4).await);
    notes.result("write", file.write(b"ab").await);
    notes.result("read", read_some(&mut file, 4).await);
    notes.result("flush", file.flush().await);
    notes.result("position", file.stream_position().await);
}

pub async fn empty_buffers_do_nothing(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    std::fs::write(&path, "0123456789").unwrap();
    let mut file = s.open(&both(), &path).await.unwrap();
    notes.result("read", read_some(&mut file, 0).await);
    notes.result("write", file.write(&[]).await);
    notes.result("vectored", file.write_vectored(&[]).await);
    notes.result("vectored", file.write_vectored(&[IoSlice::new(&[])]).await);
    notes.result("flush", file.flush().await);
    notes.result("read", read_some(&mut file, 3).await);
    notes.result("write", file.write(&[]).await);
    notes.result("position", file.stream_position().await);
    let mut file = s.open(&reading(), &path).await.unwrap();
    notes.result("write to what is only read", file.write(&[]).await);
    notes.result("flush", file.flush().await);
}

pub async fn vectored_writes_take_all_slices(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    let mut file = s.open(&writing(), &path).await.unwrap();
    notes.note("is vectored", file.is_write_vectored());
    let slices = [&b"one"[..], b"", b"two", b"three"].map(IoSlice::new);
    notes.result("all", file.write_vectored(&slices).await);
    file.set_max_buf_size(5);
    notes.result("five", file.write_vectored(&slices).await);
    notes.result("flush", file.flush().await);
    notes.result("contents", std::fs::read_to_string(&path));
}

pub async fn one_operation_carries_no_more_than_its_limit(
    s: &Setting,
    dir: &Path,
    notes: &mut Notes,
) {
    let path = dir.join("file");
    let mut file = s.open(&both(), &path).await.unwrap();
    notes.note("limit", file.max_buf_size());
    let large = vec![7; 3 << 20];
    notes.result("write", file.write(&large).await);
    notes.result("write all", file.write_all(&large).await);
    notes.result("flush", file.flush().await);
    notes.result("length", file.metadata().await.map(|m| m.len()));
    notes.result("rewind", file.rewind().await);
    let read = read_some(&mut file, 3 << 20).await;
    notes.result("read", read.map(|bytes| bytes.len()));
    file.set_max_buf_size(4);
    notes.note("limit", file.max_buf_size());
    notes.result("read", read_some(&mut file, 10).await);
    notes.result("write", file.write(b"0123456789").await);
    let clone = file.try_clone().await.unwrap();
    notes.note("limit of the clone", clone.max_buf_size());
    notes.result("position", file.stream_position().await);
}

pub async fn a_seek_while_something_is_pending_is_refused(
    s: &Setting,
    dir: &Path,
    notes: &mut Notes,
) {
    let mut file = s.open(&both(), dir.join("file")).await.unwrap();
    let complete =
        async |file: &mut File| poll_fn(|cx| Pin::new(&mut *file).poll_complete(cx)).await;
    let start = |file: &mut File, to| Pin::new(file).start_seek(to);
    let text = |refused: io::Result<()>| refused.map_err(|e| (e.kind(), e.to_string()));
    let write = poll_fn(|cx| Pin::new(&mut file).poll_write(cx, b"0123456789")).await;
    notes.result("write", write);
    notes.note("seek", text(start(&mut file, SeekFrom::Start(1))));
    notes.result("complete", complete(&mut file).await);
    notes.note("seek", text(start(&mut file, SeekFrom::Start(2))));
    notes.note("seek again", text(start(&mut file, SeekFrom::Start(3))));
    notes.result("complete", complete(&mut file).await);
    notes.result("complete again", complete(&mut file).await);
    notes.note("seek", text(start(&mut file, SeekFrom::Start(4))));
    notes.result("read", read_some(&mut file, 2).await);
    notes.result("complete", complete(&mut file).await);
    notes.note("seek", text(start(&mut file, SeekFrom::Start(1))));
    notes.result("write", file.write(b"X").await);
    notes.note("seek", text(start(&mut file, SeekFrom::Current(-1000))));
    notes.result("flush", file.flush().await);
    notes.result("position", file.stream_position().await);
    notes.note("seek", text(start(&mut file, SeekFrom::Start(0))));
    notes.result("complete", complete(&mut file).await);
    notes.result("read", read_some(&mut file, 4).await);
}

pub async fn shutdown_is_a_flush(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    let mut file = s.open(&both(), &path).await.unwrap();
    notes.result("write", file.write(b"one").await);
    notes.result("shutdown", file.shutdown().await);
    notes.result("contents", std::fs::read_to_string(&path));
    notes.result("write", file.write(b"two").await);
    notes.result("shutdown", file.shutdown().await);
    notes.result("rewind", file.rewind().await);
    notes.result("read", read_some(&mut file, 10).await);
}

pub async fn a_files_length_can_be_set(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    let mut file = s.open(&both(), &path).await.unwrap();
    notes.result("write", file.write(b"0123456789").await);
    notes.result("cut", file.set_len(4).await);
    notes.result("position", file.stream_position().await);
    notes.result("length", file.metadata().await.map(|m| m.len()));
    notes.result("write", file.write(b"x").await);
    notes.result("sync", file.sync_all().await);
    notes.result("contents", std::fs::read(&path));
    notes.result("rewind", file.rewind().await);
    notes.result("read", read_some(&mut file, 2).await);
    notes.result("cut", file.set_len(1).await);
    notes.result("read", read_some(&mut file, 2).await);
    notes.result("stretch", file.set_len(4).await);
    notes.result("read", read_some(&mut file, 9).await);
    notes.result("too long", file.set_len(u64::MAX).await);
    let file = s.open(&reading(), &path).await.unwrap();
    notes.result("not allowed", file.set_len(0).await);
}

pub async fn what_was_never_written_is_zeros(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    let mut file = s.open(&both(), &path).await.unwrap();
    notes.result("seek", file.seek(SeekFrom::Start(1 << 20)).await);
    notes.result("write", file.write_all(b"end").await);
    notes.result("sync", file.sync_data().await);
    let metadata = file.metadata().await.unwrap();
    notes.note("length", metadata.len());
    notes.note("sparse", metadata.blocks() * 512 < metadata.len());
    notes.result("seek", file.seek(SeekFrom::Start((1 << 20) - 4)).await);
    notes.result("read", read_some(&mut file, 10).await);
}

pub async fn a_clone_has_the_same_cursor(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    std::fs::write(&path, "0123456789").unwrap();
    let mut one = s.open(&both(), &path).await.unwrap();
    notes.result("read", read_some(&mut one, 2).await);
    let mut other = one.try_clone().await.unwrap();
    notes.result("read", read_some(&mut other, 2).await);
    notes.result("read", read_some(&mut one, 2).await);
    notes.result("write", other.write(b"x").await);
    notes.result("flush", other.flush().await);
    notes.result("read", read_some(&mut one, 9).await);
    notes.result("seek", one.seek(SeekFrom::Start(5)).await);
    notes.result("position", other.stream_position().await);
    drop(one);
    notes.result("read", read_some(&mut other, 2).await);
}

pub async fn a_file_goes_to_std_and_comes_back(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    std::fs::write(&path, "0123456789").unwrap();
    let mut file = s.open(&both(), &path).await.unwrap();
    notes.result("read", read_some(&mut file, 2).await);
    notes.result("write", file.write(b"x").await);
    let mut file = s.release(file).await;
    notes.result("position", file.stream_position());
    notes.result("seek", file.seek(SeekFrom::Current(1)));
    let mut file = s.adopt(file);
    notes.result("read", read_some(&mut file, 2).await);
    notes.result("write", file.write(b"y").await);
    notes.result("flush", file.flush().await);
    let mut file = file.try_into_std().unwrap();
    let mut rest = String::new();
    notes.result("rest", file.read_to_string(&mut rest));
    notes.note("rest", rest);
    notes.result("contents", std::fs::read_to_string(&path));
}

pub async fn a_fifo_is_read_as_it_is_written(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    // With both ends of it, opening need not wait.
    let std = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mut file = s.adopt(std);
    notes.result("write", file.write(b"0123456789").await);
    notes.result("read", read_some(&mut file, 4).await);
    notes.result("position", file.stream_position().await);
    notes.result("end", file.seek(SeekFrom::End(0)).await);
    notes.result("read", read_some(&mut file, 100).await);
    notes.result("length", file.metadata().await.map(|m| m.len()));
    notes.result("cut", file.set_len(0).await);
    let sender = path.clone();
    let options = reading();
    let reader = s.open(&options, &path);
    // Both wait for each other.
    let (reader, writer) = tokio::join!(reader, async {
        tokio::task::spawn_blocking(|| std::fs::File::options().write(true).open(sender))
            .await
            .unwrap()
    });
    drop(file);
    let (mut reader, mut writer) = (reader.unwrap(), writer.unwrap());
    let waits = tokio::spawn(async move {
        let first = read_some(&mut reader, 3).await;
        (first, reader)
    });
    writer.write_all(b"late").unwrap();
    let (first, mut reader) = waits.await.unwrap();
    notes.result("late", first);
    notes.result("rest", read_some(&mut reader, 3).await);
    drop(writer);
    notes.result("end", read_some(&mut reader, 3).await);
    let writer = std::fs::File::options().write(true).open(&path).unwrap();
    (&writer).write_all(b"more").unwrap();
    notes.result("more", read_some(&mut reader, 9).await);
}

pub async fn whole_files_are_copied_and_read_by_line(s: &Setting, dir: &Path, notes: &mut Notes) {
    let text = (0..200_000).map(|line| format!("line {line}\n"));
    let text = text.collect::<String>();
    let (from, to) = (dir.join("from"), dir.join("to"));
    std::fs::write(&from, &text).unwrap();
    let mut source = s.open(&reading(), &from).await.unwrap();
    let mut target = s.open(&writing(), &to).await.unwrap();
    notes.result("copy", tokio::io::copy(&mut source, &mut target).await);
    notes.result("flush", target.flush().await);
    notes.note("same", std::fs::read_to_string(&to).unwrap() == text);
    let copy = s.open(&reading(), &to).await.unwrap();
    let mut lines = BufReader::new(copy).lines();
    let mut count = 0;
    while let Some(line) = lines.next_line().await.unwrap() {
        assert_eq!(line, format!("line {count}"));
        count += 1;
    }
    notes.note("lines", count);
    let mut all = String::new();
    notes.result("rewind", source.rewind().await);
    notes.result("all", source.read_to_string(&mut all).await);
    notes.note("same", all == text);
    notes.result("seek", source.seek(SeekFrom::End(-3)).await);
    notes.kind("too few", source.read_exact(&mut [0; 4]).await);
    notes.result("position", source.stream_position().await);
    std::fs::write(&from, b"\xff").unwrap();
    notes.result("rewind", source.rewind().await);
    notes.kind("not text", source.read_to_string(&mut all).await);
}

pub async fn a_directory_is_no_file(s: &Setting, dir: &Path, notes: &mut Notes) {
    let mut file = s.open(&reading(), dir).await.unwrap();
    notes.result("read", read_some(&mut file, 10).await);
    notes.result("read again", read_some(&mut file, 10).await);
    notes.result("write", file.write(b"ab").await);
    notes.result("flush", file.flush().await);
    notes.result("is one", file.metadata().await.map(|m| m.is_dir()));
    notes.result("cut", file.set_len(0).await);
    notes.result("sync", file.sync_all().await);
}

pub async fn permissions_and_metadata_agree(s: &Setting, dir: &Path, notes: &mut Notes) {
    let mut options = both();
    options.mode(0o640);
    let file = s.open(&options, dir.join("file")).await.unwrap();
    let mode = async || file.metadata().await.map(|m| format!("{:o}", m.mode()));
    notes.result("made", mode().await);
    let less = file.set_permissions(Permissions::from_mode(0o400)).await;
    notes.result("less", less);
    notes.result("then", mode().await);
    let again = s.open(&both(), dir.join("file")).await;
    // Whoever is root may.
    notes.result("again", again.map(drop));
}

pub async fn a_file_size_limit(s: &Setting, dir: &Path, notes: &mut Notes) {
    let path = dir.join("file");
    let mut file = s.open(&both(), &path).await.unwrap();
    notes.result("write", file.write(b"0123456789abcdef").await);
    notes.result("flush", file.flush().await);
    notes.result("flush again", file.flush().await);
    notes.result("contents", std::fs::read_to_string(&path));
    notes.result("position", file.stream_position().await);
    notes.result("write", file.write(b"more").await);
    notes.result("write again", file.write(b"more").await);
    notes.result("rewind", file.rewind().await);
    notes.result("read", read_some(&mut file, 20).await);
    notes.result("rewind", file.rewind().await);
    notes.result("write", file.write(b"X").await);
    notes.result("shutdown", file.shutdown().await);
    notes.result("stretch", file.set_len(11).await);
    notes.result("contents", std::fs::read_to_string(&path));
}
