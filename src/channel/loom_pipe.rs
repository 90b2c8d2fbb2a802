//! Models of the pipe.
