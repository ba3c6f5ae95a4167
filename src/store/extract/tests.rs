//! Hostile and odd layers, built byte by byte, unpacked into a temporary directory next to a canary. Most need root
//! (owners, devices, trusted attributes); without it they say so.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use proptest::prelude::*;

use super::super::budget::Budget;
use super::super::recipe;
use super::super::testing::{Tar, have_root};
use super::*;
use crate::store::error::Class;

/// A directory for one layer, and outside of it a file that must stay as it is.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/canary"), "alive").unwrap();
        Bench { dir }
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn layer(&self) -> PathBuf {
        self.dir.path().join("layer")
    }

    fn root(&self) -> PathBuf {
        self.layer().join("fs")
    }

    fn unpack(&self, tar: &[u8]) -> Result<Unpacked> {
        let layer = self.layer();
        let _ = fs::remove_dir_all(&layer);
        for dir in [layer.clone(), layer.join("fs"), layer.join("kept")] {
            fs::create_dir(dir).unwrap();
        }
        let budget = Budget::of(self.dir.path()).unwrap();
        // A thread of its own, because unpacking changes the umask.
        std::thread::scope(|scope| {
            let keep = Keep::Recipe(Box::new(recipe::Writer::create(&layer.join("recipe.zst")).unwrap()));
            scope.spawn(|| unpack(tar, &layer, keep, &budget)).join().unwrap()
        })
    }

    /// The canary lives and nothing new is outside of the layer.
    fn assert_confined(&self) {
        assert_eq!(fs::read_to_string(self.outside().join("canary")).unwrap(), "alive");
        assert_eq!(fs::read_dir(self.outside()).unwrap().count(), 1, "something was made outside");
        assert_eq!(fs::metadata(self.outside()).unwrap().mode() & 0o7777, 0o755);
        let n_beside = fs::read_dir(self.dir.path()).unwrap().count();
        assert_eq!(n_beside, 2, "something was made beside the layer");
    }

    fn has(&self, path: &str) -> bool {
        self.root().join(path).symlink_metadata().is_ok()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }
}

fn bench() -> Option<Bench> {
    have_root().then(Bench::new)
}

#[test]
fn cve_2014_6407_a_symlink_does_not_lead_out() {
    let Some(bench) = bench() else { return };
    let outside = bench.outside().display().to_string();
    let relative = "../../outside";
    for target in [outside.as_str(), relative, "/", "..", "/proc/self/root", "/proc/self/cwd"] {
        let tar = Tar::new().symlink("link", target).file("link/canary", b"dead").file("link/new", b"x").done();
        // Followed inside the layer, refused, or made there: never outside.
        let _ = bench.unpack(&tar);
        bench.assert_confined();
    }
}

#[test]
fn cve_2014_6408_a_hard_link_does_not_lead_out() {
    let Some(bench) = bench() else { return };
    let canary = bench.outside().join("canary").display().to_string();
    for target in [canary.as_str(), "../../outside/canary", "../outside/canary", "/etc/passwd"] {
        let tar = Tar::new().hard_link("a", target).file("a", b"dead").done();
        assert_eq!(bench.unpack(&tar).unwrap_err().class, Class::Invalid, "{target}");
        bench.assert_confined();
    }
    // Through a symbolic link of the layer itself.
    let outside = bench.outside().display().to_string();
    let tar = Tar::new().symlink("link", &outside).hard_link("a", "link/canary").file("a", b"dead").done();
    assert_eq!(bench.unpack(&tar).unwrap_err().class, Class::Invalid);
    bench.assert_confined();
}

#[test]
fn cve_2014_9356_dotdot_is_refused_or_stays_inside() {
    let Some(bench) = bench() else { return };
    for path in ["../outside/new", "a/../../outside/new", "/../outside/new", "..", "./..//../x"] {
        let tar = Tar::new().file(path, b"x").done();
        assert_eq!(bench.unpack(&tar).unwrap_err().class, Class::Invalid, "{path}");
        bench.assert_confined();
    }
    bench.unpack(&Tar::new().file("/a/./b/../c", b"x").done()).unwrap();
    assert!(bench.has("a/c"));
}

#[test]
fn cve_2021_32760_modes_are_not_set_through_links() {
    let Some(bench) = bench() else { return };
    let outside = bench.outside().display().to_string();
    fs::set_permissions(bench.outside(), fs::Permissions::from_mode(0o755)).unwrap();
    let tar = Tar::new().dir("d", 0o777).symlink("d", &outside).done();
    bench.unpack(&tar).unwrap();
    bench.assert_confined();
    // The same name twice: a directory whose attributes are still to come, then a link.
    let tar = Tar::new().symlink("e", &outside).dir("e", 0o777).file("e/f", b"x").done();
    bench.unpack(&tar).unwrap();
    assert!(bench.has("e/f"));
    bench.assert_confined();
}

#[test]
fn cve_2021_32760_a_link_swapped_under_open_directories_is_seen() {
    let Some(bench) = bench() else { return };
    let outside = bench.outside().display().to_string();
    let tar = Tar::new()
        .dir("a", 0o755)
        .dir("a/b", 0o755)
        .file("a/b/one", b"1")
        .symlink("a/b", &outside)
        .file("a/b/new", b"x")
        .done();
    assert_eq!(bench.unpack(&tar).unwrap_err().class, Class::Invalid);
    bench.assert_confined();
    // Where the new link leads is where the next entry goes, not into the directory that was there before.
    let tar = Tar::new().dir("x", 0o755).file("a/b/one", b"1").symlink("a/b", "/x").file("a/b/new", b"x").done();
    bench.unpack(&tar).unwrap();
    assert_eq!(bench.read("x/new"), "x");
}

#[test]
fn cve_2024_40635_owners_above_the_signed_range_are_refused() {
    let Some(bench) = bench() else { return };
    for (uid, gid) in [(1u64 << 31, 0), (0, 1 << 31), (u64::from(u32::MAX), 0), ((1 << 32) + 1, 0)] {
        let tar = Tar::new().pax(&[("uid", &uid.to_string()), ("gid", &gid.to_string())]).file("a", b"x").done();
        assert_eq!(bench.unpack(&tar).unwrap_err().class, Class::Invalid, "{uid}:{gid}");
    }
    let tar = Tar::new().pax(&[("uid", "2147483647"), ("gid", "7")]).file("a", b"x").done();
    bench.unpack(&tar).unwrap();
    assert_eq!(fs::metadata(bench.root().join("a")).unwrap().uid(), 2_147_483_647);
}

/// Attributes that would tell the host's overlay to look elsewhere, or label files, do not come from an archive.
#[test]
fn overlay_attributes_of_an_archive_are_left_out() {
    let Some(bench) = bench() else { return };
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", "/../../etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", "y"),
            ("SCHILY.xattr.user.overlay.opaque", "y"),
            ("SCHILY.xattr.security.selinux", "x"),
            ("SCHILY.xattr.user.mine", "kept"),
        ])
        .dir("d", 0o755)
        .done();
    bench.unpack(&tar).unwrap();
    let root = File::open(bench.root()).unwrap();
    let names = xattr::list_at(&root, c"d").unwrap();
    assert!(!names.iter().any(|name| name.to_bytes().starts_with(b"trusted.")), "{names:?}");
    assert!(!names.iter().any(|name| name.to_bytes().starts_with(b"user.overlay")), "{names:?}");
    assert_eq!(xattr::get_at(&root, c"d", c"user.mine").unwrap().as_deref(), Some(&b"kept"[..]));
}

#[test]
fn cve_2025_62518_sizes_are_read_one_way() {
    let Some(bench) = bench() else { return };
    // The ustar header says zero, the PAX header says the body holds a whole archive: its entries are content.
    let inner = Tar::new().file("smuggled", b"x").done();
    let tar =
        Tar::new().pax(&[("size", &inner.len().to_string())]).lying_file("a", 0, &inner).file("b", b"after").done();
    bench.unpack(&tar).unwrap();
    assert!(!bench.has("smuggled"));
    assert_eq!(fs::metadata(bench.root().join("a")).unwrap().len(), inner.len() as u64);
    assert_eq!(bench.read("b"), "after");
    // A link has no body whatever both headers say.
    let tar = Tar::new().pax(&[("size", "1024")]).symlink("l", "x").file("b", b"after").done();
    bench.unpack(&tar).unwrap();
    assert_eq!(bench.read("b"), "after");
}

#[test]
fn cve_2026_47262_enormous_headers_and_paths_are_refused() {
    let Some(bench) = bench() else { return };
    let huge = "x".repeat(2 << 20);
    assert_eq!(
        bench.unpack(&Tar::new().pax(&[("comment", &huge)]).file("a", b"").done()).unwrap_err().class,
        Class::Invalid
    );
    let long = "d/".repeat(2100);
    let refused = bench.unpack(&Tar::new().pax(&[("path", &long)]).file("a", b"").done()).unwrap_err();
    assert!(refused.class == Class::Invalid && refused.message.contains("longer than 4096"), "{refused}");
    let name = "n".repeat(300);
    assert_eq!(
        bench.unpack(&Tar::new().pax(&[("path", &name)]).file("a", b"").done()).unwrap_err().class,
        Class::Invalid
    );
}

#[test]
fn cve_2021_20291_odd_layers_end_with_an_answer() {
    let Some(bench) = bench() else { return };
    let whole = Tar::new().file("a", &[7; 4000]).dir("d", 0o755).done();
    for cut in (1..whole.len()).step_by(97) {
        let result = bench.unpack(&whole[..cut]);
        // A cut between entries reads as a shorter archive; anywhere else it is an error.
        assert!(result.is_err() || cut % 512 == 0 || cut > whole.len() - 512, "cut at {cut}");
    }
    assert_eq!(bench.unpack(&[b'x'; 1024]).unwrap_err().class, Class::Invalid);
    let loops = Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", b"").done();
    assert_eq!(bench.unpack(&loops).unwrap_err().class, Class::Invalid);
    let itself = Tar::new().file("a", b"x").hard_link("a", "a").done();
    bench.unpack(&itself).unwrap();
    assert_eq!(bench.read("a"), "x");
}

#[test]
fn whiteouts_and_opaque_directories_are_overlays_own() {
    let Some(bench) = bench() else { return };
    let tar = Tar::new()
        .dir("d", 0o755)
        .file("d/.wh..wh..opq", b"")
        .file("d/new", b"x")
        .file(".wh.gone", b"")
        .file("kept", b"x")
        .file(".wh.kept", b"")
        .file(".wh.again", b"")
        .dir("again", 0o755)
        .dir("both", 0o755)
        .file(".wh.both", b"")
        .file(".wh..wh.plnk", b"")
        .done();
    bench.unpack(&tar).unwrap();
    let root = File::open(bench.root()).unwrap();
    let gone = fs::symlink_metadata(bench.root().join("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(bench.read("kept"), "x", "a whiteout hides what is below, not what is here");
    for dir in [c"d", c"again", c"both"] {
        assert_eq!(xattr::get_at(&root, dir, OPAQUE).unwrap().as_deref(), Some(&b"y"[..]), "{dir:?}");
    }
    assert_eq!(fs::read_dir(bench.root()).unwrap().count(), 5);
    for bad in [".wh.", ".wh..", ".wh...", "d/.wh.."] {
        assert_eq!(
            bench.unpack(&Tar::new().dir("d", 0o755).file(bad, b"").done()).unwrap_err().class,
            Class::Invalid,
            "{bad}"
        );
        bench.assert_confined();
    }
}

#[test]
fn everything_a_file_is_arrives() {
    let Some(bench) = bench() else { return };
    let capability = [1u8, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .owned(1000, 100)
        .mode_file("suid", 0o4755, b"x")
        .owned(0, 0)
        .pax_bytes(&[("SCHILY.xattr.security.capability", &capability), ("mtime", b"1234567890.987654321")])
        .file("cap", b"x")
        .dir("sticky", 0o1777)
        .dir("sgid", 0o2755)
        .file("sgid/child", b"x")
        .device("null", b'3', 1, 3)
        .device("disk", b'4', 8, 1)
        .device("pipe", b'6', 0, 0)
        .symlink("abs", "/etc/passwd")
        .hard_link("again", "cap")
        .done();
    bench.unpack(&tar).unwrap();
    let meta = |path: &str| fs::symlink_metadata(bench.root().join(path)).unwrap();
    assert_eq!((meta("suid").mode() & 0o7777, meta("suid").uid(), meta("suid").gid()), (0o4755, 1000, 100));
    assert_eq!((meta("cap").mtime(), meta("cap").mtime_nsec()), (1_234_567_890, 987_654_321));
    let root = File::open(bench.root()).unwrap();
    assert_eq!(xattr::get_at(&root, c"cap", c"security.capability").unwrap().as_deref(), Some(&capability[..]));
    assert_eq!(meta("sticky").mode() & 0o7777, 0o1777);
    assert_eq!(meta("sgid").mode() & 0o7777, 0o2755);
    assert_eq!(meta("sgid/child").gid(), 0);
    assert!(meta("null").file_type().is_char_device() && meta("null").rdev() == makedev(1, 3));
    assert!(meta("disk").file_type().is_block_device() && meta("pipe").file_type().is_fifo());
    assert_eq!(fs::read_link(bench.root().join("abs")).unwrap(), PathBuf::from("/etc/passwd"));
    assert_eq!(meta("again").ino(), meta("cap").ino());
    assert_eq!(meta("sticky").mtime(), 1_000_000_000, "a directory's time is set after its children");
}

#[test]
fn sparse_files_of_every_form_have_their_holes() {
    let Some(bench) = bench() else { return };
    let expect = |bench: &Bench, form: &str| {
        let bytes = fs::read(bench.root().join("s")).unwrap();
        assert_eq!(bytes.len(), 1 << 20, "{form}");
        assert_eq!(&bytes[4096..4101], b"hello", "{form}");
        assert_eq!(bytes.iter().filter(|b| **b != 0).count(), 10, "{form}");
        assert_eq!(&bytes[(1 << 20) - 5..], b"world", "{form}");
        assert!(fs::metadata(bench.root().join("s")).unwrap().blocks() * 512 < 1 << 20, "{form}: no holes");
    };
    let (size, last) = ((1 << 20).to_string(), ((1 << 20) - 5).to_string());
    let head = [("GNU.sparse.size", size.as_str()), ("GNU.sparse.numblocks", "2")];
    let v00 = [
        &head[..],
        &[
            ("GNU.sparse.offset", "4096"),
            ("GNU.sparse.numbytes", "5"),
            ("GNU.sparse.offset", &last),
            ("GNU.sparse.numbytes", "5"),
        ],
    ]
    .concat();
    bench.unpack(&Tar::new().pax(&v00).file("s", b"helloworld").done()).unwrap();
    expect(&bench, "0.0");
    let map = format!("4096,5,{last},5");
    let v01 = [&head[..], &[("GNU.sparse.map", &map), ("GNU.sparse.name", "s")]].concat();
    bench.unpack(&Tar::new().pax(&v01).file("GNUSparseFile.0/s", b"helloworld").done()).unwrap();
    expect(&bench, "0.1");
    let v10 = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", &size),
    ];
    let mut body = format!("2\n4096\n5\n{last}\n5\n").into_bytes();
    body.resize(512, 0);
    body.extend_from_slice(b"helloworld");
    bench.unpack(&Tar::new().pax(&v10).file("GNUSparseFile.0/s", &body).done()).unwrap();
    expect(&bench, "1.0");
    bench.unpack(&Tar::new().old_sparse("s", 1 << 20, &[(4096, 5), ((1 << 20) - 5, 5)], b"helloworld").done()).unwrap();
    expect(&bench, "old GNU");
    // A map that lies.
    for map in ["4096,50,8192,5", "0,5,3,5", &format!("{},5,0,5", u64::MAX)] {
        let lie = [&head[..], &[("GNU.sparse.map", map)]].concat();
        assert!(bench.unpack(&Tar::new().pax(&lie).file("s", b"helloworld").done()).is_err(), "{map}");
    }
}

#[test]
fn later_entries_win_and_the_recipe_still_gives_the_same_bytes() {
    let Some(bench) = bench() else { return };
    let long = "very/".repeat(40) + "long";
    let tar = Tar::new()
        .file("a", b"first")
        .file("a", b"second one")
        .dir("d", 0o755)
        .file("d/x", b"inside")
        .file("d", b"now a file")
        .symlink("usr", "real")
        .dir("real", 0o755)
        .file("usr", b"replaces the link")
        .pax(&[("path", &long)])
        .file("short", b"long name")
        .gnu_long(&"g/".repeat(80), b"gnu long")
        .file("implied/parent/f", b"x")
        .symlink("lib", "implied")
        .file("lib/through", b"followed")
        .file("lib/through", b"and replaced")
        .done();
    let tar = [tar, b"trailing bytes after the end".to_vec()].concat();
    let unpacked = bench.unpack(&tar).unwrap();
    assert_eq!(bench.read("a"), "second one");
    assert_eq!(bench.read("d"), "now a file");
    assert_eq!(bench.read("implied/through"), "and replaced");
    assert_eq!(bench.read(&long), "long name");
    assert!(unpacked.implied.contains(&b"implied/parent".to_vec()));
    let mut again = Vec::new();
    let mut reader = recipe::Reader::open(&bench.layer(), unpacked.replaced).unwrap();
    io::Read::read_to_end(&mut reader, &mut again).unwrap();
    assert!(again == tar, "the tar written again differs: {} bytes, {} before", again.len(), tar.len());
}

#[test]
fn a_budget_ends_before_the_disk_does() {
    let bench = Bench::new();
    let budget = Budget::of(bench.dir.path()).unwrap();
    assert_eq!(budget.take_bytes(1 << 62).unwrap_err().class, Class::Full);
    let error = budget.take_bytes(1).unwrap_err();
    assert!(error.hint.is_some() && error.to_string().contains("does not fit"));
}

/// Pieces that make paths interesting.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("link".to_owned()),
        Just(".wh.a".to_owned()),
        Just("outside".to_owned()),
    ]
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 1..5).prop_map(|pieces| pieces.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_sequence_of_entries_leaves_the_layer(entries in prop::collection::vec((0..4u8, any_path(), any_path()), 1..8)) {
        let Some(bench) = bench() else { return Ok(()) };
        let mut tar = Tar::new();
        for (kind, path, target) in &entries {
            tar = match kind {
                0 => tar.file(path, b"x"),
                1 => tar.dir(path, 0o777),
                2 => tar.symlink(path, &format!("/{target}").replace("//", "/")),
                _ => tar.hard_link(path, target),
            };
        }
        let _ = bench.unpack(&tar.done());
        bench.assert_confined();
    }

    #[test]
    fn any_bytes_at_all_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..3000), at in 0usize..600) {
        let Some(bench) = bench() else { return Ok(()) };
        let _ = bench.unpack(&bytes);
        // And a valid archive with a damaged place.
        let mut tar = Tar::new().pax(&[("path", "p")]).file("a", b"abc").symlink("l", "a").done();
        let value = bytes.first().copied().unwrap_or(0);
        tar[at] = value;
        let _ = bench.unpack(&tar);
        bench.assert_confined();
    }
}
