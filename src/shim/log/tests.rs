//! The log from end to end: what a process wrote comes back, through rotations, tails, times and damage.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::replay::{Replay, Step};
use super::{FILE_NAME, LogReader, LogWriter, WriterIs, file_path};
use crate::engine::{LogsQuery, StreamKind};
use crate::shim::config::LogConfig;

fn config(dir: &Path, max_size_bytes: u64, max_files: u32) -> LogConfig {
    LogConfig { dir: Some(dir.join("log")), max_size_bytes, max_files }
}

/// Seconds as the log's nanoseconds.
fn at(s: i64) -> i64 {
    s * 1_000_000_000
}

fn time(s: u64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(s))
}

type Line = (StreamKind, Vec<u8>, bool);

fn drain(reader: &mut LogReader) -> (Vec<Line>, u64) {
    let (mut lines, mut n_lost) = (Vec::new(), 0);
    while let Some(chunk) = reader.next_chunk().unwrap() {
        n_lost += chunk.lost_before;
        lines.extend(chunk.entries.iter().map(|entry| (entry.stream, chunk.line(entry).to_vec(), entry.newline)));
    }
    (lines, n_lost)
}

fn read(dir: &Path, query: &LogsQuery) -> Vec<Line> {
    let (lines, n_lost) = drain(&mut LogReader::open(&dir.join("log"), query, WriterIs::Ended).unwrap());
    assert_eq!(n_lost, 0);
    lines
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|(_, text, _)| String::from_utf8_lossy(text).into_owned()).collect()
}

fn replayed(dir: &Path) -> [Vec<u8>; 2] {
    let dir = dir.join("log");
    let mut replay = Replay::open(&dir).unwrap();
    let mut out = [Vec::new(), Vec::new()];
    while replay.step(&dir, &mut |stream, text| out[usize::from(stream == StreamKind::Stderr)].extend(text)).unwrap()
        == Step::More
    {}
    out
}

/// The lines in some bytes, and whether the last has its newline.
fn lines_of(stream: StreamKind, bytes: &[u8]) -> Vec<Line> {
    let mut lines: Vec<Line> = bytes.split(|b| *b == b'\n').map(|text| (stream, text.to_vec(), true)).collect();
    match lines.pop() {
        Some((_, rest, _)) if !rest.is_empty() => lines.push((stream, rest, false)),
        _ => {}
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_bytes_in_any_pieces_come_back(
        pieces in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(prop_oneof![3 => Just(b'\n'), 20 => any::<u8>()], 0..200), 0u8..4),
            0..40,
        ),
        long in 0usize..70_000,
        max_size in prop_oneof![Just(500u64), Just(5_000), Just(1_000_000)],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(&config(dir.path(), max_size, 100_000), at(0)).unwrap();
        let mut sent = [Vec::new(), Vec::new()];
        for (n, (is_err, bytes, then)) in pieces.iter().enumerate() {
            let stream = if *is_err { StreamKind::Stderr } else { StreamKind::Stdout };
            let mut bytes = bytes.clone();
            if n == 3 {
                bytes.extend(std::iter::repeat_n(b'L', long));
            }
            writer.write(stream, &bytes, at(n as i64));
            sent[usize::from(*is_err)].extend(&bytes);
            match then {
                0 => writer.flush(),
                1 => writer.flush_all(at(n as i64)),
                _ => {}
            }
        }
        writer.end(at(1000));
        prop_assert_eq!(writer.trouble(), &Default::default());
        let lines = read(dir.path(), &LogsQuery::default());
        for stream in [StreamKind::Stdout, StreamKind::Stderr] {
            let own: Vec<Line> = lines.iter().filter(|line| line.0 == stream).cloned().collect();
            prop_assert_eq!(&own, &lines_of(stream, &sent[usize::from(stream == StreamKind::Stderr)]));
        }
        prop_assert_eq!(replayed(dir.path()), sent);
        for n_tail in [0, 1, 2, 7, 1000] {
            let query = LogsQuery { tail: Some(n_tail), ..LogsQuery::default() };
            let tail = read(dir.path(), &query);
            prop_assert_eq!(&tail[..], &lines[lines.len().saturating_sub(n_tail as usize)..]);
            let query = LogsQuery { stderr: false, ..query };
            let own: Vec<Line> = lines.iter().filter(|line| line.0 == StreamKind::Stdout).cloned().collect();
            prop_assert_eq!(&read(dir.path(), &query)[..], &own[own.len().saturating_sub(n_tail as usize)..]);
        }
    }

    #[test]
    fn damaged_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000), n in 0u64..5) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        let mut text = bytes.clone();
        text.extend_from_slice(b"\n2026-11-21T04:05:23.123456789Z stdout F fine\n");
        std::fs::write(dir.path().join("log").join(FILE_NAME), &text).unwrap();
        for query in [
            LogsQuery::default(),
            LogsQuery { tail: Some(n), ..LogsQuery::default() },
            LogsQuery { since: time(5), until: time(4_000_000_000), ..LogsQuery::default() },
        ] {
            let mut reader = LogReader::open(&dir.path().join("log"), &query, WriterIs::Ended).unwrap();
            let (lines, n_lost) = drain(&mut reader);
            if query.tail.is_none() {
                prop_assert_eq!(texts(&lines).pop().unwrap(), "fine");
                prop_assert!(query.since.is_some() || n_lost > 0);
            }
        }
    }
}

#[test]
fn rotation_keeps_the_count_and_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(&config(dir.path(), 1000, 3), at(0)).unwrap();
    for n in 0..200 {
        writer.write(StreamKind::Stdout, format!("line {n:03}\n").as_bytes(), at(n));
    }
    writer.end(at(200));
    let log = dir.path().join("log");
    for n in 0..3 {
        let len = std::fs::metadata(file_path(&log, n)).unwrap().len();
        assert!(len <= 1000, "file {n} has {len} bytes");
    }
    assert!(!file_path(&log, 3).exists());
    let lines = texts(&read(dir.path(), &LogsQuery::default()));
    assert_eq!(lines.last().map(String::as_str), Some("line 199"));
    let first: usize = lines[0][5..].parse().unwrap();
    assert_eq!(lines.len(), 200 - first);
}

#[test]
fn one_file_is_started_afresh() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(&config(dir.path(), 100, 1), at(0)).unwrap();
    for n in 0..5 {
        writer.write(StreamKind::Stdout, format!("{n}\n").as_bytes(), at(n));
    }
    writer.end(at(9));
    assert_eq!(texts(&read(dir.path(), &LogsQuery::default())), ["4"]);
    assert_eq!(std::fs::read_dir(dir.path().join("log")).unwrap().count(), 2, "the file and the index");
}

#[test]
fn a_follower_sees_each_line_once_through_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(&config(dir.path(), 2000, 50), at(0)).unwrap();
    let query = LogsQuery { follow: true, ..LogsQuery::default() };
    let mut first = LogReader::open(&dir.path().join("log"), &query, WriterIs::Alive).unwrap();
    let mut second = LogReader::open(&dir.path().join("log"), &query, WriterIs::Alive).unwrap();
    let (mut seen_first, mut seen_second) = (Vec::new(), Vec::new());
    for n in 0..500 {
        writer.write(StreamKind::Stdout, format!("line {n}\n").as_bytes(), at(n));
        writer.flush();
        seen_first.extend(drain(&mut first).0);
        if n % 97 == 0 {
            seen_second.extend(drain(&mut second).0);
        }
    }
    seen_second.extend(drain(&mut second).0);
    let wanted: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
    assert_eq!(texts(&seen_first), wanted);
    assert_eq!(texts(&seen_second), wanted);
    assert!(file_path(&dir.path().join("log"), 5).exists(), "it rotated often");
}

#[test]
fn a_follower_that_fell_behind_is_told_exactly_how_much_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(&config(dir.path(), 2000, 2), at(0)).unwrap();
    writer.write(StreamKind::Stdout, b"early\n", at(0));
    writer.flush();
    let query = LogsQuery { follow: true, ..LogsQuery::default() };
    let mut reader = LogReader::open(&dir.path().join("log"), &query, WriterIs::Alive).unwrap();
    let (early, _) = drain(&mut reader);
    assert_eq!(texts(&early), ["early"]);
    for n in 0..1000 {
        writer.write(StreamKind::Stdout, format!("line {n}\n").as_bytes(), at(n));
    }
    writer.flush();
    let (lines, n_lost) = drain(&mut reader);
    assert!(n_lost > 500, "{n_lost}");
    assert_eq!(lines.len() as u64 + n_lost, 1000);
    assert_eq!(texts(&lines).last().map(String::as_str), Some("line 999"));
}

#[test]
fn half_a_line_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(&config(dir.path(), 1_000_000, 2), at(0)).unwrap();
    let query = LogsQuery { follow: true, ..LogsQuery::default() };
    let mut reader = LogReader::open(&dir.path().join("log"), &query, WriterIs::Alive).unwrap();
    writer.write(StreamKind::Stdout, b"prompt> ", at(1));
    writer.flush_all(at(1));
    assert_eq!(drain(&mut reader).0, []);
    // Nor an entry of which only a piece is in the file.
    let mut raw = std::fs::OpenOptions::new().append(true).open(file_path(&dir.path().join("log"), 0)).unwrap();
    raw.write_all(b"2026-11-21T04:05:23.123456789Z stdout F yes").unwrap();
    assert_eq!(drain(&mut reader).0, []);
    raw.write_all(b" and no\n").unwrap();
    assert_eq!(texts(&drain(&mut reader).0), ["prompt> yes and no"]);
    writer.write(StreamKind::Stdout, b"bye", at(2));
    writer.end(at(2));
    assert_eq!(drain(&mut reader).0, []);
    reader.writer_ended();
    assert_eq!(drain(&mut reader).0, [(StreamKind::Stdout, b"bye".to_vec(), false)]);
}

#[test]
fn a_new_run_does_not_go_on_with_the_old_ones_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let cfg = config(dir.path(), 1_000_000, 2);
    let mut writer = LogWriter::open(&cfg, at(0)).unwrap();
    writer.write(StreamKind::Stderr, b"killed in mid-", at(1));
    writer.end(at(1));
    // And a shim that was killed in the middle of a write.
    let mut raw = std::fs::OpenOptions::new().append(true).open(file_path(&dir.path().join("log"), 0)).unwrap();
    raw.write_all(b"2026-11-21T04:05").unwrap();
    let mut writer = LogWriter::open(&cfg, at(2)).unwrap();
    writer.write(StreamKind::Stderr, b"hello\n", at(2));
    writer.end(at(2));
    let lines = read(dir.path(), &LogsQuery::default());
    assert_eq!(texts(&lines), ["killed in mid-", "hello"]);
    assert!(lines.iter().all(|line| line.2));
}

#[test]
fn times_bound_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(&config(dir.path(), 3_000_000, 20), at(0)).unwrap();
    let filler = "x".repeat(900);
    for n in 0..10_000 {
        writer.write(StreamKind::Stdout, format!("{n} {filler}\n").as_bytes(), at(n));
    }
    writer.end(at(10_000));
    assert!(file_path(&dir.path().join("log"), 2).exists(), "several files");
    let check = |since: Option<u64>, until: Option<u64>, tail: Option<u64>, first: usize, n: usize| {
        let query =
            LogsQuery { since: since.and_then(time), until: until.and_then(time), tail, ..LogsQuery::default() };
        let lines = texts(&read(dir.path(), &query));
        assert_eq!(lines.len(), n, "{query:?}");
        if n > 0 {
            assert!(lines[0].starts_with(&format!("{first} ")), "{query:?}: {}", &lines[0][..10]);
        }
    };
    check(Some(0), None, None, 0, 10_000);
    check(Some(5_000), None, None, 5_000, 5_000);
    check(Some(9_999), None, None, 9_999, 1);
    check(Some(10_000), None, None, 0, 0);
    check(Some(3_300), Some(3_310), None, 3_300, 11);
    check(None, Some(99), None, 0, 100);
    check(None, Some(99), Some(10), 90, 10);
    check(Some(9_990), None, Some(100), 9_990, 10);
}

#[test]
fn a_missing_log_is_empty_and_its_first_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("log")).unwrap();
    let query = LogsQuery { follow: true, ..LogsQuery::default() };
    let mut reader = LogReader::open(&dir.path().join("log"), &query, WriterIs::Alive).unwrap();
    assert_eq!(drain(&mut reader), (Vec::new(), 0));
    let mut writer = LogWriter::open(&config(dir.path(), 100, 2), at(0)).unwrap();
    writer.write(StreamKind::Stdout, b"one\n", at(0));
    writer.flush();
    assert_eq!(texts(&drain(&mut reader).0), ["one"]);
}
