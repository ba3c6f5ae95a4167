//! Verbs on images: lists, tags, removal, and moving them in and out as archives.

use std::fs::File;
use std::io::Write;

use serde_json::{Value, json};

use super::ps::{ago, ellipsis, local, short};
use super::{Ctx, Outcome, filters};
use crate::api::time;
use crate::cli::args::{
    FromHostArgs, HistoryArgs, ImagePruneArgs, ImagesArgs, ImportArgs, LoadArgs, RmiArgs, SaveArgs, TagArgs,
};
use crate::cli::failure::{Said, say_engine};
use crate::cli::progress::Meter;
use crate::cli::table::{Layout, Titles};
use crate::cli::values::plain_io;
use crate::engine::image::{ImportImage, LoadedImage, RemovedImage};
use crate::engine::{Class, ImageSummary, ListImages, Reader, RemoveImage};
use crate::stdx::human;

const TITLES: Titles = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];

pub async fn ls(args: ImagesArgs, ctx: &mut Ctx) -> Outcome {
    let mut filters = filters(&args.filter)?;
    if let Some(reference) = &args.reference {
        filters = filters.with("reference", reference.clone());
    }
    let found = ctx.engine.images().list(&ListImages { all: args.all, filters }).await?;
    if args.quiet && args.format.is_none() {
        for image in &found {
            for _ in 0..image.references.len().max(1) {
                writeln!(ctx.io.out, "{}", if args.no_trunc { &image.id } else { short(&image.id) })?;
            }
        }
        return Ok(0);
    }
    let fields: &[&str] = if args.digests {
        &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"]
    } else {
        &["Repository", "Tag", "ID", "CreatedSince", "Size"]
    };
    let layout = Layout::choose(args.format.as_deref(), fields)?;
    let now = (ctx.io.now)();
    let rows: Vec<_> = found.iter().flat_map(|image| rows(image, args.no_trunc, now)).collect();
    layout.write(&rows, TITLES, &mut ctx.io.out)?;
    Ok(0)
}

/// One row a name; one of `<none>` when it has none.
pub fn rows(image: &ImageSummary, no_trunc: bool, now: std::time::SystemTime) -> Vec<Value> {
    let none = || "<none>".to_owned();
    let named = image.references.iter().map(|name| match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (name.clone(), none()),
    });
    let mut names: Vec<_> = named.collect();
    if names.is_empty() {
        let digest = image.digests.first().and_then(|digest| digest.split_once('@'));
        names.push((digest.map_or_else(none, |(repository, _)| repository.to_owned()), none()));
    }
    let row = |(repository, tag): (String, String)| {
        let of_own =
            |digest: &String| digest.split_once('@').filter(|(own, _)| *own == repository).map(|(_, it)| it.to_owned());
        let digest = image.digests.iter().find_map(of_own);
        let unique = image.shared_bytes.map(|shared| image.size_bytes.saturating_sub(shared));
        let or_na = |bytes: Option<u64>| bytes.map_or("N/A".to_owned(), human::size_si_long);
        json!({
            "Containers": image.n_containers.map_or("N/A".to_owned(), |n| n.to_string()),
            "CreatedAt": local(image.created),
            "CreatedSince": ago(image.created, now),
            "Digest": digest.unwrap_or_else(none),
            "ID": if no_trunc { image.id.as_str() } else { short(&image.id) },
            "Repository": repository,
            "SharedSize": or_na(image.shared_bytes),
            "Size": human::size_si(image.size_bytes),
            "Tag": tag,
            "UniqueSize": or_na(unique),
            "VirtualSize": human::size_si_long(image.size_bytes),
        })
    };
    names.into_iter().map(row).collect()
}

pub async fn rm(args: RmiArgs, ctx: &mut Ctx) -> Outcome {
    let options = RemoveImage { force: args.force, no_prune: args.no_prune };
    let mut code = 0;
    for name in &args.names {
        match ctx.engine.images().remove(name, &options).await {
            Ok(removed) => {
                for step in removed {
                    match step {
                        RemovedImage::Untagged(name) => writeln!(ctx.io.out, "Untagged: {name}")?,
                        RemovedImage::Deleted(id) => writeln!(ctx.io.out, "Deleted: {id}")?,
                    }
                }
            }
            Err(error) => {
                say_engine("Error: ", &error, &mut ctx.io);
                if !(args.force && error.class == Class::NotFound) {
                    code = 1;
                }
            }
        }
    }
    Ok(code)
}

pub async fn tag(args: TagArgs, ctx: &mut Ctx) -> Outcome {
    ctx.engine.images().tag(&args.source, &args.target).await?;
    Ok(0)
}

pub async fn history(args: HistoryArgs, ctx: &mut Ctx) -> Outcome {
    const HISTORY: Titles = &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ];
    let found = ctx.engine.images().history(&args.name).await?;
    if args.quiet {
        for entry in &found {
            writeln!(ctx.io.out, "{}", if args.no_trunc { &entry.id } else { short(&entry.id) })?;
        }
        return Ok(0);
    }
    let when = if args.human { "CreatedSince" } else { "CreatedAt" };
    let layout = Layout::choose(args.format.as_deref(), &["ID", when, "CreatedBy", "Size", "Comment"])?;
    let now = (ctx.io.now)();
    let cut = |text: &str, max| {
        let text = text.replace('\t', " ");
        if args.no_trunc { text } else { ellipsis(&text, max) }
    };
    let row = |entry: &crate::engine::HistoryEntry| {
        let size = if args.human { human::size_si(entry.size_bytes) } else { entry.size_bytes.to_string() };
        json!({
            "Comment": entry.comment,
            "CreatedAt": entry.created.map(time::to_wire).unwrap_or_default(),
            "CreatedBy": cut(&entry.created_by, 45),
            "CreatedSince": ago(entry.created, now),
            "ID": if args.no_trunc || entry.id.starts_with('<') { entry.id.as_str() } else { short(&entry.id) },
            "Size": size,
        })
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    layout.write(&rows, HISTORY, &mut ctx.io.out)?;
    Ok(0)
}

fn open(path: &str) -> anyhow::Result<Reader> {
    let file = File::open(path).map_err(|error| Said(format!("open {path}: {}", plain_io(&error))))?;
    Ok(Box::new(file))
}

pub async fn load(args: LoadArgs, ctx: &mut Ctx) -> Outcome {
    let archive = match &args.input {
        Some(path) if path != "-" => open(path)?,
        _ if ctx.io.is_stdin_tty() => {
            return Err(Said("requested load from stdin, but stdin is empty".to_owned()).into());
        }
        _ => ctx.io.take_stdin(),
    };
    let mut meter = Meter::choose(ctx.io.is_out_tty && !args.quiet);
    let loaded = ctx.engine.images().load(archive, meter.progress()).await;
    meter.clear(&mut ctx.io.out)?;
    for image in loaded? {
        print_loaded(&image, ctx)?;
    }
    Ok(0)
}

fn print_loaded(image: &LoadedImage, ctx: &mut Ctx) -> anyhow::Result<()> {
    if image.references.is_empty() {
        writeln!(ctx.io.out, "Loaded image ID: {}", image.id)?;
    }
    for name in &image.references {
        writeln!(ctx.io.out, "Loaded image: {name}")?;
    }
    Ok(())
}

pub async fn save(args: SaveArgs, ctx: &mut Ctx) -> Outcome {
    let to: Box<dyn Write + Send + Sync> = match args.output.as_deref() {
        None | Some("-") if ctx.io.is_out_tty => {
            return Err(Said("cowardly refusing to save to a terminal. Use the -o flag or redirect".to_owned()).into());
        }
        None | Some("-") => std::mem::replace(&mut ctx.io.out, Box::new(std::io::sink())),
        Some(path) => {
            // Asked for first: a wrong name must not leave an empty file.
            for name in &args.names {
                ctx.engine.images().inspect(name).await?;
            }
            let file = File::create(path).map_err(|error| Said(format!("open {path}: {}", plain_io(&error))))?;
            Box::new(std::io::BufWriter::with_capacity(1 << 20, file))
        }
    };
    ctx.engine.images().save(&args.names, to).await?;
    Ok(0)
}

pub async fn import(args: ImportArgs, ctx: &mut Ctx) -> Outcome {
    let archive = if args.source == "-" { ctx.io.take_stdin() } else { open(&args.source)? };
    let options = ImportImage {
        reference: args.reference.clone(),
        message: args.message.clone(),
        changes: args.change.clone(),
        platform: args.platform.clone(),
    };
    let mut meter = Meter::choose(ctx.io.is_out_tty);
    let imported = ctx.engine.images().import(archive, &options, meter.progress()).await;
    meter.clear(&mut ctx.io.out)?;
    writeln!(ctx.io.out, "{}", imported?.id)?;
    Ok(0)
}

pub async fn from_host(args: FromHostArgs, ctx: &mut Ctx) -> Outcome {
    let mut meter = Meter::choose(ctx.io.is_out_tty && !args.quiet);
    let made = ctx.engine.images().from_host(&args.reference, &args.paths, meter.progress()).await;
    meter.clear(&mut ctx.io.out)?;
    print_loaded(&made?, ctx)?;
    Ok(0)
}

/// What became of a name or an id that a prune took.
pub fn pruned(name: &str) -> String {
    let word = if name.starts_with("sha256:") { "deleted" } else { "untagged" };
    format!("{word}: {name}")
}

pub async fn prune(args: ImagePruneArgs, ctx: &mut Ctx) -> Outcome {
    let what =
        if args.all { "all images without at least one container associated to them" } else { "all dangling images" };
    let warning = format!("WARNING! This will remove {what}.\nAre you sure you want to continue?");
    if !args.force && !ctx.io.confirm(&warning)? {
        return Ok(1);
    }
    let filters = filters(&args.filter)?.with("dangling", (!args.all).to_string());
    let report = ctx.engine.images().prune(&filters).await?;
    if !report.removed.is_empty() {
        writeln!(ctx.io.out, "Deleted Images:")?;
        for name in &report.removed {
            writeln!(ctx.io.out, "{}", pruned(name))?;
        }
        writeln!(ctx.io.out)?;
    }
    writeln!(ctx.io.out, "Total reclaimed space: {}", human::size_si_long(report.reclaimed_bytes))?;
    Ok(0)
}
