//! OCI spec types, wrapped thinly: the runtime spec from the `oci-spec` crate, image documents our own. Called by `runtime` and `store`.

pub mod chain;
pub mod image;
pub mod reference;
pub mod runtime;

pub use oci_spec::OciSpecError;
