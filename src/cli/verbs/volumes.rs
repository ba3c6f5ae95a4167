//! Verbs on volumes, and the list of networks.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::ps::{pairs, short};
use super::{Ctx, Outcome, filters};
use crate::cli::args::{ImagePruneArgs, ListArgs, NetworkLsArgs, VolumeCreateArgs, VolumeRmArgs};
use crate::cli::failure::say_engine;
use crate::cli::table::{Layout, Titles};
use crate::cli::values;
use crate::engine::{CreateVolume, Force, Volume};
use crate::stdx::human;

pub const TITLES: Titles = &[
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
];

pub async fn ls(args: ListArgs, ctx: &mut Ctx) -> Outcome {
    let found = ctx.engine.volumes().list(&filters(&args.filter)?).await?;
    if args.quiet && args.format.is_none() {
        for volume in &found {
            writeln!(ctx.io.out, "{}", volume.name)?;
        }
        return Ok(0);
    }
    let layout = Layout::choose(args.format.as_deref(), &["Driver", "Name"])?;
    let rows: Vec<_> = found.iter().map(row).collect();
    layout.write(&rows, TITLES, &mut ctx.io.out)?;
    Ok(0)
}

pub fn row(volume: &Volume) -> Value {
    let labels: Map<_, _> = volume.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "Driver": volume.driver,
        "Labels": pairs(&volume.labels),
        "Links": volume.used_by.as_ref().map_or("N/A".to_owned(), |users| users.len().to_string()),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": volume.size_bytes.map_or("N/A".to_owned(), human::size_si_long),
        "@labels": labels,
    })
}

pub async fn create(args: VolumeCreateArgs, ctx: &mut Ctx) -> Outcome {
    let options = CreateVolume {
        name: args.name.clone(),
        driver: Some(args.driver.clone()),
        labels: args.label.iter().map(|text| values::pair(text)).collect(),
        options: args.opt.iter().map(|text| values::pair(text)).collect(),
    };
    let volume = ctx.engine.volumes().create(&options).await?;
    writeln!(ctx.io.out, "{}", volume.name)?;
    Ok(0)
}

pub async fn rm(args: VolumeRmArgs, ctx: &mut Ctx) -> Outcome {
    let force = if args.force { Force::Yes } else { Force::No };
    let mut code = 0;
    for name in &args.names {
        match ctx.engine.volumes().remove(name, force).await {
            Ok(()) => writeln!(ctx.io.out, "{name}")?,
            Err(error) => {
                say_engine("Error: ", &error, &mut ctx.io);
                code = 1;
            }
        }
    }
    Ok(code)
}

pub async fn prune(args: ImagePruneArgs, ctx: &mut Ctx) -> Outcome {
    let what = if args.all { "all local volumes" } else { "anonymous local volumes" };
    let warning = format!(
        "WARNING! This will remove {what} not used by at least one container.\nAre you sure you want to continue?"
    );
    if !args.force && !ctx.io.confirm(&warning)? {
        return Ok(1);
    }
    let mut filters = filters(&args.filter)?;
    if args.all {
        filters = filters.with("all", "true");
    }
    let report = ctx.engine.volumes().prune(&filters).await?;
    if !report.removed.is_empty() {
        writeln!(ctx.io.out, "Deleted Volumes:\n{}\n", report.removed.join("\n"))?;
    }
    writeln!(ctx.io.out, "Total reclaimed space: {}", human::size_si_long(report.reclaimed_bytes))?;
    Ok(0)
}

pub async fn networks(args: NetworkLsArgs, ctx: &mut Ctx) -> Outcome {
    const NETWORKS: Titles =
        &[("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Scope", "SCOPE"), ("Labels", "LABELS")];
    let found = ctx.engine.networks().list(&filters(&args.list.filter)?).await?;
    let id = |id: &str| if args.no_trunc { id.to_owned() } else { short(id).to_owned() };
    if args.list.quiet && args.list.format.is_none() {
        for network in &found {
            writeln!(ctx.io.out, "{}", id(&network.id))?;
        }
        return Ok(0);
    }
    let layout = Layout::choose(args.list.format.as_deref(), &["ID", "Name", "Driver", "Scope"])?;
    let row = |network: &crate::engine::NetworkSummary| {
        json!({
            "Driver": network.driver, "ID": id(&network.id), "Labels": pairs(&network.labels),
            "Name": network.name, "Scope": network.scope,
        })
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    layout.write(&rows, NETWORKS, &mut ctx.io.out)?;
    Ok(0)
}
