//! One function for each reader of bytes that strangers write: images, archives, registries' and shims' answers, files in containers, command
//! lines, settings. Each takes any bytes, must return, and may assert what holds for all of them. Under cargo-fuzz a target is one line:
//! `fuzz_target!(|data: &[u8]| targets::image_documents(data));`.

use std::cell::OnceCell;
use std::io::Cursor;

use bytes::{Bytes, BytesMut};
use orlop::api;
use orlop::cli::{template::Template, values};
use orlop::engine::progress::Progress;
use orlop::engine::{ImportImage, LogsQuery};
use orlop::oci::image::{Document, ImageConfig, parse_archive_list};
use orlop::oci::reference::Reference;
use orlop::oci::runtime::{LinuxSeccomp, Spec};
use orlop::runtime::{seccomp, user};
use orlop::shim::log::{LogReader, WriterIs};
use orlop::shim::{detach, protocol};
use orlop::stdx::ids::{Digest, Id};
use orlop::store::{LoadOptions, PruneScope, Source, Store};
use orlop::tui;

/// Name, what it is run on, seeds for inputs that get further than the first byte.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many inputs the gate tries.
    pub n_inputs: u32,
}

const fn quick(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds, n_inputs: 4000 }
}

/// Those that write to a store.
const fn slow(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds, n_inputs: 150 }
}

pub const TARGETS: &[Target] = &[
    quick("image_documents", image_documents, seeds_of_documents),
    quick("references", references, || {
        texts(&["debian", "ghcr.io/a/b:1.2", "localhost:5000/x@sha256:aaaa", "[::1]:5000/a"])
    }),
    quick("command_line", command_line, || {
        texts(&[
            "/a:/b:ro",
            "type=bind,source=/a,target=/b,readonly",
            "127.0.0.1:80-82:90-92/tcp",
            "10m",
            "on-failure:5",
            "nofile=1024:2048",
            "/dev/sda:1mb",
            "1h2m3.5s",
            "2026-11-21T01:02:03.5Z",
            "/t:size=64m,mode=1777",
            "a 'b c' \"d\"",
            "A=b",
        ])
    }),
    quick("templates", templates, || {
        texts(&[
            "{{.ID}}\t{{json .Names}}",
            "{{range $i, $e := .Ports}}{{if eq $i 1}}x{{else}}{{$e}}{{end}}{{end}}",
            "table {{.A | upper | printf \"%q\"}}",
            "{{with .X}}{{len .}}{{end}}",
        ])
    }),
    quick("shim_frames", shim_frames, seeds_of_frames),
    quick("detach_keys", detach_keys, || texts(&["ctrl-p,ctrl-q", "a,b,c", "ctrl-@,ctrl-\\"])),
    quick("wire_streams", wire_streams, || {
        vec![vec![1, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'\n', 2, 0, 0, 0, 0, 0, 0, 1, b'x']]
    }),
    quick("users", users, || {
        texts(&[
            "web:audio\nroot:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/data:/bin/sh\naudio:x:29:web,x",
            "1000:50\na:b:c",
            "4294967296",
        ])
    }),
    quick("settings", settings, || {
        texts(&[
            "theme = \"dark\"\n[logs]\nwrap = true\n",
            "[[key]]\nkeys = [\"ctrl-x\"]\naction = \"quit\"\n",
            include_str!("../../themes/dark.toml"),
        ])
    }),
    quick("shown_text", shown_text, || {
        texts(&["a\u{1b}[31mred\u{1b}[0m\u{9b}2J", "wide 漢字 e\u{301} \u{202e}rtl\u{200b}", "\u{1b}]0;t\u{7}"])
    }),
    quick("runtime_documents", runtime_documents, seeds_of_specs),
    Target { n_inputs: 400, ..quick("log_files", log_files, seeds_of_logs) },
    slow("layers", layers, seeds_of_layers),
    slow("archives", archives, seeds_of_archives),
];

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub fn image_documents(data: &[u8]) {
    let _ = Document::parse(data);
    let _ = parse_archive_list(data);
    if let Ok(config) = ImageConfig::parse(data) {
        let bytes = serde_json::to_vec(&config).expect("what was read can be written");
        ImageConfig::parse(&bytes).expect("and read again");
    }
}

fn seeds_of_documents() -> Vec<Vec<u8>> {
    let d = format!(
        r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:{}","size":1}}"#,
        "a".repeat(64)
    );
    let manifest = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d},{d}],"annotations":{{"a":"b"}}}}"#);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{d}]}}"#);
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Cmd":["sh"],"User":"web","Volumes":{"/d":{}},
        "Healthcheck":{"Test":["CMD","true"],"Interval":1000}},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"x"}]}"#;
    let list = r#"[{"Config":"a.json","RepoTags":["a:1"],"Layers":["l/layer.tar"]}]"#;
    texts(&[&manifest, &index, config, list])
}

pub fn references(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(reference) = text.parse::<Reference>() {
        let again: Reference = reference.to_string().parse().expect("what is printed can be read");
        assert_eq!(again.to_string(), reference.to_string());
        assert!(!reference.path().contains("..") && !reference.path().starts_with('/'), "{reference}");
    }
    // What these types hold is one safe part of a path.
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(text.parse::<Id>().is_ok_and(|id| is_plain(id.as_str())) || text.parse::<Id>().is_err());
    assert!(text.parse::<Digest>().is_ok_and(|digest| is_plain(digest.hex())) || text.parse::<Digest>().is_err());
}

pub fn command_line(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let home = |text: &str| text.to_owned();
    let _ = values::volume(text, &home);
    let _ = values::mount(text, &home);
    let _ = values::tmpfs(text);
    let _ = values::publish(text);
    let _ = values::expose(text);
    let _ = values::bytes("--memory", text);
    let _ = values::cpus("--cpus", text);
    let _ = values::go_duration(text);
    let _ = values::moment(text, std::time::UNIX_EPOCH);
    let _ = values::restart(text);
    let _ = values::ulimit(text);
    let _ = values::device_rate("--device-read-bps", text, values::RateUnit::Bytes);
    let _ = values::shell_words(text);
    let _ = values::env(text, &|_| None);
    let _ = orlop::stdx::human::parse_bytes(text);
    let _ = api::time::parse_ns(data);
    let _ = api::time::from_wire(text);
}

pub fn templates(data: &[u8]) {
    let value =
        serde_json::json!({"ID": "a", "Names": ["b", "c"], "Ports": {"80/tcp": null}, "A": 1.5, "X": {"Y": true}});
    if let Ok(template) = Template::parse(&String::from_utf8_lossy(data)) {
        let _ = template.render(&value);
    }
}

pub fn shim_frames(data: &[u8]) {
    let mut buf = BytesMut::from(data);
    while let Ok(Some(frame)) = protocol::decode(&mut buf) {
        let _ = protocol::from_json::<protocol::Numbered>("request", &frame.body);
        let _ = protocol::from_json::<protocol::Reply>("reply", &frame.body);
        let _ = protocol::from_json::<protocol::Note>("note", &frame.body);
    }
}

fn seeds_of_frames() -> Vec<Vec<u8>> {
    let mut out = BytesMut::new();
    protocol::encode(protocol::Kind::Stdout, b"hello", &mut out);
    let request = protocol::Request::Resize { exec: None, rows: 1, cols: 2 };
    protocol::encode_json(protocol::Kind::Request, &protocol::Numbered { seq: 1, request }, &mut out);
    vec![out.to_vec()]
}

pub fn detach_keys(data: &[u8]) {
    let Ok(keys) = detach::parse(&String::from_utf8_lossy(data)) else { return };
    let mut matcher = detach::Matcher::new(keys);
    let mut passed = Vec::new();
    for byte in data {
        let typed = matcher.feed(&[*byte]);
        passed.extend(typed.pass);
        if typed.detach {
            return;
        }
    }
    passed.extend(matcher.flush());
    assert_eq!(passed, data, "without a detach every byte arrives");
}

pub fn wire_streams(data: &[u8]) {
    let mut demux = api::stdcopy::Demux::default();
    let (head, tail) = data.split_at(data.len() / 2);
    let mut n_out = 0;
    for part in [head, tail] {
        let fed = demux.feed(&Bytes::copy_from_slice(part), |piece| n_out += piece.bytes.len());
        if fed.is_err() {
            break;
        }
    }
    assert!(n_out <= data.len());
    let _ = api::routes::decode(&String::from_utf8_lossy(data));
}

/// The first line is what was asked for, the rest stands in both files.
pub fn users(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (spec, files) = text.split_once('\n').unwrap_or((&text, ""));
    let extra = [spec.to_owned()];
    for extra in [&extra[..], &[]] {
        if let Ok(found) = user::resolve(spec, Some(files.as_bytes()), Some(files.as_bytes()), extra) {
            let ids = found.groups.iter().chain([&found.uid, &found.gid]);
            assert!(ids.into_iter().all(|id| *id <= 0x7fff_ffff), "{found:?}");
        }
    }
}

pub fn settings(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let _ = tui::settings::parse(text, "config.toml");
    let _ = tui::settings::read_bindings(text, "keys.toml");
    let _ = tui::theme::Theme::parse("mine", text, "mine.toml");
}

pub fn shown_text(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let shown = tui::text::sanitise(text);
    assert!(!shown.contains(char::is_control), "{shown:?}");
    for max in [0, 1, 2, 7, 80] {
        for clipped in
            [tui::text::clip(&shown, max), tui::text::clip_middle(&shown, max), tui::text::clip_start(&shown, max)]
        {
            assert!(tui::text::width(&clipped) <= max, "{clipped:?} in {max}");
        }
    }
}

pub fn runtime_documents(data: &[u8]) {
    let _ = serde_json::from_slice::<Spec>(data);
    if let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(data)
        && let Ok(program) = seccomp::compile_cached(&profile)
    {
        let again = seccomp::Program::from_bytes(&program.to_bytes()).expect("what is kept can be read");
        assert_eq!(again.to_bytes(), program.to_bytes());
    }
    let _ = seccomp::Program::from_bytes(data);
}

fn seeds_of_specs() -> Vec<Vec<u8>> {
    let spec = r#"{"ociVersion":"1.0.2","process":{"args":["a"],"cwd":"/","user":{"uid":0,"gid":0},"rlimits":[{"type":"RLIMIT_CORE","soft":1,"hard":2}]},
        "root":{"path":"r"},"mounts":[{"destination":"/proc","type":"proc"}],"linux":{"namespaces":[{"type":"pid"}],"resources":{"memory":{"limit":1}}}}"#;
    let profile = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[{"names":["read","clone"],
        "action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#;
    texts(&[spec, profile])
}

pub fn log_files(data: &[u8]) {
    let dir = tempfile::Builder::new().prefix("orlop-fuzz-").tempdir_in(scratch()).expect("a directory");
    std::fs::write(dir.path().join("container.log"), data).expect("a file");
    for query in [LogsQuery::default(), LogsQuery { tail: Some(2), ..LogsQuery::default() }] {
        let Ok(mut reader) = LogReader::open(dir.path(), &query, WriterIs::Ended) else { continue };
        let mut n_seen = 0;
        while let Ok(Some(chunk)) = reader.next_chunk() {
            n_seen += chunk.entries.iter().map(|entry| chunk.line(entry).len()).sum::<usize>();
        }
        assert!(n_seen <= data.len());
    }
}

fn seeds_of_logs() -> Vec<Vec<u8>> {
    let line = |n: u32, part: &str| format!("2026-11-21T04:05:{:02}.123456789Z stdout {part} line {n}\n", n % 60);
    let all: String = (0..40).map(|n| line(n, if n % 7 == 3 { "P" } else { "F" })).collect();
    vec![all.into_bytes()]
}

/// Memory, where there is a file system of it: these are many small files.
fn scratch() -> std::path::PathBuf {
    let shm = std::path::PathBuf::from("/dev/shm");
    if shm.is_dir() { shm } else { std::env::temp_dir() }
}

thread_local! {
    static STORE: OnceCell<(tempfile::TempDir, Store)> = const { OnceCell::new() };
}

/// A store for all inputs of one target; what each brings is removed again, and must leave nothing.
fn with_store(work: impl FnOnce(&Store)) {
    STORE.with(|cell| {
        let (dir, store) = cell.get_or_init(|| {
            let dir = tempfile::Builder::new().prefix("orlop-fuzz-").tempdir_in(scratch()).expect("a directory");
            let store = Store::open(&dir.path().join("root")).expect("a store");
            std::fs::write(dir.path().join("outside"), "untouched").expect("a file");
            (dir, store)
        });
        work(store);
        store.prune_images(PruneScope::Unused, &[]).expect("a prune");
        assert_eq!(std::fs::read_dir(store.root().join("layers")).expect("layers").count(), 0);
        assert_eq!(std::fs::read_dir(store.root().join("tmp")).expect("tmp").count(), 0);
        assert_eq!(std::fs::read_to_string(dir.path().join("outside")).expect("a file"), "untouched");
        assert_eq!(std::fs::read_dir(dir.path()).expect("the directory").count(), 2, "something was made outside");
    });
}

pub fn layers(data: &[u8]) {
    with_store(|store| {
        let source = Source::Stream(Box::new(Cursor::new(data.to_vec())));
        let _ = store.import(source, &ImportImage::default(), &Progress::none());
    });
}

pub fn archives(data: &[u8]) {
    with_store(|store| {
        let source = Source::Stream(Box::new(Cursor::new(data.to_vec())));
        let _ = store.load(source, &LoadOptions::default(), &Progress::none());
    });
}

/// Seeds that the readers refuse would try nothing but the first check.
pub fn seeds_are_taken() {
    with_store(|store| {
        let stream = |bytes: Vec<u8>| Source::Stream(Box::new(Cursor::new(bytes)));
        for seed in seeds_of_layers() {
            store.import(stream(seed), &ImportImage::default(), &Progress::none()).expect("a layer");
        }
        for seed in seeds_of_archives() {
            store.load(stream(seed), &LoadOptions::default(), &Progress::none()).expect("an archive");
        }
    });
}

fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, name: &str, link: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(bytes.len() as u64);
        match kind {
            tar::EntryType::Symlink | tar::EntryType::Link => tar.append_link(&mut header, name, link),
            _ => tar.append_data(&mut header, name, bytes),
        }
        .expect("an entry");
    };
    add(tar::EntryType::Directory, "d/", "", b"");
    add(tar::EntryType::Regular, "d/f", "", b"content");
    add(tar::EntryType::Symlink, "l", "../../outside", b"");
    add(tar::EntryType::Link, "h", "d/f", b"");
    add(tar::EntryType::Regular, &format!("d/{}", "long/".repeat(30)), "", b"x");
    add(tar::EntryType::Regular, "d/.wh.g", "", b"");
    add(tar::EntryType::Fifo, "p", "", b"");
    tar.into_inner().expect("a tar")
}

fn seeds_of_layers() -> Vec<Vec<u8>> {
    let tar = layer();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).expect("packed");
    vec![gzip.finish().expect("packed"), zstd::encode_all(&tar[..], 1).expect("packed"), tar]
}

fn seeds_of_archives() -> Vec<Vec<u8>> {
    let layer = layer();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(&layer)
    );
    let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let list = format!(r#"[{{"Config":"{name}","RepoTags":["a:1"],"Layers":["l/layer.tar"]}}]"#);
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in
        [(name.as_str(), config.as_bytes()), ("l/layer.tar", &layer), ("manifest.json", list.as_bytes())]
    {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes).expect("an entry");
    }
    vec![tar.into_inner().expect("a tar")]
}
