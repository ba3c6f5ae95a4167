//! Images: archives, registries, names, filters, prune, history, layers.

use std::io::Cursor;
use std::sync::Arc;

use orlop::engine::auth::Credentials;
use orlop::engine::{
    ChangeKind, Class, Filters, ImportImage, ListImages, Progress, PullImage, PushImage, RegistryAuth, RemoveContainer,
    RemoveImage, RemovedImage, SearchImages,
};

use crate::World;
use crate::sink::Sink;
use crate::world::{PRUNING, house, not_here};

const FORCE: RemoveImage = RemoveImage { force: true, no_prune: false };

/// A root file system with one file of this text.
fn tar_of(text: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "note", text.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

/// An image of the case's own; its id.
async fn import(w: &World, name: Option<&str>, text: &str, changes: &[&str]) -> String {
    let options = ImportImage {
        reference: name.map(str::to_owned),
        changes: changes.iter().map(|line| (*line).to_owned()).collect(),
        message: Some(format!("made of {text}")),
        platform: None,
    };
    let archive = Box::new(Cursor::new(tar_of(text)));
    w.engine.images().import(archive, &options, Progress::none()).await.expect("the image is imported").id
}

async fn is_there(w: &World, image: &str) -> bool {
    match w.engine.images().inspect(image).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.class, Class::NotFound, "{error}");
            false
        }
    }
}

async fn save(w: &World, images: &[String]) -> Vec<u8> {
    let sink = Sink::default();
    w.engine.images().save(images, Box::new(sink.clone())).await.expect("the images are saved");
    sink.take()
}

/// A name as the engine at hand shows it: podman knows short names of its own as localhost's.
fn is_name(found: &str, wanted: &str) -> bool {
    found == wanted || found.ends_with(&format!("/{wanted}"))
}

pub(crate) async fn saved_images_come_back_with_their_names(w: Arc<World>) {
    let images = w.engine.images();
    let (one, two, other) =
        (format!("{}:1", w.name("saved")), format!("{}:2", w.name("saved")), w.name("other") + ":1");
    let id = import(&w, Some(&one), &w.name("saved"), &["CMD [\"/note\"]"]).await;
    images.tag(&one, &two).await.unwrap();
    let other_id = import(&w, Some(&other), &w.name("other"), &[]).await;
    let archive = save(&w, &[one.clone(), two.clone(), other.clone()]).await;
    images.remove(&id, &FORCE).await.unwrap();
    images.remove(&other, &RemoveImage::default()).await.unwrap();
    assert!(!is_there(&w, &one).await && !is_there(&w, &other_id).await);
    let loaded = images.load(Box::new(Cursor::new(archive)), Progress::none()).await.unwrap();
    let names: Vec<&String> = loaded.iter().flat_map(|image| &image.references).collect();
    for name in [&one, &two, &other] {
        assert!(names.iter().any(|found| is_name(found, name)), "{name} is not in {names:?}");
    }
    for (name, id) in [(&one, &id), (&two, &id), (&other, &other_id)] {
        assert_eq!(images.inspect(name).await.unwrap().summary.id, *id);
    }
    assert_eq!(images.inspect(&one).await.unwrap().config.cmd.unwrap(), ["/note"]);
    images.remove(&id, &FORCE).await.unwrap();
    images.remove(&other_id, &FORCE).await.unwrap();
}

pub(crate) async fn an_image_saved_by_its_id_has_no_name(w: Arc<World>) {
    let images = w.engine.images();
    let name = w.name("byid") + ":1";
    let id = import(&w, Some(&name), &w.name("byid"), &[]).await;
    let archive = save(&w, std::slice::from_ref(&id)).await;
    images.remove(&id, &FORCE).await.unwrap();
    images.load(Box::new(Cursor::new(archive)), Progress::none()).await.unwrap();
    let detail = images.inspect(&id).await.unwrap();
    assert!(detail.summary.references.is_empty(), "{:?}", detail.summary.references);
    images.remove(&id, &FORCE).await.unwrap();
    let error = images.save(&[w.name("gone")], Box::new(std::io::sink())).await.unwrap_err();
    assert_eq!(error.class, Class::NotFound, "{error}");
}

pub(crate) async fn an_import_takes_message_and_changes(w: Arc<World>) {
    let name = w.name("made") + ":1";
    let changes = ["CMD [\"a\", \"b\"]", "ENV WHO=me", "LABEL of=\"a test\"", "USER 7", "WORKDIR /srv"];
    let id = import(&w, Some(&name), &w.name("made"), &changes).await;
    let detail = w.engine.images().inspect(&name).await.unwrap();
    assert_eq!(detail.summary.id, id);
    assert_eq!(detail.config.cmd.unwrap(), ["a", "b"]);
    assert!(detail.config.env.contains(&"WHO=me".to_owned()), "{:?}", detail.config.env);
    assert_eq!((detail.config.user.as_str(), detail.config.working_dir.as_str()), ("7", "/srv"));
    assert_eq!(detail.comment, format!("made of {}", w.name("made")));
    assert!(!detail.layers.is_empty() && detail.summary.size_bytes > 0 && detail.os == "linux");
    let history = w.engine.images().history(&name).await.unwrap();
    assert_eq!(history[0].id, id);
    assert_eq!(history[0].comment, format!("made of {}", w.name("made")));
    w.engine.images().remove(&id, &FORCE).await.unwrap();
    let nothing = Box::new(Cursor::new(Vec::new()));
    assert!(w.engine.images().load(nothing, Progress::none()).await.is_err(), "nothing is no archive");
}

/// The ids of a filtered list.
async fn listed(w: &World, filters: Filters) -> Vec<String> {
    let rows = w.engine.images().list(&ListImages { all: false, filters }).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

pub(crate) async fn filters_of_images_select(w: Arc<World>) {
    let label = format!("LABEL group={}", w.name("f"));
    let (a, b) = (w.name("older") + ":1", w.name("newer") + ":1");
    let old = import(&w, Some(&a), &w.name("older"), &[&label, "LABEL age=old"]).await;
    // Podman keeps whole seconds of an image's birth.
    let born = w.engine.images().inspect(&a).await.unwrap().summary.created.unwrap();
    let end = std::time::Instant::now() + crate::world::PATIENCE;
    while born.elapsed().unwrap_or_default().as_millis() < 1100 && std::time::Instant::now() < end {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let new = import(&w, Some(&b), &w.name("newer"), &[&label]).await;
    let nameless = import(&w, None, &w.name("nameless"), &[&label]).await;
    let mine = || Filters::default().with("label", format!("group={}", w.name("f")));
    let mut all = listed(&w, mine()).await;
    all.sort();
    let mut wanted = vec![old.clone(), new.clone(), nameless.clone()];
    wanted.sort();
    assert_eq!(all, wanted);
    assert_eq!(listed(&w, mine().with("label", "age")).await, std::slice::from_ref(&old));
    assert_eq!(listed(&w, mine().with("dangling", "true")).await, std::slice::from_ref(&nameless));
    assert_eq!(listed(&w, mine().with("dangling", "false").with("before", &b)).await, std::slice::from_ref(&old));
    let since = listed(&w, mine().with("dangling", "false").with("since", &a)).await;
    assert_eq!(since, std::slice::from_ref(&new));
    let by_name = listed(&w, Filters::default().with("reference", w.name("older"))).await;
    assert_eq!(by_name, std::slice::from_ref(&old), "reference={}", w.name("older"));
    let by_glob = listed(&w, Filters::default().with("reference", format!("{}:*", w.name("newer")))).await;
    assert_eq!(by_glob, std::slice::from_ref(&new));
    for id in [old, new, nameless] {
        w.engine.images().remove(&id, &FORCE).await.unwrap();
    }
}

pub(crate) async fn names_move_and_several_need_force(w: Arc<World>) {
    let images = w.engine.images();
    let (a, b) = (w.name("a") + ":1", w.name("b") + ":1");
    let first = import(&w, Some(&a), &w.name("first"), &[]).await;
    let second = import(&w, Some(&b), &w.name("second"), &[]).await;
    images.tag(&b, &a).await.unwrap();
    assert_eq!(images.inspect(&a).await.unwrap().summary.id, second, "the name has moved");
    assert!(images.inspect(&first).await.unwrap().summary.references.is_empty());
    let error = images.remove(&second, &RemoveImage::default()).await.unwrap_err();
    assert_eq!(error.class, Class::Conflict, "{error}");
    let removed = images.remove(&second, &FORCE).await.unwrap();
    assert!(removed.contains(&RemovedImage::Deleted(second.clone())), "{removed:?}");
    images.remove(&first, &RemoveImage::default()).await.unwrap();
    assert!(!is_there(&w, &first).await && !is_there(&w, &a).await && !is_there(&w, &b).await);
    assert_eq!(images.tag(&w.name("gone"), &a).await.unwrap_err().class, Class::NotFound);
    assert_eq!(images.tag(w.image, "Not A Name").await.unwrap_err().class, Class::Invalid);
}

pub(crate) async fn a_used_image_stays(w: Arc<World>) {
    let _turn = PRUNING.lock().await;
    let images = w.engine.images();
    let name = w.name("used") + ":1";
    let ctr = w.create("maker", &w.sh("true")).await;
    let commit = orlop::engine::CommitContainer { reference: name.clone(), ..Default::default() };
    let id = w.engine.containers().commit(&ctr, &commit).await.unwrap();
    w.remove(&ctr).await;
    let spec = orlop::engine::ContainerSpec { image: name.clone(), ..w.sh("true") };
    let user = w.create("user", &spec).await;
    let error = images.remove(&name, &RemoveImage::default()).await.unwrap_err();
    assert_eq!(error.class, Class::Conflict, "{error}");
    assert!(is_there(&w, &name).await);
    let stays = Filters::default().with("dangling", "false").with("label", w.name("no-such-label"));
    assert!(images.prune(&stays).await.unwrap().removed.is_empty());
    w.engine.containers().remove(&user, &RemoveContainer::default()).await.unwrap();
    images.remove(&name, &RemoveImage::default()).await.unwrap();
    assert!(!is_there(&w, &id).await);
}

pub(crate) async fn prune_takes_what_has_no_name_and_all_with_all(w: Arc<World>) {
    let _turn = PRUNING.lock().await;
    let images = w.engine.images();
    let label = format!("LABEL group={}", w.name("p"));
    let name = w.name("named") + ":1";
    let named = import(&w, Some(&name), &w.name("named"), &[&label]).await;
    let nameless = import(&w, None, &w.name("dangling"), &[&label]).await;
    let mine = Filters::default().with("label", format!("group={}", w.name("p")));
    let old = mine.clone().with("dangling", "true").with("until", "2001-01-01T00:00:00Z");
    assert!(images.prune(&old).await.unwrap().removed.is_empty(), "nothing is so old");
    let report = images.prune(&mine.clone().with("dangling", "true")).await.unwrap();
    assert!(report.removed.contains(&nameless) && report.reclaimed_bytes > 0, "{report:?}");
    assert!(is_there(&w, &named).await && !is_there(&w, &nameless).await);
    let report = images.prune(&mine.with("dangling", "false")).await.unwrap();
    assert!(report.removed.contains(&named), "{report:?}");
    assert!(!is_there(&w, &named).await);
}

pub(crate) async fn disk_use_knows_images_containers_and_volumes(w: Arc<World>) {
    let id = w.create("one", &w.sh("true")).await;
    let size = w.engine.images().inspect(w.image).await.unwrap().summary.size_bytes;
    let usage = w.engine.system().disk_usage().await.unwrap();
    assert!(usage.images.n_total >= 1 && usage.images.size_bytes >= size, "{usage:?}");
    assert!(usage.images.n_active >= 1 && usage.images.reclaimable_bytes <= usage.images.size_bytes, "{usage:?}");
    assert!(usage.containers.n_total >= 1, "{usage:?}");
    w.remove(&id).await;
}

pub(crate) async fn files_of_layers_are_told(w: Arc<World>) {
    let detail = w.engine.images().inspect(w.image).await.unwrap();
    let layers = w.engine.images().layer_files(w.image).await.unwrap();
    assert!(!layers.is_empty() && layers[0].size_bytes > 0);
    for (layer, diff_id) in layers.iter().zip(&detail.layers) {
        assert_eq!(layer.diff_id, *diff_id);
    }
    let shell = layers[0].changes.iter().find(|change| change.path == "/bin/sh").expect("the shell is there");
    assert_eq!(shell.kind, ChangeKind::Added);
    let error = w.engine.images().layer_files(&w.name("gone")).await.unwrap_err();
    assert_eq!(error.class, Class::NotFound, "{error}");
}

fn pull(reference: &str) -> PullImage {
    PullImage { reference: reference.to_owned(), credentials: house::login(), ..PullImage::default() }
}

pub(crate) async fn what_was_pushed_is_pulled_again(w: Arc<World>) {
    let images = w.engine.images();
    let Some(host) = w.registry() else { return not_here("what_was_pushed_is_pulled_again", "no docker-registry") };
    let name = format!("{host}/{}:1", w.name("pushed"));
    let id = import(&w, Some(&name), &w.name("pushed"), &["CMD [\"x\"]"]).await;
    let request = PushImage { reference: name.clone(), all_tags: false, credentials: house::login() };
    let pushed = images.push(&request, Progress::none()).await.unwrap().remove(0);
    assert!(pushed.digest.starts_with("sha256:") && pushed.tag == "1", "{pushed:?}");
    images.remove(&id, &FORCE).await.unwrap();
    assert!(!is_there(&w, &name).await);
    let pulled = images.pull(&pull(&name), Progress::none()).await.unwrap().remove(0);
    assert_eq!((&pulled.id, &pulled.digest), (&id, &pushed.digest));
    assert!(!pulled.was_up_to_date);
    assert_eq!(images.inspect(&name).await.unwrap().summary.id, id);
    assert!(images.pull(&pull(&name), Progress::none()).await.unwrap()[0].was_up_to_date);
    // By its digest it is saved like by its id: a load gives it no name that it had not.
    let by_digest = format!("{}@{}", name.trim_end_matches(":1"), pulled.digest);
    let archive = save(&w, std::slice::from_ref(&by_digest)).await;
    images.remove(&id, &FORCE).await.unwrap();
    images.load(Box::new(Cursor::new(archive)), Progress::none()).await.unwrap();
    assert_eq!(images.inspect(&id).await.unwrap().summary.references, Vec::<String>::new());
    images.remove(&id, &FORCE).await.unwrap();
}

pub(crate) async fn a_pull_says_why_not(w: Arc<World>) {
    let images = w.engine.images();
    let Some(host) = w.registry() else { return not_here("a_pull_says_why_not", "no docker-registry") };
    let missing = format!("{host}/{}:1", w.name("missing"));
    let error = images.pull(&pull(&missing), Progress::none()).await.unwrap_err();
    assert_eq!(error.class, Class::NotFound, "{error}");
    assert_eq!(images.pull(&pull("Not A Name"), Progress::none()).await.unwrap_err().class, Class::Invalid);
    let push = PushImage { reference: missing.clone(), ..PushImage::default() };
    assert_eq!(images.push(&push, Progress::none()).await.unwrap_err().class, Class::NotFound);
    assert!(!is_there(&w, &missing).await);
}

pub(crate) async fn a_login_is_proved(w: Arc<World>) {
    let Some(host) = w.registry() else { return not_here("a_login_is_proved", "no docker-registry") };
    let login = |credentials| RegistryAuth { registry: host.clone(), credentials };
    w.engine.system().login(&login(house::login())).await.unwrap();
    let wrong = Credentials::Password { username: house::USER.to_owned(), password: "wrong".to_owned() };
    let error = w.engine.system().login(&login(wrong)).await.unwrap_err();
    assert_eq!(error.class, Class::Unauthorized, "{error:?}");
}

pub(crate) async fn a_search_finds_by_name(w: Arc<World>) {
    let Some(host) = w.registry() else { return not_here("a_search_finds_by_name", "no docker-registry") };
    let repository = format!("{host}/{}-nginx", w.name("found"));
    let id = import(&w, Some(&format!("{repository}:1")), &w.name("found"), &[]).await;
    let push = PushImage { reference: format!("{repository}:1"), all_tags: false, credentials: house::login() };
    w.engine.images().push(&push, Progress::none()).await.unwrap();
    let query = SearchImages { term: format!("{host}/nginx"), credentials: house::login(), ..SearchImages::default() };
    let found = w.engine.images().search(&query).await.unwrap();
    assert!(found.iter().any(|image| image.name.contains("nginx")), "{found:?}");
    w.engine.images().remove(&id, &FORCE).await.unwrap();
}
