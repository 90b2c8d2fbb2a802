//! Clients for Tokio of real servers, as they are, over sockets of Compio's.

use std::sync::LazyLock;

use crate::io_support::{on_each_driver, pattern};
use crate::{servers::Server, support::watchdog};
use bytes::Bytes;
use compio::net::TcpStream;
use futures::{SinkExt, StreamExt, TryStreamExt, future::try_join_all};
use landbridge::{io::IntoTokioIo, rt::spawn_local};
use tokio_postgres::{Client, Config, NoTls, error::SqlState};

async fn postgres(server: &Server) -> Client {
    let mut config = Config::new();
    config.user("postgres").dbname("postgres");
    let stream = TcpStream::connect(server.address).await.unwrap();
    let connected = config.connect_raw(stream.into_tokio_io(), NoTls).await;
    let (client, connection) = connected.unwrap();
    drop(spawn_local(connection));
    client
}

/// Rows, parameters, pipelining, copies in and out, errors: on a Compio thread, with no Tokio runtime
/// anywhere.
#[test]
fn a_postgres_client_runs_on_a_compio_thread() {
    let _watchdog = watchdog();
    let Some(server) = Server::postgres() else {
        return;
    };
    on_each_driver(|| async {
        let client = postgres(&server).await;
        client
            .batch_execute(
                "CREATE TEMPORARY TABLE pieces (id INT PRIMARY KEY, bytes BYTEA NOT NULL)",
            )
            .await
            .unwrap();

        // Many statements in flight on one connection, small ones and one of several socket buffers.
        let insert = client
            .prepare("INSERT INTO pieces VALUES ($1, $2)")
            .await
            .unwrap();
        let inserts = (0..500_i32).map(|id| {
            let (client, insert) = (&client, &insert);
            async move {
                let len = if id == 77 { 4 << 20 } else { id as usize };
                client.execute(insert, &[&id, &pattern(len)]).await
            }
        });
        assert_eq!(
            try_join_all(inserts).await.unwrap().iter().sum::<u64>(),
            500
        );
        let rows = client
            .query("SELECT id, bytes FROM pieces ORDER BY id", &[])
            .await
            .unwrap();
        assert_eq!(rows.len(), 500);
        for (id, row) in (0..).zip(rows) {
            assert_eq!(row.get::<_, i32>(0), id);
            let len = if id == 77 { 4 << 20 } else { id as usize };
            assert!(row.get::<_, &[u8]>(1) == pattern(len));
        }

        // An error is one statement's.
        let again = client
            .execute(&insert, &[&1_i32, &pattern(1)])
            .await
            .unwrap_err();
        assert_eq!(again.code(), Some(&SqlState::UNIQUE_VIOLATION));

        let lines: Bytes = (500..20_500)
            .map(|id| format!("{id}\t\\\\x00\n"))
            .collect::<String>()
            .into();
        let mut into = Box::pin(client.copy_in("COPY pieces FROM STDIN").await.unwrap());
        for chunk in lines.chunks(8000) {
            into.send(lines.slice_ref(chunk)).await.unwrap();
        }
        assert_eq!(into.as_mut().finish().await.unwrap(), 20_000);
        let out = client
            .copy_out("COPY (SELECT id FROM pieces ORDER BY id) TO STDOUT")
            .await;
        let out: Vec<Bytes> = out.unwrap().try_collect().await.unwrap();
        let expected: String = (0..20_500).map(|id| format!("{id}\n")).collect();
        assert!(out.concat() == expected.as_bytes());

        // A query whose rows nobody wants any more does not hold up the next.
        let mut rows = Box::pin(
            client
                .query_raw::<_, i32, _>("SELECT * FROM pieces", [])
                .await
                .unwrap(),
        );
        assert!(rows.next().await.unwrap().is_ok());
        drop(rows);
        let count = client
            .query_one("SELECT count(*) FROM pieces", &[])
            .await
            .unwrap();
        assert_eq!(count.get::<_, i64>(0), 20_500);
    });
}

/// A statement that waits is cancelled over a second connection, as psql does it.
#[test]
fn a_postgres_query_is_cancelled_from_another_connection() {
    let _watchdog = watchdog();
    let Some(server) = Server::postgres() else {
        return;
    };
    on_each_driver(|| async {
        let client = postgres(&server).await;
        let cancel = client.cancel_token();
        let waits = client.batch_execute("SELECT pg_sleep(600)");
        let cancels = async {
            let active = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
            let watcher = postgres(&server).await;
            while watcher.query(active, &[]).await.unwrap().is_empty() {}
            let stream = TcpStream::connect(server.address).await.unwrap();
            cancel
                .cancel_query_raw(stream.into_tokio_io(), NoTls)
                .await
                .unwrap();
        };
        let (waited, ()) = futures::future::join(waits, cancels).await;
        assert_eq!(waited.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
        client.batch_execute("SELECT 1").await.unwrap();
    });
}

/// Over a `remote` socket, whose handle is `Send` as the client wants it: commands from many tasks on one
/// connection, large values, transactions, and what another client publishes.
#[test]
fn a_redis_client_runs_over_a_remote_socket() {
    use landbridge::remote::{Net, TcpStream};
    use redis::{AsyncCommands, RedisConnectionInfo, aio::MultiplexedConnection};

    // Its driver borrows it.
    static INFO: LazyLock<RedisConnectionInfo> = LazyLock::new(RedisConnectionInfo::default);

    let _watchdog = watchdog();
    let Some(server) = Server::redis() else {
        return;
    };
    crate::support::for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let connect = async || {
                let stream = TcpStream::connect_in(&net, server.address).await.unwrap();
                let made = MultiplexedConnection::new(&INFO, stream).await;
                let (connection, driver) = made.unwrap();
                (connection, tokio::spawn(driver))
            };
            let (mut connection, driver) = connect().await;

            let tasks = (0..200).map(|id| {
                let mut connection = connection.clone();
                tokio::spawn(async move {
                    let value = pattern(if id == 50 { 3 << 20 } else { id * 31 });
                    () = connection.set(id, &value).await.unwrap();
                    let back: Vec<u8> = connection.get(id).await.unwrap();
                    assert!(back == value);
                })
            });
            try_join_all(tasks).await.unwrap();

            let (first, sum): (i64, i64) = redis::pipe()
                .atomic()
                .del("counter")
                .ignore()
                .incr("counter", 2)
                .incr("counter", 40)
                .query_async(&mut connection)
                .await
                .unwrap();
            assert_eq!((first, sum), (2, 42));

            // A list that is waited for on one connection, and filled over another.
            let (mut other, other_driver) = connect().await;
            let waits = redis::cmd("BLPOP").arg("queue").arg(0).to_owned();
            let (popped, ()) = futures::future::join(
                waits.query_async::<(String, String)>(&mut connection),
                async {
                    // The server has it when a client is blocked.
                    loop {
                        let info: String = redis::cmd("INFO")
                            .arg("clients")
                            .query_async(&mut other)
                            .await
                            .unwrap();
                        if info.contains("blocked_clients:1") {
                            break;
                        }
                    }
                    () = other.rpush("queue", "across").await.unwrap();
                },
            )
            .await;
            assert_eq!(popped.unwrap(), ("queue".to_owned(), "across".to_owned()));

            drop((connection, other));
            driver.await.unwrap();
            other_driver.await.unwrap();
        });
    });
}
