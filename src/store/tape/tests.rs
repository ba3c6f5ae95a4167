//! Headers of every dialect, and of none.

use super::super::testing::Tar;
use super::*;

fn entries(tar: &[u8]) -> Result<Vec<Entry>, StoreError> {
    let mut tape = Tape::new(tar, NoTap);
    let mut found = Vec::new();
    while let Some(entry) = tape.next_entry()? {
        found.push(entry);
    }
    Ok(found)
}

#[test]
fn names_of_every_length_are_read() {
    let long = "p/".repeat(100) + "end";
    let tar = Tar::new().file("a", b"x").pax(&[("path", &long)]).file("b", b"y").gnu_long(&long, b"z").done();
    let names: Vec<_> = entries(&tar).unwrap().into_iter().map(|e| String::from_utf8(e.path).unwrap()).collect();
    assert_eq!(names, ["a".to_owned(), long.clone(), long]);
}

#[test]
fn numbers_in_base_256_and_times_before_the_epoch_are_read() {
    assert_eq!(signed(&[0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], 0).unwrap(), 1 << 32);
    assert_eq!(signed(&[0xff; 12], 0).unwrap(), -1);
    assert!(number(&[0xff; 12], 0).is_err());
    assert!(signed(&[0xbf; 12], 0).is_err());
    assert_eq!(timestamp(b"12.5"), Some((12, 500_000_000)));
    assert_eq!(timestamp(b"-1.25"), Some((-2, 750_000_000)));
    assert_eq!(timestamp(b"1.2345678919"), Some((1, 234_567_891)));
    assert_eq!(timestamp(b"x"), None);
}

#[test]
fn damaged_headers_are_refused() {
    let good = Tar::new().file("a", b"x").done();
    let mut sum = good.clone();
    sum[0] ^= 1;
    assert!(entries(&sum).unwrap_err().to_string().contains("checksum"));
    for records in ["7 a=b\n", "x a=b\n", "6 path\n", "99999999999999999999 a=b\n", "0 a=b\n", "11 size=-1\n"] {
        let tar = Tar::new().pax_raw(records.as_bytes()).file("a", b"").done();
        assert!(entries(&tar).is_err(), "{records:?}");
    }
    let nul = Tar::new().pax_bytes(&[("path", b"a\0b")]).file("x", b"").done();
    assert!(entries(&nul).is_err());
}

#[test]
fn an_archive_may_end_without_its_zeros() {
    let mut tar = Tar::new().file("a", b"x").done();
    tar.truncate(tar.len() - 1024);
    assert_eq!(entries(&tar).unwrap().len(), 1);
    assert!(entries(b"").unwrap().is_empty());
    tar.truncate(tar.len() - 100);
    assert!(entries(&tar).unwrap_err().hint.is_some());
}

#[test]
fn paths_are_cleaned_inside_the_root() {
    for (path, clean) in [("./a//b/", "a/b"), ("/a/./c", "a/c"), ("a/../b", "b"), ("", ""), ("./", "")] {
        assert_eq!(clean_path(path.as_bytes()).as_deref(), Some(clean.as_bytes()), "{path}");
    }
    for path in ["..", "a/../..", "/../x"] {
        assert_eq!(clean_path(path.as_bytes()), None, "{path}");
    }
}
