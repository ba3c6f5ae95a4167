//! The chain of causes of an error, as texts. Called where an error becomes words or a record; must never add words of its own.

use std::error::Error;
use std::iter::successors;

/// The error and its sources, outermost first.
pub fn chain(error: &(dyn Error + 'static)) -> impl Iterator<Item = String> {
    successors(Some(error), |&error| error.source()).map(ToString::to_string)
}
