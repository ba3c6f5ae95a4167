//! The supervisor: one small process per container that owns its stdio, log, exit record and policies. No tokio.
