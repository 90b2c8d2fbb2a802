//! A module that is not run by a pool, and uses Compio. Each line that a lint is to find ends with `found`.

/// Bounds.
pub fn bounds<A>(a: A)
where
    A: compio::buf::IoBuf,        // found
    A: compio::buf::IoBufMut,     // found
    A: compio::io::AsyncRead,     // found
    A: compio::io::AsyncReadAt,   // found
    A: compio::io::AsyncReadExt,  // found
    A: compio::io::AsyncWrite,    // found
    A: compio::io::AsyncWriteAt,  // found
    A: compio::io::AsyncWriteExt, // found
{
    drop(a);
}

/// Types.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Types {
    pub runtime: compio::runtime::Runtime,                // found
    pub runtime_builder: compio::runtime::RuntimeBuilder, // found
    pub join_handle: compio::runtime::JoinHandle<()>,     // found
    pub file: compio::fs::File,                           // found
    pub open_options: compio::fs::OpenOptions,            // found
    pub tcp_listener: compio::net::TcpListener,           // found
    pub tcp_stream: compio::net::TcpStream,               // found
    pub tcp_socket: compio::net::TcpSocket,               // found
    pub udp_socket: compio::net::UdpSocket,               // found
    pub unix_listener: compio::net::UnixListener,         // found
    pub unix_stream: compio::net::UnixStream,             // found
    pub buf_result: compio::buf::BufResult<(), Vec<u8>>,  // found
}

/// Calls. Nothing here is run.
pub fn calls(
    second: std::time::Duration,
    now: std::time::Instant,
    permissions: &compio::fs::Permissions,
) {
    drop(compio::runtime::spawn(async {})); // found
    drop(compio::runtime::spawn_blocking(|| ())); // found
    drop(compio::time::sleep(second)); // found
    drop(compio::time::sleep_until(now)); // found
    drop(compio::time::timeout(second, async {})); // found
    drop(compio::time::timeout_at(now, async {})); // found
    drop(compio::time::interval(second)); // found
    drop(compio::time::interval_at(now, second)); // found
    drop(compio::fs::create_dir("a")); // found
    drop(compio::fs::create_dir_all("a")); // found
    drop(compio::fs::hard_link("a", "b")); // found
    drop(compio::fs::metadata("a")); // found
    drop(compio::fs::read("a")); // found
    drop(compio::fs::remove_dir("a")); // found
    drop(compio::fs::remove_file("a")); // found
    drop(compio::fs::rename("a", "b")); // found
    drop(compio::fs::set_permissions("a", permissions.clone())); // found
    drop(compio::fs::symlink_metadata("a")); // found
    drop(compio::fs::write("a", "b")); // found
}

/// What starts the jobs is not found.
pub fn fine(notify: tokio::sync::Notify) {
    drop(notify);
}
