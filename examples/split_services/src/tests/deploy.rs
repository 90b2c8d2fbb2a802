//! That `deploy/` says what the program does: its commands are read by the program's own parser.

use std::{ffi::OsString, path::Path, time::Duration};

use saphyr::{LoadableYamlNode, Yaml};

use crate::{
    Command, PROBE,
    front::{self, CHECK, HEALTHZ, READYZ},
    server,
};

const KUBERNETES: &str = include_str!("../../deploy/kubernetes/split.yaml");
const KUSTOMIZATION: &str = include_str!("../../deploy/kubernetes/kustomization.yaml");
const WITH_IO_URING: &str = include_str!("../../deploy/kubernetes-io_uring/kustomization.yaml");
const COMPOSE: &str = include_str!("../../deploy/compose.yaml");
const PROFILE: &str = include_str!("../../deploy/io_uring.json");
const OF_FRONT: &str = include_str!("../../deploy/Dockerfile.front");
const OF_STORAGE: &str = include_str!("../../deploy/Dockerfile.storage");

/// The one document of a kind.
fn document<'a>(text: &'a str, kind: &str) -> Yaml<'a> {
    let mut all = Yaml::load_from_str(text).unwrap().into_iter();
    let found = all.find(|one| kind.is_empty() || one["kind"].as_str() == Some(kind));
    found.unwrap_or_else(|| panic!("no {kind}"))
}

fn strings(list: &Yaml<'_>) -> Vec<OsString> {
    let list = list.as_vec().unwrap();
    list.iter()
        .map(|one| one.as_str().unwrap().into())
        .collect()
}

fn seconds(number: &Yaml<'_>) -> Duration {
    Duration::from_secs(number.as_integer().unwrap().try_into().unwrap())
}

/// An instruction of a Dockerfile, of which there is one.
fn instruction<'a>(dockerfile: &'a str, name: &str) -> &'a str {
    let mut found = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let one = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(found.next(), None, "more than one {name}");
    one
}

/// What the program is started with; and that it is the program.
struct Started {
    command: Command,
    threads: Option<usize>,
}

impl Started {
    /// By what the Dockerfile has as its entry point.
    fn new(dockerfile: &str, args: &[OsString]) -> Self {
        let entry = strings(&document(instruction(dockerfile, "ENTRYPOINT"), ""));
        assert_eq!(entry[0], PROGRAM);
        let args = entry[1..].iter().chain(args).cloned();
        let command = Command::parse(args).unwrap().unwrap();
        let threads = match &command {
            Command::Storage(config, _) => config.threads,
            Command::Front(_, threads) => *threads,
            other => panic!("{other:?}"),
        };
        Self { command, threads }
    }

    fn storage(&self) -> &server::Config {
        match &self.command {
            Command::Storage(config, _) => config,
            other => panic!("{other:?}"),
        }
    }

    fn front(&self) -> &front::Config {
        match &self.command {
            Command::Front(config, _) => config,
            other => panic!("{other:?}"),
        }
    }
}

/// Where the images have it.
const PROGRAM: &str = concat!("/usr/local/bin/", env!("CARGO_PKG_NAME"));

/// The two find each other, and everybody finds the front.
fn agree(storage: &Started, front: &Started, port: i64) {
    assert_eq!(front.front().storage, storage.storage().socket);
    assert_eq!(i64::from(front.front().listen.port()), port);
    assert!(
        front.front().listen.ip().is_unspecified(),
        "nobody could reach it"
    );
    // A connection for each worker.
    assert_eq!(Some(front.front().connections), storage.threads);
}

fn is_probe(command: &Yaml<'_>, socket: &Path, lives: bool) {
    let command = strings(command);
    assert_eq!(command[0], PROGRAM);
    match Command::parse(command[1..].iter().cloned())
        .unwrap()
        .unwrap()
    {
        Command::Probe { storage, live } => assert_eq!((storage.as_path(), live), (socket, lives)),
        other => panic!("{other:?}"),
    }
}

/// An image whose program is not there, or has another name, is found out at the deployment.
#[test]
fn the_images_are_built_of_this_program() {
    for (dockerfile, own) in [
        (OF_FRONT, "Dockerfile.front"),
        (OF_STORAGE, "Dockerfile.storage"),
    ] {
        let built = concat!("--example ", env!("CARGO_PKG_NAME"), " \\");
        assert!(dockerfile.contains(built), "{own}");
        let copied = format!(
            "cp target/release/examples/{} {PROGRAM}",
            env!("CARGO_PKG_NAME")
        );
        assert!(dockerfile.contains(&copied), "{own}");
        assert_eq!(
            instruction(dockerfile, "COPY --from=build"),
            format!("{PROGRAM} {PROGRAM}")
        );
        assert!(dockerfile.contains(own), "it says how it is built");
        // Not older than what the package asks for.
        let rust = concat!(
            "FROM rust:",
            env!("CARGO_PKG_RUST_VERSION"),
            "-slim-trixie AS build"
        );
        assert!(dockerfile.contains(rust), "{own}");
        // Its C library is that of the image that it runs in.
        assert!(dockerfile.contains("\nFROM debian:trixie-slim\n"), "{own}");
    }
}

/// Without a word about the command, an image starts what it is for.
#[test]
fn the_images_commands_find_each_other() {
    let default = |dockerfile| strings(&document(instruction(dockerfile, "CMD"), ""));
    let storage = Started::new(OF_STORAGE, &default(OF_STORAGE));
    let front = Started::new(OF_FRONT, &default(OF_FRONT));
    assert_eq!(front.front().storage, storage.storage().socket);
    let port = front.front().listen.port().to_string();
    assert_eq!(instruction(OF_FRONT, "EXPOSE"), port);
    // Whoever the program runs as may write there.
    let config = storage.storage();
    let (run, data) = (config.socket.parent().unwrap(), &config.dir);
    let owned = format!("chown 10001:10001 {} {}\n", run.display(), data.display());
    assert!(OF_STORAGE.contains(&owned));
    for dockerfile in [OF_STORAGE, OF_FRONT] {
        assert_eq!(instruction(dockerfile, "USER"), "10001:10001");
    }
}

/// A pod is what the program is told, what it is asked, and how long it has.
#[test]
fn kubernetes_starts_asks_and_ends_what_is_there() {
    let set = document(KUBERNETES, "StatefulSet");
    let pod = &set["spec"]["template"]["spec"];
    let (storage, front) = (&pod["initContainers"][0], &pod["containers"][0]);
    let storage_args = Started::new(OF_STORAGE, &strings(&storage["args"]));
    let front_args = Started::new(OF_FRONT, &strings(&front["args"]));
    let port = &front["ports"][0];
    agree(
        &storage_args,
        &front_args,
        port["containerPort"].as_integer().unwrap(),
    );

    // Started before the front, ended after it.
    assert_eq!(storage["restartPolicy"].as_str(), Some("Always"));

    // The same volume in both, for the socket; another that stays, for the data.
    let socket = &storage_args.storage().socket;
    let volume_at = |container: &Yaml<'_>, path: &Path| {
        let mounts = container["volumeMounts"].as_vec().unwrap();
        let mount = mounts
            .iter()
            .find(|mount| Path::new(mount["mountPath"].as_str().unwrap()) == path);
        mount.unwrap_or_else(|| panic!("nothing at {}", path.display()))["name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let run = volume_at(storage, socket.parent().unwrap());
    assert_eq!(run, volume_at(front, socket.parent().unwrap()));
    assert_eq!(pod["volumes"][0]["name"].as_str(), Some(&run[..]));
    let data = volume_at(storage, &storage_args.storage().dir);
    let claim = &set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"];
    assert_eq!(claim.as_str(), Some(&data[..]));

    for (probe, path) in [
        ("startupProbe", HEALTHZ),
        ("readinessProbe", READYZ),
        ("livenessProbe", HEALTHZ),
    ] {
        assert_eq!(front[probe]["httpGet"]["path"].as_str(), Some(path));
        assert_eq!(
            front[probe]["httpGet"]["port"].as_str(),
            port["name"].as_str()
        );
    }
    for (probe, live) in [
        ("startupProbe", false),
        ("readinessProbe", false),
        ("livenessProbe", true),
    ] {
        is_probe(&storage[probe]["exec"]["command"], socket, live);
        // Or it is cut off before it has said why.
        assert!(seconds(&storage[probe]["timeoutSeconds"]) > PROBE);
    }
    assert!(seconds(&front["readinessProbe"]["timeoutSeconds"]) > CHECK);

    let sleep = seconds(&front["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let whole = seconds(&pod["terminationGracePeriodSeconds"]);
    assert!(
        whole > sleep + front::GRACE + server::GRACE,
        "SIGKILL in the middle of the end"
    );

    for (container, started) in [(storage, &storage_args), (front, &front_args)] {
        let limit = container["resources"]["limits"]["cpu"].as_str().unwrap();
        assert_eq!(
            limit.parse().ok(),
            started.threads,
            "threads that stand still"
        );
    }

    let service = document(KUBERNETES, "Service");
    assert_eq!(
        service["spec"]["ports"][0]["targetPort"].as_str(),
        port["name"].as_str()
    );
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    for selector in [
        &service["spec"]["selector"],
        &set["spec"]["selector"]["matchLabels"],
    ] {
        assert_eq!(selector["app"].as_str(), labels["app"].as_str());
    }
    assert_eq!(
        set["spec"]["serviceName"].as_str(),
        service["metadata"]["name"].as_str()
    );
    // The images run as who owns their directories.
    let user = pod["securityContext"]["runAsUser"].as_integer().unwrap();
    assert!(instruction(OF_STORAGE, "USER").starts_with(&format!("{user}:")));
}

/// The patch must meet what it patches: one for a container of another name adds one.
#[test]
fn io_uring_is_allowed_to_the_storage_alone() {
    let with = document(WITH_IO_URING, "Kustomization");
    assert_eq!(with["resources"][0].as_str(), Some("../kubernetes"));
    let base = document(KUSTOMIZATION, "Kustomization");
    assert_eq!(base["resources"][0].as_str(), Some("split.yaml"));

    let patch = &with["patches"][0];
    let set = document(KUBERNETES, "StatefulSet");
    let patched = document(patch["patch"].as_str().unwrap(), "StatefulSet");
    for set_of in [&patch["target"]["name"], &patched["metadata"]["name"]] {
        assert_eq!(set_of.as_str(), set["metadata"]["name"].as_str());
    }
    let containers = |set: &Yaml<'_>| {
        set["spec"]["template"]["spec"]["initContainers"][0]["name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(containers(&patched), containers(&set));
    let patched = &patched["spec"]["template"]["spec"];
    assert!(!patched.contains_mapping_key("containers"));
    let profile = &patched["initContainers"][0]["securityContext"]["seccompProfile"];
    assert_eq!(profile["type"].as_str(), Some("Localhost"));
    assert!(
        profile["localhostProfile"]
            .as_str()
            .unwrap()
            .ends_with(".json")
    );

    // JSON is YAML.
    let profile = document(PROFILE, "");
    assert_eq!(profile["action"].as_str(), Some("SCMP_ACT_ALLOW"));
    let names = strings(&profile["names"]);
    assert_eq!(
        names,
        ["io_uring_setup", "io_uring_enter", "io_uring_register"]
    );
}

/// The same pair on one host.
#[test]
fn compose_starts_asks_and_ends_what_is_there() {
    let compose = document(COMPOSE, "");
    let (storage, front) = (
        &compose["services"]["storage"],
        &compose["services"]["front"],
    );
    let storage_args = Started::new(OF_STORAGE, &strings(&storage["command"]));
    let front_args = Started::new(OF_FRONT, &strings(&front["command"]));
    let port = front["ports"][0]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap();
    agree(&storage_args, &front_args, port.parse().unwrap());
    is_probe(
        &in_container(&storage["healthcheck"]["test"]),
        &storage_args.storage().socket,
        false,
    );

    // "volume:path"
    let socket = storage_args
        .storage()
        .socket
        .parent()
        .unwrap()
        .to_str()
        .unwrap();
    let run = OsString::from(format!("run:{socket}"));
    let data = OsString::from(format!("data:{}", storage_args.storage().dir.display()));
    assert_eq!(strings(&storage["volumes"]), [run.clone(), data]);
    assert_eq!(strings(&front["volumes"]), [run]);

    for (service, started, grace) in [
        (storage, &storage_args, server::GRACE),
        (front, &front_args, front::GRACE),
    ] {
        let stop = service["stop_grace_period"]
            .as_str()
            .unwrap()
            .strip_suffix('s')
            .unwrap();
        assert!(Duration::from_secs(stop.parse().unwrap()) > grace);
        let cpus = service["cpus"].as_integer().unwrap();
        assert_eq!(usize::try_from(cpus).ok(), started.threads);
    }
    for (service, own) in [(storage, "Dockerfile.storage"), (front, "Dockerfile.front")] {
        let dockerfile = service["build"]["dockerfile"].as_str().unwrap();
        assert!(dockerfile.ends_with(&format!("/deploy/{own}")));
        // From the folder of the file to the root that the Dockerfiles are for.
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy")
            .join(service["build"]["context"].as_str().unwrap());
        assert!(root.join(dockerfile).is_file());
    }
    // In a container, stopped last.
    assert!(front["depends_on"].contains_mapping_key("storage"));
}

/// Without the word that says that no shell is wanted.
fn in_container<'a>(test: &Yaml<'a>) -> Yaml<'a> {
    let test = test.as_vec().unwrap();
    assert_eq!(test[0].as_str(), Some("CMD"));
    Yaml::Sequence(test[1..].to_vec())
}
