//! Prints the public API found in a rustdoc JSON file, one item a line, and fails where a module that
//! must not name Compio's types does.
//!
//! A Compio minor changes the types that landbridge shares with its users. Where they appear is
//! therefore decided once: in the rooms that exist for them, and nowhere else.

use std::{collections::BTreeSet, process::ExitCode};

/// The modules whose signatures may name Compio's types.
const ROOMS_FOR_COMPIO: [&str; 3] = ["io", "handoff", "fs"];
/// Single items elsewhere that may: the last word on Compio's own builder, Compio re-exported, and the ends of
/// a pipe, which are streams of both runtimes.
const EXCEPTIONS: [&str; 4] = [
    "Builder::proactor",
    "pub use landbridge::compio",
    "landbridge::channel::pipe::Reader",
    "landbridge::channel::pipe::Writer",
];

fn main() -> ExitCode {
    let Some(json) = std::env::args_os().nth(1) else {
        eprintln!("usage: landbridge-listing RUSTDOC_JSON");
        return ExitCode::from(2);
    };
    // Blanket impls say nothing about this crate; auto traits are proved by tests/auto_traits.rs.
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build();
    let listing = match api {
        Ok(api) => api.to_string(),
        Err(error) => {
            eprintln!("no listing: {error}");
            return ExitCode::FAILURE;
        }
    };
    print!("{listing}");
    let faults = lines_out_of_place(&listing);
    for line in &faults {
        eprintln!("names a type of Compio outside {ROOMS_FOR_COMPIO:?}: {line}");
    }
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    }
}

fn lines_out_of_place(listing: &str) -> Vec<&str> {
    // What the front door re-exports from such a room may name Compio there too.
    let at_home: BTreeSet<&str> = listing
        .lines()
        .flat_map(own_paths)
        .filter_map(|path| {
            let (room, item) = path.split_once("::")?;
            ROOMS_FOR_COMPIO
                .contains(&room)
                .then(|| item.split("::").next().unwrap_or(item))
        })
        .collect();
    let mut implementation = "";
    listing
        .lines()
        .filter_map(|line| {
            if line.starts_with("impl") {
                implementation = line;
            }
            // An item of one of our traits on a type of Compio's: its place is that of the trait.
            let of_compio = ["pub fn compio", "pub type compio", "pub const compio"]
                .iter()
                .any(|start| line.starts_with(start));
            (!of_compio || !own_paths(implementation).any(|_| true)).then_some(line)
        })
        .filter(|line| names_compio(line))
        .filter(|line| !EXCEPTIONS.iter().any(|exception| line.contains(exception)))
        .filter(|line| {
            !own_paths(line).any(|path| {
                let first = path.split("::").next().unwrap_or(path);
                ROOMS_FOR_COMPIO.contains(&first) || at_home.contains(first)
            })
        })
        .collect()
}

/// Every path into this crate, without the crate's name.
fn own_paths(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .filter_map(|word| word.strip_prefix("landbridge::"))
}

fn names_compio(line: &str) -> bool {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .any(|word| word.starts_with("compio") && word.contains("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "pub struct landbridge::io::Shim<S>\n";

    fn accepted(line: &str) -> bool {
        lines_out_of_place(&format!("{ROOM}{line}\n")).is_empty()
    }

    #[test]
    fn a_compio_type_in_spawn_pool_channel_or_the_root_is_refused() {
        assert!(!accepted(
            "pub fn landbridge::CompioPool::run(&self, compio_driver::Proactor)"
        ));
        assert!(!accepted(
            "pub fn landbridge::pool::Builder::driver(compio_driver::DriverType)"
        ));
        assert!(!accepted(
            "impl From<compio_runtime::JoinError> for landbridge::JoinError"
        ));
    }

    #[test]
    fn a_compio_type_in_its_room_is_accepted_also_through_the_front_door() {
        assert!(accepted(
            "impl<S> compio_io::AsyncRead for landbridge::io::Shim<S>"
        ));
        assert!(accepted(
            "impl<S> compio_io::AsyncRead for landbridge::Shim<S>"
        ));
        assert!(accepted(
            "pub fn landbridge::pool::Builder::proactor(compio_driver::ProactorBuilder)"
        ));
        assert!(accepted("pub use landbridge::compio"));
    }

    #[test]
    fn the_items_of_our_trait_on_a_compio_type_stand_where_the_trait_stands() {
        let item = "pub fn compio_net::TcpStream::into_shim(self) -> Self::Io";
        let ours = "impl landbridge::io::IntoShim for compio_net::TcpStream";
        assert!(accepted(&format!("{ours}\n{item}")));
        assert!(!accepted(item));
    }

    #[test]
    fn our_own_names_are_not_compios() {
        assert!(accepted(
            "pub fn landbridge::CompioPool::metrics(&self) -> landbridge::Metrics"
        ));
    }
}
