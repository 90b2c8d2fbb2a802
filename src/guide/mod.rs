//! The guides: what to do when, with whole examples, the figures and what was learnt.
//!
//! | guide | about |
//! |---|---|
//! | [`spawning`] | work on the other side: which call, what becomes of the work, the size of a pool |
//! | [`contexts`] | staying on a thread: Tokio's things in a Compio task, what need not be `Send`, both runtimes on one thread |
//! | [`files`] | what changes from `tokio::fs`, what becomes faster, direct I/O, durability |
//! | [`io`] | streams, buffers, and moving a socket to the other runtime |
//! | [`channels`] | which channel, what it promises, what it costs |
//! | [`migrating`] | moving a module, step by step |
//! | [`pitfalls`] | what goes wrong in bridges written by hand |
//! | [`comparison`] | landbridge beside compio-dispatcher, compio-compat, Tokio's io_uring files and tokio-uring |
//! | [`faq`] | questions |
//! | [`upstream`] | faults of Compio that landbridge works around |
//! | [design.md] | what was decided, what lost, what was measured |
//! | [loom.md] | the models, and how to run them over code of yours |
//!
//! These pages are part of the documentation only; in the sources they are in `docs/`. There a link to
//! another guide is a file's name, by reference, and `links.md` says what it is here: of two definitions
//! of a reference, the first one counts.
//!
#![cfg_attr(not(doctest), doc = include_str!("links.md"))]

#[cfg_attr(not(doctest), doc = include_str!("links.md"))]
#[cfg_attr(any(not(doctest), feature = "net"), doc = include_str!("../../docs/spawning.md"))]
pub mod spawning {}

#[cfg_attr(not(doctest), doc = include_str!("links.md"))]
#[cfg_attr(any(not(doctest), feature = "net"), doc = include_str!("../../docs/contexts.md"))]
pub mod contexts {}

// Its examples need other people's crates: `tests/ecosystem` compiles them.
#[cfg_attr(not(doctest), doc = include_str!("links.md"))]
#[cfg_attr(not(doctest), doc = include_str!("../../docs/files.md"))]
pub mod files {}

#[cfg_attr(not(doctest), doc = include_str!("links.md"))]
#[cfg_attr(
    any(not(doctest), all(feature = "net", feature = "fs", unix)),
    doc = include_str!("../../docs/io.md")
)]
pub mod io {}

#[cfg_attr(not(doctest), doc = include_str!("links.md"))]
#[cfg_attr(any(not(doctest), feature = "pool"), doc = include_str!("../../docs/channels.md"))]
pub mod channels {}

#[cfg_attr(not(doctest), doc = include_str!("links.md"))]
#[cfg_attr(
    any(not(doctest), all(feature = "net", unix)),
    doc = include_str!("../../docs/migrating.md")
)]
pub mod migrating {}

#[cfg_attr(not(doctest), doc = include_str!("links.md"))]
#[doc = include_str!("../../docs/pitfalls.md")]
pub mod pitfalls {}

#[cfg_attr(not(doctest), doc = include_str!("links.md"))]
#[doc = include_str!("../../docs/comparison.md")]
pub mod comparison {}

#[cfg_attr(not(doctest), doc = include_str!("links.md"))]
#[doc = include_str!("../../docs/faq.md")]
pub mod faq {}

#[cfg_attr(not(doctest), doc = include_str!("links.md"))]
#[cfg_attr(
    any(not(doctest), all(feature = "net", target_os = "linux")),
    doc = include_str!("../../docs/upstream.md")
)]
pub mod upstream {}
