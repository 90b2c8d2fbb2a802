//! Whole shims over a stream in memory, beside the model of `tests/io_model.rs`.
#![no_main]
#![allow(dead_code, reason = "the tests use more of the model")]

#[path = "../../tests/io_model/model.rs"]
mod model;
mod moves;
#[path = "../../tests/io_model/play.rs"]
mod play;
#[path = "../../tests/io_model/users.rs"]
mod users;
#[path = "../../tests/io_model/wire.rs"]
mod wire;

use landbridge::io::{CompioAsTokio, TokioAsCompio};
use model::{Model, Shim};
use users::{CompioUser, TokioUser};
use wire::Wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut data = data.iter().copied();
    let mut next = || data.next();
    let (Some(which), Some(capacity), Some(paces)) = (next(), next(), next()) else {
        return;
    };
    let capacity = usize::from(capacity) * if which >= 128 { 16 } else { 1 };
    let mut rhythm = Vec::new();
    for _ in 0..paces % 6 {
        let pace = next().unwrap_or(0);
        rhythm.push((1 << (pace % 16), pace / 16 % 4));
    }
    let moves = moves::moves(next);
    let wire = Wire::new(rhythm, which & 8 != 0);
    let capacity_or_one = capacity.max(1);
    let buffers = Shim::Buffers {
        inward: capacity_or_one,
        outward: 2 * capacity_or_one,
    };
    play::alone(async {
        match which % 4 {
            0 => {
                let stream = CompioAsTokio::with_capacity(wire.compio_halves(), capacity);
                let mut user = TokioUser::buffered(stream);
                let mut model = Model::new(&wire, buffers);
                model.play(&mut user, &moves).await;
                model.finish(&mut user).await;
            }
            1 => {
                let stream = CompioAsTokio::with_capacity(wire.compio_halves(), capacity);
                let mut user = TokioUser::buffered(stream);
                let mut model = Model::new(&wire, buffers);
                model.play(&mut user, &moves).await;
                drop(user);
                wire.give_room(usize::MAX);
                wire.closed().await;
                assert!(wire.is_broken() || model.all_is_out());
            }
            2 => {
                let (reader, writer) = wire.tokio_halves();
                let mut user = CompioUser(TokioAsCompio::new(tokio::io::join(reader, writer)));
                let mut model = Model::new(&wire, Shim::Direct);
                model.play(&mut user, &moves).await;
                model.finish(&mut user).await;
            }
            _ => {
                let (reader, writer) = wire.tokio_halves();
                let halves = (TokioAsCompio::new(reader), TokioAsCompio::new(writer));
                let mut user = TokioUser::buffered(CompioAsTokio::with_capacity(halves, capacity));
                let mut model = Model::new(&wire, buffers);
                model.play(&mut user, &moves).await;
                model.finish(&mut user).await;
            }
        }
    });
});
