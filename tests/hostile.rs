//! The remote engine against a daemon of ill will: it lies, stalls, cuts, floods, comes from the past or the future, and names its things so as
//! to drive a terminal. The daemon is a script on a unix socket or on TCP that writes raw bytes; the client is our real one, through the
//! `Engine` traits or as the program itself. Every case ends in a sentence with a hint or in an answer, in time, and leaves no connection.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

#[path = "hostile/answers.rs"]
mod answers;
#[path = "hostile/calls.rs"]
mod calls;
#[allow(dead_code)] // two programs share it, each uses most of it
#[path = "hostile/daemon.rs"]
mod daemon;
#[path = "hostile/good.rs"]
mod good;
#[path = "hostile/house.rs"]
mod house;
#[path = "hostile/names.rs"]
mod names;
#[path = "common/program.rs"]
mod program;
#[path = "hostile/shapes.rs"]
mod shapes;
#[path = "contract/sink.rs"]
mod sink;
#[path = "hostile/streams.rs"]
mod streams;
#[path = "hostile/versions.rs"]
mod versions;
