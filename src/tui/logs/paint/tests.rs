//! Tests of `paint`, beside it because they outgrew it.

use std::time::Instant;

use ratatui::style::{Color, Modifier};

use super::super::store::tests::chunk;
use super::super::{LogBatch, LogSource, LogsAction, LogsOptions, SourceIdx, TimeMode};
use super::*;

/// 2026-11-21 14:02:09.113 UTC.
const TIME: i64 = 1_795_269_729_113_000_000;

fn model(names: &[&str], lines: &[(u16, &str)], times: TimeMode) -> LogsModel {
    let source = |name: &&str| LogSource { container: (*name).to_owned(), label: (*name).to_owned() };
    let options = LogsOptions { times, ..LogsOptions::default() };
    let (mut model, _) = LogsModel::open(names.iter().map(source).collect(), options);
    let chunks = lines.iter().map(|(source, line)| (SourceIdx(*source), chunk(&[line.as_bytes()], TIME))).collect();
    model.feed(&LogBatch { generation: 1, chunks, ..LogBatch::default() }, Instant::now());
    model
}

fn painted(model: &LogsModel, width: u16, height: u16) -> Buffer {
    let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
    model.view(*buf.area(), &mut buf, &Theme::dark(), Focus::Yes);
    buf
}

fn text_of(line: &ratatui::text::Line<'_>) -> String {
    line.spans.iter().map(|span| span.content.as_ref()).collect()
}

#[test]
fn a_line_has_its_columns_and_colours() {
    let theme = Theme::dark();
    let model = model(&["web", "db-long-name"], &[(1, "level=warn \x1b[0mx"), (0, "ERROR k=v")], TimeMode::Short);
    let mut expected = Buffer::empty(Rect::new(0, 0, 60, 2));
    expected.set_string(1, 0, "14:02:09.113", theme.log_time);
    expected.set_string(14, 0, "db-long-name", theme.source(1));
    expected.set_string(27, 0, "level=warn x", theme.text);
    expected.set_string(1, 1, "14:02:09.113", theme.log_time);
    expected.set_string(14, 1, "web         ", theme.source(0));
    expected.set_string(27, 1, "ERROR", theme.text.patch(theme.level_error));
    expected.set_string(32, 1, " ", theme.text);
    expected.set_string(33, 1, "k=", theme.text.patch(theme.json_key));
    expected.set_string(35, 1, "v", theme.text);
    assert_eq!(painted(&model, 60, 2), expected);
}

#[test]
fn the_match_is_highlighted_and_not_the_row() {
    let theme = Theme::dark();
    let mut model = model(&["web"], &[(0, "a needle b"), (0, "x \x1b[1mneedle")], TimeMode::Off);
    model.set_search("needle");
    let buf = painted(&model, 20, 2);
    let mut expected = Buffer::empty(Rect::new(0, 0, 20, 2));
    expected.set_string(1, 0, "a ", theme.text);
    expected.set_string(3, 0, "needle", theme.text.patch(theme.search_match));
    expected.set_string(9, 0, " b", theme.text);
    expected.set_string(1, 1, "x ", theme.text);
    expected.set_string(3, 1, "needle", theme.text.add_modifier(Modifier::BOLD).patch(theme.search_current));
    assert_eq!(buf, expected);
}

#[test]
fn sgr_colours_are_kept_and_end_with_the_line() {
    let model = model(&["web"], &[(0, "\x1b[41;97mred"), (0, "plain")], TimeMode::Off);
    let buf = painted(&model, 10, 2);
    assert_eq!((buf[(1, 0)].bg, buf[(1, 0)].fg), (Color::Red, Color::White));
    assert_eq!(buf[(1, 1)].bg, Color::Reset);
}

#[test]
fn empty_views_say_why() {
    let first = |model: &LogsModel| -> String {
        let buf = painted(model, 60, 1);
        (0..60).map(|x| buf[(x, 0)].symbol()).collect::<String>().trim().to_owned()
    };
    let mut empty = model(&["web"], &[], TimeMode::Short);
    assert_eq!(first(&empty), "waiting for the first line");
    let end =
        |end| LogBatch { generation: 1, chunks: Vec::new(), ended: vec![(SourceIdx(0), end)], ..LogBatch::default() };
    empty.feed(&end(super::super::SourceEnd::Ended), Instant::now());
    assert_eq!(first(&empty), "the log is empty");
    empty.feed(&end(super::super::SourceEnd::Failed("no \x1b such".to_owned())), Instant::now());
    assert_eq!(first(&empty), "cannot read the log: no \u{241b} such");
    let mut filtered = model(&["web"], &[(0, "x")], TimeMode::Short);
    filtered.set_search("zebra");
    filtered.apply(LogsAction::OnlyMatches, None);
    filtered.tick(Instant::now(), std::time::Duration::from_secs(1));
    assert_eq!(first(&filtered), "no line passes the filter  /zebra");
}

#[test]
fn the_meter_fits_and_keeps_what_matters() {
    let theme = Theme::dark();
    let mut model = model(&["web"], &[(0, "upstream"), (0, "x upstream"), (0, "y")], TimeMode::Short);
    model.set_search("upstream");
    model.tick(Instant::now(), std::time::Duration::from_secs(1));
    let line = model.meter_line(100, &theme);
    assert_eq!(text_of(&line.right), " /upstream 2 · FOLLOW ");
    assert!(text_of(&line.left).ends_with("/s · lost 0 "), "{}", text_of(&line.left));
    for width in 0..100 {
        let line = model.meter_line(width, &theme);
        assert!(line.left.width() + line.right.width() <= usize::from(width));
    }
    assert_eq!(text_of(&model.meter_line(10, &theme).right), " FOLLOW ");
}

#[test]
fn the_prompt_has_the_text_cursor() {
    let mut model = model(&["web"], &[(0, "x")], TimeMode::Off);
    model.apply(LogsAction::Search, None);
    let mut buf = Buffer::empty(Rect::new(0, 0, 40, 3));
    let cursor = model.view(*buf.area(), &mut buf, &Theme::dark(), Focus::Yes);
    assert_eq!(cursor, Some(Position { x: 1, y: 2 }));
    assert_eq!(buf[(0, 2)].symbol(), "/");
}

#[test]
fn the_strip_shows_errors_in_their_time() {
    let mut model = model(&["web"], &[(0, "ok"), (0, "ERROR x")], TimeMode::Off);
    model.apply(LogsAction::Histogram, None);
    model.tick(Instant::now(), std::time::Duration::from_secs(1));
    let buf = painted(&model, 40, 5);
    let row: String = (0..40).map(|x| buf[(x, 0)].symbol()).collect();
    assert!(row.starts_with("14:02:09 █") && row.ends_with("14:02:09"), "{row}");
    assert_eq!(buf[(9, 0)].fg, Theme::dark().level_error.fg.unwrap());
}
