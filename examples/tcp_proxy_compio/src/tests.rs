//! The suite, which `tcp_proxy_compio` passes, too; and what is this program's own.

use std::ffi::OsString;

use super::*;

tcp_proxy_suite::tests!(Proxy);

/// The template is what it says only while all of it runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_well() {
    let plan = Plan {
        clients: 4,
        requests: 50,
    };
    let mut out = Vec::new();
    tcp_proxy_suite::within(demo::run(plan, &mut out))
        .await
        .unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
}

/// What an orchestrator sends. The only test here that is sent this signal, since it is sent to all of them.
#[tokio::test]
async fn sigterm_is_what_main_waits_for() {
    let asked = asked_to_end().unwrap();
    examples_support::terminate_this_process().unwrap();
    tcp_proxy_suite::within(asked).await;
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
        &["--workers", "0"],
        &["--requests"],
        &["proxy.toml"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["--help"]).unwrap().is_none());
    let options = parse(&["--config", "proxy.toml", "--workers=3"])
        .unwrap()
        .unwrap();
    assert_eq!(options.config.unwrap(), PathBuf::from("proxy.toml"));
    assert_eq!(options.workers, 3);
}
