//! The composition root: reads argv, picks the role this process plays (shim, runtime command, CLI verb or UI), builds the engine
//! and hands it to a face. Nothing else in the program names an engine implementation.

fn main() {}
