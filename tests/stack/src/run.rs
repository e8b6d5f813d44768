//! Runs a helper program to its end.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{Result, StackError};
use crate::interrupt;

/// How many of its last lines an error quotes.
const LINES: usize = 40;

/// Runs `command`, feeds it `input` and gives what it printed; a failure quotes the end of its output.
pub(crate) fn run(mut command: Command, doing: &str, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(StackError::io(format!("{doing}: starting {}", command.get_program().display())))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that reads no input may close it first; its status tells how it went.
        let _ = stdin.write_all(input.as_bytes());
    }
    let printed = std::thread::spawn(reader(child.stdout.take()));
    let complained = std::thread::spawn(reader(child.stderr.take()));
    let status = loop {
        if let Some(status) = child.try_wait().map_err(StackError::io(doing))? {
            break status;
        }
        if let Err(interrupted) = interrupt::check() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(interrupted);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let printed = printed.join().unwrap_or_default();
    let complained = complained.join().unwrap_or_default();
    if status.success() {
        return Ok(printed);
    }
    let all = printed + &complained;
    let lines: Vec<&str> = all.lines().collect();
    Err(StackError::Command {
        doing: doing.to_owned(),
        status: status.to_string(),
        output: lines[lines.len().saturating_sub(LINES)..].join("\n"),
    })
}

fn reader(pipe: Option<impl Read>) -> impl FnOnce() -> String {
    move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_comes_back_and_a_failure_quotes_both_streams() {
        assert_eq!(run(sh("cat"), "echoing", "a\nb").unwrap(), "a\nb");
        let said = run(sh("echo out; echo err >&2; exit 3"), "failing", "").unwrap_err().to_string();
        assert!(said.contains("failing failed (exit status: 3)\nout\nerr"), "{said}");
    }
}
