//! What a stack is made of: the options of `stack up`, and the same for tests.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

use crate::error::StackError;
use crate::redis::Aof;

/// How Redis is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum RedisLayout {
    /// One server.
    #[default]
    Single,
    /// A primary with two replicas, watched by three sentinels.
    Sentinel,
    /// A cluster of three primaries.
    Cluster,
}

/// What Postgres and the gateway hold when the stack is ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fixture {
    /// The arena, guarded by sale `demo`, and the club.
    #[default]
    Demo,
    /// Tables without rows, and no sale.
    Empty,
    /// One event from its description; its sale, if it has one, is opened.
    File(PathBuf),
}

impl FromStr for Fixture {
    type Err = String;

    fn from_str(text: &str) -> Result<Fixture, String> {
        match text {
            "demo" => Ok(Fixture::Demo),
            "empty" => Ok(Fixture::Empty),
            file => std::path::absolute(file)
                .ok()
                .filter(|path| path.is_file())
                .map(Fixture::File)
                .ok_or_else(|| format!("`{file}` is neither demo, empty nor a file")),
        }
    }
}

/// A setting for every gateway or every booking node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `KEY=VALUE` for the gateways.
    Gateway(String),
    /// `KEY=VALUE` for the booking nodes.
    Booking(String),
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Setting, String> {
        let shape = || format!("`{text}` is not gateway.KEY=VALUE or booking.KEY=VALUE");
        let (whose, setting) = text.split_once('.').ok_or_else(shape)?;
        if setting.split_once('=').is_none_or(|(key, _)| key.is_empty()) {
            return Err(shape());
        }
        match whose {
            "gateway" => Ok(Setting::Gateway(setting.to_owned())),
            "booking" => Ok(Setting::Booking(setting.to_owned())),
            _ => Err(shape()),
        }
    }
}

/// How fast the fixture's sale lets visitors in, and how many at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Visitors called per minute.
    pub rate_per_min: f64,
    /// How many beyond the rate at one moment.
    pub burst: u32,
    /// How many inside at once.
    pub max_inside: u32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { rate_per_min: 600.0, burst: 20, max_inside: 500 }
    }
}

/// Everything there is to choose.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// How many gateways.
    pub gateways: usize,
    /// How many booking nodes.
    pub bookings: usize,
    /// How Redis is laid out.
    pub redis: RedisLayout,
    /// How durable Redis is.
    pub redis_aof: Aof,
    /// Where everything lives; a temporary directory when not given.
    pub dir: Option<PathBuf>,
    /// What is in it at first.
    pub fixture: Fixture,
    /// The pace of the fixture's sale.
    pub pace: Pace,
    /// Whether the booking nodes have a say on the rate of the fixture's sale.
    pub governed: bool,
    /// Settings beyond the defaults.
    pub settings: Vec<Setting>,
    /// Whether programs that are out of date are built first.
    pub build: bool,
}

impl Default for StackOptions {
    fn default() -> StackOptions {
        StackOptions {
            gateways: 1,
            bookings: 1,
            redis: RedisLayout::Single,
            redis_aof: Aof::Everysec,
            dir: None,
            fixture: Fixture::Demo,
            pace: Pace::default(),
            governed: false,
            settings: Vec::new(),
            build: true,
        }
    }
}

impl StackOptions {
    /// Refuses what cannot be served, before anything is started.
    pub(crate) fn check(&self) -> Result<(), StackError> {
        let refuse = |why: &str| Err(StackError::Unsupported(why.to_owned()));
        if !(1..=16).contains(&self.gateways) || !(1..=16).contains(&self.bookings) {
            return refuse("between 1 and 16 gateways and booking nodes can be started");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_their_owner_and_a_key() {
        assert_eq!("gateway.limits.x=1=2".parse(), Ok(Setting::Gateway("limits.x=1=2".into())));
        assert_eq!("booking.holds.ttl_s=5".parse(), Ok(Setting::Booking("holds.ttl_s=5".into())));
        for wrong in ["gateway.x", "x=1", "redis.x=1", "booking.=1", ""] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fixture_is_a_name_or_a_file_that_is_there() {
        assert_eq!("demo".parse(), Ok(Fixture::Demo));
        assert_eq!("empty".parse(), Ok(Fixture::Empty));
        assert!("no/such/file.toml".parse::<Fixture>().is_err());
        assert!(matches!("Cargo.toml".parse(), Ok(Fixture::File(path)) if path.is_absolute()));
    }
}
