//! `info`, `version`, `system df`, `system prune`.

use std::io::Write;

use serde_json::{Value, json};

use super::{Ctx, Outcome, filters, images, ps, volumes};
use crate::cli::args::{CheckArgs, DfArgs, FormatArgs, SystemPruneArgs};
use crate::cli::table::{Layout, Titles};
use crate::cli::template::{Template, json as compact};
use crate::engine::system::{DiskDetails, DiskUsage, EngineInfo, EngineVersion, Usage};
use crate::engine::{CheckStore, Filters, ListContainers, ListImages};
use crate::stdx::human;

/// Prints a value through `--format`, or `None` when the plain text is wanted.
fn formatted(value: &Value, format: Option<&str>, ctx: &mut Ctx) -> anyhow::Result<bool> {
    match format {
        None | Some("") => return Ok(false),
        Some("json") => writeln!(ctx.io.out, "{}", compact(value))?,
        Some(text) => writeln!(ctx.io.out, "{}", Template::parse(text)?.render(value)?)?,
    }
    Ok(true)
}

pub async fn info(args: FormatArgs, ctx: &mut Ctx) -> Outcome {
    let info = ctx.engine.system().info().await?;
    if formatted(&info_shape(&info), args.format.as_deref(), ctx)? {
        return Ok(0);
    }
    let out = &mut ctx.io.out;
    writeln!(out, "Client:\n Version:    {}\n\nServer:", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, " Containers: {}\n  Running: {}\n  Paused: {}", info.n_containers, info.n_running, info.n_paused)?;
    writeln!(out, "  Stopped: {}\n Images: {}", info.n_stopped, info.n_images)?;
    writeln!(out, " Server Version: {}\n Storage Driver: {}", info.version, info.storage_driver)?;
    writeln!(out, " Logging Driver: {}\n Cgroup Driver: {}", info.logging_driver, info.cgroup_driver)?;
    writeln!(out, " Cgroup Version: {}\n Runtimes: {}", info.cgroup_version, info.runtimes.join(" "))?;
    writeln!(out, " Default Runtime: {}\n Security Options:", info.default_runtime)?;
    for option in &info.security_options {
        let mut words = option.split(',');
        let name = words.next().unwrap_or("");
        writeln!(out, "  {}", name.strip_prefix("name=").unwrap_or(name))?;
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let mut letters = key.chars();
            let key: String = letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default();
            writeln!(out, "   {key}: {value}")?;
        }
    }
    writeln!(out, " Kernel Version: {}\n Operating System: {}", info.kernel_version, info.operating_system)?;
    writeln!(out, " OSType: {}\n Architecture: {}\n CPUs: {}", info.os_type, info.architecture, info.n_cpus)?;
    writeln!(out, " Total Memory: {}\n Name: {}", human::size_iec(info.mem_total_bytes), info.name)?;
    writeln!(out, " ID: {}\n Root Dir: {}", info.id, info.root_dir)?;
    for warning in &info.warnings {
        ctx.io.say(&format!("WARNING: {warning}"));
    }
    Ok(0)
}

fn info_shape(info: &EngineInfo) -> Value {
    json!({
        "ID": info.id, "Containers": info.n_containers, "ContainersRunning": info.n_running,
        "ContainersPaused": info.n_paused, "ContainersStopped": info.n_stopped, "Images": info.n_images,
        "Driver": info.storage_driver, "LoggingDriver": info.logging_driver, "CgroupDriver": info.cgroup_driver,
        "CgroupVersion": info.cgroup_version, "KernelVersion": info.kernel_version,
        "OperatingSystem": info.operating_system, "OSType": info.os_type, "Architecture": info.architecture,
        "NCPU": info.n_cpus, "MemTotal": info.mem_total_bytes, "DockerRootDir": info.root_dir, "Name": info.name,
        "ServerVersion": info.version, "DefaultRuntime": info.default_runtime,
        "Runtimes": info.runtimes.iter().map(|name| (name.clone(), json!({ "path": name }))).collect::<serde_json::Map<_, _>>(),
        "Swarm": {"LocalNodeState": "inactive"}, "SecurityOptions": info.security_options, "Warnings": info.warnings,
    })
}

pub async fn version(args: FormatArgs, ctx: &mut Ctx) -> Outcome {
    let version = ctx.engine.system().version().await?;
    let client = env!("CARGO_PKG_VERSION");
    if formatted(&version_shape(&version), args.format.as_deref(), ctx)? {
        return Ok(0);
    }
    let out = &mut ctx.io.out;
    writeln!(out, "Client:\n Version:           {client}\n OS/Arch:           {}/{}", version.os, version.arch)?;
    writeln!(out, "\nServer:\n Engine:\n  Version:          {}", version.version)?;
    writeln!(out, "  API version:      {} (minimum version {})", version.api_version, version.min_api_version)?;
    let lines =
        [("Git commit", &version.git_commit), ("Built", &version.build_time), ("Kernel", &version.kernel_version)];
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(out, "  {:<17} {value}", format!("{name}:"))?;
    }
    writeln!(out, "  OS/Arch:          {}/{}", version.os, version.arch)?;
    for (name, version) in version.components.iter().filter(|(name, _)| name != "Engine") {
        writeln!(out, " {name}:\n  Version:          {version}")?;
    }
    Ok(0)
}

fn version_shape(version: &EngineVersion) -> Value {
    let components: Vec<_> =
        version.components.iter().map(|(name, version)| json!({"Name": name, "Version": version})).collect();
    json!({
        "Client": {
            "Version": env!("CARGO_PKG_VERSION"), "ApiVersion": version.api_version, "DefaultAPIVersion": version.api_version,
            "Os": version.os, "Arch": version.arch, "Context": "default"
        },
        "Server": {
            "Version": version.version, "ApiVersion": version.api_version, "MinAPIVersion": version.min_api_version,
            "GitCommit": version.git_commit, "BuildTime": version.build_time, "Os": version.os, "Arch": version.arch,
            "KernelVersion": version.kernel_version, "Components": components
        }
    })
}

pub async fn df(args: DfArgs, ctx: &mut Ctx) -> Outcome {
    const TITLES: Titles = &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ];
    if args.verbose {
        return df_verbose(ctx).await;
    }
    let usage = ctx.engine.system().disk_usage().await?;
    let layout = Layout::choose(args.format.as_deref(), &["Type", "TotalCount", "Active", "Size", "Reclaimable"])?;
    layout.write(&usage_rows(&usage), TITLES, &mut ctx.io.out)?;
    Ok(0)
}

fn usage_rows(usage: &DiskUsage) -> Vec<Value> {
    let row = |name: &str, part: &Usage| {
        let percent = (part.reclaimable_bytes * 100).checked_div(part.size_bytes).map(|share| format!(" ({share}%)"));
        let percent = if part.size_bytes == 0 && name == "Images" { Some(" (0%)".to_owned()) } else { percent };
        json!({
            "Active": part.n_active.to_string(),
            "Reclaimable": format!("{}{}", human::size_si_long(part.reclaimable_bytes), percent.unwrap_or_default()),
            "Size": human::size_si_long(part.size_bytes),
            "TotalCount": part.n_total.to_string(),
            "Type": name,
        })
    };
    vec![
        row("Images", &usage.images),
        row("Containers", &usage.containers),
        row("Local Volumes", &usage.volumes),
        row("Build Cache", &usage.build_cache),
        row("Logs", &usage.logs),
    ]
}

async fn df_verbose(ctx: &mut Ctx) -> Outcome {
    let now = (ctx.io.now)();
    let DiskDetails { images, mut containers, volumes, build_cache_bytes } =
        match ctx.engine.system().disk_details().await? {
            Some(details) => details,
            None => {
                let query = ListContainers { all: true, size: true, ..ListContainers::default() };
                DiskDetails {
                    images: ctx.engine.images().list(&ListImages::default()).await?,
                    containers: ctx.engine.containers().list(&query).await?,
                    volumes: ctx.engine.volumes().list(&Filters::default()).await?,
                    build_cache_bytes: 0,
                }
            }
        };
    let out = &mut ctx.io.out;
    writeln!(out, "Images space usage:\n")?;
    let fields = ["Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"];
    let titles: Titles = &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ];
    let rows: Vec<_> = images.iter().flat_map(|image| images::rows(image, false, now)).collect();
    Layout::choose(None, &fields)?.write(&rows, titles, out)?;
    writeln!(out, "\nContainers space usage:\n")?;
    let fields = ["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"];
    // What a container shares with its image stands above already.
    containers.iter_mut().for_each(|ctr| ctr.size_root_fs_bytes = None);
    let rows: Vec<_> = containers.iter().map(|ctr| ps::row(ctr, &Default::default(), now)).collect();
    Layout::choose(None, &fields)?.write(&rows, ps::TITLES, out)?;
    writeln!(out, "\nLocal Volumes space usage:\n")?;
    let rows: Vec<_> = volumes.iter().map(volumes::row).collect();
    Layout::choose(None, &["Name", "Links", "Size"])?.write(&rows, volumes::TITLES, out)?;
    let cache = human::size_si_long(build_cache_bytes);
    writeln!(out, "\nBuild cache usage: {cache}\n")?;
    writeln!(out, "CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED")?;
    Ok(0)
}

pub async fn prune(args: SystemPruneArgs, ctx: &mut Ctx) -> Outcome {
    let images =
        if args.all { "all images without at least one container associated to them" } else { "all dangling images" };
    let volumes = if args.volumes { "\n  - all anonymous volumes not used by at least one container" } else { "" };
    let warning = format!(
        "WARNING! This will remove:\n  - all stopped containers{volumes}\n  - {images}\n\nAre you sure you want to continue?"
    );
    if !args.force && !ctx.io.confirm(&warning)? {
        return Ok(1);
    }
    let filters = filters(&args.filter)?;
    let mut reclaimed_bytes = 0;
    let mut tell = |title: &str, report: crate::engine::PruneReport, ctx: &mut Ctx| -> anyhow::Result<()> {
        reclaimed_bytes += report.reclaimed_bytes;
        if !report.removed.is_empty() {
            writeln!(ctx.io.out, "Deleted {title}:\n{}\n", report.removed.join("\n"))?;
        }
        Ok(())
    };
    let report = ctx.engine.containers().prune(&filters).await?;
    tell("Containers", report, ctx)?;
    if args.volumes {
        let report = ctx.engine.volumes().prune(&filters).await?;
        tell("Volumes", report, ctx)?;
    }
    let mut report = ctx.engine.images().prune(&filters.clone().with("dangling", (!args.all).to_string())).await?;
    report.removed = report.removed.iter().map(|name| images::pruned(name)).collect();
    tell("Images", report, ctx)?;
    writeln!(ctx.io.out, "Total reclaimed space: {}", human::size_si_long(reclaimed_bytes))?;
    Ok(0)
}

/// Exit code 0 when nothing is wrong, or all of it was put right.
pub async fn check(args: CheckArgs, ctx: &mut Ctx) -> Outcome {
    let options = CheckStore { thorough: !args.quick, repair: args.repair };
    let report = ctx.engine.system().check(&options).await?;
    let n_left = report.problems.iter().filter(|problem| !problem.is_repaired).count();
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|problem| json!({"Subject": problem.subject, "Message": problem.message, "Repaired": problem.is_repaired}))
        .collect();
    let shape = json!({
        "Images": report.n_images, "Layers": report.n_layers, "Blobs": report.n_blobs, "Partials": report.n_partials,
        "Containers": report.n_containers, "Volumes": report.n_volumes, "Problems": problems,
    });
    if !formatted(&shape, args.format.as_deref(), ctx)? {
        let out = &mut ctx.io.out;
        for problem in &report.problems {
            let fate = if problem.is_repaired { " (repaired)" } else { "" };
            writeln!(out, "{}: {}{fate}", problem.subject, problem.message)?;
        }
        writeln!(
            out,
            "{} images, {} layers, {} blobs, {} partial downloads, {} containers, {} volumes: {}",
            report.n_images,
            report.n_layers,
            report.n_blobs,
            report.n_partials,
            report.n_containers,
            report.n_volumes,
            match (report.problems.len(), n_left) {
                (0, _) => "nothing to complain about".to_owned(),
                (n, 0) => format!("{n} problems, all repaired"),
                (n, left) => format!("{n} problems, {left} left"),
            }
        )?;
        if n_left > 0 && !args.repair {
            ctx.io.say("hint: 'orlop system check --repair' puts right what can be put right");
        }
    }
    Ok(u8::from(n_left > 0))
}
