//! Several hosts as one: two that answer, one that is not there, one that takes every connection and says nothing. Lists, acts and events of those
//! that answer go on as if the others were not there, and a host that comes to itself is back.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use orlop::config::host::Endpoint;
use orlop::engine::{Engine, EventsQuery, HostEntry, ListContainers, StopOptions};
use orlop::fleet::Fleet;
use orlop::remote::Remote;
use serde_json::json;

use crate::daemon::{Daemon, Then};
use crate::good;
use crate::weight::Weight;

/// The fleet's own patience with a host is 3 s; a list that had waited for one takes longer than this.
const WITHOUT_WAITING: Duration = Duration::from_millis(2500);
const LIMIT: Duration = Duration::from_secs(60);
const RSS_MARGIN: u64 = 48 << 20;

/// Lists containers that are others each time, as a host does on which they come and go; tells an event every few milliseconds.
fn healthy(name: &'static str) -> Daemon {
    let n_listed = AtomicUsize::new(0);
    Daemon::unix(Arc::new(move |request, wire| match request.path.as_str() {
        "/containers/json" => {
            let n = n_listed.fetch_add(1, Ordering::Relaxed);
            let row = |k: usize| good::row(&format!("{name}{:060}{k:03}", n % 1_000_000), &format!("{name}-{k}"));
            Some(wire.json(&json!((0..50).map(row).collect::<Vec<_>>())))
        }
        "/events" => {
            let tell = |wire: &mut crate::daemon::Wire| -> io::Result<Then> {
                wire.chunked("application/json")?;
                for n in 0.. {
                    wire.chunk(good::event(n, "start").to_string().as_bytes())?;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(Then::Close)
            };
            Some(tell(wire))
        }
        _ => None,
    }))
}

pub fn soak(span: Duration) {
    let (one, two) = (healthy("a"), healthy("b"));
    let is_well = Arc::new(AtomicBool::new(false));
    let mood = is_well.clone();
    let stalled = Daemon::unix(Arc::new(move |_, _| (!mood.load(Ordering::Relaxed)).then_some(Ok(Then::Stall))));
    let nowhere = Endpoint::Unix(PathBuf::from("/nonexistent/docker.sock"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let before = Weight::settled(None).await;
        let remote = |endpoint| -> Arc<dyn Engine> { Arc::new(Remote::with_patience(endpoint, LIMIT).unwrap()) };
        let host = |name: &str| HostEntry { name: name.to_owned(), ..HostEntry::default() };
        let fleet = Fleet::new(vec![
            (host("one"), remote(one.endpoint())),
            (host("stalled"), Arc::new(Remote::with_patience(stalled.endpoint(), Duration::from_secs(4)).unwrap())),
            (host("two"), remote(two.endpoint())),
            (host("nowhere"), remote(nowhere)),
        ]);
        let all = ListContainers { all: true, ..ListContainers::default() };
        // The first one pays for the silence.
        let first = Instant::now();
        assert_eq!(fleet.containers().list(&all).await.unwrap().len(), 100);
        let first = first.elapsed();
        let mut events = fleet.system().events(&EventsQuery::default()).await.unwrap();
        let (mut times, mut n_events) = (Vec::new(), 0);
        let end = Instant::now() + span;
        while Instant::now() < end || times.len() < 20 {
            let start = Instant::now();
            let rows = fleet.containers().list(&all).await.unwrap();
            times.push(start.elapsed());
            assert_eq!(rows.len(), 100, "both hosts that answer are listed");
            for host in ["one", "two"] {
                let id = &rows.iter().find(|row| row.host == host).unwrap().id;
                fleet.containers().stop(id, &StopOptions::default()).await.unwrap();
            }
            tokio::time::timeout(LIMIT, events.next()).await.unwrap().unwrap().unwrap();
            n_events += 1;
        }
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!(
            "fleet: first list {first:?}, then {} lists: median {median:?}, worst {worst:?}; {n_events} events",
            times.len()
        );
        let n_late = times.iter().filter(|time| **time > WITHOUT_WAITING).count();
        assert!(n_late * 10 < times.len(), "{n_late} of {} lists waited for the silent host", times.len());
        comes_back(&fleet, &is_well, &all).await;
        drop((events, fleet));
        let after = Weight::settled(Some(&before)).await;
        println!("fleet: before {before}; after {after}");
        assert!(after.has_no_more_than(&before), "before {before}, after {after}");
        assert!(after.rss_bytes < before.rss_bytes + RSS_MARGIN, "before {before}, after {after}");
    });
}

/// The host that was silent answers again: its rows are there, and nobody had to ask for it.
async fn comes_back(fleet: &Fleet, is_well: &AtomicBool, all: &ListContainers) {
    is_well.store(true, Ordering::Relaxed);
    let end = Instant::now() + LIMIT;
    while !fleet.containers().list(all).await.unwrap().iter().any(|row| row.host == "stalled") {
        assert!(Instant::now() < end, "the host that answers again is not back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
