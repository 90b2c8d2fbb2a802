//! The service's code from its `.proto`: protox reads it, so that no `protoc` has to be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let read = protox::compile(["storage.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Chunks stay what they were: parts of what was read from the socket, and not copies.
        .bytes(".")
        // The front makes its channel itself.
        .build_transport(false)
        .compile_fds(read)?;
    Ok(())
}
