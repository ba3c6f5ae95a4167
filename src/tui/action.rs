//! THE table of everything a person can do by key. Help, footer, palette, remapping and the docs are rendered from [`TABLE`]; a new action
//! is one row here and one arm in `update`.
//!
//! A row says where it works ([`Scope`]), which keys it has by default, and when it is available, with the reason when it is not.

use crate::engine::container::Status;

use super::logs::LogsAction;
use super::model::{Model, Pane, Tab};

/// Where a key works. The scopes of the moment are searched from the most particular to [`Scope::Global`]; see [`Model::scopes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Global,
    /// Any list on the left.
    List,
    Containers,
    Images,
    Volumes,
    Networks,
    Events,
    /// The detail pane, whatever it shows.
    Detail,
    Logs,
    Stats,
    Inspect,
    Layers,
}

impl Scope {
    pub const ALL: &[Self] = &[
        Self::Global,
        Self::List,
        Self::Containers,
        Self::Images,
        Self::Volumes,
        Self::Networks,
        Self::Events,
        Self::Detail,
        Self::Logs,
        Self::Stats,
        Self::Inspect,
        Self::Layers,
    ];

    /// Heading in the help.
    pub fn title(self) -> &'static str {
        match self {
            Self::Global => "Everywhere",
            Self::List => "Lists",
            Self::Containers => "Containers",
            Self::Images => "Images",
            Self::Volumes => "Volumes",
            Self::Networks => "Networks",
            Self::Events => "Events",
            Self::Detail => "Details",
            Self::Logs => "Logs",
            Self::Stats => "Stats",
            Self::Inspect => "Inspect",
            Self::Layers => "Layers",
        }
    }
}

/// One thing a person can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Quit,
    Cancel,
    Back,
    Help,
    Palette,
    CommandLine,
    ShowPane(Pane),
    NextPane,
    PreviousPane,
    Zoom,
    Redraw,
    Refresh,
    Suspend,
    SwitchTheme,
    Hosts,
    ToggleReadOnly,
    ToggleMouse,
    Errors,
    AddImage,

    Up,
    Down,
    Top,
    Bottom,
    HalfPageUp,
    HalfPageDown,
    PageUp,
    PageDown,
    In,
    Out,

    Open,
    Mark,
    MarkRange,
    Filter,
    Sort,
    Columns,
    Copy,
    Save,

    New,
    Start,
    Stop,
    Restart,
    TogglePause,
    Kill,
    Remove,
    Prune,
    Rename,
    Shell,
    Exec,
    Attach,
    ShowTab(Tab),
    MergedLogs,
    PreviousRun,
    Limits,
    RawJson,

    Tag,
    SaveImage,
    Pull,
    Push,
    SearchRegistry,
    CopyToHost,
    Jobs,

    NextTab,
    PreviousTab,
    Search,
    NextMatch,
    PreviousMatch,
    FoldAll,

    Logs(LogsAction),
}

/// Why an action cannot be done now; a short clause without a period.
pub type Unavailable = &'static str;

/// A row of the table.
pub struct Row {
    pub action: Action,
    /// Name in config files: `container.stop`.
    pub id: &'static str,
    /// One or two words for the footer.
    pub label: &'static str,
    /// One sentence for help and palette.
    pub doc: &'static str,
    pub scope: Scope,
    /// Default keys, the first is the one shown.
    pub keys: &'static [&'static str],
    /// Rank in the footer, low first; 0 is never shown there.
    pub footer: u8,
    pub available: fn(&Model) -> Result<(), Unavailable>,
}

impl Row {
    /// Whether it can be done now, and why not: the host may be guarded, or not offer it.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn ready(&self, model: &Model) -> Result<(), Unavailable> {
        if model.is_read_only() && self.action.changes_host() {
            return Err("this host is read-only here; ctrl-w allows changes");
        }
        if model.shows_several_hosts() && self.action.needs_one_host() {
            return Err("it belongs to one host, and several are shown; H goes to one");
        }
        (self.available)(model)
    }
}

/// The row of an action in the first of these scopes that has one; the scopes are those of the moment.
pub fn row_of(action: Action) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.action == action)
}

fn always(_: &Model) -> Result<(), Unavailable> {
    Ok(())
}

fn can_switch_host(model: &Model) -> Result<(), Unavailable> {
    if model.can_switch_host { Ok(()) } else { Err("there is one engine only") }
}

fn has_container(model: &Model) -> Result<(), Unavailable> {
    model.containers.selected().map(drop).ok_or("no container is selected")
}

fn has_started(model: &Model) -> Result<(), Unavailable> {
    let row = model.containers.selected().ok_or("no container is selected")?;
    row.it.state.started_at.map(drop).ok_or("it was never started")
}

fn any_target(model: &Model, fits: impl Fn(Status) -> bool, why: Unavailable) -> Result<(), Unavailable> {
    has_container(model)?;
    model.containers.targets().iter().any(|row| fits(row.it.state.status)).then_some(()).ok_or(why)
}

fn can_start(model: &Model) -> Result<(), Unavailable> {
    any_target(model, |status| !status.is_alive() && status != Status::Removing, "it runs already")
}

fn can_stop(model: &Model) -> Result<(), Unavailable> {
    any_target(model, |status| status.is_alive() || status == Status::Restarting, "it does not run")
}

fn can_pause(model: &Model) -> Result<(), Unavailable> {
    any_target(model, Status::is_alive, "it does not run")
}

fn is_running(model: &Model) -> Result<(), Unavailable> {
    let row = model.containers.selected().ok_or("no container is selected")?;
    match row.it.state.status {
        Status::Running => Ok(()),
        Status::Paused => Err("it is paused"),
        _ => Err("it does not run"),
    }
}

fn has_image(model: &Model) -> Result<(), Unavailable> {
    model.images.selected().map(drop).ok_or("no image is selected")
}

fn can_copy_image(model: &Model) -> Result<(), Unavailable> {
    has_image(model)?;
    can_switch_host(model)
}

fn has_volume(model: &Model) -> Result<(), Unavailable> {
    model.volumes.selected().map(drop).ok_or("no volume is selected")
}

fn has_subject(model: &Model) -> Result<(), Unavailable> {
    model.subject().map(drop).ok_or("nothing is selected")
}

fn has_search(model: &Model) -> Result<(), Unavailable> {
    if model.detail.inspect.has_search() { Ok(()) } else { Err("nothing is searched for") }
}

fn has_layer_search(model: &Model) -> Result<(), Unavailable> {
    let tree = model.subject().and_then(|subject| model.detail.layers_for(&subject));
    tree.filter(|tree| !tree.search().is_empty()).map(drop).ok_or("nothing is searched for")
}

impl Action {
    /// Whether it changes something on the host; refused while the host is read-only.
    pub fn changes_host(self) -> bool {
        matches!(
            self,
            Self::Shell
                | Self::Exec
                | Self::Attach
                | Self::Stop
                | Self::Start
                | Self::Restart
                | Self::TogglePause
                | Self::Kill
                | Self::Remove
                | Self::Prune
                | Self::Rename
                | Self::New
                | Self::Limits
                | Self::Tag
                | Self::AddImage
                | Self::Pull
                | Self::Push
        )
    }

    /// Whether it means a host as such, not one of its containers: a fleet never chooses where something happens.
    fn needs_one_host(self) -> bool {
        matches!(
            self,
            Self::New
                | Self::Prune
                | Self::Tag
                | Self::AddImage
                | Self::Pull
                | Self::Push
                | Self::SaveImage
                | Self::SearchRegistry
        )
    }
}

macro_rules! rows {
    ($($scope:ident { $($action:expr, $id:literal, [$($key:literal),*], $footer:literal, $label:literal, $doc:literal $(, if $available:ident)?;)* })*) => {
        /// Everything, in the order of the help.
        pub const TABLE: &[Row] = &[$($(
            Row {
                action: $action, id: $id, label: $label, doc: $doc, scope: Scope::$scope, keys: &[$($key),*], footer: $footer,
                available: rows!(@available $($available)?),
            },
        )*)*];
    };
    (@available $available:ident) => { $available };
    (@available) => { always };
}

rows! {
    Containers {
        Action::ShowTab(Tab::Logs), "container.logs", ["l"], 1, "logs", "Show the log, live", if has_container;
        Action::Shell, "container.shell", ["e"], 2, "shell", "Open a shell inside the container", if is_running;
        Action::Exec, "container.exec", ["E"], 0, "exec", "Run a command inside: user, directory, environment, terminal", if is_running;
        Action::Attach, "container.attach", ["a"], 0, "attach", "Attach to the container's own process", if can_stop;
        Action::Stop, "container.stop", ["s"], 3, "stop", "Stop: the stop signal, then a kill after the timeout", if can_stop;
        Action::Start, "container.start", ["S"], 3, "start", "Start", if can_start;
        Action::Restart, "container.restart", ["r"], 4, "restart", "Stop and start again", if has_container;
        Action::TogglePause, "container.pause", ["P"], 0, "pause", "Freeze all processes, or let them go on", if can_pause;
        Action::Kill, "container.kill", ["K"], 0, "kill", "Send a signal, chosen from a menu", if can_stop;
        Action::Remove, "container.remove", ["x", "del"], 6, "remove", "Remove, after a dialog that says what goes", if has_container;
        Action::Prune, "container.prune", ["X"], 0, "prune", "Remove all stopped containers";
        Action::Rename, "container.rename", ["f2"], 0, "rename", "Give it another name", if has_container;
        Action::New, "container.new", ["n"], 5, "new", "Run an image: name, command, environment, ports, mounts, limits";
        Action::MergedLogs, "container.logs-merged", ["L"], 0, "merged", "One log of all marked containers, ordered by time", if has_container;
        Action::PreviousRun, "container.logs-previous", ["p"], 0, "last start", "Show where its last run begins in the log; above is the run before", if has_started;
        Action::ShowTab(Tab::Stats), "container.stats", ["t", "w"], 0, "stats", "Show what it uses, with graphs", if has_container;
        Action::ShowTab(Tab::Top), "container.top", [], 0, "top", "Show its processes", if has_container;
        Action::Limits, "container.limits", [], 0, "limits", "Change memory, CPU and process limits of a living container", if has_container;
        Action::RawJson, "container.json", ["y"], 0, "json", "Show the inspect answer as JSON text", if has_subject;
    }
    Images {
        Action::New, "image.run", ["n"], 1, "run", "Run this image", if has_image;
        Action::Pull, "image.pull", ["p"], 2, "pull", "Fetch an image from its registry, or a newer one of that name";
        Action::Push, "image.push", ["u"], 0, "push", "Send the image to its registry", if has_image;
        Action::CopyToHost, "image.copy", ["C"], 0, "copy to host", "Copy the marked images to another host, only what is missing there", if can_copy_image;
        Action::Tag, "image.tag", ["t"], 3, "tag", "Give the image another name", if has_image;
        Action::Remove, "image.remove", ["x", "del"], 5, "remove", "Remove, after a dialog that says what goes", if has_image;
        Action::Prune, "image.prune", ["X"], 6, "prune", "Remove images without a name that nothing uses";
        Action::ShowTab(Tab::History), "image.history", ["L"], 4, "layers", "Show the layers: what made them and their size", if has_image;
        Action::SaveImage, "image.save", ["W"], 0, "save", "Write the marked images to an archive", if has_image;
        Action::RawJson, "image.json", ["y"], 0, "json", "Show the inspect answer as JSON text", if has_image;
    }
    Volumes {
        Action::New, "volume.create", ["n"], 1, "create", "Create a volume";
        Action::Remove, "volume.remove", ["x", "del"], 3, "remove", "Remove, after a dialog that says what goes", if has_volume;
        Action::Prune, "volume.prune", ["X"], 4, "prune", "Remove volumes that no container uses";
        Action::RawJson, "volume.json", ["y"], 0, "json", "Show the inspect answer as JSON text", if has_volume;
    }
    Logs {
        Action::Logs(LogsAction::Follow), "logs.follow", ["f"], 1, "follow", "Follow new lines, or hold the view while they gather";
        Action::Logs(LogsAction::Search), "logs.search", ["/"], 2, "search", "Search: text, !not, ~fuzzy, re:expression";
        Action::Logs(LogsAction::NextMatch), "logs.next", ["n"], 0, "next", "To the next match";
        Action::Logs(LogsAction::PreviousMatch), "logs.previous", ["N"], 0, "previous", "To the match before";
        Action::Logs(LogsAction::OnlyMatches), "logs.only", ["&"], 3, "only", "Show only matching lines, or all again";
        Action::Logs(LogsAction::MoreContext), "logs.context-more", [">"], 0, "context", "More lines around each match";
        Action::Logs(LogsAction::LessContext), "logs.context-less", ["<"], 0, "context", "Fewer lines around each match";
        Action::Logs(LogsAction::LevelUp), "logs.level-up", ["+", "="], 4, "level", "Raise the lowest level shown";
        Action::Logs(LogsAction::LevelDown), "logs.level-down", ["-"], 0, "level", "Lower the lowest level shown";
        Action::Logs(LogsAction::NextError), "logs.error-next", ["}"], 0, "error", "To the next error";
        Action::Logs(LogsAction::PreviousError), "logs.error-previous", ["{"], 0, "error", "To the error before";
        Action::Logs(LogsAction::Wrap), "logs.wrap", ["w"], 5, "wrap", "Wrap long lines, or cut them";
        Action::Logs(LogsAction::Timestamps), "logs.times", ["T"], 6, "times", "Times: off, short, full, since the line before";
        Action::Logs(LogsAction::Json), "logs.json", ["J"], 0, "json", "JSON lines as columns, or as they came";
        Action::Logs(LogsAction::Fields), "logs.fields", ["F"], 0, "fields", "Choose the JSON fields to show";
        Action::Logs(LogsAction::Fold), "logs.fold", ["v"], 0, "fold", "Fold continuation lines under their first";
        Action::Logs(LogsAction::Mark), "logs.bookmark", ["m"], 0, "bookmark", "Bookmark the line, or take the bookmark away";
        Action::Logs(LogsAction::NextMark), "logs.bookmark-next", ["'"], 0, "bookmark", "To the next bookmark";
        Action::Logs(LogsAction::GotoTime), "logs.goto", ["@"], 0, "go to", "Go to a time";
        Action::Logs(LogsAction::Histogram), "logs.histogram", ["#"], 0, "histogram", "Lines per time, with the errors in it";
        Action::Logs(LogsAction::Expand), "logs.expand", ["enter"], 0, "expand", "Open the line, JSON laid out";
        Action::Logs(LogsAction::Left), "logs.left", ["h", "left"], 0, "left", "Sideways to the left";
        Action::Logs(LogsAction::Right), "logs.right", ["l", "right"], 0, "right", "Sideways to the right";
        Action::Logs(LogsAction::LineStart), "logs.start", ["0"], 0, "start", "Sideways to the start";
        Action::Logs(LogsAction::CopyLine), "logs.copy", ["c"], 0, "copy", "Copy the line";
        Action::Logs(LogsAction::Save), "logs.save", ["ctrl-s"], 0, "save", "Save what passes the filter to a file";
    }
    Stats {
        Action::Limits, "stats.limits", ["+", "="], 1, "limits", "Change memory, CPU and process limits of a living container", if has_container;
    }
    Inspect {
        Action::In, "inspect.unfold", ["right", "enter", "space"], 1, "unfold", "Unfold the entry";
        Action::Out, "inspect.fold", ["left", "h"], 0, "fold", "Fold the entry, or go to what holds it";
        Action::FoldAll, "inspect.fold-all", ["v"], 2, "fold all", "Fold or unfold everything";
        Action::Search, "inspect.search", ["/"], 3, "search", "Search keys and values";
        Action::NextMatch, "inspect.next", ["n"], 0, "next", "To the next match", if has_search;
        Action::PreviousMatch, "inspect.previous", ["N"], 0, "previous", "To the match before", if has_search;
    }
    Layers {
        Action::In, "layers.unfold", ["right", "enter", "space"], 1, "open", "Open the layer or the directory";
        Action::Out, "layers.fold", ["left", "h"], 0, "fold", "Fold it, or go to what holds it";
        Action::Search, "layers.search", ["/"], 3, "search", "Search the files of all layers";
        Action::NextMatch, "layers.next", ["n"], 0, "next", "To the next match", if has_layer_search;
        Action::PreviousMatch, "layers.previous", ["N"], 0, "previous", "To the match before", if has_layer_search;
        Action::FoldAll, "layers.fold-all", ["v"], 2, "fold all", "Fold everything, or open all layers";
    }
    Detail {
        Action::NextTab, "detail.next-tab", ["]"], 20, "tab", "Next tab";
        Action::PreviousTab, "detail.previous-tab", ["["], 0, "tab", "Tab before";
        Action::Out, "detail.out", ["left", "h"], 0, "back", "Back to the list";
    }
    List {
        Action::Filter, "list.filter", ["/"], 20, "filter", "Filter: text, !not, ~fuzzy, re:, label=, state=";
        Action::Open, "list.open", ["enter", "right"], 0, "open", "Go into the details";
        Action::Mark, "list.mark", ["space"], 0, "mark", "Mark the row; actions are done to all marked rows";
        Action::MarkRange, "list.mark-range", ["V"], 0, "range", "Mark from the last mark to here";
        Action::Sort, "list.sort", ["o"], 0, "sort", "Choose the order";
        Action::Columns, "list.columns", ["O"], 0, "columns", "Choose the columns of the container list";
        Action::NextTab, "list.next-tab", ["]"], 0, "tab", "Next tab of the details";
        Action::PreviousTab, "list.previous-tab", ["["], 0, "tab", "Tab before";
    }
    Global {
        Action::ShowTab(Tab::Inspect), "inspect", ["i"], 0, "inspect", "Show everything as a tree", if has_subject;
        Action::ShowTab(Tab::Summary), "summary", ["d"], 0, "summary", "Show what matters", if has_subject;
        Action::AddImage, "image.add", ["A"], 19, "add image", "Bring an image in: load an archive, import a root file system, or make one from this host";
        Action::SearchRegistry, "image.search", [], 0, "search", "Look for an image in a registry";
        Action::Jobs, "jobs", ["J"], 0, "jobs", "What is being done in the background: progress, cancel, go on";
        Action::Copy, "copy", ["c"], 0, "copy", "Copy id, name or the equivalent command", if has_subject;
        Action::Save, "save", ["ctrl-s"], 0, "save", "Save what the page shows to a file";
        Action::Up, "move.up", ["k", "up"], 0, "up", "Up";
        Action::Down, "move.down", ["j", "down"], 0, "down", "Down";
        Action::Top, "move.top", ["g", "home"], 0, "top", "To the first";
        Action::Bottom, "move.bottom", ["G", "end"], 0, "bottom", "To the last";
        Action::HalfPageDown, "move.half-down", ["ctrl-d"], 0, "half page", "Half a page down";
        Action::HalfPageUp, "move.half-up", ["ctrl-u"], 0, "half page", "Half a page up";
        Action::PageDown, "move.page-down", ["ctrl-f", "pgdn"], 0, "page", "A page down";
        Action::PageUp, "move.page-up", ["ctrl-b", "pgup"], 0, "page", "A page up";
        Action::NextPane, "pane.next", ["tab"], 0, "pane", "Next pane";
        Action::PreviousPane, "pane.previous", ["shift-tab"], 0, "pane", "Pane before";
        Action::ShowPane(Pane::Containers), "pane.containers", ["1"], 0, "containers", "Go to the containers";
        Action::ShowPane(Pane::Images), "pane.images", ["2"], 0, "images", "Go to the images";
        Action::ShowPane(Pane::Volumes), "pane.volumes", ["3"], 0, "volumes", "Go to the volumes";
        Action::ShowPane(Pane::Networks), "pane.networks", ["4"], 0, "networks", "Go to the networks";
        Action::ShowPane(Pane::Detail), "pane.logs", ["5"], 0, "logs", "Go to the log of the selected container";
        Action::ShowPane(Pane::Events), "pane.events", ["6"], 0, "events", "Go to what has happened";
        Action::Zoom, "zoom", ["z"], 21, "zoom", "This pane over the whole screen, or back";
        Action::CommandLine, "command", [":"], 22, "command", "Type a command, as on orlop's command line";
        Action::Palette, "palette", ["ctrl-p"], 0, "palette", "Find any action or command by its name";
        Action::Help, "help", ["?", "f1"], 23, "help", "What the keys do here";
        Action::Back, "back", ["esc"], 0, "back", "Close, clear the filter, clear marks, go back; never quits";
        Action::Cancel, "cancel", ["ctrl-c"], 0, "cancel", "Cancel the running job; else back; else quit";
        Action::Errors, "errors", [], 0, "errors", "Show the last error again";
        Action::SwitchTheme, "theme", [], 0, "theme", "Choose the colours";
        Action::Hosts, "hosts", ["H"], 0, "hosts", "Switch to another engine: the one inside, a docker context, a socket, tcp or ssh", if can_switch_host;
        Action::ToggleReadOnly, "read-only", ["ctrl-w"], 0, "read-only", "Refuse everything that changes something on this host, or allow it again";
        Action::ToggleMouse, "mouse", [], 0, "mouse", "Clicks and wheel for orlop, or for the terminal's own selection";
        Action::Redraw, "redraw", ["ctrl-l"], 0, "redraw", "Paint the whole screen again";
        Action::Refresh, "refresh", ["ctrl-r"], 0, "refresh", "Ask the engine for everything again";
        Action::Suspend, "suspend", ["ctrl-z"], 0, "suspend", "Stop orlop and go to the shell; fg comes back";
        Action::Quit, "quit", ["q"], 24, "quit", "Leave; containers go on";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_is_complete_and_its_id_its_own() {
        let mut ids = HashSet::new();
        for row in TABLE {
            assert!(ids.insert(row.id), "{} twice", row.id);
            assert!(!row.label.is_empty() && !row.doc.is_empty(), "{}", row.id);
            assert!(!row.doc.ends_with('.'), "{}: {}", row.id, row.doc);
            for key in row.keys {
                assert!(super::super::keys::Chord::parse(key).is_some(), "{}: key {key}", row.id);
            }
        }
    }

    /// The key table of the README: a row for each scope, rendered from the table as everything else is.
    fn readme_rows() -> String {
        let mut rows = String::from("| where | keys |\n|--|--|\n");
        let written = |row: &Row| {
            let keys: Vec<String> = row.keys.iter().map(|key| format!("`{key}`")).collect();
            format!("{} {}", keys.join(" "), row.label)
        };
        for scope in Scope::ALL {
            let own = TABLE.iter().filter(|row| row.scope == *scope && !row.keys.is_empty());
            let cells: Vec<String> = own.map(written).collect();
            if !cells.is_empty() {
                rows.push_str(&format!("| {} | {} |\n", scope.title(), cells.join(", ")));
            }
        }
        rows
    }

    #[test]
    fn the_readme_has_the_keys_of_the_table() {
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&readme_rows()), "README.md, Keys: put this there\n\n{}", readme_rows());
    }

    #[test]
    fn no_lower_case_key_destroys_without_a_dialog() {
        // Remove and prune open dialogs (see the screen tests); kill goes through a menu on a capital.
        for row in TABLE.iter().filter(|row| matches!(row.action, Action::Kill | Action::Prune)) {
            assert!(row.keys.iter().all(|key| key.chars().all(char::is_uppercase)), "{}", row.id);
        }
    }

    #[test]
    fn control_u_d_f_b_are_motions() {
        for row in TABLE {
            for key in row.keys.iter().filter(|key| ["ctrl-u", "ctrl-d", "ctrl-f", "ctrl-b"].contains(key)) {
                assert!(row.id.starts_with("move."), "{key} is {}", row.id);
            }
        }
    }
}
