//! What the demonstration cannot show about itself.

use std::ffi::OsString;

use super::*;

/// A Compio runtime with a Tokio runtime beside it, as `run` has them.
fn on_both<F: Future>(test: impl FnOnce(Handle) -> F) -> F::Output {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let compio = compio::runtime::Runtime::new().unwrap();
    compio.block_on(async {
        CompioHandle::attach().unwrap();
        test(tokio.handle().clone()).await
    })
}

/// The template is what it says only while all of it runs.
#[test]
fn the_demonstration_ends_well() {
    let mut out = Vec::new();
    on_both(async |tokio| demo::run(&tokio, 1, &mut out).await).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
}

/// What an orchestrator sends. The only test here that is sent a signal, since it is sent to all of them.
#[test]
fn sigterm_drains_and_ends_the_program() {
    on_both(async |tokio| {
        let stop = asked_to_end(&tokio).unwrap();
        let server = "http://127.0.0.1:9/".parse().unwrap();
        let fetcher = Fetcher::new(server, tokio).unwrap();
        let listen = ([127, 0, 0, 1], 0).into();
        let gateway = Gateway::bind(listen, fetcher, Way::Run).await.unwrap();
        let addr = gateway.addr();
        let serving = landbridge::rt::spawn_local(gateway.serve(stop, GRACE));
        // An idle client holds nothing up.
        let mut idle = compio::net::TcpStream::connect(addr).await.unwrap();
        examples_support::terminate_this_process().unwrap();
        let end = compio::io::AsyncRead::read(&mut idle, Vec::with_capacity(1)).await;
        assert_eq!(end.0.unwrap(), 0);
        drop(idle);
        assert!(serving.await.unwrap());
    });
}

/// Whoever mistypes an option must not get the demonstration instead.
#[test]
fn wrong_options_are_refused() {
    let parse = |args: &[&str]| {
        let args = args.iter().map(OsString::from);
        Options::parse(lexopt::Parser::from_args(args))
    };
    for wrong in [
        &["--nonsense"][..],
        &["--rounds", "0"],
        &["--rounds"],
        &["--listen", "127.0.0.1:0"],
        &["--upstream", "http://127.0.0.1/"],
        &["--way", "run"],
        &[
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            "http://127.0.0.1/",
            "--way",
            "by-foot",
        ],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["--help"]).unwrap().is_none());
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        "http://127.0.0.1/",
        "--way=in-tokio",
    ];
    let options = parse(&args).unwrap().unwrap();
    assert_eq!(options.serve.unwrap().way, Way::InTokio);
}
