//! What a container uses: gauges on top, graphs below, as many as fit.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::engine::container::Status;

use super::super::charts::{Gauge, LineChart, Plot, Unit};
use super::super::model::usage::Usage;
use super::super::model::{Model, Subject};
use super::super::widgets::{put, put_right};
use super::super::{text, units};

/// Rows a chart needs to say anything.
const CHART_ROWS: u16 = 6;

pub(super) fn paint(model: &Model, subject: &Subject, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let area = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    let is_running = model.containers.find(&subject.id).is_some_and(|row| row.status() == Status::Running);
    if !is_running {
        put(buf, area.x, area.y, area.width, "it does not run: it uses nothing", theme.dim);
        return;
    }
    let Some(usage) = model.usage.get(&subject.id).filter(|usage| usage.last.is_some()) else {
        put(buf, area.x, area.y, area.width, "first sample under way…", theme.dim);
        return;
    };
    let used = figures(model, usage, area, buf);
    let rest = Rect { y: area.y + used, height: area.height.saturating_sub(used), ..area };
    charts(model, usage, rest, buf);
}

/// Label, gauge and value rows; returns the rows used.
fn figures(model: &Model, usage: &Usage, area: Rect, buf: &mut Buffer) -> u16 {
    let theme = &model.theme;
    let Some(sample) = &usage.last else { return 0 };
    let cpus = f64::from(sample.n_cpus_online.max(1)) * 100.0;
    let cpu_limit = cpu_limit(model);
    let mem_limit = sample.mem_max_bytes.map(|limit| limit as f64);
    let mem_full = sample.mem_limit_bytes as f64;
    let pids = sample.pids_limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    let mut rows: Vec<(&str, Option<Gauge>, String)> = vec![
        (
            "CPU",
            Some(
                cpu_limit
                    .map_or_else(|| Gauge::new(usage.cpu_percent, cpus), |limit| Gauge::new(usage.cpu_percent, limit)),
            ),
            format!("{} of {:.0}%", units::percent(usage.cpu_percent), cpu_limit.unwrap_or(cpus)),
        ),
        (
            "Memory",
            Some(Gauge::new(usage.mem_bytes as f64, mem_limit.unwrap_or(mem_full))),
            format!(
                "{} of {}{}",
                units::bytes(usage.mem_bytes),
                units::bytes(sample.mem_limit_bytes),
                if mem_limit.is_none() { " (host)" } else { "" }
            ),
        ),
    ];
    rows.push(("Processes", None, format!("{}{pids}", sample.n_pids)));
    if let Some(pressure) = sample.pressure {
        let shown = format!(
            "cpu {}  memory {}  io {}",
            units::percent(pressure.cpu_some.into()),
            units::percent(pressure.memory_some.into()),
            units::percent(pressure.io_some.into())
        );
        rows.push(("Waiting", None, shown));
    }
    if sample.throttled_periods > 0 {
        rows.push((
            "Throttled",
            None,
            format!(
                "{} now, {} times",
                units::percent(usage.throttled_percent),
                units::count(sample.throttled_periods)
            ),
        ));
    }
    if sample.oom_kills > 0 {
        rows.push(("OOM kills", None, sample.oom_kills.to_string()));
    }
    let label_room = 11.min(area.width / 3);
    let value_room = 24.min(area.width.saturating_sub(label_room));
    let n = rows.len().min(area.height.into()) as u16;
    for ((label, gauge, value), y) in rows.into_iter().zip(area.y..area.y + n) {
        let style = if label == "OOM kills" { theme.error } else { theme.text };
        put(buf, area.x, y, label_room, label, theme.dim);
        let bar = Rect::new(area.x + label_room, y, area.width.saturating_sub(label_room + value_room + 1), 1);
        match gauge {
            Some(gauge) if bar.width >= 8 => {
                gauge.paint(bar, buf, theme);
                put_right(buf, area.right().saturating_sub(value_room), y, value_room, &value, style);
            }
            _ => {
                put(buf, area.x + label_room, y, area.width.saturating_sub(label_room), &value, style);
            }
        }
    }
    if n < area.height { n + 1 } else { n }
}

/// The CPU limit in percent of one CPU, if there is one.
fn cpu_limit(model: &Model) -> Option<f64> {
    let subject = model.subject()?;
    let resources = &model.detail.container_for(&subject)?.spec.resources;
    let by_quota = || {
        let quota = resources.cpu_quota_us.filter(|quota| *quota > 0)? as f64;
        Some(quota / resources.cpu_period_us.filter(|period| *period > 0).unwrap_or(100_000) as f64 * 100.0)
    };
    resources.nano_cpus.filter(|n| *n > 0).map(|n| n as f64 / 1e7).or_else(by_quota)
}

fn charts(model: &Model, usage: &Usage, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let mem_limit = usage.last.as_ref().and_then(|sample| sample.mem_max_bytes).map(|limit| limit as f64);
    let all = [
        LineChart::new("CPU", Unit::Percent).series(&usage.cpu, Plot::Area).limit(cpu_limit(model)),
        LineChart::new("Memory", Unit::Bytes).series(&usage.mem, Plot::Area).limit(mem_limit),
        LineChart::new("Network in, out", Unit::BytesPerSecond)
            .series(&usage.rx, Plot::Area)
            .series(&usage.tx, Plot::Line),
        LineChart::new("Disk read, write", Unit::BytesPerSecond)
            .series(&usage.read, Plot::Area)
            .series(&usage.write, Plot::Line),
    ];
    // Two in a row where there is room for both, else one below the other.
    let per_row: u16 = if area.width >= 90 { 2 } else { 1 };
    let n_rows = (area.height / CHART_ROWS).clamp(1, (all.len() as u16).div_ceil(per_row));
    let height = (area.height / n_rows).min(14);
    let width = area.width / per_row;
    for (at, chart) in all.iter().enumerate().take(usize::from(n_rows * per_row)) {
        let (row, column) = (at as u16 / per_row, at as u16 % per_row);
        let place = Rect {
            x: area.x + column * width,
            y: area.y + row * height,
            width: width.saturating_sub(if per_row == 2 && column == 0 { 2 } else { 0 }),
            height: height.saturating_sub(1).max(1),
        };
        if place.bottom() <= area.bottom() {
            chart.paint(place, buf, theme);
        }
    }
    if area.height < 2 {
        put(buf, area.x, area.y, area.width, &text::clip("", 0), theme.dim);
    }
}
