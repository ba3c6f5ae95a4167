//! Files in and out of containers as tars: `cp` both ways, `export`. Called by `containers`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use hyper::header::HeaderMap;
use serde_json::Value;

use super::ask::{Ask, LONG};
use super::containers::missing;
use super::link::Link;
use super::transfer::{self, Upload};
use crate::api::compat::Family;
use crate::api::read::Read;
use crate::api::routes::{Call, Query};
use crate::engine::{Class, CopiedPath, CopyInto, EngineError, Reader, Result, Writer};

pub(super) async fn export(link: &Link, ctr: &str, to: Writer) -> Result<()> {
    let opened = link.open_archive(Ask::about(Call::ContainerExport, ctr).patient(LONG)).await?;
    transfer::download(opened.body, to).await
}

pub(super) async fn stat(link: &Link, ctr: &str, path: &str) -> Result<CopiedPath> {
    let ask = Ask::about(Call::ArchiveStat, ctr).query(Query::default().with("path", path));
    match link.head(ask).await {
        Ok(headers) => read_stat(&headers).ok_or_else(|| no_stat(link, ctr)),
        // The answer to HEAD has no body, so a refusal says no more than its status: which of the two is missing must be asked.
        Err(refused) if refused.class == Class::NotFound => {
            let look = link.json(Ask::about(Call::ContainerInspect, ctr)).await;
            look.map_err(|refused| missing(refused, ctr))?;
            Err(not_there(ctr, path))
        }
        Err(refused) => Err(refused),
    }
}

pub(super) async fn copy_from(link: &Link, ctr: &str, path: &str, to: Writer) -> Result<CopiedPath> {
    let ask = Ask::about(Call::ArchiveGet, ctr).query(Query::default().with("path", path)).patient(LONG);
    let opened = link.open_archive(ask).await.map_err(|refused| no_path(refused, ctr, path))?;
    let stat = read_stat(&opened.headers).ok_or_else(|| no_stat(link, ctr))?;
    transfer::download(opened.body, to).await?;
    Ok(stat)
}

pub(super) async fn copy_into(link: &Link, ctr: &str, options: &CopyInto, tar: Reader) -> Result<()> {
    let query = Query::default()
        .with("path", &options.path)
        .flag("noOverwriteDirNonDir", options.no_overwrite_dir_non_dir)
        .flag("copyUIDGID", options.copy_uid_gid);
    // Podman makes a directory that is not there, and says nothing.
    if link.peer().await?.family == Family::Podman {
        stat(link, ctr, &options.path).await?;
    }
    let (upload, failure) = Upload::start(tar);
    let answer = link.done_archive(Ask::about(Call::ArchivePut, ctr).query(query).tar(upload).patient(LONG)).await;
    failure.or(answer).map_err(|mut refused| {
        // Docker 20.10 takes the blame itself: 500.
        if refused.message.contains("is not a directory") {
            refused.class = Class::Invalid;
        }
        no_path(refused, ctr, &options.path)
    })
}

fn not_there(ctr: &str, path: &str) -> EngineError {
    EngineError::new(Class::NotFound, ctr, format!("Could not find the file {path} in container {ctr}"))
}

fn no_path(refused: EngineError, ctr: &str, path: &str) -> EngineError {
    let refused = missing(refused, ctr);
    let is_about_path = refused.class == Class::NotFound && !refused.message.starts_with("No such container");
    if is_about_path { not_there(ctr, path) } else { refused }
}

fn no_stat(link: &Link, ctr: &str) -> EngineError {
    EngineError::new(Class::Internal, ctr, format!("{} does not say what it copies", link.name()))
}

/// `X-Docker-Container-Path-Stat`: base64 of JSON.
fn read_stat(headers: &HeaderMap) -> Option<CopiedPath> {
    let text = headers.get("x-docker-container-path-stat")?.as_bytes();
    let json = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()?;
    let doc: Value = serde_json::from_slice(&json).ok()?;
    Some(CopiedPath {
        name: doc.text("name"),
        size_bytes: doc.count("size"),
        mode: unix_mode(doc.count("mode")),
        modified: doc.time("mtime"),
        link_target: doc.text("linkTarget"),
    })
}

/// Go's `os.FileMode` has its own bits for what is not permissions.
fn unix_mode(go: u64) -> u32 {
    const KINDS: [(u64, u32); 5] = [
        (1 << 31, 0o040_000),
        (1 << 27, 0o120_000),
        (1 << 25, 0o010_000),
        (1 << 24, 0o140_000),
        // Device, and a character device where bit 21 is set too.
        (1 << 26, 0o060_000),
    ];
    const BITS: [(u64, u32); 3] = [(1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000)];
    let kind = KINDS.iter().find(|(bit, _)| go & bit != 0).map_or(0o100_000, |(_, kind)| *kind);
    let kind = if kind == 0o060_000 && go & (1 << 21) != 0 { 0o020_000 } else { kind };
    let special = BITS.iter().filter(|(bit, _)| go & bit != 0).fold(0, |sum, (_, bit)| sum | bit);
    kind | special | (go & 0o777) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_unix_s() {
        assert_eq!(unix_mode(0o644), 0o100_644);
        assert_eq!(unix_mode((1 << 31) | (1 << 20) | 0o777), 0o041_777);
        assert_eq!(unix_mode((1 << 27) | 0o777), 0o120_777);
        assert_eq!(unix_mode((1 << 26) | (1 << 21) | 0o666), 0o020_666);
        assert_eq!(unix_mode((1 << 23) | 0o755), 0o104_755);
    }

    #[test]
    fn a_stat_is_read_and_nonsense_is_none() {
        let header = |text: String| {
            HeaderMap::from_iter([("x-docker-container-path-stat".parse().unwrap(), text.parse().unwrap())])
        };
        let json = r#"{"name":"passwd","size":12,"mode":420,"mtime":"2026-11-21T04:45:39Z","linkTarget":""}"#;
        let stat = read_stat(&header(STANDARD.encode(json))).unwrap();
        assert_eq!((stat.name.as_str(), stat.size_bytes, stat.mode), ("passwd", 12, 0o100_644));
        assert_eq!(read_stat(&header("%%%".into())), None);
        assert_eq!(read_stat(&header(STANDARD.encode("[1,"))), None);
        assert_eq!(read_stat(&HeaderMap::new()), None);
    }
}
