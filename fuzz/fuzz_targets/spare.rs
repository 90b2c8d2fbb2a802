//! The buffers that shims of a thread share.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| landbridge::io::fuzzing::spare(data));
