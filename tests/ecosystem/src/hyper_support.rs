//! What the tests of hyper on Compio share.
use std::{convert::Infallible, future::Future};

use bytes::Bytes;
use compio::net::{TcpListener, TcpStream};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use landbridge::{
    CompioPool,
    io::IntoTokioIo,
    rt::{LocalJoinHandle, spawn_local},
};

use crate::{
    io_support::on_each_driver,
    support::{block_on, drivers, watchdog},
};

/// A Compio socket as hyper takes it.
pub(crate) type Io = TokioIo<<TcpStream as IntoTokioIo>::Io>;

pub(crate) fn io(stream: TcpStream) -> Io {
    TokioIo::new(stream.into_tokio_io())
}

/// A client's end and a server's.
pub(crate) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// One body on Compio as it is and on a pool's worker, each on every driver.
pub(crate) fn everywhere<T, F>(test: T)
where
    T: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let _watchdog = watchdog();
    on_each_driver(test.clone());
    for driver in drivers() {
        let pool = CompioPool::builder().threads(1).driver(driver).build();
        let pool = pool.unwrap();
        block_on(pool.run(test.clone())).unwrap();
        block_on(pool.shutdown());
    }
}

/// Drives a connection, and says how it ended.
pub(crate) fn drive<F>(connection: F) -> LocalJoinHandle<F::Output>
where
    F: Future + 'static,
{
    spawn_local(connection)
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path)
        .header("host", "localhost")
        .body(Full::default())
        .unwrap()
}

pub(crate) async fn collect(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// The path, said back.
pub(crate) async fn say_path(
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    Ok(Response::new(Full::from(path)))
}

/// The body, sent back as it comes.
pub(crate) async fn echo(request: Request<Incoming>) -> Result<Response<Incoming>, Infallible> {
    Ok(Response::new(request.into_body()))
}
