//! The remote engine over real links to real daemons: TCP, TLS, ssh, and lines that cut, stall and delay. The contract suite says that the verbs
//! are right; here it is the way to the daemon that is tried, what is said when there is none, and the screen over a bad one.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

#[path = "remote/certificates.rs"]
mod certificates;
#[path = "remote/cuts.rs"]
mod cuts;
#[path = "remote/daemons.rs"]
mod daemons;
#[path = "pty/driver.rs"]
mod driver;
#[path = "remote/line.rs"]
mod line;
#[path = "common/program.rs"]
mod program;
#[path = "remote/screen.rs"]
mod screen;
#[path = "remote/ssh.rs"]
mod ssh;
#[path = "remote/sshd.rs"]
mod sshd;
#[path = "remote/swarm.rs"]
mod swarm;
#[path = "remote/tcp.rs"]
mod tcp;
#[allow(dead_code)] // the contract suite's; here only some of it is used
#[path = "contract/world.rs"]
mod world;
