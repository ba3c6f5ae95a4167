//! Orders of the lists, and the columns of the container list. Called by `update` (arranging) and the container page (painting).

use std::cmp::Ordering;
use std::collections::HashMap;

use super::Pane;
use super::rows::{ContainerRow, ImageRow, NetworkRow, VolumeRow};
use super::usage::Usage;

/// What the container list is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortKey {
    /// Alive first, then by name.
    #[default]
    State,
    Name,
    Image,
    Newest,
    Cpu,
    Memory,
}

impl SortKey {
    pub const ALL: [Self; 6] = [Self::State, Self::Name, Self::Image, Self::Newest, Self::Cpu, Self::Memory];

    pub fn title(self) -> &'static str {
        match self {
            Self::State => "state, then name",
            Self::Name => "name",
            Self::Image => "image",
            Self::Newest => "newest first",
            Self::Cpu => "most CPU first",
            Self::Memory => "most memory first",
        }
    }

    /// Whether the order needs the stats of rows that are not on screen.
    pub fn needs_stats(self) -> bool {
        matches!(self, Self::Cpu | Self::Memory)
    }

    pub fn compare(self, usage: &HashMap<String, Usage>, a: &ContainerRow, b: &ContainerRow) -> Ordering {
        let by_name = || natural(&a.name, &b.name).then_with(|| a.it.id.cmp(&b.it.id));
        let of = |row: &ContainerRow, value: fn(&Usage) -> f64| usage.get(&row.it.id).map_or(-1.0, value);
        match self {
            Self::State => rank(a).cmp(&rank(b)).then_with(by_name),
            Self::Name => by_name(),
            Self::Image => a.image.cmp(&b.image).then_with(by_name),
            Self::Newest => b.it.created.cmp(&a.it.created).then_with(by_name),
            Self::Cpu => of(b, |u| u.cpu_percent).total_cmp(&of(a, |u| u.cpu_percent)).then_with(by_name),
            Self::Memory => of(b, |u| u.mem_bytes as f64).total_cmp(&of(a, |u| u.mem_bytes as f64)).then_with(by_name),
        }
    }
}

/// What another list is ordered by; names decide between equals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Name,
    Largest,
    Newest,
    /// Those that nothing uses first: what could go.
    Unused,
    Driver,
}

impl Order {
    /// The orders that a list has.
    pub fn of(list: Pane) -> &'static [Self] {
        match list {
            Pane::Images | Pane::Volumes => &[Self::Name, Self::Largest, Self::Newest, Self::Unused],
            Pane::Networks => &[Self::Name, Self::Driver],
            _ => &[],
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Largest => "largest first",
            Self::Newest => "newest first",
            Self::Unused => "unused first",
            Self::Driver => "driver",
        }
    }

    pub fn images(self, a: &ImageRow, b: &ImageRow) -> Ordering {
        let by_name =
            || (a.is_dangling(), &a.name, &a.tag, &a.handle).cmp(&(b.is_dangling(), &b.name, &b.tag, &b.handle));
        match self {
            Self::Largest => b.it.size_bytes.cmp(&a.it.size_bytes).then_with(by_name),
            Self::Newest => b.it.created.cmp(&a.it.created).then_with(by_name),
            Self::Unused => a.n_users.cmp(&b.n_users).then_with(by_name),
            _ => by_name(),
        }
    }

    pub fn volumes(self, a: &VolumeRow, b: &VolumeRow) -> Ordering {
        let by_name = || (a.it.anonymous, &a.name).cmp(&(b.it.anonymous, &b.name));
        match self {
            Self::Largest => b.it.size_bytes.cmp(&a.it.size_bytes).then_with(by_name),
            Self::Newest => b.it.created.cmp(&a.it.created).then_with(by_name),
            Self::Unused => a.is_used().cmp(&b.is_used()).then_with(by_name),
            _ => by_name(),
        }
    }

    pub fn networks(self, a: &NetworkRow, b: &NetworkRow) -> Ordering {
        let by_name = || (&a.name, &a.it.id).cmp(&(&b.name, &b.it.id));
        match self {
            Self::Driver => a.it.driver.cmp(&b.it.driver).then_with(by_name),
            _ => by_name(),
        }
    }
}

/// The orders of the lists that are not the containers'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    pub images: Order,
    pub volumes: Order,
    pub networks: Order,
}

impl Orders {
    /// The order of a list that has one.
    pub fn of(&mut self, list: Pane) -> Option<&mut Order> {
        match list {
            Pane::Images => Some(&mut self.images),
            Pane::Volumes => Some(&mut self.volumes),
            Pane::Networks => Some(&mut self.networks),
            _ => None,
        }
    }
}

fn rank(row: &ContainerRow) -> u8 {
    use crate::engine::container::Status as S;
    match row.status() {
        S::Running | S::Paused | S::Restarting => 0,
        S::Removing | S::Created => 1,
        S::Exited | S::Dead => 2,
    }
}

/// Compares with numbers as numbers: `web-2` before `web-10`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (na, nb) = (leading_digits(a), leading_digits(b));
        if na > 0 && nb > 0 {
            let trim =
                |s: &[u8], n: usize| s[..n].iter().position(|d| *d != b'0').map_or(Vec::new(), |at| s[at..n].to_vec());
            let (da, db) = (trim(a, na), trim(b, nb));
            let order = da.len().cmp(&db.len()).then_with(|| da.cmp(&db));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[na..], &b[nb..]);
            continue;
        }
        match (a.split_first(), b.split_first()) {
            (Some((x, rest_a)), Some((y, rest_b))) if x == y => (a, b) = (rest_a, rest_b),
            (Some((x, _)), Some((y, _))) => return x.cmp(y),
            (x, y) => return x.is_some().cmp(&y.is_some()),
        }
    }
}

fn leading_digits(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Columns of the container list; the name is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// Of a fleet; shown by itself where rows have one.
    Host,
    Image,
    State,
    Cpu,
    Memory,
    Ports,
    Id,
    Command,
    Created,
    Net,
    Block,
    Pids,
    Pressure,
    Restarts,
}

impl Column {
    pub const ALL: [Self; 14] = [
        Self::Host,
        Self::Image,
        Self::State,
        Self::Cpu,
        Self::Memory,
        Self::Net,
        Self::Block,
        Self::Pids,
        Self::Pressure,
        Self::Restarts,
        Self::Ports,
        Self::Created,
        Self::Id,
        Self::Command,
    ];
    /// Shown unless the user chose others; narrow panes drop some, see `pages::containers`.
    pub const DEFAULT: &[Self] = &[Self::Image, Self::State, Self::Cpu, Self::Memory, Self::Ports];
    /// Shown when the list has the whole screen.
    pub const ZOOMED: &[Self] = &[
        Self::Host,
        Self::Image,
        Self::State,
        Self::Cpu,
        Self::Memory,
        Self::Net,
        Self::Block,
        Self::Pids,
        Self::Pressure,
        Self::Restarts,
        Self::Ports,
        Self::Id,
        Self::Command,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Host => "HOST",
            Self::Image => "IMAGE",
            Self::State => "STATE",
            Self::Cpu => "CPU",
            Self::Memory => "MEM",
            Self::Ports => "PORTS",
            Self::Id => "ID",
            Self::Command => "COMMAND",
            Self::Created => "CREATED",
            Self::Net => "NET I/O",
            Self::Block => "DISK I/O",
            Self::Pids => "PIDS",
            Self::Pressure => "WAIT",
            Self::Restarts => "RESTARTS",
        }
    }

    /// Name in the config file.
    pub fn id(self) -> String {
        self.title().to_lowercase().replace(" i/o", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_numbers() {
        let mut names = ["web-10", "web-2", "web", "web-02b", "api"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["api", "web", "web-2", "web-02b", "web-10"]);
    }
}
