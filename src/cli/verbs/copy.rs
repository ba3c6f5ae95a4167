//! `cp`, `diff`, `export`, `commit`: a container's file system. What comes out of a container is unpacked here, on the caller's side
//! and with the caller's rights, and cannot leave the directory that the caller named.

use std::ffi::CString;
use std::fs::File;
use std::io::{PipeReader, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Ctx, Outcome};
use crate::cli::args::{CommitArgs, CpArgs, DiffArgs, ExportArgs};
use crate::cli::failure::Said;
use crate::cli::values::plain_io;
use crate::engine::{ChangeKind, Class, CommitContainer, CopiedPath, CopyInto, Engine, EngineError};
use crate::store::{Marks, Overwrite, Owners, Packer, Unpack};

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
/// Links followed from one name.
const MAX_HOPS: usize = 40;

pub async fn diff(args: DiffArgs, ctx: &mut Ctx) -> Outcome {
    for change in ctx.engine.containers().changes(&args.container).await? {
        let letter = match change.kind {
            ChangeKind::Modified => 'C',
            ChangeKind::Added => 'A',
            ChangeKind::Deleted => 'D',
        };
        writeln!(ctx.io.out, "{letter} {}", change.path)?;
    }
    Ok(0)
}

pub async fn export(args: ExportArgs, ctx: &mut Ctx) -> Outcome {
    let to: Box<dyn Write + Send + Sync> = match args.output.as_deref() {
        None | Some("-") if ctx.io.is_out_tty => {
            let text = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
            return Err(Said(text.to_owned()).into());
        }
        None | Some("-") => std::mem::replace(&mut ctx.io.out, Box::new(std::io::sink())),
        Some(path) => {
            // Asked for first: a wrong name must not leave an empty file.
            ctx.engine.containers().inspect(&args.container).await?;
            let file = File::create(path).map_err(|error| Said(format!("open {path}: {}", plain_io(&error))))?;
            Box::new(file)
        }
    };
    ctx.engine.containers().export(&args.container, to).await?;
    Ok(0)
}

pub async fn commit(args: CommitArgs, ctx: &mut Ctx) -> Outcome {
    let options = CommitContainer {
        reference: args.reference.clone().unwrap_or_default(),
        author: args.author.clone().unwrap_or_default(),
        comment: args.message.clone().unwrap_or_default(),
        changes: args.change.clone(),
        pause: args.pause,
    };
    let id = ctx.engine.containers().commit(&args.container, &options).await?;
    writeln!(ctx.io.out, "{id}")?;
    Ok(0)
}

/// One side of a copy.
enum Side<'a> {
    Here(&'a str),
    Stream,
    Inside { ctr: &'a str, path: &'a str },
}

impl<'a> Side<'a> {
    /// `CONTAINER:PATH`; what starts like a path is one, whatever it holds.
    fn parse(text: &'a str) -> Self {
        match text.split_once(':') {
            _ if text == "-" => Self::Stream,
            _ if text.starts_with(['/', '.']) => Self::Here(text),
            Some((ctr, path)) if !ctr.is_empty() && !ctr.contains('/') => Self::Inside { ctr, path },
            _ => Self::Here(text),
        }
    }
}

pub async fn cp(args: CpArgs, ctx: &mut Ctx) -> Outcome {
    if args.source.is_empty() || args.target.is_empty() {
        return Err(Said("source and destination can not be empty".to_owned()).into());
    }
    match (Side::parse(&args.source), Side::parse(&args.target)) {
        (Side::Inside { ctr, path }, Side::Stream) => {
            if ctx.io.is_out_tty {
                let text = "cowardly refusing to write a tar to a terminal. Name a destination or redirect";
                return Err(Said(text.to_owned()).into());
            }
            let path = source_path(ctx.engine.as_ref(), ctr, path, args.follow_link).await?;
            let to = std::mem::replace(&mut ctx.io.out, Box::new(std::io::sink()));
            ctx.engine.containers().copy_from(ctr, &path, to).await?;
        }
        (Side::Inside { ctr, path }, Side::Here(target)) => out_of(ctr, path, target, &args, ctx).await?,
        (Side::Stream, Side::Inside { ctr, path }) => {
            let options = CopyInto { path: absolute(path), copy_uid_gid: args.archive, ..CopyInto::default() };
            let tar = ctx.io.take_stdin();
            ctx.engine.containers().copy_into(ctr, &options, tar).await?;
        }
        (Side::Here(source), Side::Inside { ctr, path }) => into(source, ctr, path, &args, ctx).await?,
        (Side::Inside { .. }, Side::Inside { .. }) => {
            return Err(Said("copying between containers is not supported".to_owned()).into());
        }
        _ => return Err(Said("must specify at least one container source".to_owned()).into()),
    }
    Ok(0)
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn is_dir(stat: &CopiedPath) -> bool {
    stat.mode & S_IFMT == S_IFDIR
}

/// Where a path of a container leads in the end when it is to be followed.
async fn source_path(engine: &dyn Engine, ctr: &str, path: &str, follow: bool) -> Result<String, EngineError> {
    let mut path = absolute(path);
    for _ in 0..MAX_HOPS {
        let stat = engine.containers().stat_path(ctr, &path).await?;
        if stat.link_target.is_empty() || !follow {
            return Ok(path);
        }
        path = stat.link_target;
    }
    Err(EngineError::new(Class::Invalid, path.clone(), format!("{path}: too many levels of symbolic links")))
}

/// The name that a copied thing gets, and the directory that it comes into.
struct Landing<D> {
    dir: D,
    /// `None`: the content goes into the directory itself.
    name: Option<Vec<u8>>,
}

/// What the names in a tar begin with.
#[derive(Clone, Copy)]
enum Strip {
    First,
    Nothing,
}

/// What a path's last part says of where to go.
fn wants_dir(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path == "."
}

fn wants_content(path: &str) -> bool {
    path.ends_with("/.") || path == "."
}

async fn out_of(ctr: &str, path: &str, target: &str, args: &CpArgs, ctx: &mut Ctx) -> anyhow::Result<()> {
    let path = source_path(ctx.engine.as_ref(), ctr, path, args.follow_link).await?;
    let source = ctx.engine.containers().stat_path(ctr, &path).await?;
    let landing = land_here(&source, &path, target)?;
    let owners = if args.archive { Owners::Kept } else { Owners::Own };
    let strip = if wants_content(&path) || source.name == "/" { Strip::Nothing } else { Strip::First };
    let (reader, writer) = std::io::pipe()?;
    let unpacking = tokio::task::spawn_blocking(move || unpack_here(reader, &landing, strip, owners));
    let copied = ctx.engine.containers().copy_from(ctr, &path, Box::new(writer)).await;
    let unpacked = unpacking.await?;
    // When both ends failed the unpacking came first: the copy then only found that nobody listens.
    unpacked?;
    copied?;
    Ok(())
}

/// Docker's table of what lands where.
fn land_here(source: &CopiedPath, path: &str, target: &str) -> anyhow::Result<Landing<PathBuf>> {
    let there = std::fs::metadata(target);
    let parent_and_name = || {
        let whole: PathBuf = Path::new(target).components().collect();
        let parent = whole.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (parent.to_owned(), whole.file_name().map(|name| name.as_bytes().to_vec()))
    };
    match there {
        Ok(meta) if meta.is_dir() => {
            let name =
                if wants_content(path) || source.name == "/" { None } else { Some(source.name.clone().into_bytes()) };
            Ok(Landing { dir: target.into(), name })
        }
        Ok(_) if is_dir(source) => Err(Said(format!("cannot copy directory to non-directory {target}")).into()),
        Ok(_) if wants_dir(target) => Err(Said(format!("not a directory: {target}")).into()),
        Ok(_) => {
            let (dir, name) = parent_and_name();
            Ok(Landing { dir, name })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if !is_dir(source) && wants_dir(target) {
                return Err(Said(format!("no such directory: {target}")).into());
            }
            let (dir, name) = parent_and_name();
            if !dir.is_dir() {
                return Err(Said(format!("invalid output path: directory \"{}\" does not exist", dir.display())).into());
            }
            Ok(Landing { dir, name })
        }
        Err(error) => Err(Said(format!("{target}: {}", plain_io(&error))).into()),
    }
}

fn unpack_here(reader: PipeReader, landing: &Landing<PathBuf>, strip: Strip, owners: Owners) -> anyhow::Result<()> {
    let shown = landing.dir.display();
    let root = File::open(&landing.dir).map_err(|error| Said(format!("{shown}: {}", plain_io(&error))))?;
    let unpack = Unpack { root: root.as_fd(), base: b"", owners, overwrite: Overwrite::SameKind };
    // The first part of each name is that of the copied thing, and becomes the name asked for; where the content was asked for there is none.
    let rename = |entry: &[u8]| {
        let rest = match strip {
            Strip::Nothing => entry,
            Strip::First => memchr::memchr(b'/', entry).map_or(&entry[..0], |at| &entry[at + 1..]),
        };
        Some(match &landing.name {
            Some(name) => [name.as_slice(), b"/", rest].concat(),
            None => rest.to_vec(),
        })
    };
    unpack.run(reader, rename).map_err(|error| Said(error.chain()).into())
}

async fn into(source: &str, ctr: &str, path: &str, args: &CpArgs, ctx: &mut Ctx) -> anyhow::Result<()> {
    let meta = if args.follow_link { std::fs::metadata(source) } else { std::fs::symlink_metadata(source) };
    let follows = args.follow_link || wants_dir(source);
    let meta = meta.and_then(|meta| if follows { std::fs::metadata(source) } else { Ok(meta) });
    let meta = meta.map_err(|error| Said(format!("{source}: {}", plain_io(&error))))?;
    let path = absolute(path);
    let engine = ctx.engine.clone();
    let landing = land_inside(engine.as_ref(), source, meta.is_dir(), ctr, &path).await?;
    let options = CopyInto {
        path: landing.dir,
        // A content merges; a name that is a directory there must not become a file.
        no_overwrite_dir_non_dir: true,
        copy_uid_gid: args.archive,
    };
    let (reader, writer) = std::io::pipe()?;
    let (source, name) = (source.to_owned(), landing.name);
    let packing = tokio::task::spawn_blocking(move || pack_here(&source, follows, name.as_deref(), writer));
    let copied = engine.containers().copy_into(ctr, &options, Box::new(reader)).await;
    let packed = packing.await?;
    copied?;
    packed.map_err(|error| Said(format!("cannot read: {}", plain_io(&error))).into())
}

/// The same table on the other side.
async fn land_inside(
    engine: &dyn Engine,
    source: &str,
    is_source_dir: bool,
    ctr: &str,
    path: &str,
) -> anyhow::Result<Landing<String>> {
    let base = std::fs::canonicalize(source).ok();
    let base = match Path::new(source).components().next_back() {
        Some(std::path::Component::Normal(name)) => Some(name.as_bytes().to_vec()),
        _ => base.as_deref().and_then(Path::file_name).map(|name| name.as_bytes().to_vec()),
    };
    let split = || {
        let trimmed = path.trim_end_matches('/').trim_end_matches("/.");
        let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        let parent = if parent.is_empty() { "/" } else { parent };
        (parent.to_owned(), Some(name.as_bytes().to_vec()).filter(|name| !name.is_empty()))
    };
    let target = match source_path(engine, ctr, path, true).await {
        Ok(target) => target,
        Err(error) if error.class == Class::NotFound && !error.message.starts_with("No such container") => {
            if !is_source_dir && wants_dir(path) {
                return Err(Said(format!("no such directory: {ctr}:{path}")).into());
            }
            let (dir, name) = split();
            return Ok(Landing { dir, name });
        }
        Err(error) => return Err(error.into()),
    };
    let there = engine.containers().stat_path(ctr, &target).await?;
    if is_dir(&there) {
        return Ok(Landing { dir: target, name: if wants_content(source) { None } else { base } });
    }
    if is_source_dir {
        return Err(Said(format!("cannot copy directory to non-directory {ctr}:{path}")).into());
    }
    if wants_dir(path) {
        return Err(Said(format!("not a directory: {ctr}:{path}")).into());
    }
    let (parent, name) = target.rsplit_once('/').unwrap_or(("", &target));
    let dir = if parent.is_empty() { "/".to_owned() } else { parent.to_owned() };
    Ok(Landing { dir, name: Some(name.as_bytes().to_vec()) })
}

fn pack_here(source: &str, follows: bool, name: Option<&[u8]>, writer: std::io::PipeWriter) -> std::io::Result<()> {
    let mut packer = Packer::new(std::io::BufWriter::with_capacity(256 << 10, writer), Marks::None);
    let whole = if follows { std::fs::canonicalize(source)? } else { Path::new(source).components().collect() };
    let label = name.unwrap_or(b".");
    let meta = std::fs::symlink_metadata(&whole)?;
    if meta.is_dir() {
        packer.directory(File::open(&whole)?, label)?;
    } else {
        let parent = whole.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let base = whole.file_name().ok_or(std::io::ErrorKind::InvalidInput)?;
        packer.entry(File::open(parent)?, &CString::new(base.as_bytes())?, label)?;
    }
    let mut out = packer.finish()?;
    // A reader that has seen the end of the tar may close early.
    match out.flush() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
