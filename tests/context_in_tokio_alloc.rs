//! What a context allocates: nothing, once somebody has waited in it.
#![cfg(feature = "pool")]

mod context_support;
#[path = "support/counting.rs"]
#[allow(dead_code, reason = "others count bytes too")]
mod counting;
mod support;

use std::{
    future::{Future, pending, ready},
    pin::pin,
    task::{Context, Waker},
};

use context_support::tokio_runtime;
use counting::calls;
use landbridge::context::{self, InTokioExt};

/// A request is wrapped for each, often inside of another: nothing is boxed for any of them.
#[test]
fn neither_wrapping_nor_polling_nor_dropping_allocates() {
    let tokio = tokio_runtime();
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = pin!(pending::<()>().in_tokio(tokio.handle()));
    assert!(first.as_mut().poll(&mut cx).is_pending());
    // Room for those below in the runtime's watch.
    let mut second = Box::pin(pending::<()>().in_tokio(tokio.handle()));
    assert!(second.as_mut().poll(&mut cx).is_pending());
    drop(second);

    let before = calls();
    for _ in 0..1000 {
        let mut waits = pin!(pending::<()>().in_tokio(tokio.handle()));
        for _ in 0..3 {
            assert!(waits.as_mut().poll(&mut cx).is_pending());
        }
        let nested = ready(()).in_tokio(tokio.handle());
        assert!(
            pin!(nested.in_tokio(tokio.handle()))
                .poll(&mut cx)
                .is_ready()
        );
        context::with(tokio.handle(), || ());
    }
    assert_eq!(calls() - before, 0);
}
