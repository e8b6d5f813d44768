//! Why an operation on the line failed.

/// An operation on the line that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Redis did not answer, or not in time. Whether the operation happened is unknown; all operations may be repeated.
    #[error("the line's Redis is unavailable while trying to {attempt}")]
    Unavailable {
        /// What was attempted.
        attempt: &'static str,
        /// What the client said.
        #[source]
        source: redis::RedisError,
    },
    /// Redis refused the command or the function failed: a defect or a wrong server, not an outage.
    #[error("the line's Redis refused to {attempt}")]
    Refused {
        /// What was attempted.
        attempt: &'static str,
        /// What the server said.
        #[source]
        source: redis::RedisError,
    },
    /// Redis answered something that no version of the functions says.
    #[error("unexpected answer to {attempt}: {what}")]
    Corrupt {
        /// What was attempted.
        attempt: &'static str,
        /// What was wrong with it.
        what: String,
    },
    /// The sale is not known to this Redis: never created, or lost.
    #[error("the sale is not known to the line's Redis")]
    UnknownSale,
    /// The settings have another version than expected.
    #[error("the settings are at version {current}")]
    Conflict {
        /// The version that stands.
        current: u64,
    },
}

impl LineError {
    /// Whether a later attempt may succeed without anybody changing anything.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(crate) fn from_redis(attempt: &'static str, source: redis::RedisError) -> Self {
        let outage = source.is_io_error()
            || source.is_timeout()
            || source.is_connection_dropped()
            || source.is_connection_refusal()
            || matches!(
                source.kind(),
                redis::ErrorKind::Server(
                    redis::ServerErrorKind::BusyLoading
                        | redis::ServerErrorKind::MasterDown
                        | redis::ServerErrorKind::ReadOnly
                        | redis::ServerErrorKind::ClusterDown
                        | redis::ServerErrorKind::TryAgain
                )
            );
        if outage { Self::Unavailable { attempt, source } } else { Self::Refused { attempt, source } }
    }
}
