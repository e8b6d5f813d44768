//! The gateway: a reverse proxy that gives every fan a signed place in line and admits them at a governed rate.
//!
//! Life of a request:
//!
//! | phase | file | what happens |
//! |---|---|---|
//! | edge | [`edge`] | a head that is late, too large or could be read in two ways: refused before anything else |
//! | limit | [`limits`] | one client asks too often: 429, the place is kept |
//! | route | [`routes`] | one of our own routes, a guarded path of a sale, or neither |
//! | credentials | [`credentials`] | pass and place are read from cookies and headers and verified |
//! | decide | [`admission`] | pure: proxy, join, ask the line, show the waiting room, refuse |
//! | answer | [`own`], [`room`] | the public routes and the waiting room |
//! | proxy | [`proxy`], [`upstream`] | to a healthy origin, with clean headers |
//!
//! Beside the requests run, in a runtime of their own, the jobs of [`line`]: batched joins and presence, the
//! snapshot of each sale, and the tick; [`govern`] lets the origin lower the rate, and [`file_sales`] reads sales from
//! files. [`control`] serves organisers and operators on another port.
//!
//! Invariants: a poll behind the horizon asks nobody; what a client sends in `Usher-*`, `Forwarded` and
//! `X-Forwarded-*` never reaches the origin; every answer that names a visitor is `no-store`.
//!
//! Deliberately absent: any state that another gateway would miss. Kill one and its visitors go on through the next.

pub mod admission;
pub mod config;
pub mod control;
pub mod credentials;
pub mod edge;
pub mod file_sales;
pub mod forwarded;
pub mod govern;
pub mod keys;
pub mod limits;
pub mod line;
pub mod negotiate;
pub mod own;
pub mod problem;
pub mod proxy;
pub mod room;
pub mod routes;
pub mod run;
pub mod telemetry;
pub mod upstream;
