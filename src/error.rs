//! Every public error of this crate.
