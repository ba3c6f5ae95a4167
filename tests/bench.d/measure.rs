//! How a figure is taken: run a command, note wall and CPU time, repeat interleaved, keep medians and minima.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// One run of one contender.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub wall: Duration,
    /// User and system time of everything the contender consists of, daemons and containers included.
    pub cpu: Duration,
}

/// All runs of one contender.
#[derive(Clone, Debug, Default)]
pub struct Series {
    pub name: String,
    pub samples: Vec<Sample>,
}

impl Series {
    /// Wall time in ms at this share of the sorted samples.
    pub fn wall_ms(&self, share: f64) -> f64 {
        percentile(self.samples.iter().map(|sample| ms(sample.wall)), share)
    }

    /// The mean, for what a daemon does later belongs to no single sample.
    pub fn cpu_ms(&self) -> f64 {
        self.samples.iter().map(|sample| ms(sample.cpu)).sum::<f64>() / self.samples.len() as f64
    }
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The value at `share` (0 the least, 0.5 the median) of the sorted values; NaN when there are none.
pub fn percentile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => sorted[((n - 1) as f64 * share).round() as usize],
    }
}

/// Runs a command to its end, silently; the wall time.
///
/// # Panics
/// When it cannot be started or fails: a figure of a failing command is no figure.
pub fn run(command: &mut Command) -> Duration {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let wall = start.elapsed();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    wall
}

/// The standard output of a command that must succeed.
pub fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A name and what one run of it is.
pub type Contender<'a> = (String, Box<dyn FnMut() -> Sample + 'a>);

/// Runs the contenders in turn, `n` rounds after `n_warm` that do not count.
pub fn interleave(n_warm: usize, n: usize, contenders: &mut [Contender<'_>]) -> Vec<Series> {
    let empty = |(name, _): &Contender<'_>| Series { name: name.clone(), samples: Vec::new() };
    let mut series: Vec<_> = contenders.iter().map(empty).collect();
    for round in 0..n_warm + n {
        for ((_, work), series) in contenders.iter_mut().zip(&mut series) {
            let sample = work();
            if round >= n_warm {
                series.samples.push(sample);
            }
        }
    }
    series
}

/// Peak resident memory in MiB of a command, told by a process of its own so that other children do not count.
pub fn peak_rss_mib(args: &[String]) -> f64 {
    let exe = std::env::current_exe().expect("the benchmark knows itself");
    let mut child = Command::new(exe)
        .arg("--peak-rss")
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the benchmark can start itself");
    let mut text = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut text).expect("utf-8");
    child.wait().expect("a child");
    text.lines().last().and_then(|line| line.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

/// The other side of [`peak_rss_mib`].
pub fn tell_peak_rss(args: &[String]) {
    let status = Command::new(&args[0]).args(&args[1..]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{args:?} failed");
    println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage of children cannot fail").max_rss());
}
