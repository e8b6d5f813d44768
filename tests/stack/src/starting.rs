//! The steps of a start, each with its own wait for readiness.
//!
//! Ports of nodes are held until the nodes are about to start; whoever loses a port all the same is started again
//! on others, with configurations written anew.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::configuration::{self, Ports, Secrets, address};
use crate::error::{Result, StackError};
use crate::fixture::{self, Sale};
use crate::identity::MARKER;
use crate::node::{Node, Program, Signal};
use crate::options::{Setting, StackOptions};
use crate::ports::HeldPort;
use crate::postgres::{Postgres, PostgresOptions};
use crate::ready::{Pids, Ready};
use crate::redis::{RedisAddress, RedisOptions, Servers};
use crate::run::run;
use crate::server::{READY_WITHIN, Server, loopback};
use crate::workdir::Workdir;
use crate::{binaries, http};

const PORT_TRIES: u32 = 5;

pub(crate) fn start_postgres(workdir: &Arc<Workdir>, options: &StackOptions) -> Result<Postgres> {
    let prepared = fixture::prepared(&options.fixture)?;
    Postgres::start_in(workdir, &prepared, &PostgresOptions::default())
}

pub(crate) fn start_redis(workdir: &Arc<Workdir>, options: &StackOptions) -> Result<Servers> {
    let each = RedisOptions { address: RedisAddress::Port, aof: options.redis_aof, settings: Vec::new() };
    Servers::start_in(workdir, options.redis, &each)
}

pub(crate) fn make_keys(workdir: &Workdir, secrets: &Secrets) -> Result<()> {
    let mut command = Command::new(binaries::find("usher-gateway")?);
    command.env(MARKER, workdir.path()).args(["keys", "new", "--out"]).arg(&secrets.keys_file);
    run(command, "usher-gateway keys new", "").map(drop)
}

pub(crate) fn start_psp(workdir: &Arc<Workdir>, secrets: &Secrets) -> Result<Server> {
    with_fresh_ports(|| {
        let port = HeldPort::take()?;
        let number = port.number();
        let arguments = vec![
            "psp".into(),
            "--listen".into(),
            address(number).into(),
            "--ledger".into(),
            workdir.path().join("ledger.ndjson").into(),
            "--webhook-secret-file".into(),
            secrets.webhook_secret_file.clone().into(),
        ];
        let node = Node::new(workdir, program("psp".to_owned(), "stack", arguments)?);
        let server = Server { node, ports: Ports { public: number, private: number }, health: "/livez" };
        port.release();
        server.up()?;
        Ok(server)
    })
}

pub(crate) fn start_nodes(
    workdir: &Arc<Workdir>,
    options: &StackOptions,
    secrets: &Secrets,
    postgres: &Postgres,
    redis: &Servers,
    psp: &Server,
) -> Result<(Vec<Server>, Vec<Server>)> {
    with_fresh_ports(|| {
        let (held_gateways, gateway_ports) = take_ports(options.gateways)?;
        let (held_bookings, booking_ports) = take_ports(options.bookings)?;
        let dir = workdir.path();
        let mut bookings = Vec::new();
        for (ports, name) in booking_ports.iter().zip(names("booking")) {
            let file = dir.join(format!("{name}.toml"));
            configuration::booking(&file, secrets, *ports, &postgres.url(), &psp.url(), &gateway_ports)?;
            let mut arguments = vec!["serve".into()];
            arguments.extend(node_arguments(&file, options, true));
            let node = Node::new(workdir, program(name, "usher-booking", arguments)?);
            bookings.push(Server { node, ports: *ports, health: "/readyz" });
        }
        let mut gateways = Vec::new();
        for (ports, name) in gateway_ports.iter().zip(names("gateway")) {
            let file = dir.join(format!("{name}.toml"));
            configuration::gateway(&file, secrets, *ports, &redis.url(), &booking_ports)?;
            let arguments = node_arguments(&file, options, false);
            let node = Node::new(workdir, program(name, "usher-gateway", arguments)?);
            gateways.push(Server { node, ports: *ports, health: "/readyz" });
        }
        drop((held_gateways, held_bookings));
        // Gateways first: a booking node asks them for the keys of passes as soon as it starts.
        for servers in [&gateways, &bookings] {
            for server in servers {
                server.node.spawn()?;
            }
            for server in servers {
                server.wait_ready()?;
            }
        }
        Ok((gateways, bookings))
    })
}

fn with_fresh_ports<T>(mut start: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 1;
    loop {
        match start() {
            Err(problem) if problem.port_was_taken() && tries < PORT_TRIES => tries += 1,
            outcome => return outcome,
        }
    }
}

fn take_ports(count: usize) -> Result<(Vec<HeldPort>, Vec<Ports>)> {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..count {
        let (public, private) = (HeldPort::take()?, HeldPort::take()?);
        ports.push(Ports { public: public.number(), private: private.number() });
        held.extend([public, private]);
    }
    Ok((held, ports))
}

fn names(role: &str) -> impl Iterator<Item = String> {
    (1..).map(move |number| format!("{role}-{number}"))
}

fn node_arguments(file: &Path, options: &StackOptions, booking: bool) -> Vec<std::ffi::OsString> {
    let mut arguments = vec!["--config".into(), file.into()];
    for setting in &options.settings {
        match (setting, booking) {
            (Setting::Booking(setting), true) | (Setting::Gateway(setting), false) => {
                arguments.extend(["--set".into(), setting.into()]);
            }
            _ => {}
        }
    }
    arguments
}

fn program(name: String, binary: &str, arguments: Vec<std::ffi::OsString>) -> Result<Program> {
    Ok(Program {
        name,
        path: binaries::find(binary)?,
        arguments,
        environment: Vec::new(),
        without: &[],
        owner: None,
        stop: Signal::TERM,
    })
}

/// Tells the payment provider where the booking nodes take its events.
pub(crate) fn announce_webhooks(psp: &Server, bookings: &[Server]) -> Result<()> {
    let urls: Vec<_> = bookings.iter().map(|node| format!("{}/v1/payments/sandbox/webhook", node.url())).collect();
    let document = serde_json::json!({ "urls": urls }).to_string();
    http::put(loopback(psp.ports.public), "/v1/webhook-endpoint", "", &document)
}

/// Creates the sale at one gateway and waits until all of them guard it.
pub(crate) fn create_sale(gateways: &[Server], secrets: &Secrets, sale: &Sale, options: &StackOptions) -> Result<()> {
    let path = format!("/control/sales/{}", sale.id);
    let token = &secrets.control_token;
    for (number, gateway) in gateways.iter().enumerate() {
        let control = loopback(gateway.ports.private);
        if number == 0 {
            http::put(control, &path, token, &sale.settings(options.pace, options.governed))?;
        }
        let known = || match http::request("GET", control, &path, &[("Authorization", &http::bearer(token))], "") {
            Ok(http::Answer { status: 200, .. }) => Ok(()),
            Ok(answer) => Err(format!("{path} answered {}", answer.status)),
            Err(problem) => Err(format!("{path}: {problem}")),
        };
        gateway.node.wait_until(READY_WITHIN, known)?;
    }
    Ok(())
}

pub(crate) fn describe(
    workdir: &Workdir,
    secrets: &Secrets,
    gateways: &[Server],
    bookings: &[Server],
    psp: &Server,
    redis: &Servers,
    postgres: &Postgres,
) -> Result<Ready> {
    let pid = |node: &Node| {
        node.pid().ok_or_else(|| StackError::Answer {
            doing: format!("asking for the process of {}", node.name()),
            answer: format!("it ended meanwhile; the end of its log:\n{}", node.tail()),
        })
    };
    let pids = |servers: &[Server]| servers.iter().map(|server| pid(&server.node)).collect::<Result<_>>();
    Ok(Ready {
        ready: true,
        gateway: gateways.iter().map(Server::url).collect(),
        control: gateways.iter().map(Server::private_url).collect(),
        control_token: secrets.control_token.clone(),
        booking: bookings.iter().map(Server::url).collect(),
        booking_admin: bookings.iter().map(Server::private_url).collect(),
        organiser_token: secrets.organiser_token.clone(),
        postgres: postgres.url(),
        redis: redis.url(),
        psp: psp.url(),
        mail: None,
        dir: workdir.path().to_owned(),
        pids: Pids {
            postgres: pid(postgres.node())?,
            redis: redis.nodes().map(pid).collect::<Result<_>>()?,
            psp: pid(&psp.node)?,
            gateway: pids(gateways)?,
            booking: pids(bookings)?,
        },
    })
}
