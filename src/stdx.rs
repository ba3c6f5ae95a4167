//! Std extensions with no knowledge of containers. Called by every floor; must never do more than its name says.

pub mod atomic;
pub mod causes;
pub mod human;
pub mod ids;
pub mod journal;
pub mod lock;
pub mod names;
pub mod pipe;
pub mod shown;
pub mod tree;
pub mod undo;
pub mod zone;
