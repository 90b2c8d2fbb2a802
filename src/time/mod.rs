//! Time of whichever runtime polls.

mod on_compio;

pub(crate) use on_compio::OnCompio;
