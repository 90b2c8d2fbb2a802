//! A real client of the Tokio side: TLS over Compio's sockets.

mod io_support;
mod tls_support;

use compio::net::{TcpListener, TcpStream};
use io_support::{on_each_driver, pattern};
use landbridge::io::{CompioAsTokio, IntoTokioIo};
use tls_support::configs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A handshake is small messages each way with flushes; the echo is bulk both ways at once.
#[test]
fn a_mebibyte_is_echoed_through_tls_on_both_ends() {
    on_each_driver(|| async {
        let (client, server) = configs();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = compio::runtime::spawn(async move {
            let socket = listener.accept().await.unwrap().0.into_tokio_io();
            let stream = TlsAcceptor::from(server).accept(socket).await.unwrap();
            let (mut reader, mut writer) = tokio::io::split(stream);
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        });

        let socket = CompioAsTokio::new(TcpStream::connect(address).await.unwrap());
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(client)
            .connect(name, socket)
            .await
            .unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let data = pattern(1 << 20);
        let send = async {
            writer.write_all(&data).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut echoed = Vec::new();
        tokio::join!(send, reader.read_to_end(&mut echoed))
            .1
            .unwrap();
        assert!(echoed == data);
        serving.await.unwrap();
    });
}
