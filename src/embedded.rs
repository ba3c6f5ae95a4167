//! The engine in this process: implements the `engine` traits on the store, the shims and the runtime. Called by `main`.
