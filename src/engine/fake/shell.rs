//! A tiny shell for attach and exec: echoes like a terminal, answers a few commands, ends on `exit` or end of input. Bytes in, bytes out.

use super::program::builtin;

#[derive(Clone, Debug)]
pub(super) struct Shell {
    tty: bool,
    line: Vec<u8>,
    last_code: i32,
}

/// What the shell does with input.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) output: Vec<u8>,
    pub(super) ended: Option<i32>,
}

const PROMPT: &str = "/ # ";

impl Shell {
    pub(super) fn new(tty: bool) -> Self {
        Self { tty, line: Vec::new(), last_code: 0 }
    }

    /// What it writes when it starts.
    pub(super) fn greeting(&self) -> Vec<u8> {
        if self.tty { PROMPT.as_bytes().to_vec() } else { Vec::new() }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Answer {
        let mut answer = Answer::default();
        for &byte in bytes {
            if answer.ended.is_none() {
                self.take(byte, &mut answer);
            }
        }
        answer
    }

    /// End of input: what is left in the line runs, then the shell ends.
    pub(super) fn close(&mut self) -> Answer {
        let mut answer = Answer::default();
        self.run(&mut answer);
        answer.ended.get_or_insert(self.last_code);
        answer
    }

    fn take(&mut self, byte: u8, answer: &mut Answer) {
        match byte {
            b'\r' | b'\n' => {
                self.echo(b"\r\n", answer);
                self.run(answer);
                if answer.ended.is_none() {
                    answer.output.extend_from_slice(&self.greeting());
                }
            }
            0x04 if self.tty && self.line.is_empty() => answer.ended = Some(self.last_code),
            0x03 if self.tty => {
                self.line.clear();
                self.last_code = 130;
                answer.output.extend_from_slice(b"^C\r\n");
                answer.output.extend_from_slice(PROMPT.as_bytes());
            }
            0x7f | 0x08 if self.tty => {
                if self.line.pop().is_some() {
                    self.echo(b"\x08 \x08", answer);
                }
            }
            _ => {
                self.line.push(byte);
                self.echo(&[byte], answer);
            }
        }
    }

    fn echo(&self, bytes: &[u8], answer: &mut Answer) {
        if self.tty {
            answer.output.extend_from_slice(bytes);
        }
    }

    fn run(&mut self, answer: &mut Answer) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim().to_owned();
        if line.is_empty() {
            return;
        }
        let (name, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if name == "exit" {
            answer.ended = Some(rest.trim().parse().unwrap_or(self.last_code));
            return;
        }
        let (text, code) = builtin(name, rest);
        self.last_code = code;
        let text = if self.tty { text.replace('\n', "\r\n") } else { text };
        answer.output.extend_from_slice(text.as_bytes());
    }
}

/// Finds the detach sequence in typed bytes across writes. `Err` when the keys cannot be read.
#[derive(Clone, Debug)]
pub(super) struct DetachKeys {
    keys: Vec<u8>,
    n_seen: usize,
}

impl DetachKeys {
    pub(super) fn parse(keys: Option<&str>) -> Result<Self, String> {
        let keys = keys.unwrap_or("ctrl-p,ctrl-q");
        let keys = keys.split(',').filter(|key| !key.is_empty()).map(key_byte).collect::<Result<_, _>>()?;
        Ok(Self { keys, n_seen: 0 })
    }

    /// The bytes that go on to the process, and whether the sequence is complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut through = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if self.keys.get(self.n_seen) == Some(&byte) {
                self.n_seen += 1;
                if self.n_seen == self.keys.len() {
                    self.n_seen = 0;
                    return (through, true);
                }
                continue;
            }
            through.extend_from_slice(&self.keys[..self.n_seen]);
            self.n_seen = 0;
            through.push(byte);
        }
        (through, false)
    }
}

fn key_byte(key: &str) -> Result<u8, String> {
    let wrong = || format!("Unknown character: '{key}'");
    match key.strip_prefix("ctrl-") {
        None if key.len() == 1 => Ok(key.as_bytes()[0]),
        None => Err(wrong()),
        Some(rest) => match rest.as_bytes() {
            [letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
            [b'@'] => Ok(0),
            [sign @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Ok(sign - b'[' + 27),
            _ => Err(wrong()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shell_echoes_prompts_and_exits() {
        let mut shell = Shell::new(true);
        let answer = shell.feed(b"echo hi\rexit 3\r");
        assert_eq!(answer.output, b"echo hi\r\nhi\r\n/ # exit 3\r\n");
        assert_eq!(answer.ended, Some(3));
    }

    #[test]
    fn a_piped_shell_runs_the_last_line_at_end_of_input() {
        let mut shell = Shell::new(false);
        assert_eq!(shell.feed(b"echo a").output, b"");
        assert_eq!(shell.close(), Answer { output: b"a\n".to_vec(), ended: Some(0) });
    }

    #[test]
    fn detach_keys_are_found_across_writes_and_false_starts_pass() {
        let mut keys = DetachKeys::parse(None).unwrap();
        assert_eq!(keys.feed(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.feed(b"b\x10"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.feed(b"\x11z"), (b"".to_vec(), true));
        assert!(DetachKeys::parse(Some("ctrl-+")).is_err());
    }
}
