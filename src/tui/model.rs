//! Everything the screen knows. Owned by the event loop, changed by `update` alone, read by `view`. Plain data: no lock, no I/O, no await.
//!
//! ```text
//! Model ─ lists (left panes) ─ detail (right pane: subject, tab, what is loaded) ─ layers (dialogs, top one has the keys)
//!       ─ link (how the engine is) ─ jobs and toasts ─ settings, theme, keymap
//! ```

pub mod containers;
pub mod detail;
pub mod inspect;
pub mod layer_tree;
pub mod layers;
pub mod news;
pub mod rows;
pub mod usage;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use crate::engine::{Access, EngineError, EngineInfo, Event, HostEntry, HostLoad};

use self::containers::{Column, Orders, SortKey};
use self::detail::Detail;
use self::layers::Layer;
use self::news::{Job, PastJob, Toast};
use self::rows::{ContainerRow, EventRow, ImageRow, NetworkRow, VolumeRow};
use self::usage::Usage;
use super::action::Scope;
use super::charts::Series;
use super::edit::LineEdit;
use super::keymap::Keymap;
use super::listing::{Listing, Loading};
use super::settings::Settings;
use super::subscriptions::Watched;
use super::terminal::Mouse;
use super::theme::Theme;

/// Events kept for the events pane; older ones are dropped.
pub const MAX_EVENTS: usize = 2000;

/// Panes that can have the focus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pane {
    #[default]
    Containers,
    Images,
    Volumes,
    Networks,
    Detail,
    Events,
}

impl Pane {
    /// The lists on the left, top to bottom.
    pub const LISTS: [Self; 4] = [Self::Containers, Self::Images, Self::Volumes, Self::Networks];

    pub fn title(self) -> &'static str {
        match self {
            Self::Containers => "Containers",
            Self::Images => "Images",
            Self::Volumes => "Volumes",
            Self::Networks => "Networks",
            Self::Detail => "Details",
            Self::Events => "Events",
        }
    }
}

/// Pages of the detail pane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tab {
    #[default]
    Summary,
    Logs,
    Stats,
    Top,
    History,
    Inspect,
}

impl Tab {
    pub fn title(self) -> &'static str {
        match self {
            Self::Summary => "Summary",
            Self::Logs => "Logs",
            Self::Stats => "Stats",
            Self::Top => "Top",
            Self::History => "Layers",
            Self::Inspect => "Inspect",
        }
    }

    /// The tabs that a row of this list has.
    pub fn of(list: Pane) -> &'static [Self] {
        match list {
            Pane::Containers => &[Self::Summary, Self::Logs, Self::Stats, Self::Top, Self::Inspect],
            Pane::Images => &[Self::Summary, Self::History, Self::Inspect],
            _ => &[Self::Summary, Self::Inspect],
        }
    }
}

/// What the detail pane is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    pub kind: Pane,
    /// Id; a volume's name.
    pub id: String,
}

/// How the engine is, as far as we know.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Nothing heard yet.
    Connecting,
    Up,
    /// Since when, why, and when the next try comes.
    Down {
        since: Instant,
        error: EngineError,
        attempt: u32,
    },
}

/// Pure and quick: no I/O behind it.
pub type CompleteLine = Box<dyn Fn(&str) -> Vec<crate::config::Completion>>;

/// Everything.
pub struct Model {
    /// The engine on screen: its name, colour, and whether things may be changed.
    pub host: HostEntry,
    pub can_switch_host: bool,
    /// Images that go to the host chosen next; empty when a host is chosen to go to.
    pub to_copy: Vec<String>,
    /// Wall clock as of this turn.
    pub now: SystemTime,
    /// Monotonic clock as of this turn.
    pub tick: Instant,
    /// When something wants to be looked at again without news; the loop sleeps until then.
    pub wake_at: Option<Instant>,
    /// Cells, columns and rows.
    pub size: (u16, u16),

    pub settings: Settings,
    pub theme: Theme,
    /// `NO_COLOR`, or a terminal without colours: themes lose theirs when switched to.
    pub is_colorless: bool,
    pub keymap: Keymap,
    pub mouse: Mouse,

    pub link: Link,
    /// How long the engine took to answer a question that costs it nothing.
    pub latency: Option<Duration>,
    pub info: Option<EngineInfo>,
    pub host_load: Option<HostLoad>,
    /// Percent of all CPUs, newest last.
    pub host_cpu: Series,

    pub containers: Listing<ContainerRow>,
    pub images: Listing<ImageRow>,
    pub volumes: Listing<VolumeRow>,
    pub networks: Listing<NetworkRow>,
    pub events: Listing<EventRow>,
    pub usage: HashMap<String, Usage>,
    pub sort: SortKey,
    pub orders: Orders,
    pub columns: Vec<Column>,

    pub focus: Pane,
    /// The list that the details are about: the last one that had the focus.
    pub list: Pane,
    pub zoom: Zoom,
    pub detail: Detail,
    pub layers: Vec<Layer>,
    /// The filter bar while it is being typed in, with what is wrong with it.
    pub filter_edit: Option<(LineEdit, Option<String>)>,

    pub jobs: Vec<Job>,
    /// Newest first.
    pub past_jobs: VecDeque<PastJob>,
    pub toasts: Vec<Toast>,
    pub last_error: Option<EngineError>,
    pub next_id: u64,

    /// Lines run before, newest last.
    pub line_history: Vec<String>,
    /// The command line's proposals for what was typed; given by `main` through the options.
    pub complete_line: CompleteLine,

    /// What has to be asked for; `settle` turns it into commands.
    pub due: Due,
    pub is_quitting: bool,
}

/// Whether one pane has the whole screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zoom {
    #[default]
    Off,
    On,
}

/// Questions to the engine that are open or waiting to be asked, so that news in a burst cost one question.
#[derive(Debug, Default)]
pub struct Due {
    pub lists: HashSet<Pane>,
    /// Containers that changed, to be asked for one by one.
    pub containers: HashSet<String>,
    pub info: bool,
    /// Lists being answered.
    pub asked: HashSet<Pane>,
    pub asked_containers: HashSet<String>,
    pub is_info_asked: bool,
    pub is_load_asked: bool,
    /// When host load was last asked for.
    pub load_at: Option<Instant>,
    /// The engine cannot tell the load of its host.
    pub has_no_load: bool,
    /// When lists were last asked for as a whole.
    pub reconciled: Option<Instant>,
    /// Whose stats are being sampled.
    pub watched: Watched,
}

impl Model {
    pub fn new(host: HostEntry, settings: Settings, theme: Theme, keymap: Keymap, now: SystemTime) -> Self {
        Self {
            host,
            can_switch_host: false,
            to_copy: Vec::new(),
            now,
            tick: Instant::now(),
            wake_at: None,
            size: (80, 24),
            mouse: settings.mouse,
            columns: Column::DEFAULT.to_vec(),
            settings,
            theme,
            is_colorless: false,
            keymap,
            link: Link::Connecting,
            latency: None,
            info: None,
            host_load: None,
            host_cpu: Series::new(60, Duration::from_secs(5)),
            containers: Listing::default(),
            images: Listing::default(),
            volumes: Listing::default(),
            networks: Listing::default(),
            events: Listing::default(),
            usage: HashMap::new(),
            sort: SortKey::default(),
            orders: Orders::default(),
            focus: Pane::Containers,
            list: Pane::Containers,
            zoom: Zoom::Off,
            detail: Detail::default(),
            layers: Vec::new(),
            filter_edit: None,
            jobs: Vec::new(),
            past_jobs: VecDeque::new(),
            toasts: Vec::new(),
            last_error: None,
            next_id: 1,
            line_history: Vec::new(),
            complete_line: Box::new(|_| Vec::new()),
            due: Due::default(),
            is_quitting: false,
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.host.access == Access::ReadOnly
    }

    /// Whether the rows are those of a fleet.
    pub fn shows_several_hosts(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.kind == "fleet")
    }

    /// Forgets everything that one engine said; what the user chose about the screen stays.
    pub fn switch_host(&mut self, host: HostEntry) {
        self.host = host;
        self.link = Link::Connecting;
        self.latency = None;
        self.info = None;
        self.host_load = None;
        self.host_cpu = Series::new(60, Duration::from_secs(5));
        self.containers = Listing::default();
        self.images = Listing::default();
        self.volumes = Listing::default();
        self.networks = Listing::default();
        self.events = Listing::default();
        self.usage.clear();
        self.detail = Detail::default();
        self.layers.clear();
        self.filter_edit = None;
        self.jobs.clear();
        self.last_error = None;
        self.due = Due::default();
        (self.focus, self.list, self.zoom) = (Pane::Containers, Pane::Containers, Zoom::Off);
    }

    /// A number that nothing else has.
    pub fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// What the details are about: the selected row of the list last focused.
    pub fn subject(&self) -> Option<Subject> {
        let id = match self.list {
            Pane::Images => self.images.selected_id(),
            Pane::Volumes => self.volumes.selected_id(),
            Pane::Networks => self.networks.selected_id(),
            _ => self.containers.selected_id(),
        };
        id.map(|id| Subject { kind: self.list, id: id.to_owned() })
    }

    /// The containers made from this image.
    pub fn users_of_image<'a>(&'a self, row: &'a ImageRow) -> impl Iterator<Item = &'a ContainerRow> {
        self.containers.all().iter().filter(|user| user.it.image_id == row.it.id)
    }

    /// Notes in images and volumes which containers use them, where the engine did not say so: dockerd does not.
    pub fn count_users(&mut self) {
        let mut n_of: HashMap<&str, usize> = HashMap::new();
        let mut mounts: HashMap<Cow<'_, str>, Vec<&str>> = HashMap::new();
        for user in self.containers.all() {
            *n_of.entry(&user.it.image_id).or_default() += 1;
            for volume in user.it.mounts.iter().filter_map(|mount| mount.name.as_deref()) {
                // In a fleet a volume has its host's name before its own.
                let volume = match user.it.host.as_str() {
                    "" => Cow::Borrowed(volume),
                    host => Cow::Owned(format!("{host}/{volume}")),
                };
                mounts.entry(volume).or_default().push(&user.name);
            }
        }
        self.images.each(|row| {
            if row.it.n_containers.is_none() {
                row.n_users = n_of.get(row.it.id.as_str()).copied().unwrap_or(0);
            }
        });
        self.volumes.each(|row| {
            if row.it.used_by.is_none() {
                let users = mounts.get(row.it.name.as_str()).map(Vec::as_slice).unwrap_or_default();
                row.users = users.iter().map(|user| (*user).to_owned()).collect();
            }
        });
    }

    /// The tab of the details that is shown.
    pub fn tab(&self) -> Tab {
        self.detail.tab_of(self.list)
    }

    /// Scopes whose keys work now, the most particular first.
    pub fn scopes(&self) -> Vec<Scope> {
        let list = match self.list {
            Pane::Images => Scope::Images,
            Pane::Volumes => Scope::Volumes,
            Pane::Networks => Scope::Networks,
            _ => Scope::Containers,
        };
        match self.focus {
            Pane::Events => vec![Scope::Events, Scope::List, Scope::Global],
            Pane::Detail => {
                let tab = match self.tab() {
                    Tab::Logs => Some(Scope::Logs),
                    Tab::Stats => Some(Scope::Stats),
                    Tab::Inspect => Some(Scope::Inspect),
                    Tab::History => Some(Scope::Layers),
                    _ => None,
                };
                tab.into_iter().chain([Scope::Detail, list, Scope::Global]).collect()
            }
            _ => vec![list, Scope::List, Scope::Global],
        }
    }

    /// Asks the loop to look again at that moment at the latest.
    pub fn wake_by(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |present| present.min(at)));
    }

    /// Whether the lists have still to come for the first time, from an engine that may yet give them.
    pub fn is_waiting_for_lists(&self) -> bool {
        let loading = [&self.containers.loading, &self.images.loading, &self.volumes.loading, &self.networks.loading];
        !matches!(self.link, Link::Down { .. }) && loading.contains(&&Loading::First)
    }

    /// Shows a line for a while.
    pub fn toast(&mut self, toast: Toast) {
        self.toasts.retain(|present| present.text != toast.text);
        self.toasts.push(toast);
        if self.toasts.len() > 4 {
            self.toasts.remove(0);
        }
    }

    /// The time of day, Unix time in nanoseconds.
    pub fn now_ns(&self) -> i64 {
        self.now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
    }

    /// How long the data on screen has not been fresh; `None` while the engine answers.
    pub fn stale_for(&self) -> Option<Duration> {
        match &self.link {
            Link::Down { since, .. } => Some(self.tick.saturating_duration_since(*since)),
            _ => None,
        }
    }

    pub fn add_event(&mut self, event: &Event) {
        let number = self.fresh_id();
        let was_newest = self.events.cursor() == 0;
        self.events.push(EventRow::new(number, event), MAX_EVENTS, |a, b| b.number.cmp(&a.number));
        if was_newest {
            self.events.select_at(0);
        }
    }
}
