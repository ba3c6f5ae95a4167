//! A link with a long way: a socket that passes everything on to another one, so much later each way. Used by `screens`, whose peers know no
//! other links than sockets. It delays without holding up: what is on its way is as much as there is.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Takes connections at `near` for as long as the program lives and carries them to `far`, each way `delay` late.
pub fn link(near: &Path, far: &Path, delay: Duration) {
    let listener = UnixListener::bind(near).expect("a new socket");
    let far = far.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(daemon) = UnixStream::connect(&far) else { continue };
            let (Ok(from), Ok(to)) = (client.try_clone(), daemon.try_clone()) else { continue };
            carry(from, to, delay);
            carry(daemon, client, delay);
        }
    });
}

/// One direction, until its end, which is as late as everything else.
fn carry(mut from: UnixStream, mut to: UnixStream, delay: Duration) {
    let (sent, on_its_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if sent.send((Instant::now() + delay, buffer[..n].to_vec())).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, bytes) in on_its_way {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
