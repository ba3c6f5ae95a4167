//! The whole screen without a terminal: real keys, real update, real executor, a buffer instead of a tty. Called by tests and by whoever
//! wants a picture of the screen; it draws nothing by itself and waits with deadlines only.

use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::TuiOptions;
use super::app::App;
use super::input::Parser;
use super::model::{Link, Model};
use super::msg::{Command, Msg};

/// Longest wait for the screen to come to rest or to show something.
const PATIENCE: Duration = Duration::from_secs(10);

/// A screen that can be typed at and looked at.
pub struct Headless {
    app: App,
    orders: Vec<Command>,
}

impl Headless {
    /// Must run inside a tokio runtime.
    pub fn start(options: &TuiOptions, cols: u16, rows: u16) -> Self {
        let mut app = App::start(options);
        app.take(Msg::Resize(cols, rows));
        app.settle();
        Self { app, orders: Vec::new() }
    }

    pub fn model(&self) -> &Model {
        &self.app.model
    }

    /// Types the bytes as a terminal would send them and lets the screen come to rest.
    pub async fn type_bytes(&mut self, bytes: &[u8]) {
        self.type_on(bytes);
        self.rest().await;
    }

    /// Types without waiting for what it leads to.
    pub fn type_on(&mut self, bytes: &[u8]) {
        let mut parser = Parser::default();
        let mut inputs = Vec::new();
        parser.feed(bytes, &mut inputs);
        parser.flush(&mut inputs);
        for input in inputs {
            self.app.input(input);
            self.app.settle();
            self.collect();
        }
    }

    /// As if the engine had been asked how far away it is.
    pub fn hear_latency(&mut self, latency: Duration) {
        self.app.take(Msg::Latency(latency));
        self.app.settle();
    }

    pub fn resize(&mut self, cols: u16, rows: u16) {
        self.app.take(Msg::Resize(cols, rows));
        self.app.settle();
    }

    /// Waits until nothing is under way.
    ///
    /// # Panics
    /// When that does not happen in time: it is a test's failure.
    pub async fn rest(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.drain();
            if self.app.is_quiet() && !self.is_waiting() {
                return;
            }
            assert!(Instant::now() < deadline, "the screen does not come to rest:\n{}", self.text());
            self.one().await;
        }
    }

    /// Waits until the screen shows this text; returns the screen.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn wait_for(&mut self, shown: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.drain();
            let text = self.text();
            if text.contains(shown) {
                return text;
            }
            assert!(Instant::now() < deadline, "`{shown}` does not show up:\n{text}");
            self.one().await;
        }
    }

    /// Waits until the screen no longer shows this text.
    ///
    /// # Panics
    /// When it still does after the patience.
    pub async fn wait_gone(&mut self, shown: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.drain();
            let text = self.text();
            if !text.contains(shown) {
                return text;
            }
            assert!(Instant::now() < deadline, "`{shown}` stays:\n{text}");
            self.one().await;
        }
    }

    /// Orders for the terminal so far: clipboard, quit, suspend.
    pub fn take_orders(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.orders)
    }

    /// The screen as cells, and the text cursor.
    pub fn buffer(&self) -> (Buffer, Option<Position>) {
        let (cols, rows) = self.app.model.size;
        let area = Rect::new(0, 0, cols, rows);
        let mut buf = Buffer::empty(area);
        let cursor = self.app.view(area, &mut buf);
        (buf, cursor)
    }

    /// The screen as lines without trailing blanks.
    pub fn text(&self) -> String {
        let (buf, _) = self.buffer();
        let mut text = String::new();
        for y in 0..buf.area.height {
            let mut line = String::new();
            let mut skip = 0;
            for x in 0..buf.area.width {
                let symbol = buf[(x, y)].symbol();
                if skip == 0 {
                    line.push_str(symbol);
                }
                skip = super::text::width(symbol).max(skip).saturating_sub(1);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Whether the engine has not spoken yet, or something is due within a moment: the cursor rests, a question waits for it.
    fn is_waiting(&self) -> bool {
        if self.app.model.link == Link::Connecting {
            return true;
        }
        self.app.model.wake_at.is_some_and(|at| at <= Instant::now() + Duration::from_millis(70))
            && self.app.model.detail.asked.is_none()
            && self.app.model.toasts.is_empty()
    }

    /// One message or a moment.
    async fn one(&mut self) {
        let wait = Duration::from_millis(10);
        match tokio::time::timeout(wait, self.app.next()).await {
            Ok(Some(msg)) => self.app.take(msg),
            _ => self.app.take(Msg::Tick),
        }
        self.app.settle();
        self.collect();
    }

    fn drain(&mut self) {
        while let Some(msg) = self.app.try_next() {
            self.app.take(msg);
        }
        self.app.settle();
        self.collect();
    }

    fn collect(&mut self) {
        self.orders.extend(self.app.take_terminal_orders());
        self.app.painted();
    }
}
