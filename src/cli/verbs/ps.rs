//! `ps`: containers as a table, ids, JSON or a template.

use std::io::Write;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::{Ctx, Outcome, filters};
use crate::api::status;
use crate::cli::args::PsArgs;
use crate::cli::table::{Layout, Titles};
use crate::cli::values;
use crate::engine::{ContainerSummary, ListContainers};
use crate::stdx::human;

pub const TITLES: Titles = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Health", "HEALTH"),
    ("Platform", "PLATFORM"),
];
const FIELDS: [&str; 7] = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];

pub async fn ps(args: PsArgs, ctx: &mut Ctx) -> Outcome {
    let last: i64 = args.last.as_deref().map_or(Ok(-1), |text| values::whole("-n, --last", text))?;
    let limit = if args.latest { Some(1) } else { usize::try_from(last).ok().filter(|n| *n > 0) };
    let wants_size = args.size || args.format.as_deref().is_some_and(|format| format.contains(".Size"));
    let query = ListContainers { all: args.all, limit, size: wants_size, filters: filters(&args.filter)? };
    let found = ctx.engine.containers().list(&query).await?;
    if args.quiet && args.format.is_none() {
        for ctr in &found {
            writeln!(ctx.io.out, "{}", if args.no_trunc { &ctr.id } else { short(&ctr.id) })?;
        }
        return Ok(0);
    }
    let mut fields = FIELDS.to_vec();
    fields.extend(args.size.then_some("Size"));
    let layout = Layout::choose(args.format.as_deref(), &fields)?;
    let now = (ctx.io.now)();
    let rows: Vec<_> = found.iter().map(|ctr| row(ctr, &args, now)).collect();
    layout.write(&rows, TITLES, &mut ctx.io.out)?;
    Ok(0)
}

pub fn short(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id).get(..12).unwrap_or(id)
}

/// At most `max` characters, the last one an ellipsis when cut.
pub fn ellipsis(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

/// `2 hours ago`
pub fn ago(time: Option<SystemTime>, now: SystemTime) -> String {
    let Some(time) = time else { return "N/A".to_owned() };
    format!("{} ago", human::span(now.duration_since(time).unwrap_or(Duration::ZERO)))
}

/// `2026-11-21 04:45:39 +0000 UTC`, in the local zone.
pub fn local(time: Option<SystemTime>) -> String {
    let Some(stamp) = time.and_then(|time| jiff::Timestamp::try_from(time).ok()) else { return String::new() };
    stamp.to_zoned(crate::stdx::zone::local().clone()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// `a=b,c=d`
pub fn pairs(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

pub fn row(ctr: &ContainerSummary, args: &PsArgs, now: SystemTime) -> Value {
    let cut = |text: &str, max| if args.no_trunc { text.to_owned() } else { ellipsis(text, max) };
    let id = if args.no_trunc { ctr.id.clone() } else { short(&ctr.id).to_owned() };
    let image = match ctr.image.strip_prefix("sha256:") {
        _ if ctr.image.is_empty() => "<no image>",
        Some(_) if !args.no_trunc => short(&ctr.image),
        _ => &ctr.image,
    };
    let mounts: Vec<_> = ctr
        .mounts
        .iter()
        .filter(|mount| mount.kind != "tmpfs")
        .map(|mount| cut(mount.name.as_deref().unwrap_or(&mount.source), 15))
        .collect();
    let n_volumes = ctr.mounts.iter().filter(|mount| mount.kind == "volume").count();
    let labels: Map<_, _> = ctr.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "Command": format!("\"{}\"", cut(&ctr.command, 20)),
        "CreatedAt": local(ctr.created),
        "Health": status::health(ctr.state.health.status),
        "ID": id,
        "Image": image,
        "Labels": pairs(&ctr.labels),
        "LocalVolumes": n_volumes.to_string(),
        "Mounts": mounts.join(","),
        "Names": ctr.name,
        "Networks": ctr.networks.join(","),
        "Ports": status::ports(&ctr.ports),
        "RunningFor": ago(ctr.created, now),
        "Size": size(ctr),
        "State": ctr.state.status.as_str(),
        "Status": status::status(&ctr.state, now),
        "@labels": labels,
    })
}

fn size(ctr: &ContainerSummary) -> String {
    let rw = human::size_si(ctr.size_rw_bytes.unwrap_or(0));
    match ctr.size_root_fs_bytes.filter(|bytes| *bytes > 0) {
        Some(all) => format!("{rw} (virtual {})", human::size_si(all)),
        None => rw,
    }
}
