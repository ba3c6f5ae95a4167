//! The local time zone, read once. Called by whatever shows a time of day.
//!
//! Not through the time library's own search: that lists all of `/usr/share/zoneinfo` first, which is most of the time to the first frame.

use std::path::Path;
use std::sync::OnceLock;

use jiff::tz::TimeZone;

/// The zone that `TZ` names, else that of `/etc/localtime`, else UTC. Reads one small file the first time.
pub fn local() -> &'static TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(|| chosen(std::env::var("TZ").ok().as_deref(), &|path| std::fs::read(path).ok()))
}

/// `TZ` as the C library reads it: a file's name, with or without a colon, or a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
fn chosen(tz: Option<&str>, read: &dyn Fn(&Path) -> Option<Vec<u8>>) -> TimeZone {
    let from = |path: &Path| read(path).and_then(|bytes| TimeZone::tzif("local", &bytes).ok());
    let found = match tz.map(|tz| tz.strip_prefix(':').unwrap_or(tz)) {
        None => from(Path::new("/etc/localtime")),
        Some("") => None,
        Some(path) if path.starts_with('/') => from(Path::new(path)),
        Some(name) => from(&Path::new("/usr/share/zoneinfo").join(name)).or_else(|| TimeZone::posix(name).ok()),
    };
    found.unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_then_the_file_then_utc() {
        let noon = jiff::Timestamp::from_second(1_763_726_400).unwrap();
        let nothing = |_: &Path| None;
        let hours = |tz: Option<&str>| chosen(tz, &nothing).to_offset(noon).seconds() / 3600;
        assert_eq!(hours(None), 0);
        assert_eq!(hours(Some("")), 0);
        assert_eq!(hours(Some("CET-1")), 1);
        assert_eq!(hours(Some("Nowhere/At all")), 0);
        let asked = std::cell::RefCell::new(Vec::new());
        for tz in [None, Some(":Europe/Paris"), Some("/my/zone")] {
            chosen(tz, &|path| {
                asked.borrow_mut().push(path.display().to_string());
                None
            });
        }
        assert_eq!(asked.into_inner(), ["/etc/localtime", "/usr/share/zoneinfo/Europe/Paris", "/my/zone"]);
    }
}
