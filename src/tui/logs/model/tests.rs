//! Tests of `model`, beside it because they outgrew it.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::paint::Focus;
use super::super::store::tests::chunk;
use super::*;
use crate::tui::theme::Theme;

const SLICE: Duration = Duration::from_millis(50);

fn opened(options: LogsOptions) -> LogsModel {
    let source = LogSource { container: "c1".to_owned(), label: "web".to_owned() };
    let (model, commands) = LogsModel::open(vec![source], options);
    assert!(matches!(&commands[..], [LogsCommand::Subscribe { generation: 1, queries }] if queries[0].since.is_none()));
    model
}

fn with_lines(lines: &[&str]) -> LogsModel {
    let options = LogsOptions { times: TimeMode::Off, ..LogsOptions::default() };
    let mut model = opened(options);
    feed(&mut model, lines, 1000);
    model
}

fn feed(model: &mut LogsModel, lines: &[&str], time_ns: i64) {
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    let chunks = vec![(SourceIdx(0), chunk(&lines, time_ns))];
    model.feed(&LogBatch { generation: model.generation, chunks, ..LogBatch::default() }, Instant::now());
}

fn numbered(n: usize) -> Vec<String> {
    (1..=n).map(|n| format!("line {n}")).collect()
}

fn with_numbered(n: usize) -> LogsModel {
    let lines = numbered(n);
    with_lines(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The rows on screen, right-trimmed.
fn rows(model: &LogsModel, width: u16, height: u16) -> Vec<String> {
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    model.view(area, &mut buf, &Theme::dark(), Focus::Yes);
    (0..height).map(|y| row_text(&buf, y)).collect()
}

/// A row's text; the cell behind a wide character is part of it.
fn row_text(buf: &Buffer, y: u16) -> String {
    let (mut text, mut x) = (String::new(), 0);
    while x < buf.area.width {
        let symbol = buf[(x, y)].symbol();
        text.push_str(symbol);
        x += crate::tui::text::width(symbol).max(1) as u16;
    }
    text.trim_end().to_owned()
}

fn act(model: &mut LogsModel, actions: &[LogsAction]) {
    for action in actions {
        model.apply(*action, None);
    }
}

fn typed(model: &mut LogsModel, text: &str) {
    model.apply(LogsAction::Search, None);
    for ch in text.chars() {
        model.input(KeyEvent::new(KeyCode::Char(ch), KeyModifiers::NONE), 0);
    }
    while model.tick(Instant::now(), SLICE) {}
}

fn enter(model: &mut LogsModel) {
    model.input(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE), 0);
}

#[test]
fn following_shows_the_newest_and_freezing_holds_still() {
    let mut model = with_numbered(10);
    assert_eq!(rows(&model, 20, 3), [" line 8", " line 9", " line 10"]);
    act(&mut model, &[LogsAction::Up]);
    assert_eq!(rows(&model, 20, 3), [" line 8", "▌line 9", " line 10"]);
    feed(&mut model, &["new"; 1234], 2000);
    assert_eq!(rows(&model, 20, 3), [" line 8", "▌line 9", " line 10"]);
    assert_eq!(model.meter().new, 1234);
    act(&mut model, &[LogsAction::Bottom]);
    assert_eq!(rows(&model, 20, 3), [" new", " new", " new"]);
    assert!(model.is_following());
}

#[test]
fn motions_move_the_cursor_and_the_view_follows() {
    let mut model = with_numbered(100);
    rows(&model, 20, 10);
    act(&mut model, &[LogsAction::Top]);
    assert_eq!(rows(&model, 20, 2), ["▌line 1", " line 2"]);
    model.apply(LogsAction::Down, Some(41));
    rows(&model, 20, 10);
    assert_eq!(rows(&model, 20, 10).last().unwrap(), "▌line 42");
    act(&mut model, &[LogsAction::PageUp]);
    assert!(rows(&model, 20, 10).contains(&"▌line 33".to_owned()));
    act(&mut model, &[LogsAction::HalfPageDown]);
    assert!(rows(&model, 20, 10).contains(&"▌line 38".to_owned()));
    model.apply(LogsAction::Top, Some(50));
    assert!(rows(&model, 20, 10).contains(&"▌line 51".to_owned()));
}

#[test]
fn search_finds_as_you_type_with_place_and_count() {
    let mut model = with_lines(&["alpha one", "beta", "alpha two", "gamma", "alpha three", "end"]);
    rows(&model, 30, 10);
    typed(&mut model, "alpha");
    assert!(rows(&model, 30, 10).contains(&"▌alpha three".to_owned()), "{:?}", rows(&model, 30, 10));
    assert_eq!(model.match_count(), Some(MatchCount { n: 3, position: Some(3), is_complete: true }));
    enter(&mut model);
    act(&mut model, &[LogsAction::PreviousMatch]);
    assert_eq!(model.match_count().unwrap().position, Some(2));
    act(&mut model, &[LogsAction::NextMatch, LogsAction::NextMatch]);
    assert_eq!(model.match_count().unwrap().position, Some(1), "n goes around");
    assert_eq!(model.notice.as_deref(), Some("search went around"));
    feed(&mut model, &["alpha four"], 3000);
    while model.tick(Instant::now(), SLICE) {}
    assert_eq!(model.match_count().unwrap().n, 4);
}

#[test]
fn leaving_the_prompt_goes_back_to_where_one_was() {
    let mut model = with_numbered(50);
    rows(&model, 20, 5);
    typed(&mut model, "line 3");
    assert!(!model.is_following());
    model.input(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE), 0);
    assert!(model.is_following() && !model.wants_text() && model.match_count().is_none());
    assert_eq!(rows(&model, 20, 2), [" line 49", " line 50"]);
}

#[test]
fn kinds_of_patterns() {
    let cases: &[(&str, u64)] = &[
        ("line 1", 11),
        ("LINE", 0),
        ("!line 1", 39),
        ("^line [12]$", 2),
        ("re:9$", 5),
        ("~ln50", 1),
        ("line (", 0),
        ("\\d\\n", 0),
        ("1\\s+l", 0),
    ];
    for (pattern, expected) in cases {
        let mut model = with_numbered(50);
        model.set_search(pattern);
        while model.tick(Instant::now(), SLICE) {}
        assert_eq!(model.match_count().unwrap().n, *expected, "{pattern}");
    }
}

#[test]
fn matches_are_of_what_is_seen() {
    let mut model = with_lines(&["\x1b[32mINFO\x1b[0m http", "10%\r99%", "31 m"]);
    for (pattern, expected) in [("INFO http", 1), ("32", 0), ("10%", 0), ("99", 1), ("31", 1)] {
        model.set_search(pattern);
        while model.tick(Instant::now(), SLICE) {}
        assert_eq!(model.match_count().unwrap().n, expected, "{pattern}");
    }
}

#[test]
fn only_matches_with_context() {
    let mut model = with_numbered(30);
    rows(&model, 20, 10);
    model.set_search("line 15");
    act(&mut model, &[LogsAction::OnlyMatches]);
    while model.tick(Instant::now(), SLICE) {}
    assert_eq!(rows(&model, 20, 3), [" line 15", "", ""]);
    act(&mut model, &[LogsAction::MoreContext]);
    assert_eq!(rows(&model, 20, 4), [" line 14", " line 15", " line 16", ""]);
    feed(&mut model, &["line 15 again"], 5000);
    while model.tick(Instant::now(), SLICE) {}
    assert_eq!(rows(&model, 20, 5), [" line 14", " line 15", " line 16", " line 30", " line 15 again"]);
    act(&mut model, &[LogsAction::Back]);
    assert_eq!(rows(&model, 20, 2), [" line 30", " line 15 again"]);
}

#[test]
fn the_minimum_level_keeps_whole_stack_traces() {
    let mut model = with_lines(&["INFO up", "ERROR boom", "\tat Foo.bar", "DEBUG x", "plain", "WARN slow"]);
    for _ in 0..4 {
        act(&mut model, &[LogsAction::LevelUp]);
    }
    while model.tick(Instant::now(), SLICE) {}
    assert_eq!(rows(&model, 30, 4), [" ERROR boom", "         at Foo.bar", " WARN slow", ""]);
    act(&mut model, &[LogsAction::LevelUp, LogsAction::Fold]);
    while model.tick(Instant::now(), SLICE) {}
    assert_eq!(rows(&model, 30, 2), [" ERROR boom +1", ""]);
    act(&mut model, &[LogsAction::Back, LogsAction::PreviousError]);
    while model.tick(Instant::now(), SLICE) {}
    assert!(rows(&model, 30, 6).contains(&"▌ERROR boom +1".to_owned()), "{:?}", rows(&model, 30, 6));
}

#[test]
fn wrapping_and_cutting() {
    let mut model = with_lines(&["abcdefghij", "漢字漢字"]);
    assert_eq!(rows(&model, 6, 2), [" abcd›", " 漢字›"]);
    act(&mut model, &[LogsAction::Right, LogsAction::Right, LogsAction::Right]);
    assert_eq!(rows(&model, 6, 2), [" ‹efg›", " ‹漢字"]);
    act(&mut model, &[LogsAction::LineStart, LogsAction::Wrap]);
    assert_eq!(rows(&model, 6, 4), [" abcde", " fghij", " 漢字", " 漢字"]);
}

#[test]
fn a_megabyte_line_is_scrolled_through_by_rows() {
    let long = "0123456789".repeat(100_000);
    let mut model = with_lines(&["first", &long, "last"]);
    act(&mut model, &[LogsAction::Wrap]);
    assert_eq!(rows(&model, 11, 3), [" 0123456789", " 0123456789", " last"]);
    act(&mut model, &[LogsAction::Up]);
    rows(&model, 11, 3);
    act(&mut model, &[LogsAction::Top]);
    assert_eq!(rows(&model, 11, 2), ["▌first", " 0123456789"]);
    act(&mut model, &[LogsAction::Down]);
    rows(&model, 11, 3);
    model.apply(LogsAction::Down, Some(5));
    assert_eq!(model.screen.borrow().top_row, 5);
    act(&mut model, &[LogsAction::Down; 3]);
    assert_eq!(model.current(), model.store.range().start + 1);
}

#[test]
fn json_and_fields_and_bookmarks_and_copy() {
    let mut model = with_lines(&[r#"{"level":"info","msg":"hello","n":1}"#, "plain \x1b[31mred\x1b[0m"]);
    act(&mut model, &[LogsAction::Json]);
    assert_eq!(rows(&model, 40, 2), [" INFO  hello n=1", " plain red"]);
    act(&mut model, &[LogsAction::Json]);
    assert_eq!(
        rows(&model, 40, 7)[..5],
        [" {", "   \"level\": \"info\",", "   \"msg\": \"hello\",", "   \"n\": 1", " }"]
    );
    act(&mut model, &[LogsAction::Mark]);
    assert!(
        matches!(&model.apply(LogsAction::CopyLine, None)[..], [LogsCommand::Copy { text }] if text == "plain red")
    );
    act(&mut model, &[LogsAction::Top, LogsAction::NextMark]);
    assert_eq!(model.current(), model.store.range().end - 1);
    act(&mut model, &[LogsAction::Expand]);
    assert!(rows(&model, 60, 12).iter().any(|row| row.contains("plain red")));
    act(&mut model, &[LogsAction::Back]);
    assert!(model.popup.is_none());
}

#[test]
fn saving_writes_what_passes() {
    let mut model = with_numbered(30);
    model.set_search("line 1");
    act(&mut model, &[LogsAction::OnlyMatches]);
    while model.tick(Instant::now(), SLICE) {}
    let commands = model.apply(LogsAction::Save, None);
    let [LogsCommand::Save { export, suggested_name }] = &commands[..] else { panic!("{commands:?}") };
    let mut out = Vec::new();
    assert_eq!((export.write_to(&mut out).unwrap(), export.n_lines(), suggested_name.as_str()), (11, 11, "web.log"));
    assert!(out.starts_with(b"line 1\nline 10\n"));
    feed(&mut model, &["line 1 more"], 9000);
    assert_eq!(model.n_lines(), 31, "the store goes on after a save");
}

#[test]
fn older_lines_are_fetched_at_the_top_and_joined_without_a_seam() {
    let all = numbered(300);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut model = opened(LogsOptions { times: TimeMode::Off, ..LogsOptions::default() });
    feed(&mut model, &all[200..], 1200);
    rows(&model, 20, 5);
    let commands = model.apply(LogsAction::Top, None);
    let [LogsCommand::FetchOlder { generation, source, until, n, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((*until, *n), (system_time(1200), 5_001));
    assert!(model.apply(LogsAction::Up, None).is_empty(), "one page at a time");
    let lines: Vec<&[u8]> = all[..=200].iter().map(|line| line.as_bytes()).collect();
    model.older(*generation, *source, &[chunk(&lines, 1000)]);
    assert_eq!(model.n_lines(), 300);
    assert!(rows(&model, 20, 5).contains(&"▌line 201".to_owned()), "the reader stays where he was");
    act(&mut model, &[LogsAction::Top]);
    assert_eq!(rows(&model, 20, 1), ["▌line 1"]);
    assert!(model.is_whole() && model.apply(LogsAction::Up, None).is_empty());
}

#[test]
fn going_to_a_time_reads_back_until_it_is_held() {
    let second = 1_000_000_000;
    let mut model = opened(LogsOptions { times: TimeMode::Off, ..LogsOptions::default() });
    feed(&mut model, &["late"], 7200 * second);
    rows(&model, 20, 5);
    act(&mut model, &[LogsAction::GotoTime]);
    for ch in "01:00".chars() {
        model.input(KeyEvent::new(KeyCode::Char(ch), KeyModifiers::NONE), 0);
    }
    let commands = model.input(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE), 7201 * second);
    let [LogsCommand::FetchOlder { generation, source, .. }] = &commands[..] else { panic!("{commands:?}") };
    let mut page = chunk(&[b"early", b"wanted", b"late"], 0);
    for (entry, at) in page.entries.iter_mut().zip([3000, 3700, 7200]) {
        entry.time_ns = at * second;
    }
    model.older(*generation, *source, &[page]);
    assert!(rows(&model, 20, 5).contains(&"▌wanted".to_owned()), "{:?}", rows(&model, 20, 5));
}

#[test]
fn a_lost_link_goes_on_without_a_seam() {
    let mut model = with_lines(&["a", "b"]);
    let ended = vec![(SourceIdx(0), SourceEnd::Failed("reset".to_owned()))];
    model.feed(&LogBatch { generation: 1, ended, ..LogBatch::default() }, Instant::now());
    let commands = model.resume();
    let [LogsCommand::Subscribe { generation: 2, queries }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((queries[0].since, queries[0].tail), (Some(system_time(1001)), None));
    feed(&mut model, &["b", "c"], 1001);
    assert_eq!(rows(&model, 9, 3), [" a", " b", " c"]);
}

#[test]
fn a_reader_of_old_lines_keeps_them_while_memory_is_full() {
    let line = "x".repeat(1000);
    let mut model = opened(LogsOptions { budget_bytes: 1 << 20, times: TimeMode::Off, ..LogsOptions::default() });
    feed(&mut model, &["start"], 0);
    rows(&model, 20, 5);
    act(&mut model, &[LogsAction::Top]);
    for n in 0..5000 {
        feed(&mut model, &[&line], 10 + n);
    }
    assert!(model.detached && model.memory_bytes() < 2 << 20);
    assert_eq!(rows(&model, 20, 5)[0], "▌start");
    assert_eq!(model.meter().on_disk + model.n_lines(), 5001);
    let commands = model.apply(LogsAction::Bottom, None);
    assert!(matches!(&commands[..], [LogsCommand::Subscribe { queries, .. }] if queries[0].tail.is_some()));
}

#[test]
fn reading_down_to_the_end_of_a_detached_view_goes_on_from_there() {
    let line = "x".repeat(1000);
    let mut model = opened(LogsOptions { budget_bytes: 1 << 20, times: TimeMode::Off, ..LogsOptions::default() });
    feed(&mut model, &["start"], 0);
    rows(&model, 20, 5);
    act(&mut model, &[LogsAction::Top]);
    for n in 0..5000 {
        feed(&mut model, &[&line], 10 + n);
    }
    let last = model.time_of(model.store.range().end - 1).unwrap();
    let commands = model.apply(LogsAction::Down, Some(5000));
    let [LogsCommand::Subscribe { queries, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(queries[0].since, Some(system_time(last)));
    let end = model.store.range().end;
    feed(&mut model, &[&line, "next"], last);
    assert_eq!(model.store.range().end, end + 1);
}

/// Regression: painting a packed line while asking for the one above it.
#[test]
fn packed_lines_are_painted_like_any_other() {
    let mut model = opened(LogsOptions { times: TimeMode::Delta, ..LogsOptions::default() });
    let line = format!("ERROR boom {}", "x".repeat(200));
    for n in 0..60 {
        feed(&mut model, &[&line, "\tat Foo.bar", r#"{"msg":"m"}"#].repeat(300), n * 1000);
    }
    while model.tick(Instant::now(), SLICE) {}
    let before = model.memory_bytes();
    assert!(before < 6 << 20, "cold lines are packed: {before}");
    rows(&model, 60, 20);
    for wrap in [LogsAction::Wrap, LogsAction::Fold, LogsAction::Json, LogsAction::Json, LogsAction::Timestamps] {
        act(&mut model, &[wrap, LogsAction::Bottom, LogsAction::Top]);
        assert!(rows(&model, 60, 20)[0].contains("ERROR boom"));
        act(&mut model, &[LogsAction::PageDown, LogsAction::HalfPageUp, LogsAction::Down, LogsAction::Expand]);
        rows(&model, 60, 20);
        act(&mut model, &[LogsAction::Back]);
    }
    model.set_search("boom");
    act(&mut model, &[LogsAction::OnlyMatches, LogsAction::Top]);
    while model.tick(Instant::now(), SLICE) {}
    assert!(rows(&model, 60, 20).iter().all(|row| row.contains("boom") || row.contains("xxx")));
}

#[test]
fn real_losses_are_told_from_lines_on_disk() {
    let mut model = with_lines(&["a"]);
    let lossy = LogChunk { lost_before: 7, ..chunk(&[b"b"], 5000) };
    model.feed(&LogBatch { generation: 1, chunks: vec![(SourceIdx(0), lossy)], ..LogBatch::default() }, Instant::now());
    assert_eq!((model.meter().lost, model.meter().on_disk), (7, 0));
}

#[test]
fn lag_is_from_reading_to_the_frame() {
    let mut model = with_lines(&["a"]);
    rows(&model, 20, 5);
    let now = Instant::now();
    model.painted(now, 1000 + 12_000_000);
    model.tick(now + Duration::from_secs(1), SLICE);
    assert_eq!(model.meter().lag, Some(Duration::from_millis(12)));
    assert_eq!(model.meter().shown_per_s, 1);
}

#[test]
fn history_is_behind_nothing() {
    let mut model = opened(LogsOptions { opened_ns: 2_000, ..LogsOptions::default() });
    let mut now = Instant::now();
    let mut lag_of = |time_ns, wall_ns| {
        feed(&mut model, &["a"], time_ns);
        rows(&model, 20, 5);
        model.painted(now, wall_ns);
        now += Duration::from_secs(1);
        model.tick(now, SLICE);
        model.meter().lag
    };
    assert_eq!(lag_of(1_000, 9_000_000_000), None);
    // Whole seconds are a podman's: it may be from the end of its second.
    assert_eq!(lag_of(9_000_000_000, 10_500_000_000), Some(Duration::from_nanos(500_000_001)));
}

fn any_action() -> impl Strategy<Value = LogsAction> {
    use LogsAction::*;
    prop::sample::select(vec![
        Down,
        Up,
        HalfPageDown,
        HalfPageUp,
        PageDown,
        PageUp,
        Top,
        Bottom,
        Left,
        Right,
        LineStart,
        Follow,
        Wrap,
        Timestamps,
        NextMatch,
        PreviousMatch,
        OnlyMatches,
        MoreContext,
        LessContext,
        LevelUp,
        LevelDown,
        NextError,
        PreviousError,
        Json,
        Fold,
        Mark,
        NextMark,
        Histogram,
        Expand,
        CopyLine,
        Back,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is done in whatever size over whatever lines: no panic, no cell outside, no order in a cell.
    #[test]
    fn any_use_paints_inside_and_clean(
        lines in prop::collection::vec(prop_oneof![
            any::<Vec<u8>>(),
            Just(b"\tat Foo \x1b[2J".to_vec()),
            Just("ERROR 漢字漢字\u{301}\u{200d}🐳".as_bytes().to_vec()),
            Just(br#"{"level":"error","msg":"a\u001b[31m\nb","x":{"y":[1,{"z":null}]}}"#.to_vec()),
            Just(vec![b'w'; 300]),
        ], 0..40),
        actions in prop::collection::vec(any_action(), 0..25),
        pattern in prop::sample::select(vec!["", "a", "!a", "~e", "w+", "(", "漢", "^"]),
        sizes in prop::collection::vec((0u16..60, 0u16..14), 1..4),
    ) {
        let mut model = opened(LogsOptions { wrap: Wrap::Yes, ..LogsOptions::default() });
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let chunks = vec![(SourceIdx(0), chunk(&lines, 5))];
        model.feed(&LogBatch { generation: 1, chunks, ..LogBatch::default() }, Instant::now());
        model.set_search(pattern);
        let mut sizes = sizes.into_iter().cycle();
        for action in actions {
            model.apply(action, None);
            model.tick(Instant::now(), SLICE);
            let (width, height) = sizes.next().unwrap();
            let area = Rect::new(2, 1, width, height);
            let outer = Rect::new(0, 0, width + 4, height + 2);
            let mut buf = Buffer::empty(outer);
            model.view(area, &mut buf, &Theme::dark(), Focus::Yes);
            model.meter_line(width, &Theme::dark());
            for y in 0..outer.height {
                for x in 0..outer.width {
                    let symbol = buf[(x, y)].symbol();
                    prop_assert!(!symbol.chars().any(crate::tui::text::is_unsafe), "{symbol:?} at {x},{y}");
                    if !area.contains((x, y).into()) {
                        prop_assert_eq!(symbol, " ", "outside at {},{}", x, y);
                    } else if crate::tui::text::width(symbol) == 2 {
                        prop_assert!(x + 1 < area.right(), "a wide character hangs out");
                        prop_assert_eq!(buf[(x + 1, y)].symbol(), " ");
                    }
                }
            }
        }
    }

    /// A filtered view shows exactly the lines that pass and their context, in order, whatever was packed.
    #[test]
    fn the_filter_is_exact(hits in prop::collection::vec(any::<bool>(), 1..200), context in 0u64..4) {
        let mut model = opened(LogsOptions { context_lines: context, ..LogsOptions::default() });
        for (n, hit) in hits.iter().enumerate() {
            feed(&mut model, &[if *hit { "needle" } else { "hay" }], n as i64);
        }
        model.set_search("needle");
        model.apply(LogsAction::OnlyMatches, None);
        while model.tick(Instant::now(), SLICE) {}
        let first = model.store.range().start;
        let near = |n: usize| {
            let (from, to) = (n.saturating_sub(context as usize), (n + context as usize).min(hits.len() - 1));
            hits[from..=to].iter().any(|hit| *hit)
        };
        let expected: Vec<u64> = (0..hits.len()).filter(|n| near(*n)).map(|n| first + n as u64).collect();
        let mut down = Vec::new();
        let mut at = model.next_visible(first);
        while let Some(seq) = at {
            down.push(seq);
            at = model.next_visible(seq + 1);
        }
        let mut up = Vec::new();
        let mut at = model.previous_visible(u64::MAX / 2);
        while let Some(seq) = at {
            up.push(seq);
            at = model.previous_visible(seq - 1);
        }
        up.reverse();
        prop_assert_eq!(&down, &expected);
        prop_assert_eq!(&up, &expected);
    }
}
