//! What a container uses, derived from samples: rates need two, graphs many. Fed by `update`, read by the list and the stats page.

use std::time::Duration;

use crate::engine::StatsSample;

use super::super::charts::Series;

/// Points kept for graphs: four minutes at one a second.
pub const HISTORY: usize = 240;

/// The newest figures and the past.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Percent of one CPU.
    pub cpu_percent: f64,
    pub mem_bytes: u64,
    pub mem_limit_bytes: u64,
    /// Bytes a second.
    pub net_rx_per_s: f64,
    pub net_tx_per_s: f64,
    pub blk_read_per_s: f64,
    pub blk_write_per_s: f64,
    /// Share of the time in which it was held back by its CPU limit, percent.
    pub throttled_percent: f64,
    pub last: Option<StatsSample>,
    pub cpu: Series,
    pub mem: Series,
    pub rx: Series,
    pub tx: Series,
    pub read: Series,
    pub write: Series,
}

impl Default for Usage {
    fn default() -> Self {
        let series = || Series::new(HISTORY, Duration::from_secs(1));
        Self {
            cpu_percent: 0.0,
            mem_bytes: 0,
            mem_limit_bytes: 0,
            net_rx_per_s: 0.0,
            net_tx_per_s: 0.0,
            blk_read_per_s: 0.0,
            blk_write_per_s: 0.0,
            throttled_percent: 0.0,
            last: None,
            cpu: series(),
            mem: series(),
            rx: series(),
            tx: series(),
            read: series(),
            write: series(),
        }
    }
}

impl Usage {
    /// Takes a sample; the first one gives no rates.
    pub fn add(&mut self, sample: StatsSample) {
        self.mem_bytes = sample.mem_used_bytes;
        self.mem_limit_bytes = sample.mem_limit_bytes;
        let previous = self.last.replace(sample);
        let (Some(previous), Some(sample)) = (previous, &self.last) else {
            self.mem.push(Some(self.mem_bytes as f64));
            return;
        };
        let Ok(span) = sample.read_at.duration_since(previous.read_at) else { return };
        let span = span.as_secs_f64();
        if span <= 0.0 {
            return;
        }
        let n_points = span.round().clamp(1.0, 5.0) as usize;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / span;
        self.cpu_percent = sample.cpu_percent(&previous).unwrap_or(0.0);
        self.net_rx_per_s = rate(sample.net_rx_bytes, previous.net_rx_bytes);
        self.net_tx_per_s = rate(sample.net_tx_bytes, previous.net_tx_bytes);
        self.blk_read_per_s = rate(sample.blk_read_bytes, previous.blk_read_bytes);
        self.blk_write_per_s = rate(sample.blk_write_bytes, previous.blk_write_bytes);
        self.throttled_percent = rate(sample.throttled_ns, previous.throttled_ns) / 1e7;
        for (series, value) in [
            (&mut self.cpu, self.cpu_percent),
            (&mut self.mem, self.mem_bytes as f64),
            (&mut self.rx, self.net_rx_per_s),
            (&mut self.tx, self.net_tx_per_s),
            (&mut self.read, self.blk_read_per_s),
            (&mut self.write, self.blk_write_per_s),
        ] {
            // A point is a second: rows that are asked for more seldom keep their place in time.
            for _ in 0..n_points {
                series.push(Some(value));
            }
        }
    }
}
