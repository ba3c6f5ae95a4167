//! How a figure is taken: run a command, note wall and CPU time, repeat interleaved, keep medians and minima.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// One run of one command.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub wall: Duration,
    /// User and system time of the command and of the children it waited for.
    pub cpu: Duration,
}

/// All runs of one contender.
#[derive(Clone, Debug, Default)]
pub struct Series {
    pub name: String,
    pub samples: Vec<Sample>,
}

impl Series {
    pub fn median(&self) -> f64 {
        percentile(self.samples.iter().map(|sample| ms(sample.wall)), 0.5)
    }

    pub fn min(&self) -> f64 {
        percentile(self.samples.iter().map(|sample| ms(sample.wall)), 0.0)
    }

    pub fn cpu(&self) -> f64 {
        percentile(self.samples.iter().map(|sample| ms(sample.cpu)), 0.5)
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

fn children_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage of children cannot fail");
    let micros = |time: nix::sys::time::TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
    micros(usage.user_time()) + micros(usage.system_time())
}

/// Runs a command to its end, silently.
///
/// # Panics
/// When it cannot be started or fails: a figure of a failing command is no figure.
pub fn run(command: &mut Command) -> Sample {
    let (cpu, start) = (children_cpu(), Instant::now());
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let wall = start.elapsed();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    Sample { wall, cpu: children_cpu() - cpu }
}

/// Times anything.
pub fn time(work: impl FnOnce()) -> Sample {
    let (cpu, start) = (children_cpu(), Instant::now());
    work();
    Sample { wall: start.elapsed(), cpu: children_cpu() - cpu }
}

/// The standard output of a command that must succeed.
pub fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A name and what one run of it is.
pub type Contender<'a> = (String, Box<dyn FnMut() -> Sample + 'a>);

/// Runs the contenders in turn, `n` rounds after one that does not count.
pub fn interleave(n: usize, contenders: &mut [Contender<'_>]) -> Vec<Series> {
    let mut series: Vec<_> =
        contenders.iter().map(|(name, _)| Series { name: name.clone(), samples: Vec::new() }).collect();
    for round in 0..=n {
        for ((_, work), series) in contenders.iter_mut().zip(&mut series) {
            let sample = work();
            if round > 0 {
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

/// Prints one row: every contender with its ratio to the first.
pub fn print_row(work: &str, unit: &str, series: &[Series]) {
    println!("\n{work} ({unit})");
    println!("  {:<22} {:>9} {:>9} {:>9} {:>7} {:>5}", "", "median", "min", "cpu", "ratio", "n");
    let own = series[0].median();
    for one in series {
        let ratio = own / one.median();
        println!(
            "  {:<22} {:>9.2} {:>9.2} {:>9.2} {:>7.2} {:>5}",
            one.name,
            one.median(),
            one.min(),
            one.cpu(),
            ratio,
            one.samples.len()
        );
    }
}
