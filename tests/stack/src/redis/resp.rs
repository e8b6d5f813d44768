//! As much of Redis's protocol as starting and hurting servers takes: one command, one answer, as lines of text.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Place;
use crate::server::loopback;

/// How long an answer may take. Moving a slot with a long line in it is the slowest that is asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a command on a connection of its own and returns the answer's parts, line by line.
pub(super) fn ask(place: &Place, bound: Option<Duration>, command: &[&str]) -> Result<Vec<String>, String> {
    let bound = Some(bound.unwrap_or(PATIENCE));
    match place {
        Place::Port(port) => TcpStream::connect(loopback(*port)).and_then(|stream| {
            stream.set_read_timeout(bound)?;
            exchange(stream, command)
        }),
        Place::Socket(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(bound)?;
            exchange(stream, command)
        }),
    }
    .map_err(|problem| format!("{}: {problem}", command.join(" ")))?
}

fn exchange(mut stream: impl Read + Write, command: &[&str]) -> std::io::Result<Result<Vec<String>, String>> {
    let mut request = format!("*{}\r\n", command.len());
    for part in command {
        request.push_str(&format!("${}\r\n{part}\r\n", part.len()));
    }
    stream.write_all(request.as_bytes())?;
    let (mut stream, mut lines) = (BufReader::new(stream), Vec::new());
    Ok(read(&mut stream, &mut lines)?.map(|()| lines))
}

/// Reads one answer with all that it contains; the first error in it is the answer.
fn read(stream: &mut impl BufRead, lines: &mut Vec<String>) -> std::io::Result<Result<(), String>> {
    let mut head = String::new();
    stream.read_line(&mut head)?;
    let head = head.trim_end();
    let odd = || std::io::Error::other(format!("an answer began with {head:?}"));
    let (kind, rest) = head.split_at_checked(1).ok_or_else(odd)?;
    let count = || rest.parse::<i64>().map(|count| usize::try_from(count).unwrap_or(0)).map_err(|_| odd());
    match kind {
        "+" | ":" => lines.push(rest.to_owned()),
        "-" => return Ok(Err(rest.to_owned())),
        "$" if rest == "-1" => lines.push(String::new()),
        "$" => {
            let mut text = vec![0; count()? + 2];
            stream.read_exact(&mut text)?;
            lines.extend(String::from_utf8_lossy(&text[..text.len() - 2]).lines().map(str::to_owned));
        }
        "*" => {
            for _ in 0..count()? {
                if let Err(problem) = read(stream, lines)? {
                    return Ok(Err(problem));
                }
            }
        }
        _ => return Err(odd()),
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_lines() {
        let lines = |answer: &str| {
            let mut lines = Vec::new();
            read(&mut answer.as_bytes(), &mut lines).unwrap().map(|()| lines)
        };
        assert_eq!(lines("+OK\r\n"), Ok(vec!["OK".to_owned()]));
        assert_eq!(lines("*3\r\n$1\r\na\r\n:7\r\n*1\r\n$-1\r\n"), Ok(vec!["a".into(), "7".into(), String::new()]));
        assert_eq!(lines("$6\r\na:1\r\nb\r\n"), Ok(vec!["a:1".to_owned(), "b".to_owned()]));
        assert_eq!(lines("-ERR no\r\n"), Err("ERR no".to_owned()));
        assert!(read(&mut "".as_bytes(), &mut Vec::new()).is_err());
    }
}
