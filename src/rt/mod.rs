//! For code that serves both runtimes.
//!
//! The guide: [contexts](crate::guide::contexts).
//!
//! # When to use this
//!
//! In a library that its users run on Tokio or on Compio, or in a module that is to move from one to the
//! other: here is what such code asks of a runtime beside time and messages, which are
//! [`time`](crate::time) and [`channel`](crate::channel).
//!
//! | on Tokio | on both |
//! |---|---|
//! | `tokio::task::spawn_local` | [`spawn_local`] |
//! | `tokio::task::yield_now` | [`yield_now`] |
//! | `tokio::time` | [`time`](crate::time) |
//! | `tokio::sync` | [`channel`](crate::channel); all of `tokio::sync` works on Compio as well |
//! | `Handle::try_current`, to ask whether there is one | [`Flavor::current`] |
//!
//! ```
//! use std::{rc::Rc, time::Duration};
//!
//! use landbridge::{channel, rt, time};
//!
//! /// A library's function: it names no runtime.
//! async fn sum_of_squares(numbers: Vec<u64>) -> u64 {
//!     let (mut sender, mut receiver) = channel::spsc(8);
//!     let numbers = Rc::new(numbers);
//!     let task = rt::spawn_local(async move {
//!         for number in numbers.iter() {
//!             sender.send(number * number).await.unwrap();
//!             rt::yield_now().await;
//!         }
//!     });
//!     let mut sum = 0;
//!     let wait = Duration::from_secs(10);
//!     while let Some(square) = time::timeout(wait, receiver.recv()).await.unwrap() {
//!         sum += square;
//!     }
//!     task.await.unwrap();
//!     sum
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let compio = compio::runtime::Runtime::new()?;
//! assert_eq!(compio.block_on(sum_of_squares(vec![1, 2, 3])), 14);
//!
//! let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! let tasks = tokio::task::LocalSet::new();
//! assert_eq!(tasks.block_on(&tokio, sum_of_squares(vec![1, 2, 3])), 14);
//! # Ok(())
//! # }
//! ```

mod flavor;
mod spawn_local;
mod yield_now;

pub use flavor::Flavor;
pub(crate) use spawn_local::spawn_helper;
pub use spawn_local::{LocalJoinHandle, spawn_local};
pub use yield_now::{YieldNow, yield_now};
