//! `stack demo` as a program: a crowd comes, buys, and the audit of what it did is clean.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::process::{Command, Stdio};

#[test]
fn a_short_demo_sells_and_its_audit_is_clean() {
    stack::binaries::build_all().unwrap();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("demo");
    let output = Command::new(env!("CARGO_BIN_EXE_stack"))
        .args(["demo", "--no-build", "--for", "12", "--dir"])
        .arg(&dir)
        .env_remove("DEMO_FANS")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    for word in ["/events/demo-arena", "/events/demo-club", "Console login", "Metrics", "Verdict: clean."] {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
    let sold = said.lines().find(|line| line.starts_with("Sold: ")).unwrap();
    assert!(!sold.starts_with("Sold: 0 bookings"), "{sold}");
    assert!(stack::identity::marked(&dir.canonicalize().unwrap()).is_empty(), "something was left");
}
