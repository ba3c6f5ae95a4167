//! Signals by name or number, as users type them. Called by `validate`, `kill` and `stop`; pure.

use nix::sys::signal::Signal;

use crate::engine::{Class, EngineError, Result};

/// `TERM`, `SIGTERM`, `15`, `RTMIN+3` → the number, 1..=64.
///
/// # Errors
/// `Invalid` "invalid signal: X".
pub(crate) fn parse(text: &str) -> Result<i32> {
    number(text).ok_or_else(|| {
        EngineError::new(Class::Invalid, text, format!("invalid signal: {text}"))
            .with_hint("a name as TERM or SIGTERM, or a number from 1 to 64")
            .with_exit_code(125)
    })
}

fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = bare.strip_prefix("RTMIN") {
        return realtime(34, offset, '+');
    }
    if let Some(offset) = bare.strip_prefix("RTMAX") {
        return realtime(64, offset, '-');
    }
    let named = match bare {
        "CLD" => "CHLD",
        "POLL" => "IO",
        other => other,
    };
    format!("SIG{named}").parse::<Signal>().ok().map(|signal| signal as i32)
}

/// glibc's range, which docker uses: 34..=64.
fn realtime(base: i32, offset: &str, sign: char) -> Option<i32> {
    if offset.is_empty() {
        return Some(base);
    }
    let steps: i32 = offset.strip_prefix(sign)?.parse().ok()?;
    let number = if sign == '+' { base + steps } else { base - steps };
    ((0..=30).contains(&steps) && (34..=64).contains(&number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_realtime_signals() {
        let table = [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("RTMIN", 34), ("SIGRTMIN+3", 37)];
        for (text, number) in table.into_iter().chain([("RTMAX-1", 63), ("64", 64), ("CLD", 17), ("WINCH", 28)]) {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "SIG", "NOPE", "RTMIN+31", "RTMIN-1", "RTMIN+x", "9x"] {
            assert_eq!(parse(bad).unwrap_err().message, format!("invalid signal: {bad}"));
        }
    }
}
