//! A daemon that does what a script says, byte by byte: one thread for each connection, a unix socket or TCP on an ephemeral port, gone with
//! its value. It counts what is open, so that a test can see that nothing stays.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use orlop::config::host::Endpoint;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// Without the version, without the query.
    pub path: String,
    pub query: String,
    /// `1.41`; empty for none.
    pub version: String,
    pub body: Vec<u8>,
    /// How many requests came before on all connections.
    pub number: usize,
}

impl Request {
    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

/// What follows what the script has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request on this connection.
    Next,
    /// Both directions are closed.
    Close,
    /// Nothing more, until the client goes away.
    Stall,
}

pub type Outcome = io::Result<Then>;
/// `None`: somebody else answers this one.
pub type Script = Arc<dyn Fn(&Request, &mut Wire) -> Option<Outcome> + Send + Sync>;

/// One connection's bytes.
pub struct Wire {
    reader: BufReader<Socket>,
    writer: Socket,
    is_over: Arc<AtomicBool>,
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Wire {
    /// An answer with its length.
    pub fn answer(&mut self, status: u16, kind: &str, body: &[u8]) -> Outcome {
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\nApi-Version: 1.41\r\nServer: Docker/20.10.24 (linux)\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.write_all(head.as_bytes())?;
        self.write_all(body)?;
        Ok(Then::Next)
    }

    pub fn json(&mut self, body: &serde_json::Value) -> Outcome {
        self.answer(200, "application/json", body.to_string().as_bytes())
    }

    /// The head of an answer in chunks.
    pub fn chunked(&mut self, kind: &str) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 200 Scripted\r\nApi-Version: 1.41\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        self.write_all(head.as_bytes())
    }

    pub fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut piece = format!("{:x}\r\n", bytes.len()).into_bytes();
        piece.extend_from_slice(bytes);
        piece.extend_from_slice(b"\r\n");
        self.write_all(&piece)
    }

    /// The last chunk.
    pub fn end(&mut self) -> Outcome {
        self.write_all(b"0\r\n\r\n")?;
        Ok(Then::Next)
    }

    /// Writes the same over and over, until the client has enough or the daemon ends.
    pub fn flood(&mut self, bytes: &[u8]) -> Outcome {
        while !self.is_over.load(Ordering::Relaxed) {
            self.write_all(bytes)?;
        }
        Ok(Then::Close)
    }

    /// What the client sends, as it comes; 0 at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    fn again(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
        })
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.shutdown(how),
            Self::Tcp(socket) => socket.shutdown(how),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.read(buffer),
            Self::Tcp(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.write(bytes),
            Self::Tcp(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Unix(listener) => Socket::Unix(listener.accept()?.0),
            Self::Tcp(listener) => Socket::Tcp(listener.accept()?.0),
        })
    }
}

/// The running daemon.
pub struct Daemon {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
    _dir: Option<tempfile::TempDir>,
}

struct Shared {
    script: Script,
    is_over: Arc<AtomicBool>,
    n_requests: AtomicUsize,
    n_connections: AtomicUsize,
    /// Open connections, to be shut at the end.
    open: Mutex<HashMap<usize, Socket>>,
    requests: Mutex<Vec<Request>>,
}

impl Daemon {
    /// On a socket in a directory of its own.
    pub fn unix(script: Script) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
        Self::listen(listener, Endpoint::Unix(path), script, Some(dir))
    }

    /// On an ephemeral port of the loopback.
    pub fn tcp(script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port, tls: None };
        Self::listen(Listener::Tcp(listener), endpoint, script, None)
    }

    fn listen(listener: Listener, endpoint: Endpoint, script: Script, dir: Option<tempfile::TempDir>) -> Self {
        let shared = Arc::new(Shared {
            script,
            is_over: Arc::default(),
            n_requests: AtomicUsize::new(0),
            n_connections: AtomicUsize::new(0),
            open: Mutex::default(),
            requests: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        let listening = thread::spawn(move || own.accept(&listener));
        Self { endpoint, shared, listening: Some(listening), _dir: dir }
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Connections whose client has not gone.
    pub fn n_open(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    pub fn n_connections(&self) -> usize {
        self.shared.n_connections.load(Ordering::Relaxed)
    }

    /// The newest thousand requests.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // A connection of our own wakes the listener; it sees that it is over.
        match &self.endpoint {
            Endpoint::Unix(path) => drop(UnixStream::connect(path)),
            Endpoint::Tcp { port, .. } => drop(TcpStream::connect(("127.0.0.1", *port))),
            Endpoint::Ssh { .. } => {}
        }
        for socket in self.shared.open.lock().unwrap().values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &Listener) {
        while let Ok(socket) = listener.accept() {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let number = self.n_connections.fetch_add(1, Ordering::Relaxed);
            let (Ok(known), Ok(writer)) = (socket.again(), socket.again()) else { continue };
            self.open.lock().unwrap().insert(number, known);
            let wire = Wire { reader: BufReader::new(socket), writer, is_over: Arc::clone(&self.is_over) };
            let own = Arc::clone(self);
            thread::spawn(move || {
                own.serve(wire);
                own.open.lock().unwrap().remove(&number);
            });
        }
    }

    fn serve(&self, mut wire: Wire) {
        while let Ok(Some(mut request)) = read_request(&mut wire.reader) {
            request.number = self.n_requests.fetch_add(1, Ordering::Relaxed);
            let mut requests = self.requests.lock().unwrap();
            if requests.len() >= 1000 {
                requests.clear();
            }
            requests.push(request.clone());
            drop(requests);
            let outcome = (self.script)(&request, &mut wire)
                .or_else(|| crate::good::answer(&request, &mut wire))
                .unwrap_or_else(|| wire.answer(404, "application/json", br#"{"message":"page not found"}"#));
            match outcome {
                Ok(Then::Next) => {}
                Ok(Then::Stall) => {
                    // To the client's end.
                    let _ = io::copy(&mut wire.reader, &mut io::sink());
                    break;
                }
                Ok(Then::Close) | Err(_) => break,
            }
        }
        let _ = wire.writer.shutdown(Shutdown::Both);
    }
}

/// `None` at the end of the connection.
fn read_request(reader: &mut BufReader<Socket>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (version, path) = orlop::api::routes::split_version(path);
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        version: version.unwrap_or("").to_owned(),
        ..Request::default()
    };
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "transfer-encoding" => is_chunked = value.trim() == "chunked",
            _ => {}
        }
    }
    if is_chunked {
        read_chunks(reader, &mut request.body)?;
    } else {
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

fn read_chunks(reader: &mut BufReader<Socket>, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        let start = body.len();
        body.resize(start + length + 2, 0);
        reader.read_exact(&mut body[start..])?;
        body.truncate(start + length);
        if length == 0 {
            return Ok(());
        }
    }
}
