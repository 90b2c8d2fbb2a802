// Compiled twice, against `tokio::fs` and against `landbridge::fs`; both must write the same log.

/// Everything that takes a path, on one and the same.
async fn everything(log: &mut Log, path: &Path) {
    let other = log.dir.join("other");
    log.see("metadata", fs::metadata(path).await.map(facts));
    log.see(
        "symlink_metadata",
        fs::symlink_metadata(path).await.map(facts),
    );
    log.see("try_exists", fs::try_exists(path).await);
    log.see("canonicalize", fs::canonicalize(path).await);
    log.see("read_link", fs::read_link(path).await);
    log.see("read", fs::read(path).await);
    log.see("read_to_string", fs::read_to_string(path).await);
    log.see("read_dir", fs::read_dir(path).await.map(drop));
    log.see("copy from", fs::copy(path, &other).await);
    log.see("hard_link from", fs::hard_link(path, &other).await);
    log.see("remove other", fs::remove_file(&other).await);
    log.see("remove_dir", fs::remove_dir(path).await);
    log.see("create_dir", fs::create_dir(path).await);
    log.see("remove_dir again", fs::remove_dir(path).await);
    log.see("create_dir_all", fs::create_dir_all(path).await);
    log.see("remove_dir_all", fs::remove_dir_all(path).await);
    log.see("symlink at", fs::symlink("somewhere", path).await);
    log.see("read_link", fs::read_link(path).await);
    log.see("remove_file", fs::remove_file(path).await);
    log.see("symlink to", fs::symlink(path, &other).await);
    log.see("read_link other", fs::read_link(&other).await);
    log.see("remove other", fs::remove_file(&other).await);
    log.see("write", fs::write(path, b"contents").await);
    log.see("read", fs::read(path).await);
    log.see(
        "set_permissions",
        fs::set_permissions(path, mode(0o600)).await,
    );
    log.see("rename from", fs::rename(path, &other).await);
    log.see("rename to", fs::rename(&other, path).await);
    log.see("hard_link to", fs::hard_link(path, path).await);
    log.see(
        "copy to",
        fs::copy("/proc/self/cmdline", path).await.map(drop),
    );
    log.see("remove_file", fs::remove_file(path).await);
    log.see("remove_file again", fs::remove_file(path).await);
}

pub(super) async fn whole_files(log: &mut Log) {
    let path = log.dir.join("file");
    let large: Vec<u8> = (0..3 << 20).map(|i: u32| (i % 251) as u8).collect();
    for len in [
        0,
        1,
        4096,
        4097,
        256 << 10,
        (256 << 10) + 1,
        1 << 20,
        3 << 20,
    ] {
        log.see("write", fs::write(&path, &large[..len]).await);
        log.see("metadata", fs::metadata(&path).await.map(facts));
        let read = fs::read(&path).await;
        assert!(
            read.as_ref().is_ok_and(|bytes| bytes[..] == large[..len]),
            "{len}"
        );
        log.see("read", read.map(|bytes| bytes.len()));
    }
    log.see("shorter", fs::write(&path, String::from("short")).await);
    log.see("read_to_string", fs::read_to_string(&path).await);
    log.see("not UTF-8", fs::write(&path, [b'a', 0xff, b'b']).await);
    log.see("read_to_string", fs::read_to_string(&path).await);
    log.see("read", fs::read(&path).await);
    log.see("a device", fs::read("/dev/null").await);
    log.see("to a device", fs::write("/dev/null", "gone").await);
    log.see("a full device", fs::write("/dev/full", "more").await);
    let status = fs::read_to_string("/proc/self/status").await;
    log.see(
        "proc",
        status.map(|status| status.starts_with("Name:") && status.contains("\nUmask:")),
    );
    log.see("proc", fs::read("/proc/self/cmdline").await);
    log.see("proc", fs::read("/proc/self/mem").await);
    log.see(
        "sysfs",
        fs::read("/sys/kernel/mm/transparent_hugepage/enabled").await,
    );
}

pub(super) async fn a_directory_as_a_file(log: &mut Log) {
    let dir = log.dir.join("dir");
    log.see("create_dir", fs::create_dir(&dir).await);
    log.see("read", fs::read(&dir).await);
    log.see("read_to_string", fs::read_to_string(&dir).await);
    log.see("write", fs::write(&dir, "x").await);
    log.see("copy", fs::copy(&dir, log.dir.join("copy")).await);
    log.see("hard_link", fs::hard_link(&dir, log.dir.join("link")).await);
    log.see("remove_file", fs::remove_file(&dir).await);
    log.see("the root", fs::remove_dir("/").await);
    log.see("the root", fs::write("/", "x").await);
    log.see("itself", fs::remove_dir(dir.join(".")).await);
    log.see("its parent", fs::remove_dir(dir.join("..")).await);
}

pub(super) async fn a_file_as_a_directory(log: &mut Log) {
    let file = log.dir.join("file");
    log.see("write", fs::write(&file, "x").await);
    log.see("read_dir", fs::read_dir(&file).await.map(drop));
    log.see("remove_dir", fs::remove_dir(&file).await);
    log.see("remove_dir_all", fs::remove_dir_all(&file).await);
    log.see("write", fs::write(&file, "x").await);
    log.see("create_dir", fs::create_dir(&file).await);
    log.see("create_dir_all", fs::create_dir_all(&file).await);
    everything(log, &file.join("below")).await;
}

pub(super) async fn what_is_not_there(log: &mut Log) {
    everything(log, &log.dir.join("missing/below")).await;
    everything(log, &log.dir.join("missing")).await;
}

pub(super) async fn paths_that_cannot_be(log: &mut Log) {
    everything(log, Path::new("")).await;
    everything(log, &log.dir.join("a\0b")).await;
    everything(log, &log.dir.join("long".repeat(100))).await;
    everything(log, &log.dir.join("longer/".repeat(1000))).await;
}

pub(super) async fn trailing_slashes(log: &mut Log) {
    everything(log, &log.dir.join("new/")).await;
    let (file, dir) = (log.dir.join("file"), log.dir.join("dir"));
    log.see("write", fs::write(&file, "x").await);
    everything(log, &log.dir.join("file/")).await;
    log.see("create_dir", fs::create_dir(&dir).await);
    everything(log, &log.dir.join("dir/")).await;
    everything(log, &log.dir.join("dir//./.")).await;
}

pub(super) async fn relative_paths(log: &mut Log) {
    // The process is this test's own.
    std::env::set_current_dir(&log.dir).unwrap();
    everything(log, Path::new("name")).await;
    everything(log, Path::new("./././name")).await;
    log.see("create_dir", fs::create_dir("dir").await);
    everything(log, Path::new("dir/../name")).await;
    log.see("canonicalize", fs::canonicalize("dir/.").await);
    log.see("read_dir", listing(fs::read_dir(".").await.unwrap()).await);
}

pub(super) async fn names_that_are_not_utf_8(log: &mut Log) {
    let path = log.dir.join(OsStr::from_bytes(b"n\xffme \xc3\x28"));
    everything(log, &path).await;
    log.see("write", fs::write(&path, "x").await);
    log.see(
        "read_dir",
        listing(fs::read_dir(&log.dir).await.unwrap()).await,
    );
    everything(log, &path).await;
}

pub(super) async fn links(log: &mut Log) {
    let (file, link) = (log.dir.join("file"), log.dir.join("link"));
    let (dangling, looped) = (log.dir.join("dangling"), log.dir.join("looped"));
    log.see("symlink", fs::symlink(&file, &link).await);
    log.see("again", fs::symlink(&file, &link).await);
    log.see("write through", fs::write(&link, "through").await);
    log.see("read", fs::read(&file).await);
    log.see("metadata", fs::metadata(&link).await.map(facts));
    log.see(
        "symlink_metadata",
        fs::symlink_metadata(&link).await.map(facts),
    );
    log.see("canonicalize", fs::canonicalize(&link).await);
    log.see("read_link", fs::read_link(&link).await);
    log.see("read_link of a file", fs::read_link(&file).await);
    log.see(
        "hard_link",
        fs::hard_link(&file, log.dir.join("hard")).await,
    );
    log.see("metadata", fs::metadata(&file).await.map(facts));
    log.see("hard_link over", fs::hard_link(&file, &link).await);
    log.see(
        "hard_link of a link",
        fs::hard_link(&link, log.dir.join("hardlink")).await,
    );
    log.see(
        "it is a link",
        fs::read_link(log.dir.join("hardlink")).await,
    );
    log.see("nowhere", fs::symlink("", log.dir.join("empty")).await);
    log.see("remove the link", fs::remove_file(&link).await);
    log.see("the file stays", fs::read(&file).await);

    log.see("symlink", fs::symlink("nothing", &dangling).await);
    everything(log, &dangling).await;
    log.see("symlink", fs::symlink("looped", &looped).await);
    everything(log, &looped).await;

    log.see(
        "create_dir",
        fs::create_dir_all(log.dir.join("dir/in")).await,
    );
    log.see("to a directory", fs::symlink("dir", &link).await);
    log.see(
        "read_dir",
        listing(fs::read_dir(&link).await.unwrap()).await,
    );
    log.see("read", fs::read(&link).await);
    log.see("remove_dir", fs::remove_dir(&link).await);
    log.see("remove_dir_all", fs::remove_dir_all(&link).await);
    log.see(
        "what is left",
        listing(fs::read_dir(&log.dir).await.unwrap()).await,
    );
    log.see(
        "and there",
        listing(fs::read_dir(log.dir.join("dir")).await.unwrap()).await,
    );
}

pub(super) async fn directories(log: &mut Log) {
    let (dir, deep) = (log.dir.join("dir"), log.dir.join("dir/a/b/c"));
    log.see("create_dir", fs::create_dir(&dir).await);
    log.see("metadata", fs::metadata(&dir).await.map(facts));
    log.see("again", fs::create_dir(&dir).await);
    log.see("too deep", fs::create_dir(&deep).await);
    log.see("create_dir_all", fs::create_dir_all(&deep).await);
    log.see("again", fs::create_dir_all(&deep).await);
    log.see("not empty", fs::remove_dir(&dir).await);
    log.see("empty", fs::remove_dir(&deep).await);
    log.see("again", fs::remove_dir(&deep).await);
    log.see("write", fs::write(dir.join("a/b/file"), "x").await);
    log.see("remove_dir_all", fs::remove_dir_all(&dir).await);
    log.see("again", fs::remove_dir_all(&dir).await);

    let mut builder = fs::DirBuilder::new();
    log.see("builder, too deep", builder.create(&deep).await);
    builder.recursive(true).mode(0o700);
    log.see("builder", builder.create(&deep).await);
    log.see("builder again", builder.create(&deep).await);
    log.see("metadata", fs::metadata(&deep).await.map(facts));
    builder.recursive(false);
    log.see("builder, there", builder.create(&deep).await);
}

pub(super) async fn renames(log: &mut Log) {
    let at = |name: &str| log.dir.join(name);
    let (a, b, empty, full) = (at("a"), at("b"), at("empty"), at("full"));
    fs::write(&a, "a").await.unwrap();
    fs::write(&b, "b").await.unwrap();
    fs::create_dir(&empty).await.unwrap();
    fs::create_dir_all(full.join("in")).await.unwrap();
    log.see("over a file", fs::rename(&a, &b).await);
    log.see("read", fs::read(&b).await);
    log.see("gone", fs::rename(&a, &b).await);
    log.see("over itself", fs::rename(&b, &b).await);
    log.see("file over directory", fs::rename(&b, &empty).await);
    log.see("directory over file", fs::rename(&empty, &b).await);
    log.see("over what is not empty", fs::rename(&empty, &full).await);
    log.see("over what is empty", fs::rename(&full, &empty).await);
    log.see("into itself", fs::rename(&empty, empty.join("in/it")).await);
    log.see("to nowhere", fs::rename(&b, log.dir.join("no/where")).await);
    log.see("another file system", fs::rename(&b, "/proc/self/x").await);
    log.see(
        "what is left",
        listing(fs::read_dir(&log.dir).await.unwrap()).await,
    );
}

pub(super) async fn what_is_in_a_directory(log: &mut Log) {
    let empty = log.dir.join("empty");
    fs::create_dir(&empty).await.unwrap();
    log.see(
        "nothing",
        listing(fs::read_dir(&empty).await.unwrap()).await,
    );
    // More than is read at a time, and no multiple of it.
    for i in 0..100 {
        fs::write(log.dir.join(format!("file-{i}")), vec![0; i])
            .await
            .unwrap();
    }
    fs::symlink("nothing", log.dir.join("link")).await.unwrap();
    let mut entries = fs::read_dir(&log.dir).await.unwrap();
    let mut seen = Vec::new();
    while let Some(entry) = entries.next_entry().await.unwrap() {
        let metadata = entry.metadata().await.unwrap();
        let ino = std::os::unix::fs::MetadataExt::ino(&metadata);
        assert_eq!(entry.ino(), ino);
        let path = entry.path();
        assert_eq!(path.file_name(), Some(&*entry.file_name()));
        let kind = entry.file_type().await.unwrap();
        seen.push((path, kind.is_dir(), kind.is_symlink(), facts(metadata)));
    }
    assert!(
        entries.next_entry().await.unwrap().is_none(),
        "the end stays"
    );
    seen.sort();
    assert_eq!(seen.len(), 102);
    log.see("entries", Ok(seen));
    let mut entries = fs::read_dir(&log.dir).await.unwrap();
    let polled = std::future::poll_fn(|cx| entries.poll_next_entry(cx)).await;
    log.see("polled", polled.map(|entry| entry.is_some()));
    let entry = entries.next_entry().await.unwrap().unwrap();
    fs::remove_dir_all(&log.dir).await.unwrap();
    log.see(
        "metadata of what is gone",
        entry.metadata().await.map(facts),
    );
}

pub(super) async fn copies(log: &mut Log) {
    let (from, to) = (log.dir.join("from"), log.dir.join("to"));
    fs::write(&from, vec![7; 100_000]).await.unwrap();
    fs::set_permissions(&from, mode(0o640)).await.unwrap();
    log.see("copy", fs::copy(&from, &to).await);
    log.see("metadata", fs::metadata(&to).await.map(facts));
    log.see("over", fs::copy("/proc/self/cmdline", &to).await.map(drop));
    log.see("read", fs::read(&to).await);
    log.see("onto a directory", fs::copy(&from, &log.dir).await);
    log.see("from a directory", fs::copy(&log.dir, &to).await);
    log.see(
        "to nowhere",
        fs::copy(&from, log.dir.join("no/where")).await,
    );
    log.see("from nowhere", fs::copy(log.dir.join("nothing"), &to).await);
}

pub(super) async fn permissions(log: &mut Log) {
    let file = log.dir.join("file");
    fs::write(&file, "x").await.unwrap();
    for bits in [0o600, 0o4755, 0o000, 0o644] {
        log.see(
            "set_permissions",
            fs::set_permissions(&file, mode(bits)).await,
        );
        log.see("metadata", fs::metadata(&file).await.map(facts));
    }
    let missing = log.dir.join("missing");
    log.see(
        "set_permissions",
        fs::set_permissions(&missing, mode(0o600)).await,
    );
}

/// As a user who may not do everything.
pub(super) async fn permission_denied(log: &mut Log) {
    let (dir, file) = (log.dir.join("dir"), log.dir.join("dir/file"));
    fs::create_dir(&dir).await.unwrap();
    fs::write(&file, "x").await.unwrap();
    fs::set_permissions(&file, mode(0o000)).await.unwrap();
    log.see("read", fs::read(&file).await);
    log.see("write", fs::write(&file, "y").await);
    log.see("copy", fs::copy(&file, log.dir.join("copy")).await);
    log.see("metadata", fs::metadata(&file).await.map(facts));
    fs::set_permissions(&file, mode(0o644)).await.unwrap();
    fs::set_permissions(&dir, mode(0o500)).await.unwrap();
    everything(log, &file).await;
    everything(log, &dir.join("new")).await;
    fs::set_permissions(&dir, mode(0o000)).await.unwrap();
    everything(log, &file).await;
    log.see("read_dir", fs::read_dir(&dir).await.map(drop));
    log.see("remove_dir_all", fs::remove_dir_all(&dir).await);
    fs::set_permissions(&dir, mode(0o700)).await.unwrap();
    log.see(
        "somebody else's",
        fs::set_permissions("/etc/passwd", mode(0o600)).await,
    );
    log.see("somebody else's", fs::remove_dir("/etc").await);
}

/// Under a limit of 10 000 bytes a file.
pub(super) async fn files_too_large(log: &mut Log) {
    let file = log.dir.join("file");
    log.see("at the limit", fs::write(&file, vec![1; 10_000]).await);
    log.see("beyond it", fs::write(&file, vec![2; 10_001]).await);
    log.see(
        "what is there",
        fs::read(&file).await.map(|bytes| (bytes.len(), bytes[0])),
    );
    log.see("far beyond it", fs::write(&file, vec![3; 5 << 20]).await);
    log.see(
        "what is there",
        fs::read(&file).await.map(|bytes| (bytes.len(), bytes[0])),
    );
}

/// On a disk of 64 KiB.
pub(super) async fn a_full_disk(log: &mut Log) {
    use tokio::io::AsyncWriteExt;

    let file = log.dir.join("file");
    log.see("too much", fs::write(&file, vec![1; 200_000]).await);
    log.see("removed", fs::remove_file(&file).await);
    let mut piece_by_piece = fs::File::create(&file).await.unwrap();
    for piece in 0..20 {
        let written = piece_by_piece.write_all(&[2; 10_000]).await;
        let flushed = piece_by_piece.flush().await;
        let full = written.is_err() || flushed.is_err();
        log.see(&format!("write of piece {piece}"), written);
        log.see(&format!("flush of piece {piece}"), flushed);
        if full {
            break;
        }
    }
    log.see("emptied", piece_by_piece.set_len(0).await);
    let other = log.dir.join("other");
    log.see("room again", fs::write(&other, vec![3; 10_000]).await);
}

async fn listing(mut entries: fs::ReadDir) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        names.push(entry.file_name());
    }
    names.sort();
    Ok(names)
}
