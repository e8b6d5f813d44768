//! The stack as tests use it: started in-process, its nodes hurt and started again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::process::{Command, Stdio};

use stack::{Fixture, Setting, Stack, StackOptions};

#[test]
fn nodes_can_be_killed_frozen_and_started_again_at_the_same_address() {
    let options = StackOptions {
        gateways: 2,
        fixture: Fixture::Empty,
        settings: vec![Setting::Booking("holds.ttl_s=5".to_owned())],
        ..StackOptions::default()
    };
    let stack = Stack::up(&options).unwrap();
    let ready = stack.ready().clone();
    for server in [stack.gateway(1), stack.booking(0), stack.psp()] {
        let before = server.node().pid().unwrap();
        server.node().kill9().unwrap();
        assert_eq!(server.node().pid(), None);
        let after = server.up().unwrap();
        assert_ne!(before, after, "{}", server.node().name());
        server.node().pause().unwrap();
        server.node().resume().unwrap();
        server.wait_ready().unwrap();
    }
    stack.redis().node().kill9().unwrap();
    stack.redis().up().unwrap();
    assert_eq!(stack.nodes().filter(|node| node.pid().is_some()).count(), 6);
    // A frozen node must not hold up the end.
    stack.booking(0).node().pause().unwrap();
    drop(stack);
    assert!(!ready.dir.exists());
}

#[test]
fn a_companion_goes_with_the_stack() {
    let options = StackOptions { fixture: Fixture::Empty, ..StackOptions::default() };
    let stack = Stack::up(&options).unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg("600").stdin(Stdio::null());
    let mut companion = stack.companion(sleep, "sleep").unwrap();
    assert!(companion.try_wait().unwrap().is_none());
    drop(stack);
    assert!(!companion.wait().unwrap().success(), "it was ended by a signal");
}
