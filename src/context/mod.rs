//! Using one runtime's things where the other's are asked for, without a hop.
//!
//! | you have | you need | use |
//! |---|---|---|
//! | a future, stream or I/O object that must stay on its thread | one that is `Send`, for a library that asks for it there | [`OnThread`] |

mod on_thread;

pub use on_thread::OnThread;
