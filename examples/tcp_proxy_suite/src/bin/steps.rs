//! Applies the diffs of `docs/migrating.md` to `tcp_proxy_tokio`, one step after the other, and writes each program on
//! the way into a workspace of its own:
//!
//! ```text
//! cargo run -p tcp_proxy_suite --bin steps -- target/migration
//! cargo test --manifest-path target/migration/Cargo.toml
//! ```

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use tcp_proxy_suite::Error;

/// A package's files by their names.
type Files = BTreeMap<PathBuf, String>;

fn main() -> ExitCode {
    let Some(dir) = env::args_os().nth(1) else {
        eprintln!("usage: steps DIR");
        return ExitCode::from(2);
    };
    match steps().and_then(|steps| write(Path::new(&dir), &steps)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The program after each step.
fn steps() -> Result<Vec<Files>, Error> {
    let guide = fs::read_to_string(root().join("docs/migrating.md"))?;
    let mut files = package("tcp_proxy_tokio")?;
    let mut steps = Vec::new();
    for step in guide.split("\n### Step ").skip(1) {
        // To the next heading of any kind.
        let step = step.split("\n## ").next().unwrap_or(step);
        for block in step.split("```diff\n").skip(1) {
            apply(block.split("```").next().unwrap_or(block), &mut files)?;
        }
        steps.push(files.clone());
    }
    Ok(steps)
}

fn package(name: &str) -> Result<Files, Error> {
    let dir = root().join("examples").join(name);
    let mut files = Files::from([(
        "Cargo.toml".into(),
        fs::read_to_string(dir.join("Cargo.toml"))?,
    )]);
    for entry in fs::read_dir(dir.join("src"))? {
        let entry = entry?;
        let name = Path::new("src").join(entry.file_name());
        files.insert(name, fs::read_to_string(entry.path())?);
    }
    Ok(files)
}

/// A diff without line numbers: what it takes away, with its context, has to be there once.
fn apply(diff: &str, files: &mut Files) -> Result<(), Error> {
    let name = diff.lines().next().and_then(|it| it.strip_prefix("--- "));
    let name = name.ok_or("a diff begins with the file's name")?;
    let text = files
        .get_mut(Path::new(name))
        .ok_or_else(|| format!("there is no {name}"))?;
    for hunk in diff.split("\n@@\n").skip(1) {
        let (mut old, mut new) = (String::new(), String::new());
        for line in hunk.lines() {
            let rest = line.get(1..).unwrap_or("");
            if !line.starts_with('+') {
                old += &format!("{rest}\n");
            }
            if !line.starts_with('-') {
                new += &format!("{rest}\n");
            }
        }
        let places = format!("\n{text}").matches(&format!("\n{old}")).count();
        if places != 1 {
            return Err(format!("{name} has this {places} times:\n{old}").into());
        }
        *text =
            format!("\n{text}").replace(&format!("\n{old}"), &format!("\n{new}"))[1..].to_owned();
    }
    Ok(())
}

/// A workspace of these programs, with this one's dependencies and lints.
fn write(dir: &Path, steps: &[Files]) -> Result<(), Error> {
    let root = root().canonicalize()?;
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let mut workspace = "[workspace]\nresolver = \"3\"\nmembers = [\"step_*\"]\n".to_owned();
    for section in manifest.split("\n[").skip(1) {
        if section.starts_with("workspace.") {
            workspace += &format!("\n[{section}");
        }
    }
    let here = |path: &str| format!("path = {:?}", root.join(path));
    fs::create_dir_all(dir)?;
    let workspace = workspace.replace("path = \".\"", &here(""));
    fs::write(dir.join("Cargo.toml"), workspace)?;
    if let Ok(lock) = fs::read(root.join("Cargo.lock")) {
        fs::write(dir.join("Cargo.lock"), lock)?;
    }
    for (step, files) in (1..).zip(steps) {
        let package = dir.join(format!("step_{step}"));
        fs::create_dir_all(package.join("src"))?;
        for (name, text) in files {
            let text = match name.to_str() {
                Some("Cargo.toml") => text
                    .replace("tcp_proxy_tokio", &format!("tcp_proxy_step_{step}"))
                    .replace("path = \"../support\"", &here("examples/support"))
                    .replace(
                        "path = \"../tcp_proxy_suite\"",
                        &here("examples/tcp_proxy_suite"),
                    ),
                _ => text.clone(),
            };
            fs::write(package.join(name), text)?;
        }
    }
    println!("{} steps in {}", steps.len(), dir.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A walk-through that leaves something out, or that the programs have outgrown, leads nowhere.
    #[test]
    fn the_guides_diffs_lead_from_one_proxy_to_the_other() {
        let steps = steps().unwrap();
        let after = package("tcp_proxy_compio").unwrap();
        let reached = &steps[steps.len() - 1];
        assert!(steps.len() >= 3);
        assert!(reached.keys().eq(after.keys()));
        for (name, text) in reached {
            // But for their names, and for what they say of themselves.
            let code = |text: &str| {
                let lines = text
                    .lines()
                    .filter(|line| !line.starts_with("//!") && !line.starts_with("description = "));
                let code: Vec<_> = lines.collect();
                code.join("\n")
                    .replace("tcp_proxy_tokio", "tcp_proxy_compio")
            };
            assert_eq!(code(text), code(&after[name]), "{}", name.display());
        }
    }
}
