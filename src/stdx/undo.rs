//! A stack of cleanups, written before the things they undo. Called by multi-step operations; keeps the first error and
//! every cleanup's own, so that neither hides the other.

use std::fmt;

/// One way back: what it undoes, and how.
type Step<'a, E> = (&'static str, Box<dyn FnOnce() -> Result<(), E> + 'a>);

/// Cleanups that run in reverse order unless [`Undo::commit`] is reached; also on drop, so a panic cleans up too.
pub struct Undo<'a, E> {
    steps: Vec<Step<'a, E>>,
}

impl<'a, E> Undo<'a, E> {
    /// An empty stack.
    pub fn new() -> Undo<'a, E> {
        Undo { steps: Vec::new() }
    }

    /// Remembers how to undo the step that is about to be taken. `what` reads after "while": `removing the directory`.
    pub fn push(&mut self, what: &'static str, step: impl FnOnce() -> Result<(), E> + 'a) {
        self.steps.push((what, Box::new(step)));
    }

    /// Everything went well: forgets the cleanups.
    pub fn commit(mut self) {
        self.steps.clear();
    }

    /// Runs the cleanups, last first, and returns the first error together with theirs.
    pub fn fail(mut self, first: E) -> Failed<E> {
        let cleanup = self.unwind();
        Failed { first, cleanup }
    }

    fn unwind(&mut self) -> Vec<(&'static str, E)> {
        let mut errors = Vec::new();
        while let Some((what, step)) = self.steps.pop() {
            if let Err(error) = step() {
                errors.push((what, error));
            }
        }
        errors
    }
}

impl<E> Default for Undo<'_, E> {
    fn default() -> Self {
        Undo::new()
    }
}

impl<E> Drop for Undo<'_, E> {
    fn drop(&mut self) {
        // Reached by an early return or a panic, where the caller already has an error to tell.
        let _ = self.unwind();
    }
}

/// The error that stopped an operation, and those of the cleanups after it.
#[derive(Debug)]
pub struct Failed<E> {
    /// Why the operation stopped.
    pub first: E,
    /// What could not be undone: the step and its error, in the order they ran.
    pub cleanup: Vec<(&'static str, E)>,
}

impl<E: fmt::Display> fmt::Display for Failed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        for (what, error) in &self.cleanup {
            write!(f, "; then, while {what}: {error}")?;
        }
        Ok(())
    }
}

impl<E: fmt::Display + fmt::Debug> std::error::Error for Failed<E> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn failure_unwinds_in_reverse_and_keeps_both_errors() {
        let order = RefCell::new(Vec::new());
        let mut undo = Undo::new();
        for n in 0..3 {
            let order = &order;
            undo.push("undoing", move || {
                order.borrow_mut().push(n);
                if n == 1 { Err("second".to_owned()) } else { Ok(()) }
            });
        }
        let failed = undo.fail("first".to_owned());
        assert_eq!(*order.borrow(), [2, 1, 0]);
        assert_eq!(failed.to_string(), "first; then, while undoing: second");
    }

    #[test]
    fn commit_keeps_and_drop_cleans() {
        let count = RefCell::new(0);
        let mut kept = Undo::<()>::new();
        kept.push("counting", || {
            *count.borrow_mut() += 1;
            Ok(())
        });
        kept.commit();
        assert_eq!(*count.borrow(), 0);
        let mut dropped = Undo::<()>::new();
        dropped.push("counting", || {
            *count.borrow_mut() += 1;
            Ok(())
        });
        drop(dropped);
        assert_eq!(*count.borrow(), 1);
    }
}
