//! Docker's names and shapes on the wire: what inspect prints, what a template can name. Called by `cli` (and the daemon); wire types stop here.
//!
//! Each shape has a `to_wire` from the domain type. Fields, their order and their null-or-empty rules are those of API 1.47
//! (docker 27) on cgroup hosts, checked against answers of a real dockerd.

pub mod container;
pub mod event;
pub mod host_config;
pub mod image;
pub mod network;
pub mod status;
pub mod time;
pub mod volume;
