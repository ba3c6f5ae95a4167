//! The waist: traits and vocabulary that faces speak and engines implement. No executor, no I/O.
