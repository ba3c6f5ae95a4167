//! A short run of every fuzz target: the inputs that once were trouble (`tests/fuzz/corpus/<target>/`), then seeds changed at random. The
//! gate's inputs are the same in every run; `ORLOP_FUZZ_SEED=N` and `ORLOP_FUZZ_TIMES=N` try others and more. An input that ends in a panic is
//! kept in `tests/fuzz/corpus/<target>/` for good.
#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub)] // a program of the test house

#[path = "fuzz/targets.rs"]
mod targets;

use std::path::Path;

use targets::{TARGETS, Target};

/// xorshift64*: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap_or(0)
    }
}

/// What parsers stumble over.
const TOKENS: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\x7f",
    b"../",
    b"/",
    b"//",
    b":",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"9223372036854775807",
    b"1e999",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"=",
    b"\n",
    b"\r\n",
    b"\x1b[",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x98\x80",
    b"{{",
    b"}}",
    b"null",
    b"%s",
    b"sha256:",
    b"0777777777777\0",
    b"ustar\0",
    b"PaxHeader",
    b"\x80\0\0\0\0\0\0\x01",
];

fn change(input: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    match dice.below(8) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = dice.next() as u8,
        2 => input.truncate(at),
        3 => drop(input.splice(at..at, TOKENS[dice.below(TOKENS.len())].iter().copied())),
        4 => {
            let end = (at + dice.below(40)).min(input.len());
            input.drain(at..end);
        }
        5 => {
            let end = (at + dice.below(600)).min(input.len());
            let piece = input[at..end].to_vec();
            let to = dice.below(input.len() + 1);
            input.splice(to..to, piece);
        }
        6 => {
            let token = TOKENS[dice.below(TOKENS.len())];
            let end = (at + token.len()).min(input.len());
            input.splice(at..end, token.iter().copied());
        }
        _ => input.extend((0..dice.below(30)).map(|_| dice.next() as u8)),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Keeps the input of a panic.
struct Blame<'a> {
    target: &'a Target,
    input: &'a [u8],
}

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let dir = corpus(self.target);
            let path = dir.join(format!("{:016x}", orlop_hash(self.input)));
            let kept = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, self.input));
            eprintln!(
                "{}: panic on {} bytes, {}",
                self.target.name,
                self.input.len(),
                match kept {
                    Ok(()) => format!("kept in {}", path.display()),
                    Err(error) => format!("not kept: {error}"),
                }
            );
        }
    }
}

fn orlop_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn corpus(target: &Target) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name)
}

fn attempt(target: &Target, input: &[u8]) {
    let _blame = Blame { target, input };
    (target.run)(input);
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    for entry in std::fs::read_dir(corpus(target)).into_iter().flatten().flatten() {
        attempt(target, &std::fs::read(entry.path()).unwrap());
    }
    let seeds = (target.seeds)();
    seeds.iter().for_each(|seed| attempt(target, seed));
    let mut dice = Dice(number("ORLOP_FUZZ_SEED").unwrap_or(1) ^ orlop_hash(name.as_bytes()));
    let times = number("ORLOP_FUZZ_TIMES").unwrap_or(1);
    for n in 0..u64::from(target.n_inputs) * times {
        let mut input = seeds[dice.below(seeds.len())].clone();
        if n % 50 == 0 {
            input.clear();
        }
        for _ in 0..=dice.below(6) {
            change(&mut input, &mut dice);
        }
        attempt(target, &input);
    }
}

macro_rules! each {
    ($($name:ident)*) => { $( #[test] fn $name() { run(stringify!($name)); } )* };
}

each! { image_documents references command_line templates shim_frames detach_keys wire_streams users settings shown_text runtime_documents log_files }

#[test]
fn layers() {
    if nix::unistd::geteuid().is_root() {
        targets::seeds_are_taken();
    }
    as_root("layers");
}

#[test]
fn archives() {
    as_root("archives");
}

/// Owners and devices of layers can be made by root alone.
fn as_root(name: &str) {
    if nix::unistd::geteuid().is_root() {
        run(name);
    } else {
        eprintln!("not run: {name} needs root");
    }
}

#[test]
fn every_target_is_run() {
    let own = include_str!("fuzz.rs");
    let forgotten: Vec<_> =
        TARGETS.iter().filter(|target| !own.contains(target.name)).map(|target| target.name).collect();
    assert_eq!(forgotten, [""; 0]);
}
