//! Why an operation on the line failed.

use redis::{ErrorKind, ServerErrorKind};

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
                // A primary is being looked for, or found to be another one.
                ErrorKind::Server(
                    ServerErrorKind::BusyLoading
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::ReadOnly
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::TryAgain
                        | ServerErrorKind::Moved
                        | ServerErrorKind::Ask
                ) | ErrorKind::MasterNameNotFoundBySentinel
                    | ErrorKind::ClusterConnectionNotFound
            )
            // A primary without the replicas it must have takes no writes; they come back, or it is replaced.
            || source.code() == Some("NOREPLICAS");
        if outage { Self::Unavailable { attempt, source } } else { Self::Refused { attempt, source } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_on_its_way_is_an_outage_and_a_defect_is_none() {
        let is_outage = |source: redis::RedisError| LineError::from_redis("try", source).is_outage();
        let kinds = [
            ServerErrorKind::BusyLoading,
            ServerErrorKind::MasterDown,
            ServerErrorKind::ReadOnly,
            ServerErrorKind::ClusterDown,
            ServerErrorKind::TryAgain,
            ServerErrorKind::Moved,
            ServerErrorKind::Ask,
        ];
        assert!(kinds.iter().all(|&kind| is_outage((ErrorKind::Server(kind), "said so").into())));
        assert!(is_outage((ErrorKind::MasterNameNotFoundBySentinel, "no sentinel answers").into()));
        assert!(is_outage(redis::make_extension_error("NOREPLICAS".to_owned(), None)));
        assert!(!is_outage(redis::make_extension_error("WRONGTYPE".to_owned(), None)));
        for kind in [ServerErrorKind::ResponseError, ServerErrorKind::NoPerm, ServerErrorKind::CrossSlot] {
            assert!(!is_outage((ErrorKind::Server(kind), "said so").into()), "{kind:?}");
        }
    }
}
