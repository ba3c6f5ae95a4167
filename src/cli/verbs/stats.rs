//! `stats`: a live table, redrawn in place on a terminal, or one reading.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{SelectAll, StreamExt};
use serde_json::{Value, json};

use super::ps::short;
use super::{Ctx, Outcome};
use crate::cli::args::StatsArgs;
use crate::cli::table::{Layout, Titles};
use crate::engine::{BoxStream, ListContainers, StatsQuery, StatsSample};
use crate::stdx::human;

const TITLES: Titles = &[
    ("ID", "CONTAINER ID"),
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];
const FIELDS: [&str; 8] = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];
/// How often the set of containers is looked at again.
const PACE: Duration = Duration::from_secs(1);

/// The last two samples of a container: rates need both.
type Readings = BTreeMap<String, (Option<StatsSample>, StatsSample)>;

pub async fn stats(args: StatsArgs, ctx: &mut Ctx) -> Outcome {
    let layout = Layout::choose(args.format.as_deref(), &FIELDS)?;
    let mut readings = Readings::new();
    let order = names(&args, ctx).await?;
    if args.no_stream {
        read_twice(&order, &mut readings, ctx).await?;
        draw(&layout, &args, &order, &readings, ctx)?;
        return Ok(0);
    }
    watch(&layout, &args, order, readings, ctx).await
}

/// Full ids in the order shown.
async fn names(args: &StatsArgs, ctx: &Ctx) -> anyhow::Result<Vec<String>> {
    if args.names.is_empty() {
        let query = ListContainers { all: args.all, ..ListContainers::default() };
        let mut found = ctx.engine.containers().list(&query).await?;
        found.retain(|ctr| args.all || ctr.state.status.is_alive());
        return Ok(found.into_iter().map(|ctr| ctr.id).collect());
    }
    let mut ids = Vec::new();
    for name in &args.names {
        ids.push(ctx.engine.containers().inspect(name).await?.id);
    }
    Ok(ids)
}

/// CPU percent needs two samples; they are taken a moment apart for all at once.
async fn read_twice(order: &[String], readings: &mut Readings, ctx: &Ctx) -> anyhow::Result<()> {
    let sample = |id: String| async move {
        let mut stream = ctx.engine.containers().stats(&id, &StatsQuery { once: false }).await?;
        let first = stream.next().await.transpose()?;
        let second = match &first {
            Some(first) if first.running => stream.next().await.transpose()?,
            _ => None,
        };
        Ok::<_, crate::engine::EngineError>((id, first, second))
    };
    for result in join_all(order.iter().cloned().map(sample)).await {
        let (id, first, second) = result?;
        match (first, second) {
            (first, Some(second)) => drop(readings.insert(id, (first, second))),
            (Some(first), None) => drop(readings.insert(id, (None, first))),
            (None, None) => {}
        }
    }
    Ok(())
}

async fn watch(
    layout: &Layout,
    args: &StatsArgs,
    mut order: Vec<String>,
    mut readings: Readings,
    ctx: &mut Ctx,
) -> Outcome {
    let mut streams: SelectAll<BoxStream<StatsSample>> = SelectAll::new();
    let mut watched: Vec<String> = Vec::new();
    let mut tick = tokio::time::interval(PACE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let is_fixed = !args.names.is_empty();
    loop {
        tokio::select! {
            biased;
            _ = tick.tick() => {
                if !is_fixed {
                    order = names(args, ctx).await?;
                }
                for id in &order {
                    if watched.contains(id) {
                        continue;
                    }
                    if let Ok(stream) = ctx.engine.containers().stats(id, &StatsQuery { once: false }).await {
                        watched.push(id.clone());
                        streams.push(stream);
                    }
                }
                watched.retain(|id| order.contains(id));
                readings.retain(|id, _| order.contains(id));
                if !readings.is_empty() || order.is_empty() {
                    draw(layout, args, &order, &readings, ctx)?;
                }
            }
            Some(sample) = streams.next() => {
                // One container's failure must not end the view of the others.
                if let Ok(sample) = sample {
                    let previous = readings.remove(&sample.id).map(|(_, last)| last);
                    readings.insert(sample.id.clone(), (previous, sample));
                }
            }
        }
        if is_fixed && streams.is_empty() && !readings.is_empty() {
            draw(layout, args, &order, &readings, ctx)?;
            return Ok(0);
        }
    }
}

fn draw(layout: &Layout, args: &StatsArgs, order: &[String], readings: &Readings, ctx: &mut Ctx) -> anyhow::Result<()> {
    let rows: Vec<_> =
        order.iter().filter_map(|id| readings.get(id)).map(|reading| row(reading, args.no_trunc)).collect();
    if args.no_stream || !ctx.io.is_out_tty {
        layout.write(&rows, TITLES, &mut ctx.io.out)?;
        ctx.io.out.flush()?;
        return Ok(());
    }
    let mut text = Vec::new();
    layout.write(&rows, TITLES, &mut text)?;
    // In place: home, each line cleared to its end, what is below cleared.
    let text = String::from_utf8_lossy(&text).replace('\n', "\x1b[K\n");
    write!(ctx.io.out, "\x1b[H{text}\x1b[J")?;
    ctx.io.out.flush()?;
    Ok(())
}

fn row((previous, sample): &(Option<StatsSample>, StatsSample), no_trunc: bool) -> Value {
    let cpu = previous.as_ref().and_then(|previous| sample.cpu_percent(previous)).unwrap_or(0.0);
    let both = |a: u64, b: u64| format!("{} / {}", human::size_si(a), human::size_si(b));
    let dash = |text: String| if sample.running { text } else { "--".to_owned() };
    let memory = format!("{} / {}", human::size_iec(sample.mem_used_bytes), human::size_iec(sample.mem_limit_bytes));
    json!({
        "BlockIO": if sample.running { both(sample.blk_read_bytes, sample.blk_write_bytes) } else { "-- / --".to_owned() },
        "CPUPerc": dash(format!("{cpu:.2}%")),
        "Container": short(&sample.id),
        "ID": if no_trunc { sample.id.as_str() } else { short(&sample.id) },
        "MemPerc": dash(format!("{:.2}%", sample.mem_percent())),
        "MemUsage": if sample.running { memory } else { "-- / --".to_owned() },
        "Name": sample.name,
        "NetIO": if sample.running { both(sample.net_rx_bytes, sample.net_tx_bytes) } else { "-- / --".to_owned() },
        "PIDs": dash(sample.n_pids.to_string()),
    })
}
