//! What a fleet says of images, volumes, networks and itself: everybody's together, to be read. Volumes and networks are called `host/name` here: names
//! are each host's own. Changes need one host, which such a name says. Part of the fleet.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::select_all;

use super::{Fleet, GRACE, Member, choose_a_host};
use crate::engine::system::Usage;
use crate::engine::{
    BoxStream, Class, CreateVolume, DiskUsage, EngineError, EngineInfo, EngineVersion, Event, EventKind, EventsQuery,
    Filters, Force, HistoryEntry, HostLoad, ImageDetail, ImageSummary, Images, ImportImage, LayerFiles, ListImages,
    LoadedImage, NetworkSummary, Networks, Progress, PruneReport, Reader, RemoveImage, RemovedImage, Result, System,
    Volume, Volumes, Writer,
};

/// Wait before a host whose event stream ended is asked again.
const RETRY: Duration = Duration::from_secs(1);

impl Fleet {
    /// The first answer that is not "no such thing", in the order of the hosts.
    async fn first<'a, T, F>(&'a self, question: impl Fn(&'a Member) -> F, none: EngineError) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut first = None;
        for (_, answer) in self.ask_all(question).await {
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if error.class == Class::NotFound => {}
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or(none))
    }
}

#[async_trait]
impl Images for Fleet {
    /// One row an image, however many hosts have it.
    async fn list(&self, query: &ListImages) -> Result<Vec<ImageSummary>> {
        let mut seen = HashSet::new();
        let all = self.gather(|member| member.engine.images().list(query)).await?;
        Ok(all.into_iter().flatten().filter(|row| seen.insert(row.id.clone())).collect())
    }

    async fn inspect(&self, image: &str) -> Result<ImageDetail> {
        self.first(|member| member.engine.images().inspect(image), EngineError::no_such_image(image)).await
    }

    async fn history(&self, image: &str) -> Result<Vec<HistoryEntry>> {
        self.first(|member| member.engine.images().history(image), EngineError::no_such_image(image)).await
    }

    async fn layer_files(&self, image: &str) -> Result<Vec<LayerFiles>> {
        self.first(|member| member.engine.images().layer_files(image), EngineError::no_such_image(image)).await
    }

    async fn tag(&self, _image: &str, _new_reference: &str) -> Result<()> {
        Err(choose_a_host("a tag"))
    }

    async fn remove(&self, _image: &str, _options: &RemoveImage) -> Result<Vec<RemovedImage>> {
        Err(choose_a_host("removing an image"))
    }

    async fn prune(&self, _filters: &Filters) -> Result<PruneReport> {
        Err(choose_a_host("prune"))
    }

    async fn load(&self, _archive: Reader, _progress: Progress) -> Result<Vec<LoadedImage>> {
        Err(choose_a_host("load"))
    }

    async fn import(&self, _archive: Reader, _options: &ImportImage, _progress: Progress) -> Result<LoadedImage> {
        Err(choose_a_host("import"))
    }

    async fn from_host(&self, _reference: &str, _paths: &[String], _progress: Progress) -> Result<LoadedImage> {
        Err(choose_a_host("an image from the host"))
    }

    async fn save(&self, _images: &[String], _to: Writer) -> Result<()> {
        Err(choose_a_host("save"))
    }
}

#[async_trait]
impl Volumes for Fleet {
    async fn list(&self, filters: &Filters) -> Result<Vec<Volume>> {
        let all = self.gather(|member| async move {
            let rows = member.engine.volumes().list(filters).await?;
            Ok(rows.into_iter().map(|row| Volume { name: member.own(&row.name), ..row }).collect::<Vec<_>>())
        });
        Ok(all.await?.into_iter().flatten().collect())
    }

    async fn create(&self, _options: &CreateVolume) -> Result<Volume> {
        Err(choose_a_host("a new volume"))
    }

    async fn inspect(&self, name: &str) -> Result<Volume> {
        if let Some((member, rest)) = self.addressed(name) {
            return Ok(Volume { name: name.to_owned(), ..member.engine.volumes().inspect(rest).await? });
        }
        self.first(|member| member.engine.volumes().inspect(name), EngineError::no_such_volume(name)).await
    }

    async fn remove(&self, name: &str, force: Force) -> Result<()> {
        let (member, rest) = self.addressed(name).ok_or_else(|| choose_a_host("removing a volume"))?;
        member.may_change(name)?;
        member.engine.volumes().remove(rest, force).await
    }

    async fn prune(&self, _filters: &Filters) -> Result<PruneReport> {
        Err(choose_a_host("prune"))
    }
}

#[async_trait]
impl Networks for Fleet {
    async fn list(&self, filters: &Filters) -> Result<Vec<NetworkSummary>> {
        let all = self.gather(|member| async move {
            let rows = member.engine.networks().list(filters).await?;
            let own =
                |row: NetworkSummary| NetworkSummary { id: member.own(&row.id), name: member.own(&row.name), ..row };
            Ok(rows.into_iter().map(own).collect::<Vec<_>>())
        });
        Ok(all.await?.into_iter().flatten().collect())
    }
}

#[async_trait]
impl System for Fleet {
    /// Sums.
    async fn info(&self) -> Result<EngineInfo> {
        let all = self.gather(|member| member.engine.system().info()).await?;
        let name = match (all.len(), self.members.len()) {
            (n, of) if n == of => format!("{n} hosts"),
            (n, of) => format!("{n} of {of} hosts"),
        };
        let mut sum = EngineInfo { kind: "fleet".into(), name, ..EngineInfo::default() };
        for info in all {
            sum.n_containers += info.n_containers;
            sum.n_running += info.n_running;
            sum.n_paused += info.n_paused;
            sum.n_stopped += info.n_stopped;
            sum.n_images += info.n_images;
            sum.n_cpus += info.n_cpus;
            sum.mem_total_bytes += info.mem_total_bytes;
            sum.warnings.extend(info.warnings.into_iter().map(|warning| format!("{}: {warning}", info.name)));
        }
        Ok(sum)
    }

    async fn host_load(&self) -> Result<HostLoad> {
        Ok(add_loads(&self.gather(|member| member.engine.system().host_load()).await?))
    }

    async fn version(&self) -> Result<EngineVersion> {
        Err(choose_a_host("a version"))
    }

    /// The slowest of those that answer.
    async fn ping(&self) -> Result<Duration> {
        let all = self.gather(|member| member.engine.system().ping()).await?;
        Ok(all.into_iter().max().unwrap_or_default())
    }

    /// Everybody's events, in order of arrival. Those that answer soon are subscribed when this returns. A host that comes later, goes or comes
    /// back is told as `daemon connect` and `daemon disconnect` (unless filters ask for less); the stream itself goes on.
    async fn events(&self, query: &EventsQuery) -> Result<BoxStream<Event>> {
        let asked = self.members.iter().map(|member| member.answer(GRACE, member.engine.system().events(query)));
        let mut streams = Vec::new();
        for (member, answer) in self.members.iter().zip(join_all(asked).await) {
            let now = match answer {
                Ok(events) => Some(events),
                Err(error) if error.class == Class::Invalid => return Err(error),
                Err(_) => None,
            };
            streams.push(kept_open(Arc::clone(member), now, query.clone()));
        }
        Ok(select_all(streams).boxed())
    }

    async fn disk_usage(&self) -> Result<DiskUsage> {
        let mut sum = DiskUsage::default();
        for one in self.gather(|member| member.engine.system().disk_usage()).await? {
            for (sum, one) in [
                (&mut sum.images, one.images),
                (&mut sum.containers, one.containers),
                (&mut sum.volumes, one.volumes),
                (&mut sum.logs, one.logs),
                (&mut sum.build_cache, one.build_cache),
            ] {
                add(sum, one);
            }
        }
        Ok(sum)
    }
}

/// Sums; the load is the mean over the processors of those that tell, the pressure that of the worst host.
fn add_loads(all: &[HostLoad]) -> HostLoad {
    let mut sum = HostLoad::default();
    let mut busy = 0.0;
    for one in all {
        sum.n_cpus += one.n_cpus;
        sum.mem_used_bytes += one.mem_used_bytes;
        sum.mem_total_bytes += one.mem_total_bytes;
        busy += one.cpu_percent * one.n_cpus as f32;
        if let Some(pressure) = one.pressure {
            let worst = sum.pressure.get_or_insert_default();
            worst.cpu_some = worst.cpu_some.max(pressure.cpu_some);
            worst.memory_some = worst.memory_some.max(pressure.memory_some);
            worst.io_some = worst.io_some.max(pressure.io_some);
        }
    }
    sum.cpu_percent = busy / sum.n_cpus.max(1) as f32;
    sum
}

fn add(sum: &mut Usage, one: Usage) {
    sum.n_total += one.n_total;
    sum.n_active += one.n_active;
    sum.size_bytes += one.size_bytes;
    sum.reclaimable_bytes += one.reclaimable_bytes;
}

/// One host's events, its stream opened again whenever it ends. With an `until`, its end is the end.
fn kept_open(member: Arc<Member>, now: Option<BoxStream<Event>>, query: EventsQuery) -> BoxStream<Event> {
    let is_told = query.filters.is_empty();
    let has_end = query.until.is_some();
    let state = (member, now, query);
    futures_util::stream::unfold(state, move |(member, mut now, query)| async move {
        loop {
            let Some(stream) = &mut now else {
                now = Some(subscribe(&member, &query).await);
                if is_told {
                    return Some((Ok(host_event(&member, "connect")), (member, now, query)));
                }
                continue;
            };
            if let Some(Ok(event)) = stream.next().await {
                return Some((Ok(event), (member, now, query)));
            }
            if has_end {
                return None;
            }
            if is_told {
                return Some((Ok(host_event(&member, "disconnect")), (member, None, query)));
            }
            now = None;
        }
    })
    .boxed()
}

/// Asks until the host answers. What happened meanwhile shows in the lists; replaying it would tell it twice.
async fn subscribe(member: &Member, query: &EventsQuery) -> BoxStream<Event> {
    let again = EventsQuery { since: None, ..query.clone() };
    loop {
        if let Ok(stream) = member.engine.system().events(&again).await {
            member.is_silent.store(false, Ordering::Relaxed);
            return stream;
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn host_event(member: &Member, action: &str) -> Event {
    let attributes = BTreeMap::from([("name".to_owned(), member.name.clone())]);
    let id = member.name.clone();
    Event { time: SystemTime::now(), kind: EventKind::Daemon, action: action.to_owned(), id, attributes }
}
