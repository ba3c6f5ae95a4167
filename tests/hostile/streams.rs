//! Streams that lie: frames beyond all measure, lines without end, cuts in the middle, a clock that goes back.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::StreamExt;
use orlop::engine::{
    AttachOptions, Class, Engine, EngineError, Event, EventsQuery, LogsQuery, Output, Result, StatsQuery,
};
use orlop::remote::Remote;

use crate::daemon::{Daemon, Outcome, Request, Then, Wire};
use crate::good::{self, event, frame, line, upgrade};
use crate::house::{LONG, SHORT, attempt, check_sentence, run, script};

const LOGS: &str = "/containers/web/logs";

/// A daemon whose answer to one path is this.
fn daemon(path: &'static str, answer: fn(&Request, &mut Wire) -> Outcome) -> Daemon {
    Daemon::unix(script(move |request, wire| (request.path == path).then(|| answer(request, wire))))
}

/// Lines and the end of a log.
async fn log(engine: &Remote, query: LogsQuery) -> Result<(Vec<String>, Option<EngineError>)> {
    let mut stream = engine.containers().logs("web", &query).await?;
    let mut lines = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                lines.extend(chunk.entries.iter().map(|entry| String::from_utf8_lossy(chunk.line(entry)).into_owned()));
            }
            Err(error) => {
                check_sentence("log", &error);
                return Ok((lines, Some(error)));
            }
        }
    }
    Ok((lines, None))
}

fn log_of(answer: fn(&Request, &mut Wire) -> Outcome, patience: Duration) -> (Vec<String>, Option<EngineError>) {
    let daemon = daemon(LOGS, answer);
    run(attempt(&daemon, patience, async |engine| log(engine, LogsQuery::default()).await)).unwrap()
}

fn raw_logs(wire: &mut Wire) -> std::io::Result<()> {
    wire.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
}

#[test]
fn a_log_that_ends_inside_a_frame_has_not_ended() {
    let (lines, end) = log_of(
        |_, wire| {
            raw_logs(wire)?;
            wire.write_all(&line(0, "whole"))?;
            let half = line(1, "this one is cut");
            wire.write_all(&half[..half.len() - 5]).map(|()| Then::Close)
        },
        LONG,
    );
    assert_eq!((lines, end.unwrap().class), (vec!["whole".to_owned()], Class::Unavailable));
    let (lines, end) = log_of(
        |_, wire| {
            wire.chunked("application/octet-stream")?;
            wire.chunk(&line(0, "whole"))?;
            Ok(Then::Close)
        },
        LONG,
    );
    assert_eq!((lines, end.unwrap().class), (vec!["whole".to_owned()], Class::Unavailable));
}

#[test]
fn a_log_that_stalls_is_given_up() {
    let (lines, end) = log_of(
        |_, wire| {
            wire.chunked("application/octet-stream")?;
            wire.chunk(&line(0, "whole"))?;
            Ok(Then::Stall)
        },
        SHORT,
    );
    assert_eq!((lines, end.unwrap().class), (vec!["whole".to_owned()], Class::Timeout));
    let stats = daemon("/containers/web/stats", |_, wire| {
        wire.chunked("application/json")?;
        wire.chunk(b"{\"id\":\"")?;
        Ok(Then::Stall)
    });
    let error = run(attempt(&stats, SHORT, async |engine| {
        let mut samples = engine.containers().stats("web", &StatsQuery { once: true }).await?;
        samples.next().await.unwrap().map(drop)
    }));
    let error = error.unwrap_err();
    check_sentence("stats", &error);
    assert_eq!(error.class, Class::Timeout);
}

#[test]
fn a_frame_of_four_gigabytes_comes_in_pieces() {
    let (lines, end) = log_of(
        |_, wire| {
            raw_logs(wire)?;
            wire.write_all(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])?;
            wire.write_all(format!("{} ", good::STAMP).as_bytes())?;
            for _ in 0..64 {
                wire.write_all(&[b'x'; 65536])?;
            }
            Ok(Then::Close)
        },
        LONG,
    );
    // Four megabytes of one line: in pieces of one, and the end is no end.
    assert!(lines.len() >= 2 && lines.iter().all(|line| line.len() < 2 << 20), "{}", lines.len());
    assert_eq!(end.unwrap().class, Class::Unavailable);
}

#[test]
fn what_is_not_framed_is_said() {
    for bytes in [b"no frames here, just text\n".as_slice(), &[9, 9, 9, 9, 9, 9, 9, 9], &[1, 0, 7, 0, 0, 0, 0, 1, b'x']]
    {
        let bytes = bytes.to_vec();
        let daemon = Daemon::unix(script(move |request, wire| {
            (request.path == LOGS).then(|| {
                raw_logs(wire)?;
                wire.write_all(&bytes).map(|()| Then::Close)
            })
        }));
        let (_, end) = run(attempt(&daemon, LONG, async |engine| log(engine, LogsQuery::default()).await)).unwrap();
        assert_eq!(end.unwrap().class, Class::Internal);
    }
}

#[test]
fn the_daemons_own_complaint_is_the_end() {
    let (lines, end) = log_of(
        |_, wire| {
            raw_logs(wire)?;
            wire.write_all(&line(0, "whole"))?;
            let mut complaint = frame("cannot go on:\n disk\x1b[2J");
            complaint[0] = 3;
            wire.write_all(&complaint)?;
            Ok(Then::Stall)
        },
        LONG,
    );
    let end = end.unwrap();
    assert_eq!(lines, ["whole"]);
    assert!(end.message.ends_with("cannot go on: disk [2J"), "{end}");
    let (_, end) = log_of(
        |_, wire| {
            raw_logs(wire)?;
            wire.write_all(&[3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])?;
            wire.flood(&[b'z'; 65536])
        },
        LONG,
    );
    assert_eq!(end.unwrap().class, Class::Internal);
}

/// Any bytes at all may stand in a log; they are the container's, and faces take care of them.
#[test]
fn a_line_is_given_as_it_is() {
    let (lines, end) = log_of(
        |_, wire| {
            raw_logs(wire)?;
            wire.write_all(&line(0, "\x1b[2J\x07 clear"))?;
            wire.write_all(&line(1, ""))?;
            let mut latin = line(2, "caf?");
            let at = latin.len() - 2;
            latin[at] = 0xe9;
            wire.write_all(&latin).map(|()| Then::Close)
        },
        LONG,
    );
    assert_eq!((lines, end), (vec!["\x1b[2J\x07 clear".to_owned(), String::new(), "caf\u{fffd}".to_owned()], None));
}

/// Whoever follows is not kept for ever by a daemon that lets him in and throws him out.
#[test]
fn a_log_that_is_cut_again_and_again_is_followed_without_a_storm() {
    let daemon = Daemon::unix(script(|request, wire| {
        (request.path == LOGS).then(|| {
            wire.chunked("application/octet-stream")?;
            if !request.query.contains("since") {
                wire.chunk(&line(0, "first"))?;
            }
            Ok(Then::Close)
        })
    }));
    run(async {
        let engine = Remote::with_patience(daemon.endpoint(), LONG).unwrap();
        let mut stream =
            engine.containers().logs("web", &LogsQuery { follow: true, ..LogsQuery::default() }).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().entries.len(), 1);
        let more = tokio::time::timeout(Duration::from_secs(2), stream.next()).await;
        assert!(more.is_err(), "nothing comes: {more:?}");
        drop((stream, engine));
        crate::house::closed(&daemon).await;
    });
    let n_asked = daemon.requests().iter().filter(|request| request.path == LOGS).count();
    assert!((2..=10).contains(&n_asked), "asked {n_asked} times in two seconds");
}

/// As long as a log may end at once, each time, before it is given up.
const VAIN: Duration = Duration::from_secs(2);
/// Streams that are asked for in twice that time.
const N_VAIN: usize = 6;

/// What following brings where `answer` is each stream's, by how many there were before, and `run` tells each start of the container apart. It ends
/// after one more than [`N_VAIN`].
fn following(
    answer: fn(usize, &mut Wire) -> Outcome,
    run_of: fn(usize) -> usize,
) -> (Vec<String>, Option<EngineError>) {
    let n_asked = AtomicUsize::new(0);
    let daemon = Daemon::unix(script(move |request, wire| match request.path.as_str() {
        LOGS => {
            let n_before = n_asked.fetch_add(1, Ordering::Relaxed);
            Some(wire.chunked("application/octet-stream").and_then(|()| answer(n_before, wire)))
        }
        "/containers/web/json" => {
            let n = n_asked.load(Ordering::Relaxed);
            let mut web = good::detail(&good::id('a'), "web");
            web["State"]["StartedAt"] = format!("2026-11-21T04:45:39.{:09}Z", run_of(n)).into();
            web["State"]["Status"] = if n > N_VAIN { "exited" } else { "running" }.into();
            Some(wire.json(&web))
        }
        _ => None,
    }));
    let query = LogsQuery { follow: true, ..LogsQuery::default() };
    run(attempt(&daemon, VAIN, async |engine| log(engine, query).await)).unwrap()
}

/// The daemon lets in and throws out, in order or not, while the container runs: that ends with a reason.
#[test]
fn a_log_that_ends_at_once_each_time_is_given_up() {
    let answers: [fn(usize, &mut Wire) -> Outcome; 2] = [|_, wire| wire.end(), |_, _| Ok(Then::Close)];
    for answer in answers {
        let (lines, end) = following(answer, |_| 1);
        let end = end.expect("an end with a reason");
        assert!(lines.is_empty(), "{lines:?}");
        assert_eq!(end.class, Class::Internal, "{end}");
        assert!(end.message.ends_with("ends the log of web at once, each time it is followed"), "{end}");
    }
}

/// A container that is restarted over and over before it says a word is waited for, and so is its first line.
#[test]
fn a_log_that_ends_with_each_restart_is_followed() {
    let (lines, end) = following(
        |n_before, wire| {
            if n_before == N_VAIN {
                wire.chunk(&line(0, "at last"))?;
            }
            wire.end()
        },
        |n_asked| n_asked,
    );
    assert_eq!((lines, end), (vec!["at last".to_owned()], None));
}

async fn events(engine: &Remote, n: usize) -> (Vec<Event>, Option<EngineError>) {
    let mut stream = engine.system().events(&EventsQuery::default()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < n {
        match stream.next().await {
            Some(Ok(event)) => seen.push(event),
            Some(Err(error)) => {
                check_sentence("events", &error);
                return (seen, Some(error));
            }
            None => break,
        }
    }
    (seen, None)
}

fn at(event: &Event) -> u64 {
    event.time.duration_since(UNIX_EPOCH).unwrap().as_secs() - 1_795_236_339
}

/// The daemon's clock is set back between two events, and the connection is cut: none of them comes twice.
#[test]
fn events_that_go_back_in_time_come_once() {
    let daemon = daemon("/events", |request, wire| {
        wire.chunked("application/json")?;
        let since = request.query.contains("since");
        let told = [event(50, "create"), event(51, "start"), event(20, "die"), event(21, "destroy")];
        for event in &told {
            wire.chunk(event.to_string().as_bytes())?;
        }
        if since {
            wire.chunk(event(22, "create").to_string().as_bytes())?;
            return Ok(Then::Stall);
        }
        Ok(Then::Close)
    });
    let (seen, end) = run(attempt(&daemon, LONG, async |engine| Ok(events(engine, 5).await))).unwrap();
    assert_eq!((seen.iter().map(at).collect::<Vec<_>>(), end), (vec![50, 51, 20, 21, 22], None));
}

/// A connection that is let in, told what is known, and cut, over and over.
#[test]
fn events_that_are_cut_without_news_end_with_the_reason() {
    let daemon = daemon("/events", |_, wire| {
        wire.chunked("application/json")?;
        wire.chunk(event(0, "start").to_string().as_bytes())?;
        wire.chunk(b"{\"Type\":\"cont")?;
        Ok(Then::Close)
    });
    let (seen, end) = run(attempt(&daemon, LONG, async |engine| Ok(events(engine, 9).await))).unwrap();
    assert_eq!((seen.len(), end.unwrap().class), (1, Class::Unavailable));
    let n_asked = daemon.requests().iter().filter(|request| request.path == "/events").count();
    assert!((2..=5).contains(&n_asked), "asked {n_asked} times");
}

#[test]
fn an_event_without_end_is_refused() {
    for piece in [&[b'x'; 65536], &[b'}'; 65536]] {
        let daemon = Daemon::unix(script(move |request, wire| {
            (request.path == "/events").then(|| {
                raw_logs(wire)?;
                wire.write_all(b"{\"Type\":\"")?;
                wire.flood(piece)
            })
        }));
        let (seen, end) = run(attempt(&daemon, LONG, async |engine| Ok(events(engine, 1).await))).unwrap();
        assert_eq!((seen.len(), end.unwrap().class), (0, Class::Internal));
    }
}

#[test]
fn events_that_are_none_are_said_or_left_out() {
    let daemon = daemon("/events", |_, wire| {
        raw_logs(wire)?;
        // Left out: kinds and fields of others.
        wire.write_all(b"{}\n[]\n{\"Type\":null,\"Action\":null}{\"Type\":\"service\",\"Action\":\"update\",\"time\":5}\r\n{\"Type\":7}")?;
        wire.write_all(event(1, "start").to_string().as_bytes())?;
        wire.write_all(b"no event at all").map(|()| Then::Stall)
    });
    let (seen, end) = run(attempt(&daemon, LONG, async |engine| Ok(events(engine, 2).await))).unwrap();
    assert_eq!((seen.len(), end.unwrap().class), (1, Class::Internal));
}

/// What came on an attached stream, and how it ended.
fn attached(answer: fn(&Request, &mut Wire) -> Outcome) -> Result<(String, Option<EngineError>)> {
    let daemon = daemon("/containers/web/attach", answer);
    run(attempt(&daemon, LONG, async |engine| {
        let options = AttachOptions { stdout: true, ..AttachOptions::default() };
        let mut output = engine.containers().attach("web", &options).await?.output;
        let mut seen = String::new();
        while let Some(piece) = output.next().await {
            match piece {
                Ok(Output::Bytes(_, bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                Ok(Output::Detached) => seen.push_str("<detached>"),
                Err(error) => {
                    check_sentence("attach", &error);
                    return Ok((seen, Some(error)));
                }
            }
        }
        Ok((seen, None))
    }))
}

#[test]
fn an_upgrade_without_headers_is_one() {
    let (seen, end) = attached(|_, wire| {
        wire.write_all(b"HTTP/1.1 101 \r\n\r\n")?;
        wire.write_all(&frame("hello")).map(|()| Then::Close)
    })
    .unwrap();
    assert_eq!((seen.as_str(), end), ("hello", None));
    let (seen, end) = attached(|_, wire| {
        wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")?;
        wire.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")?;
        wire.write_all(&frame("old way")).map(|()| Then::Close)
    })
    .unwrap();
    assert_eq!((seen.as_str(), end), ("old way", None));
}

#[test]
fn an_attached_stream_that_is_cut_inside_a_frame_says_so() {
    let (seen, end) = attached(|_, wire| {
        upgrade(wire)?;
        wire.write_all(&frame("whole "))?;
        wire.write_all(&frame("and half")[..12]).map(|()| Then::Close)
    })
    .unwrap();
    assert_eq!((seen.as_str(), end.unwrap().class), ("whole and ", Class::Unavailable));
    let (seen, end) = attached(|_, wire| {
        upgrade(wire)?;
        wire.write_all(&frame("whole"))?;
        wire.write_all(&[1, 0, 0]).map(|()| Then::Close)
    })
    .unwrap();
    assert_eq!((seen.as_str(), end.unwrap().class), ("whole", Class::Unavailable));
    let (_, end) = attached(|_, wire| {
        upgrade(wire)?;
        wire.write_all(b"this is no frame, is it?").map(|()| Then::Close)
    })
    .unwrap();
    assert_eq!(end.unwrap().class, Class::Internal);
}

#[test]
fn an_upgrade_that_is_refused_says_why() {
    let refused = |answer| attached(answer).unwrap_err();
    let error = refused(|_, wire| wire.answer(409, "application/json", b"{\"message\":\"container web is paused\"}"));
    assert_eq!((error.class, error.message.as_str()), (Class::Conflict, "container web is paused"));
    let error = refused(|_, wire| wire.answer(200, "text/html", b"<html>log in</html>"));
    check_sentence("a page", &error);
    assert_eq!(error.class, Class::Internal);
    let error = refused(|_, wire| wire.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").map(|()| Then::Next));
    check_sentence("a refusal without a word", &error);
    assert_eq!(error.class, Class::Forbidden);
}

/// A stream that nobody reads costs nothing: the daemon is held up, not our memory.
#[test]
fn a_flood_that_nobody_reads_is_held_up() {
    let n_written = std::sync::Arc::new(AtomicUsize::new(0));
    let count = n_written.clone();
    let daemon = Daemon::unix(script(move |request, wire| {
        (request.path == LOGS).then(|| {
            raw_logs(wire)?;
            loop {
                wire.write_all(&line(0, "flood"))?;
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    }));
    run(async {
        let engine = Remote::with_patience(daemon.endpoint(), LONG).unwrap();
        let mut stream =
            engine.containers().logs("web", &LogsQuery { follow: true, ..LogsQuery::default() }).await.unwrap();
        assert!(!stream.next().await.unwrap().unwrap().entries.is_empty());
        // Until the daemon can write no more.
        let mut before = usize::MAX;
        while before != n_written.load(Ordering::Relaxed) {
            before = n_written.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        drop((stream, engine));
        crate::house::closed(&daemon).await;
    });
    let n_bytes = n_written.load(Ordering::Relaxed) * line(0, "flood").len();
    assert!(n_bytes < 16 << 20, "{n_bytes} bytes were taken");
}

/// A question that was begun and is not gone on with (a screen that looks elsewhere) does not keep others from asking.
#[test]
fn a_call_that_nobody_goes_on_with_holds_up_no_other() {
    let is_well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mood = is_well.clone();
    let daemon = Daemon::unix(script(move |_, _| (!mood.load(Ordering::Relaxed)).then_some(Ok(Then::Stall))));
    run(async {
        let engine = Remote::with_patience(daemon.endpoint(), SHORT).unwrap();
        let query = EventsQuery::default();
        let mut begun = Box::pin(engine.system().events(&query));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut begun).await.is_err());
        is_well.store(true, Ordering::Relaxed);
        // The one that is under way may be waited for, to its deadline; the next asks anew.
        let _ = engine.system().ping().await;
        let _ = engine.system().info().await;
        engine.system().info().await.unwrap();
        drop(begun);
        drop(engine);
        crate::house::closed(&daemon).await;
    });
}
