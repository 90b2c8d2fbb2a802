//! A real server over the shim.

use std::{convert::Infallible, rc::Rc};

use ::hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use landbridge::io::IntoTokioIo;

use super::load::{self, Cost, Load, Meter};

/// On a Compio runtime, over `SocketAsTokio`.
pub(super) fn on_compio(load: Load) -> Cost {
    load::on_compio(load, |stream, _, meter| {
        hello(stream.into_tokio_io(), meter)
    })
}

/// On a Tokio current-thread runtime.
pub(super) fn on_tokio(load: Load) -> Cost {
    load::on_tokio(load, |stream, _, meter| hello(stream, meter))
}

async fn hello<S>(stream: S, meter: Rc<Meter>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let handler = service_fn(move |_: Request<Incoming>| {
        meter.message();
        async { Ok::<_, Infallible>(Response::new("hello".to_owned())) }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), handler);
    serving.await.expect("a connection");
}
