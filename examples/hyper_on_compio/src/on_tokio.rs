//! What `server.rs` replaces: the same service, by hyper on Tokio.

use std::{io, net::SocketAddr};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::TlsAcceptor;

use crate::{app::App, listen};

/// Ends when it is dropped.
pub(crate) struct OnTokio {
    addr: SocketAddr,
    runtime: Option<Runtime>,
}

impl OnTokio {
    pub(crate) fn start(workers: usize, tls: TlsAcceptor, app: App) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("on-tokio")
            .enable_all()
            .build()?;
        let listeners = listen::shared(([127, 0, 0, 1], 0).into(), 1)?;
        let addr = listeners[0].local_addr()?;
        for listener in listeners {
            let (tls, app) = (tls.clone(), app.clone());
            runtime.spawn(async move {
                listener.set_nonblocking(true)?;
                accept(TcpListener::from_std(listener)?, tls, app).await
            });
        }
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

async fn accept(listener: TcpListener, tls: TlsAcceptor, app: App) -> io::Result<()> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new());
    http.http2().timer(TokioTimer::new());
    loop {
        let (socket, _) = listener.accept().await?;
        _ = socket.set_nodelay(true);
        let (http, tls, app) = (http.clone(), tls.clone(), app.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(socket).await else {
                return;
            };
            let service = service_fn(move |request| app.clone().answer(request));
            _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
