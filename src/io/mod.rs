//! The borrowed/owned I/O line.
