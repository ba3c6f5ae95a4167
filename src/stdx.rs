//! Std extensions with no knowledge of containers. Called by every floor; must never do more than its name says.
