//! `logs`: lines to stdout and stderr, as fast as the disk gives them. Lines are copied once, into large buffers; when both streams are
//! one file they share one buffer, so that order is kept without a write a line.

use std::io::Write;

use futures_util::FutureExt;
use futures_util::stream::StreamExt;

use super::{Ctx, Outcome};
use crate::api::time;
use crate::cli::args::LogsArgs;
use crate::cli::failure::Said;
use crate::cli::values;
use crate::engine::logs::{LogChunk, LogEntry, LogsQuery, StreamKind};

const BUFFER: usize = 256 << 10;

pub async fn logs(args: LogsArgs, ctx: &mut Ctx) -> Outcome {
    let now = (ctx.io.now)();
    let moment = |flag: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => values::moment(text, now).map(Some).ok_or_else(|| {
            Said(format!("invalid value for \"{flag}\": failed to parse value as time or duration: {text:?}"))
        }),
    };
    let query = LogsQuery {
        follow: args.follow,
        // Docker shows everything for `all`, negative numbers and nonsense alike.
        tail: args.tail.parse().ok(),
        since: moment("since", &args.since)?,
        until: moment("until", &args.until)?,
        ..LogsQuery::default()
    };
    let details = if args.details { details(&args.name, ctx).await? } else { String::new() };
    let mut stream = ctx.engine.containers().logs(&args.name, &query).await?;
    let mut writer = Writer::new(details, args.timestamps, ctx.io.is_one_sink);
    loop {
        // Whatever is ready goes into the buffer; it is written when full, or before we would wait.
        let next = match stream.next().now_or_never() {
            Some(next) => next,
            None => {
                writer.flush(ctx)?;
                stream.next().await
            }
        };
        let Some(chunk) = next else { break };
        let chunk = chunk?;
        if chunk.lost_before > 0 {
            writer.flush(ctx)?;
            ctx.io.say(&format!("orlop: {} lines were rotated away before they could be read", chunk.lost_before));
        }
        writer.chunk(&chunk, ctx)?;
    }
    writer.flush(ctx)?;
    Ok(0)
}

/// What `--details` shows: the attributes chosen by the `labels` and `env` log options.
async fn details(name: &str, ctx: &Ctx) -> anyhow::Result<String> {
    let detail = ctx.engine.containers().inspect(name).await?;
    let options = &detail.spec.log.options;
    let wanted = |key: &str| {
        options.get(key).map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
    };
    let mut words = Vec::new();
    for key in wanted("labels") {
        words.extend(detail.spec.labels.get(&key).map(|value| format!("{key}={value}")));
    }
    for key in wanted("env") {
        words.extend(detail.spec.env.iter().filter(|pair| pair.split('=').next() == Some(&key)).cloned());
    }
    Ok(format!("{} ", words.join(",")))
}

struct Writer {
    details: String,
    timestamps: bool,
    is_one_sink: bool,
    out: Vec<u8>,
    err: Vec<u8>,
    /// Second and its text, as consecutive lines mostly share it.
    stamp: (i64, String),
}

impl Writer {
    fn new(details: String, timestamps: bool, is_one_sink: bool) -> Self {
        let out = Vec::with_capacity(BUFFER + (64 << 10));
        Self { details, timestamps, is_one_sink, out, err: Vec::new(), stamp: (i64::MIN, String::new()) }
    }

    fn chunk(&mut self, chunk: &LogChunk, ctx: &mut Ctx) -> std::io::Result<()> {
        for entry in &chunk.entries {
            let buffer = match entry.stream {
                StreamKind::Stderr if !self.is_one_sink => &mut self.err,
                _ => &mut self.out,
            };
            if self.timestamps {
                write_stamp(&mut self.stamp, entry, buffer);
            }
            buffer.extend_from_slice(self.details.as_bytes());
            buffer.extend_from_slice(chunk.line(entry));
            if entry.newline {
                buffer.push(b'\n');
            }
            if self.out.len() >= BUFFER || self.err.len() >= BUFFER {
                self.flush(ctx)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Ctx) -> std::io::Result<()> {
        ctx.io.out.write_all(&self.out)?;
        ctx.io.out.flush()?;
        ctx.io.err.write_all(&self.err)?;
        ctx.io.err.flush()?;
        self.out.clear();
        self.err.clear();
        Ok(())
    }
}

fn write_stamp(stamp: &mut (i64, String), entry: &LogEntry, out: &mut Vec<u8>) {
    let (second, nanos) = (entry.time_ns.div_euclid(1_000_000_000), entry.time_ns.rem_euclid(1_000_000_000));
    if stamp.0 != second {
        *stamp = (second, time::seconds(second));
    }
    out.extend_from_slice(stamp.1.as_bytes());
    let mut digits = *b".000000000Z ";
    let mut rest = nanos as u32;
    for digit in digits[1..10].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}
