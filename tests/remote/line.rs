//! A line of the tests between a client and a daemon: it carries bytes both ways, and cuts, stalls, delays and slows down as a test says. TCP on the
//! client's side, the daemon's socket on the other; threads of the standard library.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use orlop::config::host::Endpoint;

/// How a connection ends that the line cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As if the other side had closed it.
    InOrder,
    /// With a reset: what was on its way is lost.
    Reset,
}

/// One line; dropped, it takes no more connections and cuts those that stand.
pub struct Line {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    open: Mutex<Vec<(TcpStream, UnixStream)>>,
    /// Bytes from the daemon after which a connection is cut; 0 for never.
    cut_at: AtomicU64,
    n_cuts: AtomicU64,
    /// Bytes from the daemon that were passed on.
    n_given: AtomicU64,
    /// Nothing moves, and nothing ends.
    is_stalled: AtomicBool,
    /// One way.
    delay_ms: AtomicU64,
    /// From the daemon, in bytes; 0 for no limit.
    rate_per_s: AtomicU64,
    is_over: AtomicBool,
}

impl Line {
    /// To the daemon at this socket.
    pub fn to(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let (shared, socket) = (state.clone(), socket.to_owned());
        std::thread::spawn(move || accept(&listener, &shared, &socket));
        Self { port, state }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: self.port, tls: None }
    }

    /// Every connection that stands, at once.
    pub fn cut(&self, how: Cut) {
        self.state.cut(how);
    }

    /// Each connection after so many bytes from the daemon; 0 for none.
    pub fn cut_at(&self, n_bytes: u64) {
        self.state.cut_at.store(n_bytes, Ordering::Relaxed);
    }

    pub fn n_cuts(&self) -> u64 {
        self.state.n_cuts.load(Ordering::Relaxed)
    }

    /// Bytes from the daemon that the client was given.
    pub fn n_given(&self) -> u64 {
        self.state.n_given.load(Ordering::Relaxed)
    }

    pub fn stall(&self) {
        self.state.is_stalled.store(true, Ordering::Relaxed);
    }

    /// One way.
    pub fn delay(&self, span: Duration) {
        self.state.delay_ms.store(u64::try_from(span.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub fn rate_per_s(&self, n_bytes: u64) {
        self.state.rate_per_s.store(n_bytes, Ordering::Relaxed);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        self.state.cut(Cut::InOrder);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn cut(&self, how: Cut) {
        for (client, daemon) in self.open.lock().unwrap().drain(..) {
            end(&client, &daemon, how);
        }
    }
}

fn end(client: &TcpStream, daemon: &UnixStream, how: Cut) {
    let side = match how {
        Cut::InOrder => Shutdown::Both,
        Cut::Reset => {
            // Sent when the threads, which this wakes, have closed their ends.
            let abrupt = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            let _ = setsockopt(client, sockopt::Linger, &abrupt);
            Shutdown::Read
        }
    };
    let _ = client.shutdown(side);
    let _ = daemon.shutdown(Shutdown::Both);
}

fn accept(listener: &TcpListener, state: &Arc<State>, socket: &Path) {
    for client in listener.incoming().map_while(Result::ok) {
        if state.is_over.load(Ordering::Relaxed) {
            return;
        }
        // One to a daemon that is away closes what it took.
        if let Ok(daemon) = UnixStream::connect(socket) {
            let _ = client.set_nodelay(true);
            state.open.lock().unwrap().push((client.try_clone().unwrap(), daemon.try_clone().unwrap()));
            carry(client, daemon, state);
        }
    }
}

/// Both directions of one connection, a thread each.
fn carry(client: TcpStream, daemon: UnixStream, state: &Arc<State>) {
    let (mut from, mut to, up) = (client.try_clone().unwrap(), daemon.try_clone().unwrap(), state.clone());
    std::thread::spawn(move || {
        let _ = up.pump(&mut from, |bytes| to.write_all(bytes));
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to, down) = (daemon, client, state.clone());
    std::thread::spawn(move || {
        let mut n_given = 0;
        let ended = down.pump(&mut from, |bytes| down.give(&mut to, bytes, &mut n_given));
        let side = if ended.is_ok() { Shutdown::Write } else { Shutdown::Both };
        let _ = (to.shutdown(side), from.shutdown(side));
    });
}

impl State {
    fn pump(&self, from: &mut impl Read, mut give: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let n = from.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            while self.is_stalled.load(Ordering::Relaxed) && !self.is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::Relaxed)));
            give(&buffer[..n])?;
        }
    }

    /// To the client: counted, slowed down, and cut where a test says.
    fn give(&self, to: &mut TcpStream, bytes: &[u8], n_given: &mut u64) -> std::io::Result<()> {
        let limit = self.cut_at.load(Ordering::Relaxed);
        let room = if limit == 0 { usize::MAX } else { usize::try_from(limit.saturating_sub(*n_given)).unwrap() };
        let whole = bytes.len() <= room;
        let bytes = if whole { bytes } else { &bytes[..room] };
        to.write_all(bytes)?;
        *n_given += bytes.len() as u64;
        self.n_given.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let rate = self.rate_per_s.load(Ordering::Relaxed);
        if let Some(span_us) = (bytes.len() as u64 * 1_000_000).checked_div(rate) {
            std::thread::sleep(Duration::from_micros(span_us));
        }
        if whole {
            return Ok(());
        }
        self.n_cuts.fetch_add(1, Ordering::Relaxed);
        Err(std::io::ErrorKind::ConnectionAborted.into())
    }
}
