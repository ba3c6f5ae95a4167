//! Layers over the screen: dialogs, menus, prompts, forms, palette, help, pager, error box, terminal. A stack; the top one has the keys.
//! State only: `update::layers` changes it, `modals` paint it.

use crate::engine::{EngineError, ImportImage};

use super::super::action::Action;
use super::super::edit::LineEdit;
use super::super::msg::{Target, Work};
use super::super::terminal_view::TerminalModel;
use super::Pane;
use super::containers::{Column, Order, SortKey};

/// One layer.
pub enum Layer {
    Confirm(Confirm),
    Menu(Menu),
    Prompt(Prompt),
    Form(Form),
    Palette(Palette),
    Help(Help),
    Pager(Pager),
    Error(ErrorBox),
    Terminal(Box<TerminalLayer>),
    Jobs(JobsBox),
}

/// What is being done and what has been, with the parts of the one under the cursor.
#[derive(Debug, Default)]
pub struct JobsBox {
    /// Running ones first, then past ones.
    pub cursor: usize,
    /// First part on screen.
    pub scroll: usize,
}

/// A question before something that cannot be taken back.
pub struct Confirm {
    pub title: String,
    /// What will happen, a sentence.
    pub question: String,
    /// What it happens to: name and note.
    pub objects: Vec<(String, String)>,
    /// Bytes that go, when known.
    pub bytes: Option<u64>,
    pub switches: Vec<Switch>,
    /// `remove`, `quit`.
    pub verb: &'static str,
    pub then: Then,
    /// Whether the button that does it has the focus, rather than the one that does not.
    pub is_on_yes: bool,
}

/// An option of a dialog.
pub struct Switch {
    pub key: char,
    pub label: &'static str,
    pub is_on: bool,
}

/// What a dialog does when the answer is yes.
pub enum Then {
    RemoveContainers(Vec<Target>),
    RemoveImages(Vec<Target>),
    RemoveVolumes(Vec<Target>),
    Prune(Pane),
    /// Work as it is, whatever the switches.
    Do(Work),
    Quit,
}

/// A list to pick one of.
pub struct Menu {
    pub title: String,
    pub items: Vec<MenuItem>,
    pub cursor: usize,
}

pub struct MenuItem {
    pub key: Option<char>,
    pub label: String,
    pub note: String,
    pub pick: Pick,
}

#[derive(Clone, Debug)]
pub enum Pick {
    Signal(String),
    Sort(SortKey),
    /// Of a list that is not the containers'.
    Order(Pane, Order),
    /// Toggles and stays open.
    Column(Column),
    Theme(String),
    /// Name of a host.
    Host(String),
    OtherHost,
    /// Images to copy to a host of that name.
    CopyTo(Vec<String>, String),
    CopyToOther(Vec<String>),
    /// Text for the clipboard, and what it is.
    Copy(String, String),
    Load,
    Import,
    FromHost,
    AskPull,
    AskSearch,
    /// Pulls this reference.
    Pull(String),
}

/// One line to fill in.
pub struct Prompt {
    pub title: String,
    pub hint: String,
    pub edit: LineEdit,
    pub error: Option<String>,
    pub completion: Completion,
    pub then: Ask,
}

/// Proposals for what is being typed.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    pub source: Source,
    pub found: Vec<String>,
    /// The one that the cursor is on; `None` while none was chosen.
    pub cursor: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    None,
    Paths,
    Images,
}

/// What a prompt is for.
#[derive(Clone, Debug)]
pub enum Ask {
    Rename(Target),
    Tag(String),
    Pull,
    Push,
    SearchRegistry,
    Load,
    SaveImages(Vec<String>),
    SaveText(String),
    CreateVolume,
    Host,
    CopyTo(Vec<String>),
    InspectSearch,
    LayerSearch,
}

/// Several fields to fill in.
pub struct Form {
    pub title: String,
    pub kind: FormKind,
    pub fields: Vec<Field>,
    /// Index of a field, or `fields.len()` for the button.
    pub focus: usize,
    pub button: &'static str,
    /// Which proposals the focused field has.
    pub completion: Completion,
    pub error: Option<String>,
}

#[derive(Clone, Debug)]
pub enum FormKind {
    Run,
    Exec(Target),
    Limits(Target),
    Import(ImportImage),
    FromHost,
}

/// One field.
pub struct Field {
    pub id: FieldId,
    pub label: &'static str,
    /// Shown while it is empty: an example.
    pub example: &'static str,
    pub value: Value,
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldId {
    Image,
    Name,
    Command,
    Entrypoint,
    Env,
    Ports,
    Mounts,
    Network,
    Memory,
    Cpus,
    Pids,
    Restart,
    Workdir,
    User,
    Tty,
    AutoRemove,
    ReadOnly,
    Init,
    Privileged,
    Then,
    Path,
    Reference,
    Paths,
}

pub enum Value {
    Text(LineEdit),
    Toggle(bool),
    Choice { options: Vec<String>, at: usize },
}

impl Form {
    pub fn field(&self, id: FieldId) -> Option<&Field> {
        self.fields.iter().find(|field| field.id == id)
    }

    /// Text of a field, trimmed; empty when there is no such field.
    pub fn text(&self, id: FieldId) -> &str {
        match self.field(id).map(|field| &field.value) {
            Some(Value::Text(edit)) => edit.text().trim(),
            Some(Value::Choice { options, at }) => options.get(*at).map(String::as_str).unwrap_or_default(),
            _ => "",
        }
    }

    pub fn is_on(&self, id: FieldId) -> bool {
        matches!(self.field(id).map(|field| &field.value), Some(Value::Toggle(true)))
    }

    pub fn set_error(&mut self, id: FieldId, error: impl Into<String>) {
        if let Some(field) = self.fields.iter_mut().find(|field| field.id == id) {
            field.error = Some(error.into());
        }
    }
}

/// Command line and palette in one: actions with their keys, verbs of the command line, and whatever is typed.
pub struct Palette {
    pub edit: LineEdit,
    pub mode: PaletteMode,
    pub items: Vec<PaletteItem>,
    pub cursor: usize,
    /// Lines run before, newest last, and which of them is shown.
    pub recall: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaletteMode {
    /// Everything, ranked by likeness.
    Find,
    /// A line to run; items complete it.
    Command,
}

#[derive(Clone, Debug)]
pub struct PaletteItem {
    pub label: String,
    pub note: String,
    /// Key as shown, or why it cannot be done.
    pub key: String,
    pub is_available: bool,
    pub does: Does,
}

#[derive(Clone, Debug)]
pub enum Does {
    Action(Action),
    /// Puts this into the line.
    Complete(String),
    Theme(String),
}

/// Help for the present context.
pub struct Help {
    pub edit: LineEdit,
    pub items: Vec<HelpItem>,
    pub cursor: usize,
}

#[derive(Clone, Debug)]
pub enum HelpItem {
    Heading(&'static str),
    Entry { action: Action, keys: String, doc: &'static str, unavailable: Option<&'static str> },
}

/// Text to read: output of a line, raw JSON.
pub struct Pager {
    pub title: String,
    pub lines: Vec<(PagerTone, String)>,
    pub scroll: usize,
    /// Scrolls on with what comes.
    pub is_following: bool,
    /// The line that is running, and how it ended.
    pub run: Option<(u64, Option<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagerTone {
    Plain,
    Error,
}

/// Something failed.
pub struct ErrorBox {
    pub title: String,
    pub errors: Vec<(String, EngineError)>,
    pub scroll: usize,
}

/// An embedded terminal.
pub struct TerminalLayer {
    pub session: u64,
    pub container: Target,
    /// `shell`, `exec ls -l`, `attach`.
    pub what: String,
    pub is_attach: bool,
    pub model: TerminalModel,
    pub state: TerminalState,
    /// Without a terminal on the other side, line ends come bare.
    pub has_tty: bool,
    /// Whether anything was typed into it.
    pub is_used: bool,
    /// Cells of the inside when last told to the engine.
    pub size: (u16, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminalState {
    Opening,
    Live,
    Ended,
}

impl TerminalLayer {
    /// Takes output; returns what the terminal answers. Output of a process without a terminal gets its carriage returns here, as a
    /// kernel's line discipline would add them.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.has_tty {
            return self.model.feed(bytes);
        }
        let mut cooked = Vec::with_capacity(bytes.len() + 16);
        for byte in bytes {
            if *byte == b'\n' {
                cooked.push(b'\r');
            }
            cooked.push(*byte);
        }
        self.model.feed(&cooked)
    }
}
