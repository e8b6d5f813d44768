//! The configuration files and secrets of one stack, written into its directory.
//!
//! Every stack has secrets of its own, readable by its user alone. Defaults are left to the programs: only what
//! differs on one machine is written.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rand::RngExt;
use serde::Serialize;

use crate::error::{Result, StackError};

/// The secrets all nodes share.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) control_token: String,
    pub(crate) organiser_token: String,
    control_token_file: PathBuf,
    organiser_token_file: PathBuf,
    buyer_key_file: PathBuf,
    pub(crate) webhook_secret_file: PathBuf,
    pub(crate) keys_file: PathBuf,
}

impl Secrets {
    /// Fresh ones in `dir`; the gateway's keys are made by the gateway's own program.
    pub(crate) fn make(dir: &Path) -> Result<Secrets> {
        let secrets = Secrets {
            control_token: random_text(),
            organiser_token: random_text(),
            control_token_file: dir.join("control.token"),
            organiser_token_file: dir.join("organiser.token"),
            buyer_key_file: dir.join("buyer.key"),
            webhook_secret_file: dir.join("sandbox-webhook.secret"),
            keys_file: dir.join("keys.json"),
        };
        let key: [u8; 32] = rand::rng().random();
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        write_private(&secrets.control_token_file, &secrets.control_token)?;
        write_private(&secrets.organiser_token_file, &secrets.organiser_token)?;
        write_private(&secrets.buyer_key_file, &key)?;
        write_private(&secrets.webhook_secret_file, &random_text())?;
        Ok(secrets)
    }
}

/// `listen` and `control_listen` of one gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) public: u16,
    pub(crate) private: u16,
}

#[derive(Serialize)]
struct Gateway<'a> {
    listen: String,
    control_listen: String,
    control_token_file: &'a Path,
    keys_file: &'a Path,
    redis_url: &'a str,
    upstreams: Vec<String>,
    secure_cookies: bool,
    shutdown_grace_s: u64,
    limits: Limits,
}

/// Every client of a stack comes from the same address, so limits by address would mean the whole crowd.
#[derive(Serialize)]
struct Limits {
    address_per_s: u32,
    join_per_s: u32,
    connections_per_address: u32,
}

/// Writes the configuration of one gateway.
pub(crate) fn gateway(file: &Path, secrets: &Secrets, ports: Ports, redis_url: &str, bookings: &[Ports]) -> Result<()> {
    write_toml(
        file,
        &Gateway {
            listen: address(ports.public),
            control_listen: address(ports.private),
            control_token_file: &secrets.control_token_file,
            keys_file: &secrets.keys_file,
            redis_url,
            upstreams: bookings.iter().map(|ports| address(ports.public)).collect(),
            secure_cookies: false,
            // Whoever stops a stack waits for it.
            shutdown_grace_s: 0,
            limits: Limits { address_per_s: 0, join_per_s: 0, connections_per_address: 0 },
        },
    )
}

#[derive(Serialize)]
struct Booking<'a> {
    listen: String,
    admin_listen: String,
    organiser_token_file: &'a Path,
    buyer_key_file: &'a Path,
    pass_keys_urls: Vec<String>,
    secure_cookies: bool,
    database: Database<'a>,
    payments: Payments<'a>,
}

#[derive(Serialize)]
struct Database<'a> {
    url: &'a str,
}

#[derive(Serialize)]
struct Payments<'a> {
    sandbox_url: &'a str,
    sandbox_webhook_secret_file: &'a Path,
}

/// Writes the configuration of one booking node, or of its administration when no gateway is named.
pub(crate) fn booking(
    file: &Path,
    secrets: &Secrets,
    ports: Ports,
    database_url: &str,
    sandbox_url: &str,
    gateways: &[Ports],
) -> Result<()> {
    let keys = |ports: &Ports| format!("http://{}/_usher/keys", address(ports.public));
    write_toml(
        file,
        &Booking {
            listen: address(ports.public),
            admin_listen: address(ports.private),
            organiser_token_file: &secrets.organiser_token_file,
            buyer_key_file: &secrets.buyer_key_file,
            pass_keys_urls: gateways.iter().map(keys).collect(),
            secure_cookies: false,
            database: Database { url: database_url },
            payments: Payments { sandbox_url, sandbox_webhook_secret_file: &secrets.webhook_secret_file },
        },
    )
}

/// A loopback port as a listening address.
pub(crate) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Unguessable text: 32 letters and digits.
pub(crate) fn random_text() -> String {
    rand::rng().sample_iter(rand::distr::Alphanumeric).take(32).map(char::from).collect()
}

fn write_toml(file: &Path, document: &impl Serialize) -> Result<()> {
    let text = toml::to_string(document).map_err(|problem| StackError::Answer {
        doing: format!("writing {}", file.display()),
        answer: problem.to_string(),
    })?;
    write_private(file, &text)
}

pub(crate) fn write_private(file: &Path, text: &str) -> Result<()> {
    let doing = || format!("writing {}", file.display());
    let mut out = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(file)
        .map_err(StackError::io(doing()))?;
    out.write_all(text.as_bytes()).map_err(StackError::io(doing()))
}
