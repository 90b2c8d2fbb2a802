//! What `server.rs` replaces: the same service, by quinn on Tokio.

use std::{io, net::SocketAddr, time::Duration};

use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use tokio::{runtime::Runtime, time::timeout};

/// Ends when it is dropped.
pub(crate) struct OnTokio {
    addr: SocketAddr,
    runtime: Option<Runtime>,
}

impl OnTokio {
    pub(crate) fn start(
        workers: usize,
        quic: ServerConfig,
        stream_time: Duration,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("on-tokio")
            .enable_all()
            .build()?;
        let endpoint = {
            let _context = runtime.enter();
            Endpoint::server(quic, ([127, 0, 0, 1], 0).into())?
        };
        let addr = endpoint.local_addr()?;
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        serve(connection, stream_time).await;
                    }
                });
            }
        });
        Ok(Self {
            addr,
            runtime: Some(runtime),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for OnTokio {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(connection: Connection, stream_time: Duration) {
    let other = connection.clone();
    tokio::spawn(async move {
        while let Ok(datagram) = other.read_datagram().await {
            _ = other.send_datagram(datagram);
        }
    });
    while let Ok((send, recv)) = connection.accept_bi().await {
        tokio::spawn(timeout(stream_time, echo(send, recv)));
    }
}

async fn echo(mut send: SendStream, mut recv: RecvStream) {
    while let Ok(Some(chunk)) = recv.read_chunk(64 << 10, true).await {
        if send.write_all_chunks(&mut [chunk.bytes]).await.is_err() {
            return;
        }
    }
    _ = send.finish();
    _ = send.stopped().await;
}
