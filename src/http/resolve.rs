//! From a host's name to addresses: `/etc/hosts`, then the name servers of `/etc/resolv.conf` (RFC 1035), asked by ourselves. Called by `dial`.
//! glibc's resolver is not used: in a static binary it would load the host's own name service modules, made for another glibc
//! (man 5 nsswitch.conf), and end the program where those do not fit. Answers are never trusted in their lengths.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ring::rand::SecureRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// For one question to one server, as in resolv.conf's default.
const ATTEMPT: Duration = Duration::from_secs(5);
/// For IPv6 addresses when there are IPv4 ones already.
const SECOND_KIND: Duration = Duration::from_millis(500);
/// Rounds over all servers.
const ROUNDS: usize = 2;
/// A configuration file larger than this is none.
const MAX_FILE_BYTES: u64 = 1 << 20;
const DNS_PORT: u16 = 53;

/// What `/etc/resolv.conf` says (man 5 resolv.conf).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Servers {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    n_dots: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    A = 1,
    Aaaa = 28,
}

/// What came of one question.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Addresses(Vec<IpAddr>),
    NoSuchName,
    /// It did not fit; the same server has it by TCP.
    Truncated,
    /// The server cannot or will not say.
    Failed(u8),
}

/// The addresses of a host, IPv4 first; an address stands for itself.
///
/// # Errors
/// `NotFound` when there is no such name, `TimedOut` when no server answered.
pub(super) async fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let listed = in_hosts(&read("/etc/hosts").await, &name);
    if !listed.is_empty() {
        return Ok(listed);
    }
    // RFC 6761 §6.3: never asked of a server.
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    ask_servers(&parse_servers(&read("/etc/resolv.conf").await), host).await
}

async fn ask_servers(servers: &Servers, host: &str) -> io::Result<Vec<IpAddr>> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for name in candidates(servers, host) {
        let (four, six) = both(servers, &name).await;
        let found: Vec<IpAddr> = [&four, &six].into_iter().flatten().flatten().copied().collect();
        if !found.is_empty() {
            return Ok(found);
        }
        if let Err(error) = four.and(six) {
            failure = error;
        }
    }
    Err(failure)
}

/// Both kinds at once. Some servers never answer for the second kind: once the first has addresses, it is not waited for long.
async fn both(servers: &Servers, name: &str) -> (io::Result<Vec<IpAddr>>, io::Result<Vec<IpAddr>>) {
    use futures_util::future::{Either, select};
    let four = std::pin::pin!(question(servers, name, Record::A));
    let six = std::pin::pin!(question(servers, name, Record::Aaaa));
    match select(four, six).await {
        Either::Left((Ok(found), six)) if !found.is_empty() => {
            let late = timeout(SECOND_KIND, six).await.unwrap_or(Ok(Vec::new()));
            (Ok(found), late)
        }
        Either::Left((four, six)) => (four, six.await),
        Either::Right((six, four)) => (four.await, six),
    }
}

async fn read(path: &str) -> String {
    let is_small = tokio::fs::metadata(path).await.is_ok_and(|it| it.len() <= MAX_FILE_BYTES);
    let bytes = if is_small { tokio::fs::read(Path::new(path)).await.unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&bytes).into_owned()
}

fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut found: Vec<IpAddr> = lines
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address: IpAddr = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

fn parse_servers(text: &str) -> Servers {
    let mut it = Servers { servers: Vec::new(), search: Vec::new(), n_dots: 1 };
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
                it.servers.extend(address.map(|address| SocketAddr::new(address, DNS_PORT)));
            }
            Some("search" | "domain") => it.search = words.map(str::to_owned).collect(),
            Some("options") => {
                let said = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                it.n_dots = said.unwrap_or(it.n_dots).min(15);
            }
            _ => {}
        }
    }
    if it.servers.is_empty() {
        it.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
    }
    // As many as glibc takes.
    it.servers.truncate(3);
    it.search.truncate(6);
    it
}

/// The names to ask for, in order.
fn candidates(servers: &Servers, host: &str) -> Vec<String> {
    if let Some(whole) = host.strip_suffix('.') {
        return vec![whole.to_owned()];
    }
    let searched = servers.search.iter().map(|domain| format!("{host}.{}", domain.trim_matches('.')));
    let mut names: Vec<String> = searched.collect();
    let has_enough_dots = host.matches('.').count() >= servers.n_dots;
    names.insert(if has_enough_dots { 0 } else { names.len() }, host.to_owned());
    names
}

async fn question(servers: &Servers, name: &str, record: Record) -> io::Result<Vec<IpAddr>> {
    let mut failure = io::Error::new(io::ErrorKind::TimedOut, "no name server answered");
    for server in servers.servers.iter().cycle().take(servers.servers.len() * ROUNDS) {
        let reply = match timeout(ATTEMPT, exchange(*server, name, record)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                failure = error;
                continue;
            }
            Err(_) => continue,
        };
        match reply {
            Reply::Addresses(found) => return Ok(found),
            Reply::NoSuchName => return Ok(Vec::new()),
            Reply::Truncated => {}
            Reply::Failed(code) => failure = io::Error::other(format!("the name server {server} answered code {code}")),
        }
    }
    Err(failure)
}

async fn exchange(server: SocketAddr, name: &str, record: Record) -> io::Result<Reply> {
    let (id, query) = encode(name, record)?;
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Connected: the kernel lets only this server's packets in.
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let n_read = socket.recv(&mut buffer).await?;
        match decode(&buffer[..n_read], id, record) {
            Some(Reply::Truncated) => return by_tcp(server, id, &query, record).await,
            Some(reply) => return Ok(reply),
            // Not an answer to this question.
            None => {}
        }
    }
}

async fn by_tcp(server: SocketAddr, id: u16, query: &[u8], record: Record) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match decode(&answer, id, record) {
        None | Some(Reply::Truncated) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the name server's answer makes no sense"))
        }
        Some(reply) => Ok(reply),
    }
}

fn encode(name: &str, record: Record) -> io::Result<(u16, Vec<u8>)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "no host name");
    let mut id = [0; 2];
    ring::rand::SystemRandom::new().fill(&mut id).map_err(|_| io::Error::other("no random numbers"))?;
    // Recursion wanted, one question.
    let mut query = [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length)).ok_or_else(wrong)?;
        query.push(length);
        query.extend_from_slice(label.as_bytes());
    }
    if query.len() > 12 + 254 {
        return Err(wrong());
    }
    query.extend([0, 0, record as u8, 0, 1]);
    Ok((u16::from_be_bytes(id), query))
}

/// `None` for what is no answer to question `id`.
fn decode(packet: &[u8], id: u16, record: Record) -> Option<Reply> {
    let number = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let flags = number(2)?;
    if number(0)? != id || flags & 0x8000 == 0 || number(4)? != 1 {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Reply::Truncated);
    }
    match flags & 15 {
        0 => {}
        3 => return Some(Reply::NoSuchName),
        code => return Some(Reply::Failed(u8::try_from(code).unwrap_or(u8::MAX))),
    }
    let mut at = after_name(packet, 12)? + 4;
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        at = after_name(packet, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let content = packet.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        // Aliases on the way are of another kind; the addresses at their end count.
        if kind != record as u16 {
            continue;
        }
        if let Ok(four) = <[u8; 4]>::try_from(content) {
            found.push(Ipv4Addr::from(four).into());
        } else if let Ok(six) = <[u8; 16]>::try_from(content) {
            found.push(Ipv6Addr::from(six).into());
        }
    }
    Some(Reply::Addresses(found))
}

/// Where what follows a name begins. A pointer ends a name; it need not be followed.
fn after_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn configuration_is_read() {
        let text = "# x\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver bad\nsearch a.example b.example.\noptions ndots:2 edns0\n";
        let servers = parse_servers(text);
        assert_eq!(
            servers.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.1:53", "[fe80::1]:53"]
        );
        assert_eq!(candidates(&servers, "r"), ["r.a.example", "r.b.example", "r"]);
        assert_eq!(candidates(&servers, "r.x.y"), ["r.x.y", "r.x.y.a.example", "r.x.y.b.example"]);
        assert_eq!(candidates(&servers, "r."), ["r"]);
        assert_eq!(parse_servers("").servers.len(), 1);
        let hosts = "127.0.0.1 localhost\n::1 r.example # not r2\n10.0.0.7\tR.example r2\n";
        assert_eq!(in_hosts(hosts, "r.example"), ["10.0.0.7".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert!(in_hosts(hosts, "not").is_empty());
    }

    /// A server that knows `alias.example` (an alias of something with one address), refuses `refused.example`, cuts `long.example` short by
    /// UDP, and knows nothing else.
    async fn server() -> (SocketAddr, tokio::task::JoinHandle<()>) {
        use tokio::net::TcpListener;
        // TCP and UDP ports are numbered apart: both must be free.
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
                break (socket, listener);
            }
        };
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                tokio::select! {
                    Ok((n_read, from)) = socket.recv_from(&mut buffer) => {
                        socket.send_to(&answer(&buffer[..n_read], false), from).await.unwrap();
                    }
                    Ok((mut stream, _)) = listener.accept() => {
                        let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
                        stream.read_exact(&mut query).await.unwrap();
                        let answer = answer(&query, true);
                        stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                }
            }
        });
        (address, task)
    }

    fn answer(query: &[u8], is_tcp: bool) -> Vec<u8> {
        let name = &query[12..query.len() - 4];
        let has = |word: &str| name.windows(word.len()).any(|part| part == word.as_bytes());
        let is_four = query[query.len() - 3] == 1;
        let (flags, n_answers): (u16, u8) = match () {
            () if has("refused") => (0x8185, 0),
            () if has("long") && !is_tcp => (0x8380, 0),
            () if has("long") || has("alias") => (0x8180, if is_four { 2 } else { 1 }),
            () => (0x8183, 0),
        };
        let mut text = query.to_vec();
        text[2..4].copy_from_slice(&flags.to_be_bytes());
        text[7] = n_answers;
        if n_answers > 0 {
            // CNAME to the name itself, then the address of that.
            text.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        }
        if n_answers == 2 {
            text.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7]);
        }
        text
    }

    #[tokio::test]
    async fn names_are_asked_for_and_found() {
        let (address, task) = server().await;
        let servers = Servers { servers: vec![address], search: vec!["example".to_owned()], n_dots: 1 };
        let expected: Vec<IpAddr> = vec!["192.0.2.7".parse().unwrap()];
        for name in ["alias.example", "alias", "long.example"] {
            assert_eq!(ask_servers(&servers, name).await.unwrap(), expected, "{name}");
        }
        let none = ask_servers(&servers, "nothing.example").await.unwrap_err();
        assert_eq!((none.kind(), none.to_string().as_str()), (io::ErrorKind::NotFound, "no such host"));
        let refused = ask_servers(&servers, "refused.example.").await.unwrap_err();
        assert_eq!(refused.to_string(), format!("the name server {address} answered code 5"));
        assert!(ask_servers(&servers, "a..b.").await.is_err());
        task.abort();
    }

    #[tokio::test]
    async fn addresses_and_localhost_need_no_server() {
        assert_eq!(resolve("192.0.2.1").await.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert!(resolve("registry.localhost").await.unwrap().iter().all(IpAddr::is_loopback));
        assert!(resolve("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }

    proptest! {
        #[test]
        fn any_packet_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, 1, Record::A);
        }

        #[test]
        fn packets_that_look_right_are_answered(tail in proptest::collection::vec(any::<u8>(), 0..80), n_answers in 0u8..9) {
            let head = [0, 1, 0x81, 0x80, 0, 1, 0, n_answers, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
            let _ = decode(&[&head[..], &tail].concat(), 1, Record::Aaaa);
        }
    }
}
