//! Tables of typed values and what they mean, or docker's sentence about them.

use super::*;
use crate::engine::spec::MountKind;

fn home(path: &str) -> String {
    path.to_owned()
}

#[test]
fn ports() {
    let check = |text: &str, expected: &[(Option<&str>, Option<u16>, u16, &str)]| {
        let found = publish(text).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|port| (port.host_ip.as_deref(), port.host_port, port.container_port, port.protocol.as_str()))
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    check("80", &[(None, None, 80, "tcp")]);
    check("8080:80/udp", &[(None, Some(8080), 80, "udp")]);
    check("127.0.0.1:8080:80", &[(Some("127.0.0.1"), Some(8080), 80, "tcp")]);
    check("127.0.0.1::80", &[(Some("127.0.0.1"), None, 80, "tcp")]);
    check("[::1]:8080:80", &[(Some("::1"), Some(8080), 80, "tcp")]);
    check("8000-8001:80-81", &[(None, Some(8000), 80, "tcp"), (None, Some(8001), 81, "tcp")]);
    for (text, message) in [
        ("99999:80", "invalid hostPort: 99999"),
        ("80:x", "invalid containerPort: x"),
        ("80/icmp", "invalid proto: icmp in 80/icmp"),
        ("300.1.1.1:80:80", "invalid IP address: 300.1.1.1"),
        ("8000-8005:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8000-8005"),
    ] {
        assert_eq!(publish(text).unwrap_err().to_string(), message);
    }
    assert_eq!(expose("7000-7001/udp").unwrap(), ["7000/udp", "7001/udp"]);
}

#[test]
fn volumes_and_mounts() {
    let bind = volume("/tmp:/host:ro", &home).unwrap();
    assert!(bind.read_only && bind.target == "/host");
    assert!(matches!(bind.kind, MountKind::Bind { ref source, create: true, .. } if source == "/tmp"));
    assert!(
        matches!(volume("data:/data", &home).unwrap().kind, MountKind::Volume { name: Some(ref name), .. } if name == "data")
    );
    assert!(matches!(volume("/anon", &home).unwrap().kind, MountKind::Volume { name: None, .. }));
    assert!(volume("a b:/x", &home).unwrap_err().to_string().contains("invalid characters for a local volume name"));
    assert!(volume("a:b:c:d", &home).is_err());
    assert!(volume("data:relative", &home).is_err());
    let parsed = mount("type=bind,src=/a,dst=/b,readonly", &home).unwrap();
    assert!(parsed.read_only && matches!(parsed.kind, MountKind::Bind { create: false, .. }));
    let parsed = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770", &home).unwrap();
    assert_eq!(parsed.kind, MountKind::Tmpfs { size_bytes: Some(1 << 20), mode: Some(0o1770), options: vec![] });
    assert_eq!(
        mount("foo", &home).unwrap_err().to_string(),
        "invalid argument \"foo\" for \"--mount\" flag: invalid field 'foo' must be a key=value pair"
    );
    let parsed = tmpfs("/t:size=1m,noexec").unwrap();
    assert_eq!(
        parsed.kind,
        MountKind::Tmpfs { size_bytes: Some(1 << 20), mode: None, options: vec!["noexec".to_owned()] }
    );
}

#[test]
fn numbers_durations_and_policies() {
    assert_eq!(bytes("-m, --memory", "64m"), Ok(64 << 20));
    assert_eq!(
        bytes("-m, --memory", "abc").unwrap_err().to_string(),
        "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'"
    );
    assert_eq!(cpus("--cpus", ".5"), Ok(500_000_000));
    assert!(cpus("--cpus", "x").unwrap_err().to_string().ends_with("failed to parse x as a rational number"));
    assert_eq!(go_duration("1h30m"), Some(Duration::from_secs(5400)));
    assert_eq!(go_duration("1.5s"), Some(Duration::from_millis(1500)));
    assert_eq!(go_duration("500ms"), Some(Duration::from_millis(500)));
    for wrong in ["", "5", "x", "1d", "-", "."] {
        assert_eq!(go_duration(wrong), None, "{wrong}");
    }
    assert_eq!(restart("on-failure:3"), Ok(RestartPolicy::OnFailure { max_retries: 3 }));
    assert!(restart("foo").is_err() && restart("always:3").is_err());
    assert_eq!(ulimit("nofile=1024:2048").unwrap(), Ulimit { name: "nofile".to_owned(), soft: 1024, hard: 2048 });
    assert_eq!(
        ulimit("foo").unwrap_err().to_string(),
        "invalid argument \"foo\" for \"--ulimit\" flag: invalid ulimit argument: foo"
    );
    assert!(ulimit("nofile=5:4").is_err());
    assert_eq!(device_rate("--device-read-bps", "/dev/sda:1mb", RateUnit::Bytes), Ok(("/dev/sda".to_owned(), 1 << 20)));
}

#[test]
fn moments() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    assert_eq!(moment("42m", now), Some(now - Duration::from_secs(42 * 60)));
    assert_eq!(moment("0s", now), Some(now));
    assert_eq!(moment("1000.5", now), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_500)));
    assert_eq!(moment("1970-01-01T00:00:10Z", now), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(10)));
    assert!(moment("1970-01-05T10:00:00", now).is_some() && moment("2013-01-02", now).is_some());
    assert_eq!(moment("foo", now), None);
}

#[test]
fn env_files_and_shell_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("env").display().to_string();
    std::fs::write(&path, "# c\nA=1\n\n  B\n").unwrap();
    assert_eq!(file_lines(&path).unwrap(), ["A=1", "B"]);
    std::fs::write(&path, "A B=1\n").unwrap();
    assert!(file_lines(&path).unwrap_err().to_string().contains("contains whitespaces"));
    assert_eq!(file_lines("/nosuch").unwrap_err().to_string(), "open /nosuch: no such file or directory");
    assert_eq!(env("B", &|_| Some("2".to_owned())), Ok(Some("B=2".to_owned())));
    assert_eq!(env("B", &|_| None), Ok(None));
    assert!(env("=x", &|_| None).is_err());
    let words = shell_words("run -e 'A=b c' \"d \\\" e\" f\\ g ''").unwrap();
    assert_eq!(words, ["run", "-e", "A=b c", "d \" e", "f g", ""]);
    assert_eq!(shell_words("open 'quote"), None);
}
