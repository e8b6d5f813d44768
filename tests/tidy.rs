//! Goal: the house stays as `docs/ARCHITECTURE.md` draws it. Method: read the tree and the manifests, no build.
//!
//! Checked: the arrows between crates and inside the booking core; that every third-party crate says what it is for;
//! that paths named in documents exist; that modules open with their purpose; sizes; names that say nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below a folder with one of these endings, without build output and hidden folders.
fn files(below: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, endings));
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

fn manifest(folder: &str) -> toml::Table {
    fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

/// Which of our crates a crate depends on, leaving out what only its tests need.
fn ours(folder: &str, ours: &[&str]) -> Vec<String> {
    let manifest = manifest(folder);
    let mut names: Vec<String> = manifest
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .map(|table| table.keys().filter(|name| ours.contains(&name.as_str())).cloned().collect())
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let arrows: BTreeMap<&str, (&str, &[&str])> = BTreeMap::from([
        ("queue-token", ("queue/token", &[][..])),
        ("queue", ("queue", &["queue-token"][..])),
        ("gateway", ("gateway", &["queue", "queue-token"][..])),
        ("booking-domain", ("booking/domain", &[][..])),
        ("booking", ("booking", &["booking-domain", "queue-token"][..])),
        ("stack", ("tests/stack", &[][..])),
        ("loadtest", ("loadtest", &["stack"][..])),
        ("e2e", ("tests", &[][..])),
        ("bench", ("tests/bench", &["queue", "queue-token", "stack"][..])),
    ]);
    let names: Vec<&str> = arrows.keys().copied().collect();
    for (folder, allowed) in arrows.values() {
        let used = ours(folder, &names);
        let stray: Vec<&String> = used.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(stray.is_empty(), "{folder} must not depend on {stray:?}");
    }
    let members = manifest("").get("workspace").unwrap()["members"].as_array().unwrap().len();
    assert_eq!(members, arrows.len(), "a new crate needs its arrows here and in docs/ARCHITECTURE.md");
}

#[test]
fn pure_crates_bring_no_runtime_and_no_storage() {
    for folder in ["queue/token", "booking/domain"] {
        let manifest = manifest(folder);
        let uses = manifest["dependencies"].as_table().unwrap();
        for banned in ["tokio", "sqlx", "redis", "axum", "pingora", "reqwest", "hyper"] {
            assert!(!uses.contains_key(banned), "{folder} is pure and must not use {banned}");
        }
    }
}

#[test]
fn inside_booking_nothing_points_back() {
    let back = [
        ("booking/src/storage", &["crate::app", "crate::http", "crate::jobs", "crate::payments"][..]),
        ("booking/src/app", &["crate::http", "crate::jobs"][..]),
        ("booking/src/payments", &["crate::app", "crate::http", "crate::jobs", "crate::storage"][..]),
        ("booking/src/jobs", &["crate::http"][..]),
    ];
    for (folder, banned) in back {
        let (folder, file) = (root().join(folder), root().join(format!("{folder}.rs")));
        let inside = if folder.is_dir() { files(&folder, &[".rs"]) } else { vec![file] };
        for file in inside {
            let text = fs::read_to_string(&file).unwrap();
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let stray = banned.iter().find(|module| line.contains(*module));
                assert!(stray.is_none(), "{}: {} points back: {line}", relative(&file), stray.unwrap());
            }
        }
    }
}

#[test]
fn every_third_party_crate_says_what_it_is_for() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = text.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for line in section.lines().filter(|line| line.contains(" = ") && !line.contains("path = ")) {
        let reason = line.split_once("# ").map_or("", |(_, reason)| reason.trim());
        assert!(reason.len() > 10, "no reason beside: {line}");
    }
    for file in files(&root(), &["Cargo.toml"]).iter().filter(|file| relative(file) != "Cargo.toml") {
        for line in fs::read_to_string(file).unwrap().lines() {
            let versioned = line.contains(" = \"") && line.starts_with(|c: char| c.is_ascii_lowercase());
            let plain = ["name", "path", "harness", "edition", "version", "description", "build"];
            let key = line.split(" = ").next().unwrap_or_default();
            assert!(!versioned || plain.contains(&key), "{}: versions stand in the root: {line}", relative(file));
        }
    }
}

#[test]
fn paths_named_in_documents_exist() {
    let mut named = 0;
    for document in files(&root(), &[".md"]) {
        let text = fs::read_to_string(&document).unwrap();
        for token in text.split('`').skip(1).step_by(2).chain(links(&text)) {
            let Some(path) = as_path(token) else { continue };
            named += 1;
            let known = [root(), document.parent().unwrap().to_owned()].iter().any(|base| base.join(path).exists());
            assert!(known, "{} names `{token}`, which is not there", relative(&document));
        }
    }
    assert!(named > 20, "only {named} paths found: the check has lost its eyes");
}

/// Targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The path that a token names, when it names one of ours.
fn as_path(token: &str) -> Option<&str> {
    let token = token.split('#').next().unwrap_or_default().trim_end_matches('/');
    let plain = token.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let tops = ["gateway", "queue", "booking", "loadtest", "config", "tests", "docs", ".ci", ".cargo"];
    let below = tops.iter().any(|top| token.starts_with(&format!("{top}/")));
    let known_file = !token.contains('/') && [".md", ".toml"].iter().any(|end| token.ends_with(end));
    (plain && !token.is_empty() && !token.starts_with('/') && (below || known_file)).then_some(token)
}

#[test]
fn modules_open_with_their_purpose_and_stay_readable() {
    for file in files(&root(), &[".rs"]) {
        let (name, text) = (relative(&file), fs::read_to_string(&file).unwrap());
        assert!(text.starts_with("//!"), "{name} does not say what it owns");
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{name} has {lines} lines; split it");
    }
    for file in files(&root().join("queue/lua"), &[".lua"]) {
        let (name, text) = (relative(&file), fs::read_to_string(&file).unwrap());
        assert!(text.starts_with("--") || text.starts_with("#!lua"), "{name} does not say what it does");
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(root().join(format!("queue/src/{stem}.rs")).exists(), "{name} has no typed wrapper of its name");
    }
}

#[test]
fn no_name_says_nothing() {
    for file in files(&root(), &[".rs", ".lua", ".sql"]) {
        for part in relative(&file).split('/') {
            let stem = part.split('.').next().unwrap_or_default();
            let empty = ["utils", "util", "common", "helpers", "helper", "shared", "misc", "manager"];
            assert!(!empty.contains(&stem), "{}: `{stem}` says nothing", relative(&file));
        }
    }
}

#[test]
fn what_is_committed_speaks_of_the_project_alone() {
    let hosts = ["crates".to_owned() + ".io", "npmjs".to_owned() + ".org", "pypi".to_owned() + ".org"];
    for file in files(&root(), &[".rs", ".md", ".toml", ".sh", ".sql", ".lua", ".html", ".js", ".css"]) {
        let text = fs::read_to_string(&file).unwrap();
        for host in &hosts {
            assert!(!text.contains(host.as_str()), "{} names {host}", relative(&file));
        }
        assert!(!text.contains(&format!("/{}/main", "work")), "{} names a folder of some machine", relative(&file));
    }
}
