//! One lie, told in answer to every call: what comes is never believed, never waited for beyond the deadline, and said in a sentence.

use std::io::Write;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use orlop::engine::Class;
use orlop::remote::Remote;

use crate::calls::{Answer, Asked, plain, refused, streams};
use crate::daemon::{Daemon, Outcome, Request, Then, Wire};
use crate::house::{LONG, SHORT, closed, run, script};

/// A way to answer.
type Lie = fn(&Request, &mut Wire) -> Outcome;

/// Tells one lie to one call; everything else is answered as it should be.
async fn tell(lie: Lie, asked: &Asked, patience: Duration) -> orlop::engine::Result<()> {
    let (method, path) = (asked.method, asked.path);
    let daemon = Daemon::unix(script(move |request, wire| request.is(method, path).then(|| lie(request, wire))));
    let engine = Remote::with_patience(daemon.endpoint(), patience).unwrap();
    let answer = (asked.call)(engine).await;
    closed(&daemon).await;
    answer
}

/// Every call gets every lie; none is believed, and each is of one of the classes.
fn check(rows: &[Asked], lies: &[(&str, Lie)], classes: &[Class], patience: Duration) {
    for (name, lie) in lies {
        run(async {
            let told = rows.iter().map(|asked| async move { (asked, tell(*lie, asked, patience).await) });
            for (asked, answer) in join_all(told).await {
                let what = format!("{} / {name}", asked.name);
                let error = refused(&what, answer);
                assert!(classes.contains(&error.class), "{what}: {:?} {error}", error.class);
            }
        });
    }
}

fn only(rows: Vec<Asked>, answers: &[Answer]) -> Vec<Asked> {
    rows.into_iter().filter(|asked| answers.contains(&asked.answer)).collect()
}

fn everything() -> Vec<Asked> {
    plain().into_iter().chain(streams()).collect()
}

#[test]
fn a_connection_that_ends_too_early_is_a_cut() {
    let lies: &[(&str, Lie)] = &[
        ("closes at once", |_, _| Ok(Then::Close)),
        ("half of the status line", |_, wire| wire.write_all(b"HTTP/1.").map(|()| Then::Close)),
        ("half of the head", |_, wire| wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: app").map(|()| Then::Close)),
    ];
    check(&everything(), lies, &[Class::Unavailable, Class::Internal], LONG);
    let lies: &[(&str, Lie)] = &[
        ("less than it promised", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{\"Id\"").map(|()| Then::Close)
        }),
        ("in the middle of a chunk", |_, wire| {
            wire.chunked("application/json")?;
            wire.write_all(b"ff\r\n[{\"Id\"").map(|()| Then::Close)
        }),
        ("between two chunks", |_, wire| {
            wire.chunked("application/json")?;
            wire.chunk(b"[{\"Id\":\"")?;
            Ok(Then::Close)
        }),
    ];
    check(&plain(), lies, &[Class::Unavailable], LONG);
}

#[test]
fn a_stall_ends_with_the_deadline() {
    let lies: &[(&str, Lie)] = &[
        ("after the request", |_, _| Ok(Then::Stall)),
        ("in the status line", |_, wire| wire.write_all(b"HTTP/1.1 2").map(|()| Then::Stall)),
        ("in the head", |_, wire| wire.write_all(b"HTTP/1.1 200 OK\r\nContent-").map(|()| Then::Stall)),
    ];
    // A wait lasts by its nature.
    let all: Vec<_> = everything().into_iter().filter(|asked| asked.name != "wait").collect();
    check(&all, lies, &[Class::Timeout], SHORT);
    let lies: &[(&str, Lie)] = &[
        ("after the head", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").map(|()| Then::Stall)
        }),
        ("in the body", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[{\"Id\":\"aa").map(|()| Then::Stall)
        }),
        ("in a chunk", |_, wire| {
            wire.chunked("application/json")?;
            wire.write_all(b"ff\r\n[{\"Id\"").map(|()| Then::Stall)
        }),
        ("in the size of a chunk", |_, wire| {
            wire.chunked("application/json")?;
            wire.write_all(b"f").map(|()| Then::Stall)
        }),
        ("in a refusal", |_, wire| {
            wire.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 500\r\n\r\n{\"mess").map(|()| Then::Stall)
        }),
    ];
    let plain: Vec<_> = plain().into_iter().filter(|asked| asked.name != "wait").collect();
    check(&plain, lies, &[Class::Timeout, Class::Internal], SHORT);
}

#[test]
fn drops_of_an_answer_do_not_put_the_deadline_off() {
    let lies: &[(&str, Lie)] = &[
        ("a body in drops", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
            drip(wire, b" ")
        }),
        ("a head in drops", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
            drip(wire, b"x")
        }),
        ("early answers without end", |_, wire| wire.flood(b"HTTP/1.1 102 Processing\r\n\r\n")),
    ];
    let plain: Vec<_> = plain().into_iter().filter(|asked| asked.name != "wait").collect();
    check(&plain, lies, &[Class::Timeout], SHORT);
}

/// Slowly, without end.
fn drip(wire: &mut Wire, bytes: &[u8]) -> Outcome {
    loop {
        wire.write_all(bytes)?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_no_http_is_said() {
    let lies: &[(&str, Lie)] = &[
        ("another protocol", |_, wire| wire.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n").map(|()| Then::Close)),
        ("noise", |_, wire| {
            wire.write_all(&[0xff, 0xfe, 0, 1, 2, 3, b'\r', b'\n', b'\r', b'\n']).map(|()| Then::Close)
        }),
        ("a status of letters", |_, wire| wire.write_all(b"HTTP/1.1 abc No\r\n\r\n").map(|()| Then::Close)),
        ("a head without end", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\n")?;
            wire.flood(b"X-Y: zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\r\n")
        }),
        ("one header without end", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nX-Y: ")?;
            wire.flood(&[b'z'; 4096])
        }),
    ];
    check(&everything(), lies, &[Class::Internal], LONG);
    let lies: &[(&str, Lie)] = &[
        ("a length that is none", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n[]").map(|()| Then::Close)
        }),
        ("two lengths", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]").map(|()| Then::Close)
        }),
        ("a chunk's size that is none", |_, wire| {
            wire.chunked("application/json")?;
            wire.write_all(b"xyz\r\n[]\r\n0\r\n\r\n").map(|()| Then::Close)
        }),
        ("a chunk beyond all numbers", |_, wire| {
            wire.chunked("application/json")?;
            wire.write_all(b"fffffffffffffffff\r\n[]\r\n0\r\n\r\n").map(|()| Then::Close)
        }),
    ];
    check(&plain(), lies, &[Class::Internal], LONG);
}

#[test]
fn what_is_no_answer_is_not_believed() {
    let page: &[(&str, Lie)] =
        &[("a proxy's page", |_, wire| wire.answer(200, "text/html; charset=utf-8", b"<html>Please log in</html>"))];
    check(&everything(), page, &[Class::Internal], LONG);
    let no_json: &[(&str, Lie)] = &[
        ("text", |_, wire| wire.answer(200, "application/json", b"Please log in")),
        ("half an object", |_, wire| wire.answer(200, "application/json", b"[{\"Id\":\"a\"")),
        ("two objects", |_, wire| wire.answer(200, "application/json", b"{}{}")),
        ("no UTF-8", |_, wire| wire.answer(200, "application/json", b"[{\"Id\":\"\xff\xfe\"}]")),
        ("depth", |_, wire| wire.answer(200, "application/json", "[".repeat(100_000).as_bytes())),
        ("a text", |_, wire| wire.answer(200, "application/json", b"\"fine\"")),
        ("a number", |_, wire| wire.answer(200, "application/json", b"7")),
    ];
    let told = [Answer::List, Answer::Object];
    check(&only(plain(), &told), no_json, &[Class::Internal, Class::Unavailable], LONG);
    let no_list: &[(&str, Lie)] =
        &[("an object", |_, wire| wire.answer(200, "application/json", b"{\"message\":\"fine\"}"))];
    check(&only(plain(), &[Answer::List]), no_list, &[Class::Internal], LONG);
    let no_object: &[(&str, Lie)] = &[
        ("a list", |_, wire| wire.answer(200, "application/json", b"[]")),
        ("null", |_, wire| wire.answer(200, "application/json", b"null")),
        ("nothing", |_, wire| wire.answer(200, "application/json", b"")),
    ];
    check(&only(plain(), &[Answer::Object]), no_object, &[Class::Internal, Class::Unavailable], LONG);
}

#[test]
fn refusals_of_any_form_are_sentences() {
    let lies: &[(&str, Lie)] = &[
        ("a gateway's page", |_, wire| wire.answer(502, "text/html", b"<html><h1>502 Bad Gateway</h1></html>")),
        ("without a word", |_, wire| wire.answer(500, "text/plain", b"")),
        ("null", |_, wire| wire.answer(503, "application/json", b"{\"message\":null}")),
        ("a status that nobody knows", |_, wire| wire.answer(799, "application/json", b"[]")),
        ("elsewhere", |_, wire| {
            wire.write_all(b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/x\x1b[2J\r\nContent-Length: 0\r\n\r\n")
                .map(|()| Then::Next)
        }),
        ("elsewhere, and nowhere", |_, wire| wire.answer(307, "text/plain", b"")),
        ("a page that does not end", |_, wire| {
            wire.write_all(b"HTTP/1.1 500 No\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            wire.flood(b"5\r\n<html\r\n")
        }),
    ];
    check(&everything(), lies, &[Class::Internal, Class::Unavailable], LONG);
}

#[test]
fn what_the_daemon_says_is_one_clean_line() {
    let asked = plain().remove(1);
    let lie: Lie = |_, wire| {
        let text =
            format!("{{\"message\":\"no\\nsuch\\u001b[2J\\u009b31m thing\\u0007\\u202e {}\"}}", "x".repeat(50_000));
        wire.answer(409, "application/json", text.as_bytes())
    };
    let error = refused("a long and dirty refusal", run(tell(lie, &asked, LONG)));
    assert_eq!(error.class, Class::Conflict);
    assert!(
        error.message.starts_with("no such [2J 31m thing") || error.message.starts_with("no such [2J31m thing"),
        "{error:.100}"
    );
}

/// What is not asked for on a connection does not become the answer of the next question.
#[test]
fn an_answer_too_many_is_nobodys() {
    let daemon = Daemon::unix(script(|request, wire| {
        request.is("GET", "/info").then(|| {
            // In one piece: what comes only after our next question cannot be told from its answer by anybody.
            const RIGHT: &str =
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"Name\":\"right\"}";
            wire.write_all(format!("{RIGHT}{}", RIGHT.replace("right", "wrong")).as_bytes())?;
            Ok(Then::Next)
        })
    }));
    run(async {
        use orlop::engine::Engine;
        let engine = Remote::with_patience(daemon.endpoint(), LONG).unwrap();
        for _ in 0..20 {
            assert_eq!(engine.system().info().await.unwrap().name, "right");
        }
        drop(engine);
        closed(&daemon).await;
    });
}

/// A hundred megabytes, and less that grows to more: refused, with memory bounded.
#[test]
fn too_much_is_refused_before_it_is_held() {
    let lies: &[(&str, Lie)] = &[
        ("a length of 100 MB", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n[")?;
            wire.flood(&[b' '; 65536])
        }),
        ("chunks without end", |_, wire| {
            wire.chunked("application/json")?;
            wire.chunk(b"[")?;
            let chunk = [b"10000\r\n".as_slice(), &[b' '; 65536], b"\r\n"].concat();
            wire.flood(&chunk)
        }),
        ("a body without length or end", |_, wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[")?;
            wire.flood(&[b' '; 65536])
        }),
        ("zeros that grow", |_, wire| {
            let body = format!("[{}0]", "0,".repeat(20 << 20));
            wire.answer(200, "application/json", body.as_bytes())
        }),
    ];
    let before = peak_rss();
    let rows = || only(plain(), &[Answer::List, Answer::Object]).into_iter().filter(|asked| asked.name != "wait");
    for (name, lie) in lies {
        // One after another: the bound is for one answer.
        for asked in rows().filter(|asked| ["list", "inspect"].contains(&asked.name)) {
            let start = Instant::now();
            let error = refused(name, run(tell(*lie, &asked, LONG)));
            assert_eq!(error.class, Class::Internal, "{name}: {error}");
            assert!(error.message.contains("takes more than"), "{name}: {error}");
            println!("{name}, {}: {} after {:?}", asked.name, error.message, start.elapsed());
        }
    }
    let grown = peak_rss().saturating_sub(before);
    println!("peak memory grew by {} MiB", grown >> 20);
    // 64 MiB of text in a buffer that doubles, and 256 MiB of values; the other tests of this program run beside it.
    assert!(grown < 1 << 30, "{} MiB", grown >> 20);
}

fn peak_rss() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}
