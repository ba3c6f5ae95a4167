//! Docker's names and shapes on the wire: what inspect prints, what a template can name, what a daemon is asked and what it answers.
//! Called by `cli` and `remote` (and the daemon); wire types stop here.
//!
//! `routes` is one table for client and server, `compat` holds every difference between versions and daemons, `from_wire` reads leniently,
//! `json` reads within a bound of memory, `create` writes what is asked for, `stdcopy` and `log_lines` are the framing of streams, `error` joins classes and statuses.
//!
//! Each shape has a `to_wire` from the domain type. Fields, their order and their null-or-empty rules are those of API 1.47
//! (docker 27) on cgroup hosts, checked against answers of a real dockerd.

pub mod compat;
pub mod container;
pub mod create;
pub mod error;
pub mod event;
pub mod from_wire;
pub mod host_config;
pub mod image;
pub mod json;
pub mod log_lines;
pub mod network;
pub mod read;
pub mod routes;
pub mod status;
pub mod stdcopy;
pub mod time;
pub mod volume;
