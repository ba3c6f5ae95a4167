//! Everything a person can do in a log view, one variant an act. The action table maps keys to these; nothing here knows a key.

/// One act. Motions take their count from the caller of `LogsModel::apply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogsAction {
    /// Cursor down by count lines.
    Down,
    /// Cursor up by count lines; stops following.
    Up,
    HalfPageDown,
    HalfPageUp,
    PageDown,
    PageUp,
    /// The oldest line held; fetches older ones when there already. With a count: that percent of what is held.
    Top,
    /// The newest line, and follow it.
    Bottom,
    /// Sideways, count times a quarter of the width.
    Left,
    Right,
    /// Sideways to the first column.
    LineStart,
    /// Follow on or off; off freezes the view while the store goes on.
    Follow,
    Wrap,
    /// Off, short, full, delta.
    Timestamps,
    /// Opens the search prompt.
    Search,
    NextMatch,
    PreviousMatch,
    /// Show only matching lines, or all again.
    OnlyMatches,
    /// More or fewer lines of context around matches.
    MoreContext,
    LessContext,
    /// Raise or lower the minimum level.
    LevelUp,
    LevelDown,
    NextError,
    PreviousError,
    /// JSON lines as columns of chosen fields, or as they came.
    Json,
    /// Opens the prompt for the JSON fields to show.
    Fields,
    /// Folds continuation lines (stack traces) under their head, or unfolds them.
    Fold,
    /// Bookmarks the line under the cursor, or takes the bookmark away.
    Mark,
    /// To the next bookmark, wrapping.
    NextMark,
    /// Opens the prompt for a time to go to.
    GotoTime,
    /// The strip of lines per time.
    Histogram,
    /// Opens the line under the cursor in a popup, JSON laid out.
    Expand,
    /// Copies the line under the cursor.
    CopyLine,
    /// Saves what passes the filter to a file.
    Save,
    /// Closes the popup, the prompt, the filter, the search, in that order.
    Back,
}
