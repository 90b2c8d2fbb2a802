//! Other people's crates, as they are, over this one: servers, clients and codecs that know nothing of it.
//!
//! A package of its own, so that nothing else waits for theirs to be built. No test here needs a process
//! of its own, so that one binary holds them all; what does is beside the others, in `tests/`.

#![cfg(any(doctest, test))]

#[cfg(all(doctest, unix))]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(all(doctest, unix))]
#[doc = include_str!("../../../docs/files.md")]
struct Files;

#[cfg(doctest)]
#[doc = include_str!("../../../src/hyper/examples.md")]
struct Hyper;

#[cfg(target_os = "linux")]
mod context_in_tokio;
#[cfg(target_os = "linux")]
#[path = "../../context_support/mod.rs"]
mod context_support;
mod hyper_axum;
mod hyper_http1;
mod hyper_http2;
mod hyper_on_thread;
mod hyper_support;
mod hyper_timer;
mod hyper_tonic;
mod io_real_things;
#[cfg(target_os = "linux")]
mod io_servers;
#[path = "../../io_support/mod.rs"]
mod io_support;
mod plain_codec;
#[cfg(unix)]
mod remote_axum;
mod rt_openraft;
mod rt_openraft_runtime;
#[cfg(target_os = "linux")]
mod servers;
#[path = "../../support/mod.rs"]
mod support;
