//! Which characters of somebody else's text may be shown as they are. Called by every face and wherever a foreign sentence becomes ours.

/// Whether a character may change what the terminal does or the order in which it shows text.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// One line that drives nothing: tabs and line ends become a blank, other unsafe characters a question mark.
pub fn one_line(text: &str) -> String {
    let plain = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_unsafe(c) => '?',
        c => c,
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_is_left() {
        let shown = one_line("a\u{1b}[2J\u{9b}1m\u{7f}\r\nb\tc\u{202e}\u{feff}é日\u{301}");
        assert_eq!(shown, "a?[2J?1m?  b c??é日\u{301}");
        assert!(!shown.chars().any(is_unsafe));
    }
}
