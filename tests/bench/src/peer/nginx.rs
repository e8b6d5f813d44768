//! A peer: nginx, one worker in one process, without an access log, on connections that stay open.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use super::{Peer, free_address};
use crate::cores::Core;

/// A running nginx.
pub(crate) struct Nginx {
    /// The process.
    pub(crate) peer: Peer,
    _dir: TempDir,
}

/// Where nginx is; distributions put it where not every user looks.
fn program() -> Option<&'static str> {
    ["nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx", "/opt/homebrew/bin/nginx"]
        .into_iter()
        .find(|place| Command::new(place).arg("-v").output().is_ok_and(|output| output.status.success()))
}

impl Nginx {
    /// One that hands everything to an origin; `None` when nginx is not installed.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn proxy(origin: SocketAddr) -> Result<Option<Self>> {
        Self::start(
            &format!("upstream origin {{ server {origin}; keepalive 512; keepalive_requests 100000000; }}"),
            "proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header Host $host;",
        )
    }

    /// One that answers everything with the same body of so many bytes, from memory; `None` when nginx is not installed.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn with_body(content_type: &str, bytes: usize) -> Result<Option<Self>> {
        let body = "x".repeat(bytes);
        Self::start("", &format!("default_type {content_type}; return 200 \"{body}\";"))
    }

    /// One that serves a file of so many bytes for everything; `None` when nginx is not installed.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn with_file(content_type: &str, bytes: usize) -> Result<Option<Self>> {
        let location = format!("default_type {content_type}; root files; try_files /body =404;");
        let file = (Path::new("files/body"), "x".repeat(bytes));
        Self::start_with("", &location, Some(file))
    }

    fn start(outside: &str, location: &str) -> Result<Option<Self>> {
        Self::start_with(outside, location, None)
    }

    fn start_with(outside: &str, location: &str, content: Option<(&Path, String)>) -> Result<Option<Self>> {
        let Some(program) = program() else { return Ok(None) };
        let dir = tempfile::Builder::new().prefix("usher-bench-nginx-").tempdir()?;
        if let Some((file, text)) = content {
            std::fs::create_dir_all(dir.path().join(file.parent().unwrap_or(file)))?;
            std::fs::write(dir.path().join(file), text)?;
        }
        let address = free_address()?;
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, configuration(dir.path(), address, outside, location))?;
        let mut command = Core::Measured.command(program);
        command.arg("-p").arg(dir.path()).arg("-e").arg(dir.path().join("error.log")).arg("-c").arg(&file);
        Ok(Some(Self { peer: Peer::start(command, address)?, _dir: dir }))
    }
}

fn configuration(dir: &Path, address: SocketAddr, outside: &str, location: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
         events {{ worker_connections 4096; }}
         http {{
             access_log off; keepalive_timeout 60s; keepalive_requests 100000000; tcp_nodelay on;
             client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
             sendfile on; open_file_cache max=16;
             uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
             {outside}
             server {{ listen {address}; location / {{ {location} }} }}
         }}
        "
    )
}
