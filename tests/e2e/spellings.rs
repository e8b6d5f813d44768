//! One path in many spellings: gate and core must agree on what it is.
//!
//! For every spelling, either the gate guards it, or the core knows nothing there. The core is asked directly with the
//! same bytes, so that the gate is held to what the core really does, not to what it is thought to do.

use crate::canary::{Heard, Raw};
use crate::world::World;

/// What a path may be respelled as.
fn spellings(path: &str) -> Vec<String> {
    let last = path.rfind('/').unwrap();
    let (front, end) = path.split_at(last);
    let name = &end[1..];
    let first_letter = format!("%{:02x}", name.as_bytes()[0]);
    let mut all: Vec<String> = [
        "/", "//", "/.", "/./", "/x/..", ";x", ";a=b/", "?x", "?", "%20", "%00", ".", "%2f", "%3b", "%3f", "\\", "%5c",
        "/%2e",
    ]
    .map(|tail| format!("{path}{tail}"))
    .into();
    all.extend(
        [
            "//",
            "/./",
            "/x/../",
            "/%2e/",
            "/x/%2e%2e/",
            "/x/.%2e/",
            "/;/",
            "/x/..;/",
            "/..;/x/../",
            "\\",
            "/\\",
            "%2f",
            "%5c",
            "%252f",
        ]
        .map(|slash| format!("{front}{slash}{name}")),
    );
    all.extend(["/", "/.", "/..", "/%2e", "\\", "/x/..", "/;", "/%2f"].map(|before| format!("{before}{path}")));
    all.push(format!("{front};x{end}"));
    all.push(format!("{front}/{first_letter}{}", &name[1..]));
    all.push(format!("{front}/%25{}{}", &first_letter[1..], &name[1..]));
    all.push(format!("{front}/{}", name.to_uppercase()));
    all.push(path.to_uppercase());
    all.push(path.replace('-', "%2D"));
    all.push(path.replace('/', "%2F").replacen("%2F", "/", 1));
    all.push(path.replace('/', "//"));
    all.push(path.replace('/', "\\").replacen('\\', "/", 1));
    // Look-alikes of the slash and of a letter.
    all.push(format!("{front}%ef%bc%8f{name}"));
    all.push(format!("{front}%c0%af{name}"));
    all.push(path.replace('a', "%ef%bd%81"));
    all.push(path.replace('k', "%e2%84%aa").replace('s', "%c5%bf"));
    all.push(format!("http://a{path}"));
    all.push(path.to_owned());
    all
}

fn ask(url: &str, method: &str, target: &str) -> Heard {
    let mut raw = Raw::connect(url);
    raw.send(&format!("{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
    raw.rest()
}

#[test]
fn no_spelling_reaches_what_is_guarded() {
    let world = World::shared();
    let (gateway, core) = (&world.ready().gateway[0], &world.ready().booking[0]);
    let nothing_there = |status: u16| matches!(status, 400 | 404 | 405 | 414);
    let mut guarded_spellings = 0;
    for (method, path) in [("GET", "/events/demo-arena"), ("POST", "/v1/events/demo-arena/holds")] {
        assert!(!nothing_there(ask(core, method, path).status), "{path} is there");
        for target in spellings(path) {
            let gate = ask(gateway, method, &target);
            if gate.text.to_lowercase().contains("usher-place:") {
                guarded_spellings += 1;
                continue;
            }
            assert!(nothing_there(gate.status), "unguarded: {method} {target}: {gate:?}");
            let direct = ask(core, method, &target);
            // What the edge refuses is no business of the core's.
            let refused_before = gate.text.contains("cannot be read");
            assert!(refused_before || nothing_there(direct.status), "the core knows {method} {target}: {direct:?}");
        }
    }
    assert!(guarded_spellings > 40, "most spellings are guarded, not merely unknown: {guarded_spellings}");
}
