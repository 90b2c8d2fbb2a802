//! Every shim beside a plain queue of bytes: whatever is done to both, they agree.
//!
//! In memory by the thousands, where every byte is accounted for and a lost wake is found out; over
//! the kernel's sockets by the hundreds. `LANDBRIDGE_MODEL_CASES` says how many cases there are in
//! all, 12 000 if it is not set.

#![allow(
    unreachable_pub,
    reason = "the fuzzer takes the modules too, as they are"
)]

#[cfg(unix)]
#[path = "io_model/file.rs"]
mod file;
mod io_support;
#[path = "io_model/model.rs"]
mod model;
#[cfg(target_os = "linux")]
#[path = "io_model/near.rs"]
mod near;
#[path = "io_model/play.rs"]
mod play;
#[path = "io_model/socket.rs"]
mod socket;
#[path = "io_model/tls.rs"]
mod tls;
mod tls_support;
#[path = "io_model/users.rs"]
mod users;
#[path = "io_model/wire.rs"]
mod wire;

use std::rc::Rc;

use landbridge::io::{CompioAsTokio, CompioReadAsTokio, CompioWriteAsTokio, TokioAsCompio};
use model::{Model, Move, Shim};
use play::alone;
use proptest::collection::vec;
use proptest::prelude::*;
use users::{CompioUser, TokioUser};
use wire::{Event, Pace, Wire};

/// So many of the 120 parts of all cases.
fn cases(parts: u32) -> ProptestConfig {
    let all = match std::env::var("LANDBRIDGE_MODEL_CASES") {
        Ok(all) => all.parse().expect("LANDBRIDGE_MODEL_CASES is a number"),
        Err(_) => 12_000,
    };
    ProptestConfig {
        cases: all * parts / 120,
        // A counterexample belongs into a test, not into a file of seeds.
        failure_persistence: None,
        // A case that hangs takes a minute; one more is enough.
        max_shrink_time: 30_000,
        ..ProptestConfig::default()
    }
}

/// Small sizes are where the edges are; a large one fills a buffer.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..24_usize, 3 => 0..300_usize, 1 => 0..3_000_usize]
}

fn a_move() -> impl Strategy<Value = Move> {
    let polls = || 1..7_u8;
    prop_oneof![
        6 => (size(), polls()).prop_map(|(room, polls)| Move::Read { room, polls }),
        3 => (size(), polls()).prop_map(|(room, polls)| Move::ReadOtherwise { room, polls }),
        3 => (size(), size()).prop_map(|(room, len)| Move::ReadWhat { room, len }),
        6 => (size(), polls()).prop_map(|(len, polls)| Move::Write { lens: vec![len], polls }),
        3 => (vec(size(), 0..5), polls()).prop_map(|(lens, polls)| Move::Write { lens, polls }),
        3 => (size(), size()).prop_map(|(len, room)| Move::WriteInto { len, room }),
        3 => polls().prop_map(|polls| Move::Flush { polls }),
        1 => polls().prop_map(|polls| Move::Shutdown { polls }),
        2 => Just(Move::Settle),
        5 => size().prop_map(Move::PeerSends),
        1 => Just(Move::PeerFails),
        1 => Just(Move::PeerEnds),
        5 => size().prop_map(Move::PeerTakes),
        2 => prop_oneof![0..8_usize, size()].prop_map(Move::WriteFailsIn),
        1 => Just(Move::FlushFails),
        1 => Just(Move::ShutdownFails),
    ]
}

/// What chance alone seldom brings together.
fn moves() -> impl Strategy<Value = Vec<Move>> {
    let few = || 1..8_usize;
    let group = prop_oneof![
        20 => a_move().prop_map(|a_move| vec![a_move]),
        // An error right behind the bytes that fill the first of several buffers.
        1 => (few(), 1..7_u8).prop_map(|(len, polls)| vec![
            Move::PeerSends(len),
            Move::PeerFails,
            Move::ReadOtherwise { room: 3 * len, polls },
        ]),
        // An error right behind the first of several slices.
        1 => (few(), few(), 1..7_u8).prop_map(|(first, second, polls)| vec![
            Move::PeerTakes(3_000),
            Move::WriteFailsIn(first),
            Move::Write { lens: vec![first, second], polls },
        ]),
        // Two errors that nobody waits for: that of a flush, and that of a write behind it.
        1 => (few(), few()).prop_map(|(first, second)| vec![
            Move::PeerTakes(3_000),
            Move::Write { lens: vec![first], polls: 1 },
            Move::FlushFails,
            Move::Flush { polls: 1 },
            Move::Write { lens: vec![second], polls: 1 },
            Move::WriteFailsIn(0),
            Move::Settle,
        ]),
    ];
    vec(group, 0..30).prop_map(|groups| groups.concat())
}

/// How a stream behaves, how large the buffers over it are, and what is done to them.
#[derive(Clone, Debug)]
struct Case {
    paces: Vec<Pace>,
    capacity: usize,
    vectored: bool,
    moves: Vec<Move>,
}

fn case() -> impl Strategy<Value = Case> {
    let pace = (
        prop_oneof![1..5_usize, 1..200_usize, Just(usize::MAX)],
        0..4_u8,
    );
    let capacity = prop_oneof![0..4_usize, 0..300_usize, 0..3_000_usize];
    (vec(pace, 0..6), capacity, any::<bool>(), moves()).prop_map(
        |(paces, capacity, vectored, moves)| Case {
            paces,
            capacity,
            vectored,
            moves,
        },
    )
}

impl Case {
    fn wire(&self) -> Rc<Wire> {
        Wire::new(self.paces.clone(), self.vectored)
    }

    /// One buffer for reading, two for writing; each of at least one byte.
    fn buffers(&self) -> Shim {
        let capacity = self.capacity.max(1);
        Shim::Buffers {
            inward: capacity,
            outward: 2 * capacity,
        }
    }
}

mod compio_as_tokio {
    use super::*;

    type Stream = (wire::CompioEnd, wire::CompioEnd);

    async fn play<'a>(
        case: &Case,
        wire: &'a Rc<Wire>,
    ) -> (TokioUser<CompioAsTokio<Stream>>, Model<'a, Rc<Wire>>) {
        let stream = CompioAsTokio::with_capacity(wire.compio_halves(), case.capacity);
        let mut user = TokioUser::buffered(stream);
        let mut model = Model::new(wire, case.buffers());
        model.play(&mut user, &case.moves).await;
        (user, model)
    }

    proptest! {
        #![proptest_config(cases(20))]

        /// The promise of the whole crate, for any stream of Compio's.
        #[test]
        fn what_is_accepted_arrives_and_what_arrives_is_read(case in case()) {
            alone(async {
                let wire = case.wire();
                let (mut user, mut model) = play(&case, &wire).await;
                model.finish(&mut user).await;
                drop(user);
                wire.closed().await;
            });
        }
    }

    proptest! {
        #![proptest_config(cases(6))]

        /// `write_all` and drop is how a last message is sent.
        #[test]
        fn a_dropped_shim_sends_what_it_accepted_and_closes(case in case()) {
            alone(async {
                let wire = case.wire();
                let (user, model) = play(&case, &wire).await;
                drop(user);
                wire.give_room(usize::MAX);
                wire.closed().await;
                assert!(wire.is_broken() || model.all_is_out());
            });
        }

        /// Protocols switch in the middle of a stream.
        #[test]
        fn a_shim_taken_apart_gives_every_byte_back(case in case(), now in any::<bool>()) {
            alone(async {
                let wire = case.wire();
                let (user, model) = play(&case, &wire).await;
                let mut shim = user.stream;
                if now {
                    shim = match shim.into_parts() {
                        Ok(parts) => return compare(&parts, &wire, &model),
                        Err(whole) => whole.into_inner(),
                    };
                }
                // Whatever is in flight ends when the peer moves.
                wire.give_room(usize::MAX);
                if model.untold_inbound().is_empty() {
                    model.end();
                }
                let parts = shim.into_parts_when_idle().await.expect("the runtime is here");
                compare(&parts, &wire, &model);
                assert!(wire.is_broken() || model.all_is_out());
            });
        }
    }

    fn compare<R, W>(
        parts: &landbridge::io::Parts<R, W>,
        wire: &Wire,
        model: &Model<'_, Rc<Wire>>,
    ) {
        model.check();
        for byte in &parts.unread {
            model.expect(Event::Byte(*byte));
        }
        if let Some(error) = &parts.read_error {
            let tag = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref())
                .unwrap();
            model.expect(Event::Error(*tag));
        }
        assert_eq!(model.untold_inbound(), wire.unmet());
        assert!(!parts.ended || wire.unmet() == [Event::End]);
        assert_eq!(parts.shut_down, wire.is_shut());
        assert_eq!(parts.write_error.is_some(), !model.all_is_told());
    }
}

/// The halves, each on its own.
mod compio_halves_as_tokio {
    use super::*;

    proptest! {
        #![proptest_config(cases(8))]

        /// Halves live in different tasks, with nothing between them.
        #[test]
        fn what_is_accepted_arrives_and_what_arrives_is_read(case in case(), split in any::<bool>()) {
            alone(async {
                let wire = case.wire();
                let (reader, writer) = wire.compio_halves();
                let (reader, writer) = if split {
                    CompioAsTokio::with_capacity((reader, writer), case.capacity).into_split()
                } else {
                    (
                        CompioReadAsTokio::with_capacity(reader, case.capacity),
                        CompioWriteAsTokio::with_capacity(writer, case.capacity),
                    )
                };
                let mut user = TokioUser::buffered(tokio::io::join(reader, writer));
                let mut model = Model::new(&wire, case.buffers());
                model.play(&mut user, &case.moves).await;
                model.finish(&mut user).await;
            });
        }
    }
}

mod tokio_as_compio {
    use super::*;

    proptest! {
        #![proptest_config(cases(14))]

        /// The other way round: nothing is kept, so nothing can be lost.
        #[test]
        fn what_is_accepted_arrives_and_what_arrives_is_read(case in case()) {
            alone(async {
                let wire = case.wire();
                let (reader, writer) = wire.tokio_halves();
                let stream = TokioAsCompio::new(tokio::io::join(reader, writer));
                let mut user = CompioUser(stream);
                let mut model = Model::new(&wire, Shim::Direct);
                model.play(&mut user, &case.moves).await;
                model.finish(&mut user).await;
            });
        }
    }
}

/// Shims over shims: each may rely on no more than the contract of the other.
mod stacked {
    use super::*;

    proptest! {
        #![proptest_config(cases(9))]

        /// A Tokio stream in a Compio program that hands it to a Tokio library.
        #[test]
        fn tokio_over_compio_over_tokio_keeps_the_contract(case in case()) {
            alone(async {
                let wire = case.wire();
                let (reader, writer) = wire.tokio_halves();
                let halves = (TokioAsCompio::new(reader), TokioAsCompio::new(writer));
                let stream = CompioAsTokio::with_capacity(halves, case.capacity);
                let mut user = TokioUser::buffered(stream);
                let mut model = Model::new(&wire, case.buffers());
                model.play(&mut user, &case.moves).await;
                model.finish(&mut user).await;
            });
        }

        /// And the other way round.
        #[test]
        fn compio_over_tokio_over_compio_keeps_the_contract(case in case()) {
            alone(async {
                let wire = case.wire();
                let stream = CompioAsTokio::with_capacity(wire.compio_halves(), case.capacity);
                let mut user = CompioUser(TokioAsCompio::new(stream));
                let capacity = case.capacity.max(1);
                // One more on the way in: the error behind the bytes of a vectored read.
                let shim = Shim::Buffers { inward: capacity + 1, outward: 2 * capacity };
                let mut model = Model::new(&wire, shim);
                model.play(&mut user, &case.moves).await;
                model.finish(&mut user).await;
            });
        }
    }
}

/// Compio's sockets as they are, where nothing is kept.
#[cfg(target_os = "linux")]
mod socket_as_tokio {
    use landbridge::io::SocketAsTokio;
    use near::NearPeer;

    use super::*;

    proptest! {
        #![proptest_config(cases(10))]

        /// The fast path knows when there may be something only by what it has been told.
        #[test]
        fn what_is_accepted_arrives_and_what_arrives_is_read(case in case(), split in any::<bool>()) {
            alone(async {
                let (ours, peer) = NearPeer::pair();
                let ours = SocketAsTokio::new(compio::net::UnixStream::from_std(ours).unwrap());
                let mut model = Model::new(&peer, Shim::Direct);
                if split {
                    let (reader, writer) = ours.into_split();
                    let mut user = TokioUser::new(tokio::io::join(reader, writer));
                    model.play(&mut user, &case.moves).await;
                    model.finish(&mut user).await;
                } else {
                    let mut user = TokioUser::new(ours);
                    model.play(&mut user, &case.moves).await;
                    model.finish(&mut user).await;
                }
                assert!(model.all_is_out());
            });
        }

        /// Taken apart at any time it has nothing that the socket has not.
        #[test]
        fn a_socket_taken_apart_and_wrapped_again_goes_on(case in case()) {
            alone(async {
                let (ours, peer) = NearPeer::pair();
                let mut user = TokioUser::new(SocketAsTokio::new(
                    compio::net::UnixStream::from_std(ours).unwrap(),
                ));
                let mut model = Model::new(&peer, Shim::Direct);
                model.play(&mut user, &case.moves).await;
                let parts = user.stream.into_parts();
                assert!(!parts.ended || model.untold_inbound() == [Event::End]);
                let mut user = TokioUser::new(SocketAsTokio::new(parts.stream));
                model.finish(&mut user).await;
                assert!(model.all_is_out());
            });
        }
    }
}

/// The kernel's sockets, on both drivers; bytes and ends, since faults cannot be made to order.
mod sockets {
    use compio::driver::DriverType;
    use socket::{Socket, SocketPeer, on_driver};
    use users::User;

    use super::*;

    async fn play<S: Socket>(user: &mut impl User, shim: Shim, peer: S, moves: &[Move]) {
        let peer = SocketPeer::new(peer);
        let mut model = Model::new(&peer, shim);
        model.play(user, moves).await;
        model.finish(user).await;
        let accepted = model.into_accepted();
        assert!(peer.join() == accepted);
    }

    pub(super) fn tcp() -> (std::net::TcpStream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    /// So small that writes have to wait.
    #[cfg(target_os = "linux")]
    pub(super) fn unix() -> (
        std::os::unix::net::UnixStream,
        std::os::unix::net::UnixStream,
    ) {
        let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&ours, 4096).unwrap();
        (ours, peer)
    }

    fn drivers() -> impl Strategy<Value = DriverType> {
        prop_oneof![Just(DriverType::IoUring), Just(DriverType::Poll)]
    }

    proptest! {
        #![proptest_config(cases(2))]

        /// Any stream of Compio's, a socket among them.
        #[test]
        fn compio_as_tokio_over_tcp_keeps_the_contract(case in case(), driver in drivers()) {
            on_driver(driver, async {
                let (ours, peer) = tcp();
                let ours = compio::net::TcpStream::from_std(ours).unwrap();
                let mut user = TokioUser::buffered(CompioAsTokio::with_capacity(ours, case.capacity));
                play(&mut user, case.buffers(), peer, &case.moves).await;
            });
        }

        /// The same, with little room in the kernel.
        #[cfg(target_os = "linux")]
        #[test]
        fn compio_as_tokio_over_unix_keeps_the_contract(case in case(), driver in drivers()) {
            on_driver(driver, async {
                let (ours, peer) = unix();
                let ours = compio::net::UnixStream::from_std(ours).unwrap();
                let mut user = TokioUser::buffered(CompioAsTokio::with_capacity(ours, case.capacity));
                play(&mut user, case.buffers(), peer, &case.moves).await;
            });
        }

        /// The fast path, with all that the kernel adds.
        #[cfg(target_os = "linux")]
        #[test]
        fn socket_as_tokio_over_tcp_keeps_the_contract(case in case(), driver in drivers()) {
            on_driver(driver, async {
                let (ours, peer) = tcp();
                let ours = compio::net::TcpStream::from_std(ours).unwrap();
                let mut user = TokioUser::new(landbridge::io::SocketAsTokio::new(ours));
                play(&mut user, Shim::Direct, peer, &case.moves).await;
            });
        }

        /// The same, with little room in the kernel.
        #[cfg(target_os = "linux")]
        #[test]
        fn socket_as_tokio_over_unix_keeps_the_contract(case in case(), driver in drivers()) {
            on_driver(driver, async {
                let (ours, peer) = unix();
                let ours = compio::net::UnixStream::from_std(ours).unwrap();
                let mut user = TokioUser::new(landbridge::io::SocketAsTokio::new(ours));
                play(&mut user, Shim::Direct, peer, &case.moves).await;
            });
        }

        /// Tokio's sockets in a Compio program.
        #[test]
        fn tokio_as_compio_over_tcp_keeps_the_contract(case in case(), driver in drivers()) {
            on_driver(driver, async {
                let (ours, peer) = tcp();
                ours.set_nonblocking(true).unwrap();
                let ours = tokio::net::TcpStream::from_std(ours).unwrap();
                let mut user = CompioUser(TokioAsCompio::new(ours));
                play(&mut user, Shim::Direct, peer, &case.moves).await;
            });
        }

        /// The same, with little room in the kernel.
        #[cfg(target_os = "linux")]
        #[test]
        fn tokio_as_compio_over_unix_keeps_the_contract(case in case(), driver in drivers()) {
            on_driver(driver, async {
                let (ours, peer) = unix();
                ours.set_nonblocking(true).unwrap();
                let ours = tokio::net::UnixStream::from_std(ours).unwrap();
                let mut user = CompioUser(TokioAsCompio::new(ours));
                play(&mut user, Shim::Direct, peer, &case.moves).await;
            });
        }
    }
}

/// Sockets that a pool watches, used from Tokio.
#[cfg(target_os = "linux")]
mod remote {
    use std::sync::LazyLock;
    use std::time::Duration;

    use landbridge::CompioPool;
    use landbridge::remote::{Net, TcpStream, UnixStream};
    use socket::{Socket, SocketPeer};
    use users::User;

    use super::sockets::{tcp, unix};
    use super::*;

    static POOL: LazyLock<CompioPool> = LazyLock::new(|| {
        let threads = CompioPool::builder().threads(1).build();
        threads.expect("a pool on any driver")
    });

    /// # Panics
    ///
    /// When nobody has been woken for a minute: what takes that long hangs.
    fn on_tokio(case: impl Future<Output = ()>) {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let case = async { tokio::time::timeout(Duration::from_secs(60), case).await };
        tokio
            .block_on(case)
            .expect("somebody waits, and nobody will wake him");
    }

    async fn play<S: Socket>(mut user: impl User, peer: S, moves: &[Move]) {
        let peer = SocketPeer::new(peer);
        let mut model = Model::new(&peer, Shim::Direct);
        model.play(&mut user, moves).await;
        model.finish(&mut user).await;
        let accepted = model.into_accepted();
        assert!(peer.join() == accepted);
    }

    proptest! {
        #![proptest_config(cases(2))]

        /// The socket is in one thread and its user in another.
        #[test]
        fn a_tcp_stream_keeps_the_contract(case in case(), split in any::<bool>()) {
            on_tokio(async {
                let (ours, peer) = tcp();
                let ours = TcpStream::from_std_in(&Net::new(&POOL), ours).unwrap();
                if split {
                    let (reader, writer) = ours.into_split();
                    play(TokioUser::new(tokio::io::join(reader, writer)), peer, &case.moves).await;
                } else {
                    play(TokioUser::new(ours), peer, &case.moves).await;
                }
            });
        }

        /// The same, with little room in the kernel.
        #[test]
        fn a_unix_stream_keeps_the_contract(case in case()) {
            on_tokio(async {
                let (ours, peer) = unix();
                let ours = UnixStream::from_std_in(&Net::new(&POOL), ours).unwrap();
                play(TokioUser::new(ours), peer, &case.moves).await;
            });
        }
    }
}

/// A library that polls as it likes, and keeps bytes of its own, between the user and the shim.
mod tls_streams {
    use io_support::Hostile;
    use tls::TlsPeer;
    use tls_support::handshake;
    use users::User;

    use super::*;

    async fn play(user: &mut impl User, peer: &TlsPeer, case: &Case) {
        let mut model = Model::new(peer, Shim::Direct);
        let mut shut = false;
        for a_move in &case.moves {
            // What is written behind a shutdown TLS takes, and never sends.
            let writes = matches!(a_move, Move::Write { .. } | Move::WriteInto { .. });
            if !(shut && writes) {
                model.play(user, std::slice::from_ref(a_move)).await;
            }
            shut |= matches!(a_move, Move::Shutdown { .. });
        }
        peer.has_taken(model.flush_out(user).await).await;
        model.write_out(user).await;
        model.read_out(user).await;
        peer.has_met_the_end().await;
        assert!(model.all_is_out());
    }

    /// Enough for what a server sends unasked when the handshake is over.
    fn room() -> impl Strategy<Value = usize> {
        1_000..5_000_usize
    }

    proptest! {
        #![proptest_config(cases(2))]

        /// TLS over a shim, with little room in the pipe below.
        #[test]
        fn tls_over_compio_as_tokio_keeps_the_contract(case in case(), room in room()) {
            alone(async {
                let (ours, peer) = tokio::io::duplex(room);
                let ours = TokioAsCompio::new(Hostile::new(ours));
                let ours = CompioAsTokio::with_capacity(ours, case.capacity);
                let (ours, peer) = handshake(ours, peer).await;
                play(&mut TokioUser::new(ours), &TlsPeer::new(peer), &case).await;
            });
        }

        /// TLS over the fast path.
        #[cfg(target_os = "linux")]
        #[test]
        fn tls_over_socket_as_tokio_keeps_the_contract(case in case()) {
            alone(async {
                let (ours, peer) = sockets::unix();
                let shim = |socket| {
                    let socket = compio::net::UnixStream::from_std(socket).unwrap();
                    landbridge::io::SocketAsTokio::new(socket)
                };
                let (ours, peer) = handshake(shim(ours), shim(peer)).await;
                play(&mut TokioUser::new(ours), &TlsPeer::new(peer), &case).await;
            });
        }

        /// A shim over TLS.
        #[test]
        fn tls_made_owned_keeps_the_contract(case in case(), room in room()) {
            alone(async {
                let (ours, peer) = tokio::io::duplex(room);
                let (ours, peer) = handshake(Hostile::new(ours), peer).await;
                let mut user = CompioUser(TokioAsCompio::new(ours));
                play(&mut user, &TlsPeer::new(peer), &case).await;
            });
        }
    }
}

/// Files by their own rules: one cursor, and an end that goes away when something is appended.
#[cfg(unix)]
mod file_as_tokio {
    use std::io::SeekFrom;

    use compio::driver::DriverType;
    use file::{FileModel, FileMove, Mode};
    use socket::on_driver;

    use super::*;

    fn a_move() -> impl Strategy<Value = FileMove> {
        // No polls: as many as it takes.
        let polls = || prop_oneof![0..1_u8, 1..7_u8];
        let offset = || prop_oneof![-20..20_i64, -2_000..2_000_i64];
        let to = prop_oneof![
            (0..2_000_u64).prop_map(SeekFrom::Start),
            offset().prop_map(SeekFrom::Current),
            offset().prop_map(SeekFrom::End),
        ];
        prop_oneof![
            6 => (size(), polls()).prop_map(|(room, polls)| FileMove::Read { room, polls }),
            4 => (size(), polls()).prop_map(|(len, polls)| FileMove::Write { lens: vec![len], polls }),
            2 => (vec(size(), 0..5), polls()).prop_map(|(lens, polls)| FileMove::Write { lens, polls }),
            2 => polls().prop_map(|polls| FileMove::Flush { polls }),
            1 => polls().prop_map(|polls| FileMove::Shutdown { polls }),
            4 => (to, polls()).prop_map(|(to, polls)| FileMove::Seek { to, polls }),
        ]
    }

    proptest! {
        #![proptest_config(cases(6))]

        /// What is dropped half-way must not move the cursor, nor what is read ahead be skipped.
        #[test]
        fn it_is_bytes_and_a_cursor(
            mode in prop_oneof![
                3 => Just(Mode::ReadAndWrite),
                2 => Just(Mode::Append),
                1 => Just(Mode::ReadOnly),
                1 => Just(Mode::WriteOnly),
            ],
            limit in prop_oneof![1..40_usize, Just(2 << 20)],
            contents in vec(any::<u8>(), 0..300),
            moves in vec(a_move(), 0..40),
            driver in prop_oneof![Just(DriverType::IoUring), Just(DriverType::Poll)],
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            on_driver(driver, FileModel::play(&path, mode, limit, contents, &moves));
        }
    }
}
