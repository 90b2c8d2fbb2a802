//! Streams of `landbridge::remote`.
#![cfg(all(unix, feature = "net"))]

mod support;

use landbridge::remote::{Net, TcpListener, TcpStream};
use support::{block_on, for_each_driver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The first thing anybody expects.
#[test]
fn bytes_go_both_ways() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        block_on(async {
            let listener = TcpListener::bind_in(&net, "127.0.0.1:0").await.unwrap();
            let mut one = TcpStream::connect_in(&net, listener.local_addr().unwrap())
                .await
                .unwrap();
            let (mut other, _) = listener.accept().await.unwrap();
            let echo = async {
                let mut word = [0; 4];
                for _ in 0..100 {
                    other.read_exact(&mut word).await.unwrap();
                    other.write_all(&word).await.unwrap();
                }
            };
            let ask = async {
                let mut word = [0; 4];
                for n in 0..100_u32 {
                    one.write_all(&n.to_le_bytes()).await.unwrap();
                    one.read_exact(&mut word).await.unwrap();
                    assert_eq!(u32::from_le_bytes(word), n);
                }
            };
            tokio::join!(echo, ask);
        });
    });
}
