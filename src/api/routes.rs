//! Docker's routes: one table, from which a client makes its paths and a server finds its handler. Only what the engine traits can say stands
//! here. Names of images contain slashes, so an image's place in a path takes as many components as are left.

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Ping,
    PingHead,
    Version,
    Info,
    Events,
    DiskUsage,
    Login,
    ContainerList,
    ContainerCreate,
    ContainerInspect,
    ContainerStart,
    ContainerStop,
    ContainerRestart,
    ContainerKill,
    ContainerPause,
    ContainerUnpause,
    ContainerRename,
    ContainerRemove,
    ContainerWait,
    ContainerUpdate,
    ContainerAttach,
    ContainerResize,
    ContainerLogs,
    ContainerStats,
    ContainerTop,
    ContainerPrune,
    ContainerChanges,
    ContainerExport,
    ContainerCommit,
    ArchiveStat,
    ArchiveGet,
    ArchivePut,
    ExecCreate,
    ExecStart,
    ExecInspect,
    ExecResize,
    ImageList,
    ImageInspect,
    ImageHistory,
    ImageTag,
    ImageRemove,
    ImagePrune,
    /// Podman's own: docker's form of it cannot take images with names.
    LibpodImagePrune,
    ImageLoad,
    /// Pull and import: `fromImage` or `fromSrc`.
    ImageCreate,
    ImageSave,
    ImagePush,
    ImageSearch,
    VolumeList,
    VolumeCreate,
    VolumeInspect,
    VolumeRemove,
    VolumePrune,
    NetworkList,
    NetworkInspect,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub call: Call,
    pub method: &'static str,
    /// `{}` is one component, `{*}` one or more.
    pub path: &'static str,
}

const fn row(call: Call, method: &'static str, path: &'static str) -> Route {
    Route { call, method, path }
}

/// The table. Rows with fixed words stand before rows whose placeholder would take them.
pub const ROUTES: &[Route] = &[
    row(Call::Ping, "GET", "/_ping"),
    row(Call::PingHead, "HEAD", "/_ping"),
    row(Call::Version, "GET", "/version"),
    row(Call::Info, "GET", "/info"),
    row(Call::Events, "GET", "/events"),
    row(Call::DiskUsage, "GET", "/system/df"),
    row(Call::Login, "POST", "/auth"),
    row(Call::ContainerCommit, "POST", "/commit"),
    row(Call::ContainerList, "GET", "/containers/json"),
    row(Call::ContainerCreate, "POST", "/containers/create"),
    row(Call::ContainerPrune, "POST", "/containers/prune"),
    row(Call::ContainerInspect, "GET", "/containers/{}/json"),
    row(Call::ContainerStart, "POST", "/containers/{}/start"),
    row(Call::ContainerStop, "POST", "/containers/{}/stop"),
    row(Call::ContainerRestart, "POST", "/containers/{}/restart"),
    row(Call::ContainerKill, "POST", "/containers/{}/kill"),
    row(Call::ContainerPause, "POST", "/containers/{}/pause"),
    row(Call::ContainerUnpause, "POST", "/containers/{}/unpause"),
    row(Call::ContainerRename, "POST", "/containers/{}/rename"),
    row(Call::ContainerRemove, "DELETE", "/containers/{}"),
    row(Call::ContainerWait, "POST", "/containers/{}/wait"),
    row(Call::ContainerUpdate, "POST", "/containers/{}/update"),
    row(Call::ContainerAttach, "POST", "/containers/{}/attach"),
    row(Call::ContainerResize, "POST", "/containers/{}/resize"),
    row(Call::ContainerLogs, "GET", "/containers/{}/logs"),
    row(Call::ContainerStats, "GET", "/containers/{}/stats"),
    row(Call::ContainerTop, "GET", "/containers/{}/top"),
    row(Call::ContainerChanges, "GET", "/containers/{}/changes"),
    row(Call::ContainerExport, "GET", "/containers/{}/export"),
    row(Call::ArchiveStat, "HEAD", "/containers/{}/archive"),
    row(Call::ArchiveGet, "GET", "/containers/{}/archive"),
    row(Call::ArchivePut, "PUT", "/containers/{}/archive"),
    row(Call::ExecCreate, "POST", "/containers/{}/exec"),
    row(Call::ExecStart, "POST", "/exec/{}/start"),
    row(Call::ExecInspect, "GET", "/exec/{}/json"),
    row(Call::ExecResize, "POST", "/exec/{}/resize"),
    row(Call::ImageList, "GET", "/images/json"),
    row(Call::ImageCreate, "POST", "/images/create"),
    row(Call::ImageLoad, "POST", "/images/load"),
    row(Call::ImagePrune, "POST", "/images/prune"),
    row(Call::LibpodImagePrune, "POST", "/libpod/images/prune"),
    row(Call::ImageSearch, "GET", "/images/search"),
    row(Call::ImageSave, "GET", "/images/get"),
    row(Call::ImageInspect, "GET", "/images/{*}/json"),
    row(Call::ImageHistory, "GET", "/images/{*}/history"),
    row(Call::ImageTag, "POST", "/images/{*}/tag"),
    row(Call::ImagePush, "POST", "/images/{*}/push"),
    row(Call::ImageRemove, "DELETE", "/images/{*}"),
    row(Call::VolumeList, "GET", "/volumes"),
    row(Call::VolumeCreate, "POST", "/volumes/create"),
    row(Call::VolumePrune, "POST", "/volumes/prune"),
    row(Call::VolumeInspect, "GET", "/volumes/{}"),
    row(Call::VolumeRemove, "DELETE", "/volumes/{}"),
    row(Call::NetworkList, "GET", "/networks"),
    row(Call::NetworkInspect, "GET", "/networks/{}"),
];

/// The row of a call.
///
/// # Panics
/// Never: a test holds that every call has a row.
pub fn route(call: Call) -> &'static Route {
    ROUTES.iter().find(|row| row.call == call).expect("every call has a row")
}

/// The path of a row with `name` in its place, percent-encoded.
pub fn path(route: &Route, name: &str) -> String {
    match route.path.split_once("{*}") {
        Some((before, after)) => format!("{before}{}{after}", encode(name, b"/:@")),
        None => match route.path.split_once("{}") {
            Some((before, after)) => format!("{before}{}{after}", encode(name, b":@")),
            None => route.path.to_owned(),
        },
    }
}

/// Finds the row of a request, without its version prefix and query, and the decoded name in it.
pub fn find(method: &str, path: &str) -> Option<(Call, String)> {
    ROUTES.iter().filter(|row| row.method == method).find_map(|row| Some((row.call, matched(row.path, path)?)))
}

/// `/v1.41/x` without its version.
pub fn split_version(path: &str) -> (Option<&str>, &str) {
    let Some((version, _)) = path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) else { return (None, path) };
    match version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && version.contains('.') {
        true => (Some(version), &path[version.len() + 2..]),
        false => (None, path),
    }
}

fn matched(pattern: &str, path: &str) -> Option<String> {
    let (before, after, is_long) = match (pattern.split_once("{*}"), pattern.split_once("{}")) {
        (Some((before, after)), _) => (before, after, true),
        (None, Some((before, after))) => (before, after, false),
        (None, None) => return (pattern == path).then(String::new),
    };
    let name = path.strip_prefix(before)?.strip_suffix(after)?;
    (!name.is_empty() && (is_long || !name.contains('/'))).then(|| decode(name))?
}

/// Percent-encodes all but letters, digits, `-._~` and what is named.
pub fn encode(text: &str, but: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || but.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `None` for a broken escape or what is no UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// A query string under construction. Keys are docker's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(String);

impl Query {
    #[must_use]
    pub fn with(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(&encode(key, b""));
        self.0.push('=');
        self.0.push_str(&encode(&value.to_string(), b"/:,"));
        self
    }

    /// Only when it is something.
    #[must_use]
    pub fn with_some(self, key: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// `key=1` when asked for; docker's defaults are false.
    #[must_use]
    pub fn flag(self, key: &str, on: bool) -> Self {
        if on { self.with(key, 1) } else { self }
    }

    /// `{"label":{"a=b":true}}`: the form that every version since 1.22 and podman read.
    #[must_use]
    pub fn filters(self, filters: &crate::engine::Filters) -> Self {
        if filters.is_empty() {
            return self;
        }
        let set = |values: &Vec<String>| {
            values.iter().map(|value| (value.clone(), true.into())).collect::<serde_json::Map<_, _>>()
        };
        let map: serde_json::Map<_, _> =
            filters.0.iter().map(|(key, values)| (key.clone(), set(values).into())).collect();
        self.with("filters", serde_json::Value::Object(map))
    }

    /// With its question mark; empty when nothing was added.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_path_is_what_a_server_finds() {
        for row in ROUTES {
            for name in ["one", "a.b-c_d", "sha256:abc", "ünï code", "50%", "x?y#z"] {
                let has_name = row.path.contains('{');
                let wanted = (row.call, if has_name { name.to_owned() } else { String::new() });
                assert_eq!(find(row.method, &path(route(row.call), name)), Some(wanted), "{}", row.path);
            }
        }
    }

    #[test]
    fn images_have_slashes_and_containers_have_not() {
        assert_eq!(
            find("GET", "/images/host:5000/a/b:1/json"),
            Some((Call::ImageInspect, "host:5000/a/b:1".to_owned()))
        );
        assert_eq!(find("GET", "/containers/a/b/json"), None);
        assert_eq!(find("GET", "/containers/json"), Some((Call::ContainerList, String::new())));
        assert_eq!(find("PATCH", "/containers/json"), None);
        assert_eq!(find("GET", "/containers/%zz/json"), None);
        assert_eq!(path(route(Call::ContainerInspect), "../x"), "/containers/..%2Fx/json");
    }

    #[test]
    fn a_version_is_taken_off() {
        assert_eq!(split_version("/v1.41/info"), (Some("1.41"), "/info"));
        assert_eq!(split_version("/info"), (None, "/info"));
        assert_eq!(split_version("/volumes/x"), (None, "/volumes/x"));
    }

    #[test]
    fn queries_are_encoded() {
        let filters = crate::engine::Filters::default().with("label", "a=b c");
        let query = Query::default().flag("all", true).flag("size", false).with("x", "é&").filters(&filters);
        let wanted = "?all=1&x=%C3%A9%26&filters=%7B%22label%22:%7B%22a%3Db%20c%22:true%7D%7D";
        assert_eq!(query.as_str(), wanted);
    }
}
