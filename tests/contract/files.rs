//! Files of containers: `cp` both ways, `diff`, `export`, `commit`.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use orlop::engine::{ChangeKind, Class, CommitContainer, ContainerSpec, CopyInto, RemoveImage};

use crate::World;
use crate::sink::Sink;

/// A tar with one file.
fn tar_of(name: &str, text: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o640);
    tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

/// The files of a tar by name, without `./` before and `/` after it.
fn files(tar: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(tar);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let path = entry.path().unwrap().display().to_string();
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        found.insert(path, String::from_utf8_lossy(&bytes).into_owned());
    }
    found
}

/// A container that has not run, with `/data/in` in it.
async fn with_a_file(w: &World) -> String {
    let id = w.create("files", &w.sh("true")).await;
    let options = CopyInto { path: "/data".to_owned(), ..CopyInto::default() };
    w.engine.containers().copy_into(&id, &options, Box::new(Cursor::new(tar_of("in", "hello\n")))).await.unwrap();
    id
}

pub(crate) async fn files_are_copied_in_and_out(w: Arc<World>) {
    let containers = w.engine.containers();
    let id = with_a_file(&w).await;
    let stat = containers.stat_path(&id, "/data/in").await.unwrap();
    assert_eq!((stat.name.as_str(), stat.size_bytes, stat.mode & 0o170_000), ("in", 6, 0o100_000));
    assert_eq!(containers.stat_path(&id, "/data").await.unwrap().mode & 0o170_000, 0o040_000);
    let sink = Sink::default();
    let stat = containers.copy_from(&id, "/data/in", Box::new(sink.clone())).await.unwrap();
    assert_eq!((stat.name.as_str(), files(&sink.take())["in"].as_str()), ("in", "hello\n"));
    containers.copy_from(&id, "/data", Box::new(sink.clone())).await.unwrap();
    let all = files(&sink.take());
    assert!(
        all.contains_key("data") && all["data/in"] == "hello\n" && all["data/seed"] == "from the image\n",
        "{all:?}"
    );
    w.remove(&id).await;
}

pub(crate) async fn a_copy_says_what_is_not_there(w: Arc<World>) {
    let containers = w.engine.containers();
    let id = w.create("files", &w.sh("true")).await;
    let error = containers.stat_path(&id, "/nope").await.unwrap_err();
    assert_eq!(error.class, Class::NotFound, "{error}");
    assert!(error.message.contains("Could not find the file /nope in container"), "{error}");
    let error = containers.copy_from(&id, "/nope", Box::new(std::io::sink())).await.unwrap_err();
    assert!(error.class == Class::NotFound && error.message.contains("/nope"), "{error}");
    let into = |path: &str| CopyInto { path: path.to_owned(), ..CopyInto::default() };
    let tar = || Box::new(Cursor::new(tar_of("in", "x")));
    let error = containers.copy_into(&id, &into("/nope"), tar()).await.unwrap_err();
    assert_eq!(error.class, Class::NotFound, "{error}");
    let error = containers.copy_into(&id, &into("/data/seed"), tar()).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid, "{error}");
    let gone = w.name("gone");
    let error = containers.stat_path(&gone, "/data").await.unwrap_err();
    assert_eq!((error.class, error.message), (Class::NotFound, format!("No such container: {gone}")));
    w.remove(&id).await;
    let error = containers.copy_into(&gone, &into("/data"), tar()).await.unwrap_err();
    assert_eq!((error.class, error.message), (Class::NotFound, format!("No such container: {gone}")));
}

pub(crate) async fn changes_are_told(w: Arc<World>) {
    let id = with_a_file(&w).await;
    let changes = w.engine.containers().changes(&id).await.unwrap();
    let kind = |path: &str| changes.iter().find(|change| change.path == path).map(|change| change.kind);
    assert_eq!(kind("/data/in"), Some(ChangeKind::Added), "{changes:?}");
    assert_eq!(kind("/data"), Some(ChangeKind::Modified), "{changes:?}");
    assert_eq!(kind("/data/seed"), None, "{changes:?}");
    w.remove(&id).await;
    let error = w.engine.containers().changes(&id).await.unwrap_err();
    assert_eq!(error.class, Class::NotFound, "{error}");
}

pub(crate) async fn an_export_has_every_file(w: Arc<World>) {
    let id = with_a_file(&w).await;
    let sink = Sink::default();
    w.engine.containers().export(&id, Box::new(sink.clone())).await.unwrap();
    let all = files(&sink.take());
    assert!(all["data/in"] == "hello\n" && all.contains_key("bin/sh"), "{:?}", all.keys());
    w.remove(&id).await;
    let error = w.engine.containers().export(&id, Box::new(std::io::sink())).await.unwrap_err();
    assert_eq!(error.class, Class::NotFound, "{error}");
}

pub(crate) async fn a_commit_keeps_what_was_changed(w: Arc<World>) {
    let (containers, images) = (w.engine.containers(), w.engine.images());
    let id = with_a_file(&w).await;
    let name = w.name("committed") + ":1";
    let options = CommitContainer {
        reference: name.clone(),
        author: "a test".to_owned(),
        comment: "with a file".to_owned(),
        changes: vec!["CMD [\"sh\", \"-c\", \"true\"]".to_owned(), "ENV MADE=so".to_owned()],
        pause: true,
    };
    let image = containers.commit(&id, &options).await.unwrap();
    w.remove(&id).await;
    let (base, detail) = (images.inspect(w.image).await.unwrap(), images.inspect(&name).await.unwrap());
    assert_eq!((detail.summary.id.as_str(), detail.layers.len()), (image.as_str(), base.layers.len() + 1));
    assert_eq!((detail.author.as_str(), detail.comment.as_str()), ("a test", "with a file"));
    assert_eq!(detail.config.cmd.unwrap(), ["sh", "-c", "true"]);
    assert!(detail.config.env.contains(&"MADE=so".to_owned()), "{:?}", detail.config.env);
    let history = images.history(&name).await.unwrap();
    assert_eq!(history[0].id, image);
    assert_eq!(history.len(), images.history(w.image).await.unwrap().len() + 1);
    let ctr = w.create("after", &ContainerSpec { image: name.clone(), ..w.sh("true") }).await;
    let sink = Sink::default();
    containers.copy_from(&ctr, "/data/in", Box::new(sink.clone())).await.unwrap();
    assert_eq!(files(&sink.take())["in"], "hello\n");
    w.remove(&ctr).await;
    images.remove(&name, &RemoveImage::default()).await.unwrap();
}

pub(crate) async fn a_commit_is_told_in_the_history(w: Arc<World>) {
    let id = w.create("one", &w.sh("true")).await;
    let reference = w.name("told") + ":1";
    let options = CommitContainer { reference: reference.clone(), comment: "why".to_owned(), ..Default::default() };
    w.engine.containers().commit(&id, &options).await.unwrap();
    w.remove(&id).await;
    assert_eq!(w.engine.images().history(&reference).await.unwrap()[0].comment, "why");
    w.engine.images().remove(&reference, &RemoveImage::default()).await.unwrap();
}
