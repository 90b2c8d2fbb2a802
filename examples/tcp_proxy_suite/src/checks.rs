//! What is promised. Each check fails by a panic.

use std::{collections::HashMap, fs, io::ErrorKind, net::SocketAddr};

use futures::future::{join, join_all, try_join_all};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    Subject,
    backend::{ANSWER_AT_THE_END, Backend, ECHO, END_FIRST, HANG, RESET, pattern},
    fleet::{Fleet, Settings, echoing, eventually, finish, reset, round_trip},
};

/// Far more than all buffers on the way hold.
const LARGE: usize = 8 << 20;

/// A machine that is three times as large gets three times as much, exactly, and not in one go.
pub async fn weights_are_honoured<P: Subject>() {
    let fleet = Fleet::<P>::start(&[3, 1], |_| {}).await.unwrap();
    for round in 0..10 {
        for (first, second) in [(1, 0), (2, 0), (2, 1), (3, 1)] {
            let client = echoing(fleet.proxy.addr()).await.unwrap();
            finish(client).await.unwrap();
            let served = fleet.backends.iter().map(Backend::served);
            let expected = [3 * round + first, round + second];
            assert_eq!(served.collect::<Vec<_>>(), expected);
        }
    }
    let (_, log, backends) = fleet.stop().await;
    let to = |backend: &Backend| {
        let to = format!("backend={} ", backend.addr());
        log.iter().filter(|line| line.contains(&to)).count()
    };
    assert_eq!([to(&backends[0]), to(&backends[1])], [30, 10]);
}

/// Clients must not be the ones who find out again and again; and a backend that was mended is of use again.
pub async fn a_backend_that_is_down_gets_nothing_and_comes_back<P: Subject>() {
    let dead = Backend::dead().unwrap();
    let backends = vec![Backend::start().unwrap(), dead];
    let mut fleet = Fleet::<P>::with(backends, &[1, 1], |_| {}).await.unwrap();
    fleet.until(|status| !status.backends[1].up).await;
    fleet.backends[1].revive().unwrap();
    // The next check is far away.
    for _ in 0..10 {
        finish(echoing(fleet.proxy.addr()).await.unwrap())
            .await
            .unwrap();
    }
    assert_eq!(fleet.backends[0].served(), 10);
    assert_eq!(fleet.backends[1].served(), 0);

    fleet.reload(|settings| settings.interval_ms = 5).unwrap();
    fleet.until(|status| status.backends[1].up).await;
    for _ in 0..10 {
        finish(echoing(fleet.proxy.addr()).await.unwrap())
            .await
            .unwrap();
    }
    assert_eq!(fleet.backends[1].served(), 5);

    // What dies later is found, too.
    fleet.backends[0].kill().await;
    fleet.until(|status| !status.backends[0].up).await;
    fleet.stop().await;
}

/// The client sees nothing of a backend that died a moment ago.
pub async fn a_dead_backend_costs_no_connection<P: Subject>() {
    let mut fleet = Fleet::<P>::start(&[1, 1], |_| {}).await.unwrap();
    for _ in 0..2 {
        finish(echoing(fleet.proxy.addr()).await.unwrap())
            .await
            .unwrap();
    }
    assert_eq!(fleet.backends[0].served(), 1);
    fleet.backends[0].kill().await;
    for _ in 0..4 {
        finish(echoing(fleet.proxy.addr()).await.unwrap())
            .await
            .unwrap();
    }
    assert_eq!(fleet.backends[1].served(), 5);
    assert!(!fleet.proxy.status().backends[0].up);
    fleet.stop().await;
}

/// An empty answer would be taken for one.
pub async fn without_a_backend_the_client_is_reset<P: Subject>() {
    let backends = vec![Backend::dead().unwrap()];
    let fleet = Fleet::<P>::with(backends, &[1], |_| {}).await.unwrap();
    let asked = async {
        let mut client = TcpStream::connect(fleet.proxy.addr()).await?;
        client.read(&mut [0; 1]).await
    };
    assert_eq!(asked.await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    eventually(|| fleet.log().len() == 1).await;
    let (stopped, log, _) = fleet.stop().await;
    assert!(
        log[0].contains("backend=- ") && log[0].ends_with("end=no-backend"),
        "{log:?}"
    );
    assert_eq!(stopped.status.open, 0);
}

/// Backends are promised not to get more than the limit; clients, that they get their turn.
pub async fn connections_above_the_limit_wait_their_turn<P: Subject>() {
    let fleet = Fleet::<P>::start(&[1], |settings| settings.connections = 3)
        .await
        .unwrap();
    let addr = fleet.proxy.addr();
    let mut held = try_join_all((0..3).map(|_| echoing(addr))).await.unwrap();
    // Its bytes wait in the kernel.
    let mut fourth = fleet.client(ECHO).await.unwrap();
    for _ in 0..100 {
        for client in &mut held {
            round_trip(client, b"still served").await.unwrap();
        }
        assert_eq!(fleet.proxy.status().open, 3);
        assert_eq!(fleet.backends[0].served(), 3);
    }
    finish(held.remove(0)).await.unwrap();
    round_trip(&mut fourth, b"at last").await.unwrap();
    finish(fourth).await.unwrap();
    for client in held {
        finish(client).await.unwrap();
    }

    let many = (0..50).map(async |_| finish(echoing(addr).await?).await);
    try_join_all(many).await.unwrap();
    assert_eq!(fleet.backends[0].served(), 54);
    assert_eq!(fleet.backends[0].peak(), 3);
    fleet.stop().await;
}

/// The client says all it has to say, and reads the answer: the naive proxy cuts that off, or never lets it begin.
pub async fn a_client_that_has_ended_is_still_answered_in_full<P: Subject>() {
    let fleet = Fleet::<P>::start(&[1], |_| {}).await.unwrap();
    let mut client = fleet.client(ANSWER_AT_THE_END).await.unwrap();
    client.write_u64(LARGE as u64).await.unwrap();
    client.write_all(b"the question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.len(), LARGE);
    assert!(answer == pattern(LARGE), "other bytes");
    let (_, log, _) = fleet.stop().await;
    let counted = format!("end=clean in={} out={LARGE}", 1 + 8 + 12);
    assert!(log[0].ends_with(&counted), "{log:?}");
}

/// The proxy is done before a slow reader is: closing its socket must not take away what is still in it.
pub async fn what_was_sent_arrives_though_the_proxy_is_done<P: Subject>() {
    const ANSWER: usize = 32 * 1024;

    let fleet = Fleet::<P>::start(&[1], |_| {}).await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    // Far less than the answer.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(fleet.proxy.addr()).await.unwrap();
    client.write_u8(ANSWER_AT_THE_END).await.unwrap();
    client.write_u64(ANSWER as u64).await.unwrap();
    client.shutdown().await.unwrap();
    eventually(|| fleet.log().len() == 1).await;
    fleet.until(|status| status.open == 0).await;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, pattern(ANSWER));
    fleet.stop().await;
}

/// The same the other way round: a backend that has nothing more to say still listens.
pub async fn a_backend_that_has_ended_is_still_sent_everything<P: Subject>() {
    let mut fleet = Fleet::<P>::start(&[1], |_| {}).await.unwrap();
    let mut client = fleet.client(END_FIRST).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [END_FIRST]);
    // Nobody answers any more, but somebody reads.
    client.write_all(&pattern(LARGE)).await.unwrap();
    client.shutdown().await.unwrap();
    let received = fleet.backends[0].received().await.unwrap();
    assert_eq!((received.bytes, received.failed), (LARGE, None));
    assert!(received.right, "other bytes");
    let (_, log, _) = fleet.stop().await;
    let counted = format!("end=clean in={} out=1", 1 + LARGE);
    assert!(log[0].ends_with(&counted), "{log:?}");
}

/// Half an upload must not look like a whole one.
pub async fn a_reset_is_passed_on_as_a_reset<P: Subject>() {
    let mut fleet = Fleet::<P>::start(&[1], |_| {}).await.unwrap();
    let mut client = echoing(fleet.proxy.addr()).await.unwrap();
    round_trip(&mut client, b"the first half").await.unwrap();
    reset(client).unwrap();
    let received = fleet.backends[0].received().await.unwrap();
    assert_eq!(received.failed, Some(ErrorKind::ConnectionReset));

    // Nor half an answer like a whole one.
    let mut client = fleet.client(RESET).await.unwrap();
    client.write_u8(0).await.unwrap();
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let (_, log, _) = fleet.stop().await;
    assert!(
        log.iter().all(|line| line.contains("end=failed")),
        "{log:?}"
    );
}

/// A count that only goes up ends as a proxy that takes nobody.
pub async fn counts_are_right_after_resets<P: Subject>() {
    let fleet = Fleet::<P>::start(&[2, 1], |settings| settings.connections = 8)
        .await
        .unwrap();
    let addr = fleet.proxy.addr();
    for round in 1..=5 {
        let clients = join_all((0..8).map(|_| echoing(addr))).await;
        assert_eq!(fleet.proxy.status().open, 8);
        for client in clients {
            reset(client.unwrap()).unwrap();
        }
        // Some that go before they are anywhere.
        for _ in 0..8 {
            if let Ok(client) = TcpStream::connect(addr).await {
                reset(client).unwrap();
            }
        }
        fleet.until(|status| status.open == 0).await;
        let status = fleet.proxy.status();
        assert!(
            status.backends.iter().all(|backend| backend.open == 0),
            "round {round}: {status:?}"
        );
    }
    let (stopped, ..) = fleet.stop().await;
    assert_eq!((stopped.cut_off, stopped.status.open), (0, 0));
}

/// Who is being served must not notice that a backend was added and his own was taken out.
pub async fn a_reload_changes_what_comes_and_not_what_is_there<P: Subject>() {
    let mut fleet = Fleet::<P>::start(&[1], |_| {}).await.unwrap();
    let addr = fleet.proxy.addr();
    let mut old = echoing(addr).await.unwrap();
    let new = Backend::start().unwrap();
    fleet
        .reload(|settings| settings.backends = vec![(new.addr(), 1)])
        .unwrap();
    let client = echoing(addr).await.unwrap();
    assert_eq!((fleet.backends[0].served(), new.served()), (1, 1));
    let status = fleet.proxy.status();
    assert_eq!(status.backends.len(), 1);
    assert_eq!((status.open, status.backends[0].open), (2, 1));

    // A backend that stays keeps its count.
    let first = fleet.backends[0].addr();
    fleet
        .reload(|settings| settings.backends = vec![(first, 1), (new.addr(), 1)])
        .unwrap();
    assert_eq!(fleet.proxy.status().backends[1].open, 1);

    round_trip(&mut old, &pattern(100_000)).await.unwrap();
    finish(old).await.unwrap();
    finish(client).await.unwrap();
    fleet
        .until(|status| status.backends.iter().all(|backend| backend.open == 0))
        .await;
    let (stopped, log, _) = fleet.stop().await;
    assert_eq!(stopped.cut_off, 0);
    assert!(log.iter().all(|line| line.contains("end=clean")), "{log:?}");
}

/// A limit that was too low is raised while clients wait for it.
pub async fn a_reload_changes_the_limit<P: Subject>() {
    let mut fleet = Fleet::<P>::start(&[1], |settings| settings.connections = 1)
        .await
        .unwrap();
    let addr = fleet.proxy.addr();
    let held = echoing(addr).await.unwrap();
    let mut waits = fleet.client(ECHO).await.unwrap();
    fleet.reload(|settings| settings.connections = 2).unwrap();
    round_trip(&mut waits, b"let in").await.unwrap();
    assert_eq!(fleet.proxy.status().open, 2);
    finish(held).await.unwrap();
    finish(waits).await.unwrap();
    fleet.stop().await;
}

/// What an operator does after editing the file; and what he does after a mistake in it.
pub async fn sighup_reads_the_file_again<P: Subject>() {
    let mut fleet = Fleet::<P>::start(&[1, 1], |_| {}).await.unwrap();
    let first = fleet.backends[0].addr();
    let file = fleet.file();
    let hang_up = || examples_support::hang_up_this_process().unwrap();
    fleet
        .write(|settings| settings.backends = vec![(first, 1)])
        .unwrap();
    let reloaded = fleet.until(|status| status.backends.len() == 1);
    tokio::select! {
        () = fleet.proxy.reload_on_hangup(&file, hang_up) => panic!("no signals"),
        () = reloaded => {}
    }
    fleet.stop().await;
}

/// At three in the morning, "invalid configuration" helps nobody.
pub async fn a_wrong_configuration_is_refused_by_its_line<P: Subject>() {
    let dir = TempDir::new().unwrap();
    let backend: SocketAddr = ([127, 0, 0, 1], 9001).into();
    let mut settings = Settings::new(&[], &[]);
    settings.backends = vec![(backend, 1), (SocketAddr::from(([127, 0, 0, 1], 9002)), 2)];
    let text = settings.text(&dir.path().join("access.log"));
    // What is changed, and what the error says of it.
    let wrong = [
        ("connections = 1000", "connections = 0", "nonzero"),
        (
            "connections = 1000",
            "connections = \"many\"",
            "invalid type",
        ),
        ("connections = 1000", "conections = 1000", "unknown field"),
        ("connections = 1000", "connections = 1000 1000", "expected"),
        ("drain_ms = 30000", "drain_ms = 0", "nonzero"),
        ("127.0.0.1:9002", "localhost", "invalid socket address"),
        ("127.0.0.1:9002", "127.0.0.1:9001", "twice"),
        ("weight = 2", "weight = 0", "nonzero"),
        ("weight = 2", "weight = -1", "invalid value"),
    ];
    let file = dir.path().join("proxy.toml");
    for (right, wrong, why) in wrong {
        let changed = text.replacen(right, wrong, 1);
        assert_ne!(changed, text);
        let line = 1 + text.split(right).next().unwrap().matches('\n').count();
        fs::write(&file, changed).unwrap();
        let error = P::start(&file).await.map(drop).unwrap_err().to_string();
        let place = format!("proxy.toml:{line}:");
        assert!(
            error.contains(&place) && error.contains(why),
            "{wrong}, expected {place}: {error}"
        );
    }
    // None at all, in two ways.
    let rest = text.split("\n[[backend]]").next().unwrap();
    fs::write(&file, rest).unwrap();
    let error = P::start(&file).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("missing field `backend`"), "{error}");
    fs::write(&file, format!("backend = []\n{rest}")).unwrap();
    let error = P::start(&file).await.map(drop).unwrap_err().to_string();
    assert!(
        error.contains("proxy.toml:1:") && error.contains("no backend"),
        "{error}"
    );
    let none = dir.path().join("none.toml");
    let error = P::start(&none).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("none.toml"), "{error}");
}

/// A typing error must not take a proxy down that works.
pub async fn a_wrong_reload_leaves_everything_as_it_was<P: Subject>() {
    let fleet = Fleet::<P>::start(&[1, 1], |_| {}).await.unwrap();
    let file = fleet.file();
    let text = fs::read_to_string(&file).unwrap();
    for wrong in [
        text.replace("weight = 1", "weight = 0"),
        // What it listens on is for good.
        text.replace("127.0.0.1:0", "127.0.0.1:1"),
        String::new(),
    ] {
        fs::write(&file, wrong).unwrap();
        fleet.proxy.reload(&file).unwrap_err();
    }
    for _ in 0..4 {
        finish(echoing(fleet.proxy.addr()).await.unwrap())
            .await
            .unwrap();
    }
    let served = fleet.backends.iter().map(Backend::served);
    assert_eq!(served.collect::<Vec<_>>(), [2, 2]);
    fleet.stop().await;
}

/// A deployment must not cost anybody his download.
pub async fn shutdown_lets_connections_finish<P: Subject>() {
    let fleet = Fleet::<P>::start(&[1], |_| {}).await.unwrap();
    let addr = fleet.proxy.addr();
    let mut client = echoing(addr).await.unwrap();
    let mut late = fleet.client(ANSWER_AT_THE_END).await.unwrap();
    late.write_u64(LARGE as u64).await.unwrap();
    fleet.until(|status| status.open == 2).await;
    let clients = async {
        // Nobody listens any more.
        while let Ok(mut stream) = TcpStream::connect(addr).await {
            // It may have been in the queue, and may have been let in.
            _ = stream.shutdown().await;
        }
        for _ in 0..10 {
            round_trip(&mut client, &pattern(10_000)).await.unwrap();
        }
        finish(client).await.unwrap();
        late.shutdown().await.unwrap();
        let mut answer = Vec::new();
        late.read_to_end(&mut answer).await.unwrap();
        assert!(answer == pattern(LARGE), "{} bytes", answer.len());
    };
    let ((stopped, ..), ()) = join(fleet.stop(), clients).await;
    assert_eq!((stopped.cut_off, stopped.status.open), (0, 0));
}

/// One client that stays for ever must not hold up a deployment; what is cut off is counted no more.
pub async fn shutdown_cuts_off_what_takes_too_long_and_counts_it<P: Subject>() {
    let fleet = Fleet::<P>::start(&[1], |settings| settings.drain_ms = 50)
        .await
        .unwrap();
    let mut idle = echoing(fleet.proxy.addr()).await.unwrap();
    // One whose bytes nobody takes, in mid-write.
    let mut stuck = fleet.client(HANG).await.unwrap();
    fleet.until(|status| status.backends[0].open == 2).await;
    let too_much = vec![0; 16 * LARGE];
    let ((stopped, log, _), written) = join(fleet.stop(), stuck.write_all(&too_much)).await;
    assert_eq!(stopped.cut_off, 2);
    assert_eq!(stopped.status.open, 0);
    assert_eq!(stopped.status.backends[0].open, 0);
    assert_eq!(log.len(), 2);
    assert!(
        log.iter().all(|line| line.ends_with("end=cut-off")),
        "{log:?}"
    );
    written.unwrap_err();
    let error = idle.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Not a write for each line, however long one might wait.
pub async fn the_log_is_written_when_it_has_enough_lines<P: Subject>() {
    let fleet = Fleet::<P>::start(&[1], |settings| settings.lines = 3)
        .await
        .unwrap();
    for _ in 0..2 {
        finish(echoing(fleet.proxy.addr()).await.unwrap())
            .await
            .unwrap();
        fleet.until(|status| status.open == 0).await;
        assert_eq!(fleet.log().len(), 0);
    }
    finish(echoing(fleet.proxy.addr()).await.unwrap())
        .await
        .unwrap();
    eventually(|| fleet.log().len() == 3).await;
    fleet.stop().await;
}

/// The last line before a quiet night must not be written in the morning.
pub async fn the_log_is_written_after_its_delay_though_nothing_more_comes<P: Subject>() {
    let fleet = Fleet::<P>::start(&[1], |settings| {
        settings.lines = 1000;
        settings.delay_ms = 20;
    })
    .await
    .unwrap();
    finish(echoing(fleet.proxy.addr()).await.unwrap())
        .await
        .unwrap();
    eventually(|| fleet.log().len() == 1).await;
    fleet.stop().await;
}

/// Nor must it be lost with the process.
pub async fn what_is_left_of_the_log_is_written_at_the_end<P: Subject>() {
    let fleet = Fleet::<P>::start(&[1, 1], |settings| settings.lines = 1000)
        .await
        .unwrap();
    for _ in 0..20 {
        finish(echoing(fleet.proxy.addr()).await.unwrap())
            .await
            .unwrap();
    }
    assert_eq!(fleet.log().len(), 0);
    let (_, log, backends) = fleet.stop().await;
    let mut lines = HashMap::<_, usize>::new();
    for line in &log {
        let backend = line.split(' ').nth(1).unwrap();
        *lines.entry(backend).or_default() += 1;
    }
    for backend in backends {
        assert_eq!(lines[&*format!("backend={}", backend.addr())], 10);
    }
}
