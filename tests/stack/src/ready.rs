//! The document that says where everything is: one JSON object, printed when all is ready.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the parts of a running stack are, and how to get in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Always true: the document is only made when all is.
    pub ready: bool,
    /// Public URLs of the gateways.
    pub gateway: Vec<String>,
    /// Control URLs of the gateways.
    pub control: Vec<String>,
    /// The bearer token of the control API.
    pub control_token: String,
    /// URLs of the booking nodes, without the gateway in front.
    pub booking: Vec<String>,
    /// Administration URLs of the booking nodes.
    pub booking_admin: Vec<String>,
    /// The bearer token of the organiser's routes.
    pub organiser_token: String,
    /// The database's URL.
    pub postgres: String,
    /// Redis's URL.
    pub redis: String,
    /// The sandbox payment provider's URL.
    pub psp: String,
    /// The mail catcher's URL, when there is one.
    pub mail: Option<String>,
    /// Where data, configurations and logs are.
    pub dir: PathBuf,
    /// The processes as they were started.
    pub pids: Pids,
}

/// Process numbers by role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// The Postgres postmaster.
    pub postgres: u32,
    /// Redis servers.
    pub redis: Vec<u32>,
    /// The sandbox payment provider.
    pub psp: u32,
    /// Gateways, in the order of their URLs.
    pub gateway: Vec<u32>,
    /// Booking nodes, in the order of their URLs.
    pub booking: Vec<u32>,
}
