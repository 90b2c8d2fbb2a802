//! The read direction of a shim beside a queue of bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| landbridge::io::fuzzing::read_side(data));
