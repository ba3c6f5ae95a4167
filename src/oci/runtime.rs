//! The runtime spec's types (config.json), as the `oci-spec` crate has them. Called by `runtime`, `shim` and `embedded`; holds no code.

pub use oci_spec::runtime::*;
