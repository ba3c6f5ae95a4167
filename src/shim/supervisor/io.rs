//! Bytes: clients in and out, process output to the log and to clients, input to processes. Part of the loop; decides who has to wait for whom.
//!
//! The log gets every byte first. A client that cannot keep up stops the reading of its process (`wait`) or misses bytes and is told so
//! (`skip`); it never stops another container's, nor the log's, beyond [`super::SLOW_PATIENCE`].

use std::os::fd::AsFd;
use std::time::Instant;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::conn::{Conn, Input};
use super::session::{Session, Watched, stream_of};
use super::slab::Key;
use super::{BUFFER_BYTES, PARTIAL_PATIENCE, Phase, SLOW_PATIENCE, SMALL_BUFFER_BYTES, Source, Supervisor};
use crate::engine::Exit;
use crate::shim::log::replay::Step;
use crate::shim::log::writer::now_ns;
use crate::shim::protocol::{Frame, Kind, Note, WhenSlow};

/// How often one descriptor is read before others have their turn.
const READS_PER_TURN: usize = 16;
/// More clients than this at once are turned away: a shim has descriptors for that many.
const MAX_CLIENTS: usize = 400;
/// A replaying client is given more when it has less than this waiting.
const REPLAY_BYTES: usize = 64 * 1024;

/// What became of reading some output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    /// Nothing there now, or others have to go first.
    Later,
    Closed,
}

impl Supervisor {
    pub(super) fn accept(&mut self) {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(std::os::unix::net::UnixListener::accept) {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.conns.len() < MAX_CLIENTS {
                // `settle` registers it.
                self.conns.insert(Conn::new(stream));
                self.leave_at = None;
            }
        }
    }

    pub(super) fn on_conn(&mut self, key: Key, flags: EpollFlags) {
        if flags.contains(EpollFlags::EPOLLIN) {
            self.read_conn(key);
        } else if flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
            && let Some(conn) = self.conns.get_mut(key)
        {
            conn.is_broken = true;
        }
        if flags.contains(EpollFlags::EPOLLOUT)
            && let Some(conn) = self.conns.get_mut(key)
        {
            conn.flush();
        }
    }

    fn read_conn(&mut self, key: Key) {
        let mut chunk = [0u8; 16 * 1024];
        for _ in 0..READS_PER_TURN {
            if self.is_input_full(key) {
                return;
            }
            let Some(conn) = self.conns.get_mut(key) else { return };
            match conn.fill(&mut chunk) {
                Input::Some => self.take_frames(key),
                Input::None => return,
                Input::Over => {
                    conn.is_input_over = true;
                    self.end_input_of(key);
                    return;
                }
            }
        }
    }

    fn take_frames(&mut self, key: Key) {
        while let Some(frame) = self.conns.get_mut(key).and_then(Conn::next_frame) {
            match frame.kind {
                Kind::Request => self.on_request(key, &frame.body),
                Kind::Stdin => self.on_stdin(key, &frame),
                Kind::StdinEnd => self.end_input_of(key),
                Kind::Stdout | Kind::Stderr | Kind::Reply | Kind::Note => {
                    if let Some(conn) = self.conns.get_mut(key) {
                        conn.is_broken = true;
                    }
                }
            }
        }
    }

    fn is_input_full(&self, key: Key) -> bool {
        let role = self.conns.get(key).and_then(|conn| conn.role.as_ref());
        let session = role.filter(|role| role.stdin).and_then(|role| self.sessions.get(role.session));
        session.is_some_and(Session::is_input_full)
    }

    fn on_stdin(&mut self, key: Key, frame: &Frame) {
        let Some(role) = self.conns.get_mut(key).and_then(|conn| conn.role.as_mut()) else { return };
        let Some(session) = self.sessions.get_mut(role.session) else { return };
        if !role.stdin {
            return;
        }
        let session_key = role.session;
        let mut is_detached = false;
        if session.tty {
            let typed = role.keys.feed(&frame.body);
            session.take_input(&typed.pass);
            is_detached = typed.detach;
        } else {
            session.take_input(&frame.body);
        }
        self.write_input(session_key);
        if is_detached {
            self.detach(key);
        }
    }

    /// The client has no more input: for pipes that ends the process's, where this client's end is to be its end.
    pub(super) fn end_input_of(&mut self, key: Key) {
        let Some(role) = self.conns.get_mut(key).and_then(|conn| conn.role.as_mut()) else { return };
        let Some(session) = self.sessions.get_mut(role.session) else { return };
        if !role.stdin {
            return;
        }
        if session.tty {
            let held = role.keys.flush();
            session.take_input(&held);
        } else if session.input.once {
            session.input.is_ending = true;
        }
        let session_key = role.session;
        self.write_input(session_key);
    }

    /// Gives a process what is queued for it.
    pub(super) fn write_input(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let input = &mut session.input;
        let Some(watched) = &mut input.fd else { return };
        let mut is_full = false;
        let mut is_closed = false;
        while !input.queue.is_empty() && !is_full && !is_closed {
            let (front, _) = input.queue.as_slices();
            match nix::unistd::write(&watched.fd, front) {
                Ok(n_written) => drop(input.queue.drain(..n_written)),
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => is_full = true,
                Err(_) => is_closed = true,
            }
        }
        if is_full != watched.is_watched {
            let event = EpollEvent::new(EpollFlags::EPOLLOUT, Source::In(key).to_bits());
            let changed = if is_full { self.epoll.add(&watched.fd, event) } else { self.epoll.delete(&watched.fd) };
            // A descriptor that cannot be watched would never be written again: give it up.
            is_closed |= changed.is_err();
            watched.is_watched = is_full;
        }
        if is_closed || (input.is_ending && input.queue.is_empty()) {
            input.fd = None;
            input.is_over = true;
            input.queue = std::collections::VecDeque::new();
        }
    }

    pub(super) fn on_output(&mut self, key: Key, slot: usize) {
        if self.read_output(key, slot, READS_PER_TURN) == Out::Closed {
            self.close_output(key, slot);
        }
    }

    /// Reads at most `n_reads` pieces and hands them on.
    pub(super) fn read_output(&mut self, key: Key, slot: usize, n_reads: usize) -> Out {
        if self.buf.is_empty() {
            self.buf = vec![0; SMALL_BUFFER_BYTES];
        }
        for _ in 0..n_reads {
            let mut buf = std::mem::take(&mut self.buf);
            let read = match self.sessions.get(key).and_then(|session| session.outs[slot].as_ref()) {
                Some(out) => nix::unistd::read(&out.fd, &mut buf),
                None => Ok(0),
            };
            if let Ok(n_read @ 1..) = read {
                self.deliver(key, slot, &buf[..n_read]);
            }
            let len = buf.len();
            self.buf = buf;
            if read == Ok(len) && len < BUFFER_BYTES {
                self.buf = vec![0; BUFFER_BYTES];
            }
            match read {
                Ok(0) => return Out::Closed,
                Ok(n_read) if n_read < len => return Out::Later,
                Ok(_) if self.is_blocked(key) => return Out::Later,
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return Out::Later,
                // EIO: the last one who had the terminal open has closed it (man 4 pts).
                Err(_) => return Out::Closed,
            }
        }
        Out::Later
    }

    pub(super) fn close_output(&mut self, key: Key, slot: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if let Some(out) = session.outs[slot].take()
            && out.is_watched
        {
            // Closing alone would do, were no copy of it open in a child that is just being made.
            let _ = self.epoll.delete(&out.fd);
        }
        if !session.has_output() && session.ended.is_some() {
            self.end_session(key);
        }
    }

    fn deliver(&mut self, key: Key, slot: usize, bytes: &[u8]) {
        let stream = stream_of(slot);
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.is_main()
            && let Some(log) = &mut self.log
        {
            log.write(stream, bytes, now_ns());
        }
        if let super::session::Purpose::Probe { output, .. } = &mut session.purpose {
            let n_room = crate::shim::health::MAX_OUTPUT_BYTES.saturating_sub(output.len());
            output.extend_from_slice(&bytes[..bytes.len().min(n_room)]);
        }
        let kind = if slot == 0 { Kind::Stdout } else { Kind::Stderr };
        for client in &session.clients {
            let Some(conn) = self.conns.get_mut(*client) else { continue };
            let is_full = conn.is_full();
            let Some(role) = conn.role.as_mut().filter(|role| role.wants(stream) && role.replay.is_none()) else {
                continue;
            };
            if is_full && role.when_slow == WhenSlow::Skip {
                role.n_lost += bytes.len() as u64;
            } else {
                conn.send_data(kind, bytes);
            }
        }
    }

    /// Whether a client that must see every byte has to catch up first.
    fn is_blocked(&self, key: Key) -> bool {
        let Some(session) = self.sessions.get(key) else { return false };
        session.clients.iter().filter_map(|client| self.conns.get(*client)).any(must_catch_up)
    }

    /// After each turn: everything that follows from what the events did.
    pub(super) fn settle(&mut self) {
        self.settle_log();
        for key in self.conns.keys() {
            self.settle_conn_output(key);
        }
        for key in self.sessions.keys() {
            self.settle_session(key);
        }
        for key in self.conns.keys() {
            self.settle_conn(key);
        }
    }

    fn settle_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        log.flush();
        if !log.holds_text() {
            self.partial_at = None;
        } else if self.partial_at.is_none() {
            self.partial_at = Some(Instant::now() + PARTIAL_PATIENCE);
        }
        let is_trouble = log.trouble().lost_bytes > 0 || log.trouble().error.is_some();
        if is_trouble && !self.is_trouble_told {
            self.is_trouble_told = true;
            self.record();
        }
    }

    fn settle_conn_output(&mut self, key: Key) {
        self.replay(key);
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.is_full()
            && let Some(role) = &mut conn.role
            && role.n_lost > 0
        {
            let bytes = std::mem::take(&mut role.n_lost);
            conn.send_note(&Note::Lost { bytes });
        }
        let blocks = must_catch_up(conn) && self.phase != Phase::Over;
        match (blocks, conn.blocks_since) {
            (true, None) => conn.blocks_since = Some(Instant::now()),
            (false, Some(_)) => conn.blocks_since = None,
            _ => {}
        }
    }

    /// Moves a replaying client on; at the end of the log it joins what comes live.
    fn replay(&mut self, key: Key) {
        let Some(dir) = self.cfg.log.dir.clone() else { return };
        let mut is_flushed = false;
        while let Some(conn) = self.conns.get_mut(key) {
            if conn.is_broken || conn.n_queued() > REPLAY_BYTES {
                return;
            }
            let Some(role) = &mut conn.role else { return };
            let Some(mut replay) = role.replay.take() else { return };
            let (stdout, stderr) = (role.stdout, role.stderr);
            let step = replay.step(&dir, &mut |stream, text| {
                let (kind, is_wanted) = match stream {
                    crate::engine::StreamKind::Stdout => (Kind::Stdout, stdout),
                    crate::engine::StreamKind::Stderr => (Kind::Stderr, stderr),
                };
                if is_wanted {
                    conn.send_data(kind, text);
                }
            });
            match step {
                Ok(Step::More) => {}
                // Text that the log still holds in memory belongs to the past too.
                Ok(Step::CaughtUp) if !is_flushed => {
                    is_flushed = true;
                    if let Some(log) = &mut self.log {
                        log.flush_all(now_ns());
                    }
                }
                // An unreadable log ends the replay, not the attach.
                Ok(Step::CaughtUp) | Err(_) => {
                    if let Some(note) = conn.last_note.take() {
                        conn.role = None;
                        conn.send_note(&note);
                        conn.is_ending = true;
                    }
                    return;
                }
            }
            if let Some(role) = self.conns.get_mut(key).and_then(|conn| conn.role.as_mut()) {
                role.replay = Some(replay);
            }
        }
    }

    fn settle_session(&mut self, key: Key) {
        let is_blocked = self.is_blocked(key);
        let Some(session) = self.sessions.get_mut(key) else { return };
        for slot in 0..2 {
            let Some(out) = &mut session.outs[slot] else { continue };
            // Removed rather than muted: epoll tells of hang-ups whatever is asked, and would spin.
            if is_blocked == out.is_watched {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, Source::Out(key, slot).to_bits());
                let changed = if is_blocked { self.epoll.delete(&out.fd) } else { self.epoll.add(&out.fd, event) };
                out.is_watched = if changed.is_ok() { !is_blocked } else { out.is_watched };
            }
        }
    }

    fn settle_conn(&mut self, key: Key) {
        let is_input_full = self.is_input_full(key);
        let Some(conn) = self.conns.get_mut(key) else { return };
        let has_no_more_to_say = conn.n_owed == 0 && (conn.is_ending || (conn.is_input_over && conn.role.is_none()));
        // At the end of all nobody is kept waiting for an answer that cannot come.
        let is_over = self.phase == Phase::Over && conn.last_note.is_none();
        if conn.is_broken || ((has_no_more_to_say || is_over) && conn.n_queued() == 0) {
            self.drop_conn(key);
            return;
        }
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, !conn.is_input_over && !is_input_full);
        flags.set(EpollFlags::EPOLLOUT, conn.n_queued() > 0);
        // With its input full it is left alone altogether: a hang-up now must not lose what it has sent.
        let wanted = (!flags.is_empty() || !is_input_full).then_some(flags);
        if wanted == conn.watched {
            return;
        }
        let bits = Source::Conn(key).to_bits();
        let changed = match (conn.watched, wanted) {
            (None, Some(flags)) => self.epoll.add(&conn.stream, EpollEvent::new(flags, bits)),
            (Some(_), Some(flags)) => self.epoll.modify(&conn.stream, &mut EpollEvent::new(flags, bits)),
            (_, None) => self.epoll.delete(&conn.stream),
        };
        conn.watched = wanted;
        if changed.is_err() {
            self.drop_conn(key);
        }
    }

    /// Forgets a client; what it leaves behind goes on.
    pub(super) fn drop_conn(&mut self, key: Key) {
        self.end_input_of(key);
        self.leave_session(key);
        self.conns.remove(key);
        self.waiters.retain(|waiter| waiter.conn != key);
        if let Some(stopping) = &mut self.stopping {
            stopping.askers.retain(|(conn, _)| *conn != key);
        }
    }

    /// Takes a client out of its data session.
    pub(super) fn leave_session(&mut self, key: Key) {
        let role = self.conns.get_mut(key).and_then(|conn| conn.role.take());
        if let Some(session) = role.and_then(|role| self.sessions.get_mut(role.session)) {
            session.clients.retain(|client| *client != key);
        }
    }

    fn detach(&mut self, key: Key) {
        let session = self.conns.get(key).and_then(|conn| conn.role.as_ref()).map(|role| role.session);
        self.leave_session(key);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.send_note(&Note::Detached);
            conn.is_ending = true;
        }
        if session == Some(self.main) {
            self.emit("detach", &[]);
        }
    }

    pub(super) fn let_go_of_slow_clients(&mut self, now: Instant) {
        for key in self.conns.keys() {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            if conn.blocks_since.is_none_or(|since| since + SLOW_PATIENCE > now) {
                continue;
            }
            conn.blocks_since = None;
            let bytes = conn.drop_queued_output();
            conn.send_note(&Note::Dropped { bytes });
            conn.is_ending = true;
            self.end_input_of(key);
            self.leave_session(key);
        }
    }

    /// Tells the clients of a session that it is over.
    pub(super) fn end_clients(&mut self, key: Key, exit: &Exit) {
        let clients = self.sessions.get_mut(key).map(|session| std::mem::take(&mut session.clients));
        for client in clients.unwrap_or_default() {
            let Some(conn) = self.conns.get_mut(client) else { continue };
            conn.blocks_since = None;
            let note = Note::Ended { exit: exit.clone() };
            if conn.role.as_ref().is_some_and(|role| role.replay.is_some()) {
                // Still reading the past: the end comes after it.
                conn.last_note = Some(note);
                continue;
            }
            if let Some(role) = conn.role.take()
                && role.n_lost > 0
            {
                conn.send_note(&Note::Lost { bytes: role.n_lost });
            }
            conn.send_note(&note);
            conn.is_ending = true;
        }
    }

    /// Takes charge of a process's output.
    pub(super) fn add_output(&mut self, key: Key, slot: usize, fd: std::os::fd::OwnedFd) {
        let is_watched = self.watch(fd.as_fd(), Source::Out(key, slot), EpollFlags::EPOLLIN);
        if let Some(session) = self.sessions.get_mut(key) {
            session.outs[slot] = Some(Watched { fd, is_watched });
        }
    }
}

fn must_catch_up(conn: &Conn) -> bool {
    conn.is_full() && conn.role.as_ref().is_some_and(|role| role.when_slow == WhenSlow::Wait && role.replay.is_none())
}
