//! The document that says where everything is: one JSON object, printed when all is ready, and kept beside the logs
//! as `ready.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::configuration::write_private;
use crate::error::{Result, StackError};

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
    /// Redis's URL, as the gateways are told it.
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

impl Ready {
    /// The document on one line.
    ///
    /// # Errors
    /// When the directory's name is no text.
    pub fn line(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|problem| StackError::Answer {
            doing: "writing the ready document".to_owned(),
            answer: problem.to_string(),
        })
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        write_private(file, &(self.line()? + "\n"))
    }
}

/// Process numbers by role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// The Postgres postmaster.
    pub postgres: u32,
    /// Redis servers, the primary first, then sentinels.
    pub redis: Vec<u32>,
    /// The sandbox payment provider.
    pub psp: u32,
    /// Gateways, in the order of their URLs.
    pub gateway: Vec<u32>,
    /// Booking nodes, in the order of their URLs.
    pub booking: Vec<u32>,
}
