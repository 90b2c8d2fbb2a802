//! A module with I/O of Tokio's. Each line that a lint is to find ends with `found`.

/// Bounds.
pub fn bounds<A>(a: A)
where
    A: tokio::io::AsyncBufReadExt, // found
    A: tokio::io::AsyncReadExt,    // found
    A: tokio::io::AsyncSeekExt,    // found
    A: tokio::io::AsyncWriteExt,   // found
{
    drop(a);
}

/// Types.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Types {
    pub file: tokio::fs::File,                                     // found
    pub open_options: tokio::fs::OpenOptions,                      // found
    pub dir_builder: tokio::fs::DirBuilder,                        // found
    pub read_dir: tokio::fs::ReadDir,                              // found
    pub tcp_listener: tokio::net::TcpListener,                     // found
    pub tcp_stream: tokio::net::TcpStream,                         // found
    pub tcp_socket: tokio::net::TcpSocket,                         // found
    pub udp_socket: tokio::net::UdpSocket,                         // found
    pub unix_listener: tokio::net::UnixListener,                   // found
    pub unix_stream: tokio::net::UnixStream,                       // found
    pub unix_datagram: tokio::net::UnixDatagram,                   // found
    pub buf_reader: tokio::io::BufReader<tokio::io::Empty>,        // found
    pub buf_writer: tokio::io::BufWriter<tokio::io::Sink>,         // found
    pub buf_stream: tokio::io::BufStream<tokio::io::DuplexStream>, // found
    pub async_fd: tokio::io::unix::AsyncFd<std::fs::File>,         // found
}

/// Calls. Nothing here is run.
pub fn calls(permissions: &std::fs::Permissions) {
    let (mut input, mut output) = (tokio::io::empty(), tokio::io::sink());
    let (mut one, mut other) = tokio::io::duplex(1);
    drop(tokio::fs::canonicalize("a")); // found
    drop(tokio::fs::copy("a", "b")); // found
    drop(tokio::fs::create_dir("a")); // found
    drop(tokio::fs::create_dir_all("a")); // found
    drop(tokio::fs::hard_link("a", "b")); // found
    drop(tokio::fs::metadata("a")); // found
    drop(tokio::fs::read("a")); // found
    drop(tokio::fs::read_dir("a")); // found
    drop(tokio::fs::read_link("a")); // found
    drop(tokio::fs::read_to_string("a")); // found
    drop(tokio::fs::remove_dir("a")); // found
    drop(tokio::fs::remove_dir_all("a")); // found
    drop(tokio::fs::remove_file("a")); // found
    drop(tokio::fs::rename("a", "b")); // found
    drop(tokio::fs::set_permissions("a", permissions.clone())); // found
    drop(tokio::fs::symlink("a", "b")); // found
    drop(tokio::fs::symlink_metadata("a")); // found
    drop(tokio::fs::try_exists("a")); // found
    drop(tokio::fs::write("a", "b")); // found
    drop(tokio::net::lookup_host("a:1")); // found
    drop(tokio::io::copy(&mut input, &mut output)); // found
    drop(tokio::io::copy_buf(&mut input, &mut output)); // found
    drop(tokio::io::copy_bidirectional(&mut one, &mut other)); // found
    drop(tokio::io::split(one)); // found
    drop(tokio::io::stdin()); // found
    drop(tokio::io::stdout()); // found
    drop(tokio::io::stderr()); // found
    drop(tokio::task::spawn_blocking(|| ())); // found
}

/// What works on any runtime is not found.
pub fn fine<S: tokio::io::AsyncRead + tokio::io::AsyncWrite>(shim: S) {
    drop((tokio::sync::Notify::new(), shim));
}
