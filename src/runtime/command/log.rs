//! Errors and warnings for whoever called the runtime: lines in the file of `--log`, in the form that go-runc and conmon read, and
//! errors on standard error too.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

#[derive(Debug, Default)]
pub(crate) struct Log {
    file: Option<PathBuf>,
    is_json: bool,
    is_verbose: bool,
}

impl Log {
    pub(crate) fn new(file: Option<&str>, format: Option<&str>, is_verbose: bool) -> Self {
        Self {
            file: file.filter(|path| !path.is_empty()).map(PathBuf::from),
            is_json: format == Some("json"),
            is_verbose,
        }
    }

    pub(crate) fn error(&self, message: &str) {
        self.write("error", message);
        let _ = writeln!(std::io::stderr().lock(), "orlop-runtime: {message}");
    }

    /// Goes to the file alone, or to standard error when there is none: nobody else is listening.
    pub(crate) fn warning(&self, message: &str) {
        self.write("warning", message);
        if self.file.is_none() {
            let _ = writeln!(std::io::stderr().lock(), "orlop-runtime: warning: {message}");
        }
    }

    pub(crate) fn debug(&self, message: &str) {
        if self.is_verbose {
            self.write("debug", message);
        }
    }

    fn write(&self, level: &str, message: &str) {
        let Some(path) = &self.file else { return };
        let time = super::super::now();
        let line = if self.is_json {
            format!("{}\n", serde_json::json!({ "level": level, "msg": message, "time": time }))
        } else {
            format!("time=\"{time}\" level={level} msg={message:?}\n")
        };
        // A log that cannot be written must not keep a container from being what it is.
        if let Ok(mut file) = OpenOptions::new().append(true).create(true).mode(0o644).open(path) {
            let _ = file.write_all(line.as_bytes());
        }
    }
}
