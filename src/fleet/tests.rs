//! The fleet over two fake hosts.

use super::*;
use crate::engine::fake::Fake;
use crate::engine::{
    AttachOptions, ContainerSpec, CreateVolume, EventKind, EventsQuery, ExecSpec, Filters, Force, ListContainers,
    ListImages, Progress, RemoveContainer, StopOptions,
};

fn all() -> ListContainers {
    ListContainers { all: true, ..ListContainers::default() }
}

/// A scripted host, an empty one with a container of its own, and both as a fleet.
async fn two() -> (Fake, Fake, Fleet) {
    let (here, there) = (Fake::scripted(), Fake::empty());
    there.add_image("own:1", 1 << 20);
    let spec = ContainerSpec { image: "own:1".into(), cmd: Some(vec!["true".into()]), ..ContainerSpec::default() };
    there.containers().create(Some("only-there"), &spec).await.unwrap();
    there.containers().create(Some("web-1"), &spec).await.unwrap();
    let members: Vec<(HostEntry, Arc<dyn Engine>)> =
        vec![(host("here"), Arc::new(here.clone())), (host("there"), Arc::new(there.clone()))];
    (here, there, Fleet::new(members))
}

fn host(name: &str) -> HostEntry {
    HostEntry { name: name.to_owned(), ..HostEntry::default() }
}

#[tokio::test]
async fn volumes_and_networks_say_whose_they_are() {
    let (here, there, fleet) = two().await;
    for host in [&here, &there] {
        let options = CreateVolume { name: Some("twin".to_owned()), ..CreateVolume::default() };
        host.volumes().create(&options).await.unwrap();
    }
    let names: Vec<String> =
        fleet.volumes().list(&Filters::default()).await.unwrap().into_iter().map(|row| row.name).collect();
    assert!(names.contains(&"here/twin".to_owned()) && names.contains(&"there/twin".to_owned()), "{names:?}");
    assert_eq!(fleet.volumes().inspect("there/twin").await.unwrap().name, "there/twin");
    fleet.volumes().remove("there/twin", Force::No).await.unwrap();
    assert!(here.volumes().inspect("twin").await.is_ok() && there.volumes().inspect("twin").await.is_err());
    assert!(fleet.volumes().remove("twin", Force::No).await.is_err(), "whose is not said");
    let networks = fleet.networks().list(&Filters::default()).await.unwrap();
    assert!(networks.iter().all(|row| row.name.contains('/') && row.id.contains('/')), "{networks:?}");
}

#[tokio::test]
async fn nothing_is_changed_on_a_read_only_host() {
    let (here, _, _) = two().await;
    let guarded = HostEntry { access: Access::ReadOnly, ..host("here") };
    let fleet = Fleet::new(vec![(guarded, Arc::new(here) as Arc<dyn Engine>)]);
    let (containers, force) = (fleet.containers(), RemoveContainer { force: true, volumes: true });
    let refused = [
        containers.stop("web-1", &StopOptions::default()).await,
        containers.remove("web-1", &force).await,
        containers.rename("web-1", "other").await,
        fleet.execs().create("web-1", &ExecSpec::default()).await.map(drop),
        containers.attach("web-1", &AttachOptions { stdin: true, ..AttachOptions::default() }).await.map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(error.class == Class::Forbidden && error.message.contains("here is read-only"), "{error:?}");
    }
    assert!(containers.inspect("web-1").await.is_ok());
    let looking = AttachOptions { stdout: true, ..AttachOptions::default() };
    assert!(containers.attach("web-1", &looking).await.is_ok());
}

#[tokio::test]
async fn one_list_with_the_host_of_each() {
    let (here, there, fleet) = two().await;
    let rows = fleet.containers().list(&all()).await.unwrap();
    let n = here.containers().list(&all()).await.unwrap().len() + there.containers().list(&all()).await.unwrap().len();
    assert_eq!(rows.len(), n);
    let host = |name: &str| rows.iter().filter(|row| row.name == name).map(|row| row.host.clone()).collect::<Vec<_>>();
    assert_eq!(host("only-there"), ["there"]);
    assert_eq!(host("web-1").len(), 2);
    assert_eq!(fleet.system().info().await.unwrap().name, "2 hosts");
}

#[tokio::test]
async fn an_action_goes_to_the_host_that_has_it() {
    let (here, there, fleet) = two().await;
    fleet.containers().rename("only-there", "renamed").await.unwrap();
    assert!(there.containers().inspect("renamed").await.is_ok());
    let error = fleet.containers().stop("web-1", &StopOptions::default()).await.unwrap_err();
    assert_eq!(error.message, "web-1 is on several hosts: here, there");
    assert_eq!(error.hint.as_deref(), Some("say here/web-1"));
    fleet.containers().stop("here/web-1", &StopOptions::default()).await.unwrap();
    assert!(!here.containers().inspect("web-1").await.unwrap().state.status.is_alive());
    let error = fleet.containers().inspect("nobody").await.unwrap_err();
    assert_eq!((error.class, error.message.as_str()), (Class::NotFound, "No such container: nobody"));
    // By id without a question, once listed.
    let rows = fleet.containers().list(&all()).await.unwrap();
    let id = &rows.iter().find(|row| row.host == "there" && row.name == "web-1").unwrap().id;
    fleet.containers().rename(id, "web-9").await.unwrap();
    assert!(there.containers().inspect("web-9").await.is_ok());
}

#[tokio::test]
async fn what_belongs_to_one_host_is_refused_with_the_way() {
    let (_, _, fleet) = two().await;
    let error = fleet.containers().create(None, &ContainerSpec::default()).await.unwrap_err();
    assert_eq!(error.class, Class::Unsupported);
    assert!(error.hint.unwrap().starts_with("H goes to one host"));
    assert!(fleet.images().list(&ListImages::default()).await.unwrap().len() > 1);
    assert!(fleet.volumes().prune(&Filters::default()).await.is_err());
}

#[tokio::test]
async fn a_host_that_is_away_keeps_its_rows_and_holds_up_nobody() {
    let (here, there, fleet) = two().await;
    fleet.containers().list(&all()).await.unwrap();
    there.go_away("gone");
    let rows = fleet.containers().list(&all()).await.unwrap();
    assert!(rows.iter().any(|row| row.host == "there (away)" && row.name == "only-there"), "{rows:?}");
    assert!(rows.iter().any(|row| row.host == "here"));
    here.go_away("gone too");
    assert_eq!(fleet.containers().list(&all()).await.unwrap_err().class, Class::Unavailable);
}

#[tokio::test]
async fn a_silent_host_delays_neither_events_nor_lists_and_comes_by_itself() {
    use futures_util::StreamExt;
    let (_, there, fleet) = two().await;
    there.set_latency(Duration::from_secs(3600)); // of its own clock, which stands
    let mut events = fleet.system().events(&EventsQuery::default()).await.unwrap();
    let rows = fleet.containers().list(&all()).await.unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.host == "here"), "{rows:?}");
    assert!(fleet.members[1].is_silent.load(Ordering::Relaxed), "nobody waits long for it again");

    let next = tokio::spawn(async move { (events.next().await.unwrap().unwrap(), events) });
    while !next.is_finished() {
        there.advance(Duration::from_secs(3600));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (event, mut events) = next.await.unwrap();
    assert_eq!((event.kind, event.action.as_str(), event.id.as_str()), (EventKind::Daemon, "connect", "there"));
    there.set_latency(Duration::ZERO);
    let rows = fleet.containers().list(&all()).await.unwrap();
    assert!(rows.iter().any(|row| row.host == "there"));

    there.go_away("gone");
    let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((event.action.as_str(), event.id.as_str()), ("disconnect", "there"));
}

#[tokio::test]
async fn what_is_no_longer_listed_is_forgotten() {
    let (_, there, fleet) = two().await;
    let rows = fleet.containers().list(&all()).await.unwrap();
    let id = rows.iter().find(|row| row.name == "only-there").unwrap().id.clone();
    assert!(fleet.remembered(&id).is_some());
    there.containers().remove(&id, &RemoveContainer::default()).await.unwrap();
    fleet.containers().list(&all()).await.unwrap();
    assert!(fleet.remembered(&id).is_none());
}

#[tokio::test]
async fn events_of_all_arrive_in_one_stream() {
    use futures_util::StreamExt;
    let (here, there, fleet) = two().await;
    let mut events = fleet.system().events(&EventsQuery::default()).await.unwrap();
    here.containers().rename("web-1", "web-one").await.unwrap();
    there.containers().rename("only-there", "there-only").await.unwrap();
    let mut names = Vec::new();
    while names.len() < 2 {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap().unwrap();
        names.push(event.attributes["name"].clone());
    }
    names.sort();
    assert_eq!(names, ["there-only", "web-one"]);
}

#[tokio::test]
async fn an_image_is_copied_with_its_name_and_once() {
    let (here, there) = (Fake::empty(), Fake::empty());
    let id = here.add_image("app:1", 3 << 20);
    let first = copy::copy_image(&here, &there, "app:1", Progress::none()).await.unwrap();
    assert_eq!((first.id.as_str(), first.references.as_slice()), (id.as_str(), &["app:1".to_owned()][..]));
    assert!(first.n_sent == 3 && first.sent_bytes > 0 && first.why_all.is_some(), "{first:?}");
    assert_eq!(there.images().inspect("app:1").await.unwrap().summary.id, id);
    here.images().tag("app:1", "app:2").await.unwrap();
    let second = copy::copy_image(&here, &there, "app:2", Progress::none()).await.unwrap();
    assert_eq!((second.n_sent, second.sent_bytes, second.n_present), (0, 0, 3));
    assert_eq!(there.images().inspect("app:2").await.unwrap().summary.id, id);
}

#[tokio::test]
async fn a_copy_tells_whose_failure_it_was() {
    let (here, there) = (Fake::empty(), Fake::empty());
    here.add_image("app:1", 3 << 20);
    let error = copy::copy_image(&here, &there, "gone:1", Progress::none()).await.unwrap_err();
    assert_eq!(error.class, Class::NotFound);
    for verb in ["images.save", "images.load"] {
        let host = if verb == "images.save" { &here } else { &there };
        host.fail_next(verb, EngineError::new(Class::Full, "", format!("{verb} failed")));
        let error = copy::copy_image(&here, &there, "app:1", Progress::none()).await.unwrap_err();
        assert_eq!(error.message, format!("{verb} failed"));
        assert!(there.images().list(&ListImages::default()).await.unwrap().is_empty());
    }
}
