//! The shim over sockets, beside the model of `tests/io_model.rs`.
#![no_main]
#![allow(dead_code, reason = "the tests use more of the model")]

#[path = "../../tests/io_model/model.rs"]
mod model;
mod moves;
#[path = "../../tests/io_model/near.rs"]
mod near;
#[path = "../../tests/io_model/play.rs"]
mod play;
#[path = "../../tests/io_model/users.rs"]
mod users;
#[path = "../../tests/io_model/wire.rs"]
mod wire;

use landbridge::io::SocketAsTokio;
use model::{Model, Shim};
use near::NearPeer;
use users::TokioUser;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut data = data.iter().copied();
    let split = data.next().unwrap_or(0) % 2 == 0;
    let moves = moves::moves(|| data.next());
    play::alone(async {
        let (ours, peer) = NearPeer::pair();
        let ours = SocketAsTokio::new(compio::net::UnixStream::from_std(ours).unwrap());
        let mut model = Model::new(&peer, Shim::Direct);
        if split {
            let (reader, writer) = ours.into_split();
            let mut user = TokioUser::new(tokio::io::join(reader, writer));
            model.play(&mut user, &moves).await;
            model.finish(&mut user).await;
        } else {
            let mut user = TokioUser::new(ours);
            model.play(&mut user, &moves).await;
            model.finish(&mut user).await;
        }
        assert!(model.all_is_out());
    });
});
