//! Tests of `store`, beside it because they outgrew it.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// A chunk of these lines, a nanosecond apart from `time_ns` on.
pub(in crate::tui::logs) fn chunk(lines: &[&[u8]], time_ns: i64) -> LogChunk {
    let mut bytes = Vec::new();
    let mut entries = Vec::new();
    for (line, time_ns) in lines.iter().zip(time_ns..) {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(line);
        entries.push(LogEntry { time_ns, stream: StreamKind::Stdout, range: start..bytes.len() as u32, newline: true });
    }
    LogChunk { bytes: Bytes::from(bytes), entries, lost_before: 0 }
}

fn texts(store: &Store) -> Vec<Vec<u8>> {
    store.range().map(|seq| store.with_line(seq, |line| line.bytes.to_vec()).unwrap()).collect()
}

#[test]
fn lines_come_back_as_they_went_in_packed_or_not() {
    let mut store = Store::new(64 << 20);
    let mut expected = Vec::new();
    for n in 0..120_000u32 {
        let line = format!("line {n} of a log with some words in it that repeat").into_bytes();
        store.append(SourceIdx((n % 3) as u16), &chunk(&[&line], i64::from(n)), 0);
        expected.push(line);
    }
    let hot = store.cost();
    while store.pack_one() {}
    assert!(store.cost() < hot, "packing must free memory: {hot} -> {}", store.cost());
    assert_eq!(texts(&store), expected);
    let meta = store.meta(FIRST + 7).unwrap();
    assert_eq!((meta.time_ns, meta.source, meta.stream()), (7, SourceIdx(1), StreamKind::Stdout));
    assert_eq!(store.at_time(4711), FIRST + 4711);
}

#[test]
fn memory_stays_within_the_budget_and_what_goes_is_counted() {
    let mut store = Store::new(2 << 20);
    let mut evicted = 0;
    let line = [b'x'; 100];
    for n in 0..100_000 {
        store.append(SourceIdx(0), &chunk(&[&line], n), 0);
        evicted += store.evict(Keep::Newest).oldest;
        assert!(store.cost() <= (2 << 20) + 400_000);
    }
    assert_eq!(evicted + store.len(), 100_000);
}

#[test]
fn the_line_read_is_never_given_up() {
    let mut store = Store::new(1 << 20);
    let line = [b'x'; 1000];
    for n in 0..10_000 {
        store.append(SourceIdx(0), &chunk(&[&line], n), 0);
        store.evict(Keep::Around(FIRST + 5));
        assert!(store.meta(FIRST + 5.min(n as u64)).is_some());
    }
}

#[test]
fn one_long_line_is_one_line() {
    let mut store = Store::new(64 << 20);
    let long = vec![b'y'; 3 << 20];
    store.append(SourceIdx(0), &chunk(&[b"a", &long, b"b"], 0), 0);
    assert_eq!(texts(&store), [b"a".to_vec(), long, b"b".to_vec()]);
}

proptest! {
    #[test]
    fn history_goes_in_front(
        newer in prop::collection::vec("[a-z]{0,9}", 0..20),
        older in prop::collection::vec("[a-z]{0,9}", 1..20),
    ) {
        let mut store = Store::new(1 << 20);
        let lines: Vec<&[u8]> = newer.iter().map(|line| line.as_bytes()).collect();
        store.append(SourceIdx(0), &chunk(&lines, 0), 0);
        let old: Vec<&[u8]> = older.iter().map(|line| line.as_bytes()).collect();
        let old_chunk = chunk(&old, -100);
        let entries: Vec<_> =
            old_chunk.entries.iter().map(|entry| (SourceIdx(0), entry.clone(), old_chunk.line(entry))).collect();
        store.prepend(&entries);
        store.append(SourceIdx(0), &chunk(&[b"last"], 1), 0);
        let expected: Vec<Vec<u8>> =
            older.iter().chain(&newer).map(|line| line.clone().into_bytes()).chain([b"last".to_vec()]).collect();
        prop_assert_eq!(texts(&store), expected);
    }

    #[test]
    fn bits_are_a_set(members: Vec<u8>, from: u8) {
        let mut bits = Bits::default();
        let mut set = BTreeSet::new();
        for member in &members {
            bits.insert(usize::from(*member));
            set.insert(usize::from(*member));
        }
        let from = usize::from(from);
        prop_assert_eq!(bits.n_set, set.len());
        prop_assert_eq!(bits.next(from), set.range(from..).next().copied());
        prop_assert_eq!(bits.previous(from), set.range(..=from).next_back().copied());
        prop_assert_eq!(bits.n_through(from), set.range(..=from).count());
        prop_assert_eq!(bits.contains(from), set.contains(&from));
    }
}
