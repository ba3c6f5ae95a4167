//! Docker's names and shapes on the wire: what inspect prints, what a template can name. Called by `cli` (and the daemon); wire types stop here.
