//! argv → stdout, stderr and exit code, on the fake engine with its clock stopped. The words are those docker 28.2.2 printed for the same
//! commands, but for the name and for "Error response from daemon" (there is no daemon).
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

#[path = "contract/sink.rs"]
mod sink;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use orlop::cli::io::Stdin;
use orlop::cli::{self, CommandLine, Io};
use orlop::config::{LineOutput, LineRunner};
use orlop::engine::fake::{EPOCH_S, Fake};
use orlop::engine::spec::ContainerSpec;
use orlop::engine::{Access, Class, Engine, EngineError, HostEntry, Hosts, Images};
use sink::Sink;

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_S)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Hosts `here` and `there`, and one that is only to be looked at.
struct Two(Fake, Fake);

impl Hosts for Two {
    fn known(&self) -> Vec<HostEntry> {
        Vec::new()
    }

    fn open(&self, name: &str) -> Result<(HostEntry, Arc<dyn Engine>), EngineError> {
        let entry = |access| HostEntry { name: name.to_owned(), access, ..HostEntry::default() };
        match name {
            "here" => Ok((entry(Access::Full), Arc::new(self.0.clone()))),
            "there" => Ok((entry(Access::Full), Arc::new(self.1.clone()))),
            "guarded" => Ok((entry(Access::ReadOnly), Arc::new(self.1.clone()))),
            _ => Err(EngineError::new(Class::NotFound, name, format!("no host is called {name}"))),
        }
    }
}

fn run_with(fake: &Fake, argv: &[&str], stdin: &str) -> Ran {
    run_among(fake, None, argv, stdin)
}

fn run_among(fake: &Fake, hosts: Option<Arc<dyn Hosts>>, argv: &[&str], stdin: &str) -> Ran {
    let argv: Vec<String> = std::iter::once("orlop").chain(argv.iter().copied()).map(str::to_owned).collect();
    let (out, err) = (Sink::default(), Sink::default());
    let io = Io {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        stdin: Stdin::Bytes(stdin.as_bytes().to_vec()),
        is_out_tty: false,
        is_one_sink: false,
        now: epoch,
    };
    match cli::parse(&argv) {
        Err(usage) if usage.code == 0 => Ran { code: 0, out: usage.text, err: String::new() },
        Err(usage) => Ran { code: usage.code, out: String::new(), err: usage.text },
        Ok(parsed) => {
            let verb = parsed.verb.expect("a verb");
            let limit = Duration::from_secs(20);
            let engine = Arc::new(fake.clone());
            let ended = runtime()
                .block_on(async { tokio::time::timeout(limit, cli::run_among(verb, engine, hosts, io)).await });
            Ran { code: ended.expect("ends in time"), out: text(&out), err: text(&err) }
        }
    }
}

fn text(sink: &Sink) -> String {
    String::from_utf8_lossy(&sink.take()).into_owned()
}

fn run(fake: &Fake, line: &str) -> Ran {
    run_with(fake, &line.split_whitespace().collect::<Vec<_>>(), "")
}

#[track_caller]
fn check(fake: &Fake, line: &str, code: u8, out: &str, err: &str) {
    assert_eq!(run(fake, line), Ran { code, out: out.to_owned(), err: err.to_owned() }, "orlop {line}");
}

/// An engine with one image and the clock at noon.
fn small() -> Fake {
    let fake = Fake::empty();
    fake.add_image("busybox", 1_982_369);
    fake
}

fn spec(cmd: &str) -> ContainerSpec {
    let cmd = cmd.split_whitespace().map(str::to_owned).collect();
    ContainerSpec { image: "busybox".to_owned(), cmd: Some(cmd), ..ContainerSpec::default() }
}

#[test]
fn usage_errors_are_dockers() {
    let fake = small();
    let usage = |what: &str, verb: &str, rest: &str| {
        format!("{what}\n\nUsage:  orlop {verb}{rest}\n\nRun 'orlop {verb} --help' for more information")
    };
    check(&fake, "ps --nope", 125, "", &usage("unknown flag: --nope", "ps", " [OPTIONS]"));
    check(&fake, "ps -z", 125, "", &usage("unknown shorthand flag: 'z' in -z", "ps", " [OPTIONS]"));
    check(&fake, "ps extra", 1, "", &usage("orlop: 'orlop ps' accepts no arguments", "ps", " [OPTIONS]"));
    let rm = " [OPTIONS] CONTAINER [CONTAINER...]";
    check(&fake, "rm", 1, "", &usage("orlop: 'orlop rm' requires at least 1 argument", "rm", rm));
    let run = " [OPTIONS] IMAGE [COMMAND] [ARG...]";
    check(&fake, "run", 1, "", &usage("orlop: 'orlop run' requires at least 1 argument", "run", run));
    check(&fake, "run --memory", 125, "", &usage("flag needs an argument: --memory", "run", run));
    let rename = " CONTAINER NEW_NAME";
    check(&fake, "rename web", 1, "", &usage("orlop: 'orlop rename' requires 2 arguments", "rename", rename));
    let bad_bool = "invalid argument \"maybe\" for \"--rm\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax";
    check(&fake, "run --rm=maybe busybox", 125, "", &usage(bad_bool, "run", run));
    let unknown =
        "orlop: unknown command: orlop kil\n\nDid you mean 'orlop kill'?\n\nRun 'orlop --help' for more information";
    check(&fake, "kil web", 1, "", unknown);
    let near = run_with(&fake, &["run", "--memry", "1m", "busybox"], "");
    assert!(near.err.starts_with("unknown flag: --memry\nDid you mean --memory?\n"), "{}", near.err);
    let help = run_with(&fake, &["container", "--help"], "");
    assert!(help.code == 0 && help.out.contains("\n  prune       Remove all stopped containers\n"), "{}", help.out);
    assert!(run_with(&fake, &["run", "--help"], "").out.contains("-v, --volume list"));
}

#[test]
fn run_gives_output_and_exit_code_of_the_container() {
    let fake = small();
    let sh = |text: &str| run_with(&fake, &["run", "--rm", "busybox", "sh", "-c", text], "");
    assert_eq!(sh("echo out; echo err >&2; exit 3"), Ran { code: 3, out: "out\n".into(), err: "err\n".into() });
    assert_eq!(run(&fake, "ps -aq").out, "", "--rm leaves nothing");
    check(&fake, "run busybox true", 0, "", "");
    assert_eq!(run_with(&fake, &["run", "-i", "--rm", "busybox", "cat"], "typed\n").out, "typed\n");
    assert_eq!(
        run_with(&fake, &["run", "-i", "--rm", "busybox"], "echo a\nexit 5\n"),
        Ran { code: 5, out: "a\n".into(), err: String::new() }
    );
    let ran = run(&fake, "run -itd --name web busybox");
    assert_eq!((ran.code, ran.out.len(), ran.err.as_str()), (0, 65, ""));
    check(&fake, "exec web echo hi", 0, "hi\n", "");
    let words = ["exec", "web", "sh", "-c", "exit 7"];
    assert_eq!(run_with(&fake, &words, "").code, 7);
}

#[test]
fn run_errors_say_why_and_exit_125_126_127() {
    let fake = small();
    let err = |line: &str| {
        let ran = run(&fake, line);
        (ran.code, ran.err)
    };
    let more = "\n\nRun 'orlop run --help' for more information\n";
    assert_eq!(
        err("run -m abc busybox").1,
        format!(
            "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'\n\nUsage:  orlop run [OPTIONS] IMAGE [COMMAND] [ARG...]{more}"
        )
    );
    assert_eq!(err("run -p 99999:80 busybox"), (125, format!("orlop: invalid hostPort: 99999{more}")));
    assert_eq!(
        err("run --restart always --rm busybox true"),
        (125, format!("orlop: conflicting options: cannot specify both --restart and --rm{more}"))
    );
    assert_eq!(err("run -it busybox sh"), (1, "the input device is not a TTY\n".to_owned()));
    assert_eq!(
        err("run --env-file /nosuch busybox"),
        (125, format!("orlop: open /nosuch: no such file or directory{more}"))
    );
    let (code, text) = err("run busybox nope");
    assert_eq!(code, 127);
    assert!(
        text.starts_with("orlop: failed to start container")
            && text.contains("\"nope\": executable file not found in $PATH")
    );
    assert_eq!(err("run busybox /etc/passwd").0, 126);
    let (code, text) = err("run missing:img");
    assert_eq!(code, 125);
    assert!(
        text.starts_with("Unable to find image 'missing:img' locally\norlop: pull access denied for missing:img"),
        "what is not here is asked for from its registry: {text}"
    );
    let (code, text) = err("run --pull never nosuch:img");
    assert!(code == 125 && text.starts_with("orlop: No such image: nosuch:img\n"), "{text}");
    fake.add_running("web", &spec("serve")).unwrap();
    let (code, text) = err("run --name web busybox true");
    assert!(
        code == 125
            && text.starts_with("orlop: Conflict. The container name \"/web\" is already in use by container \"")
    );
    fake.fail_next("containers.start", EngineError::new(Class::Full, "", "no space left on the store"));
    assert_eq!(err("run --rm --name gone busybox true"), (125, "orlop: no space left on the store\n".to_owned()));
    assert_eq!(run(&fake, "ps -a --filter name=gone -q").out, "", "what --rm could not start is not kept");
    fake.fail_next("containers.attach", EngineError::new(Class::Internal, "", "no shim"));
    assert_eq!(err("run --rm --name gone busybox true"), (125, "orlop: no shim\n".to_owned()));
    assert_eq!(run(&fake, "ps -a --filter name=gone -q").out, "", "what --rm could not attach is not kept");
}

#[test]
fn ps_prints_dockers_table_ids_json_and_templates() {
    let fake = small();
    let id = fake.add_running("web", &spec("sleep 1000")).unwrap();
    run_with(&fake, &["run", "--name", "ended", "busybox", "sh", "-c", "echo hi; exit 3"], "");
    run(&fake, "create --name fresh busybox true");
    let short = &id[..12];
    check(
        &fake,
        "ps",
        0,
        &format!(
            "CONTAINER ID   IMAGE     COMMAND        CREATED                  STATUS                  PORTS     NAMES\n\
             {short}   busybox   \"sleep 1000\"   Less than a second ago   Up Less than a second             web\n"
        ),
        "",
    );
    check(&fake, "ps --filter status=running --format {{.Names}}\\t{{.Status}}", 0, "web\tUp Less than a second\n", "");
    let ran = run_with(&fake, &["ps", "-a", "--format", "table {{.Names}}\t{{.Status}}"], "");
    assert_eq!(
        ran.out,
        "NAMES     STATUS\nfresh     Created\nended     Exited (3) Less than a second ago\nweb       Up Less than a second\n"
    );
    let command = run_with(&fake, &["ps", "-a", "--format", "{{.Command}}", "--filter", "name=ended"], "").out;
    assert_eq!(command, "\"sh -c echo hi; exit…\"\n");
    let row = run(&fake, "ps --format json").out;
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    assert_eq!(
        (row["ID"].as_str(), row["Names"].as_str(), row["State"].as_str()),
        (Some(short), Some("web"), Some("running"))
    );
    assert!(row.get("@labels").is_none());
    assert_eq!(run(&fake, "ps -q --no-trunc").out, format!("{id}\n"));
    check(&fake, "ps -n 1 --format {{.Names}}", 0, "fresh\n", "");
    check(&fake, "ps -l --format {{.Names}}", 0, "fresh\n", "");
    let broken = "failed to parse template: template: :1: unclosed action\n";
    check(&fake, "ps --format {{.Names", 1, "", broken);
    let wrong = "invalid argument \"foo\" for \"-f, --filter\" flag: invalid filter 'foo'\n";
    check(&fake, "ps --filter foo", 125, "", wrong);
    let unknown = run(&fake, "ps --filter foo=bar");
    assert!(unknown.code == 1 && unknown.err.starts_with("Error: invalid filter 'foo'\nhint: "), "{}", unknown.err);
}

#[test]
fn verbs_on_several_names_say_each_and_exit_1_when_one_failed() {
    let fake = small();
    fake.add_running("web", &spec("serve")).unwrap();
    fake.add_running("db", &spec("serve")).unwrap();
    check(&fake, "stop web nosuch db", 1, "web\ndb\n", "Error: No such container: nosuch\n");
    check(&fake, "stop web", 0, "web\n", "");
    check(&fake, "start web", 0, "web\n", "");
    check(&fake, "pause web", 0, "web\n", "");
    assert!(run(&fake, "pause web").err.ends_with("is already paused\n"));
    check(&fake, "unpause web", 0, "web\n", "");
    check(&fake, "rm -f nosuch", 0, "", "Error: No such container: nosuch\n");
    let refused = run(&fake, "rm web");
    assert!(refused.code == 1 && refused.err.contains("container is running: stop the container before removing"));
    check(
        &fake,
        "start nosuch",
        1,
        "",
        "Error: No such container: nosuch\nError: failed to start containers: nosuch\n",
    );
    check(&fake, "rename web www", 0, "", "");
    check(&fake, "update --memory 32m www", 0, "www\n", "");
    check(&fake, "inspect -f {{.HostConfig.Memory}} www", 0, "33554432\n", "");
    check(&fake, "kill -s FOO www", 1, "", "Error: Invalid signal: FOO\n");
    check(&fake, "kill www", 0, "www\n", "");
    check(&fake, "wait www", 0, "137\n", "");
    check(&fake, "attach www", 1, "", "You cannot attach to a stopped container, start it first\n");
    check(&fake, "rm www db", 0, "www\ndb\n", "");
    check(&fake, "container prune -f", 0, "Total reclaimed space: 0B\n", "");
    let asked = run_with(&fake, &["container", "prune"], "n\n");
    assert!(asked.code == 1 && asked.err.contains("Are you sure you want to continue? [y/N]"));
}

#[test]
fn inspect_prints_dockers_shape() {
    let fake = small();
    let made = "run -d --name web -p 8080:80 -v data:/data -v /tmp:/host:ro --tmpfs /t:size=1m -m 64m --cpus .5 \
                --restart on-failure:3 -l x=y -e A=b busybox sleep 1000";
    assert_eq!(run(&fake, made).code, 0);
    let found: serde_json::Value = serde_json::from_str(&run(&fake, "inspect web").out).unwrap();
    let ctr = &found[0];
    let keys: Vec<_> = ctr.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "Id",
            "Created",
            "Path",
            "Args",
            "State",
            "Image",
            "ResolvConfPath",
            "HostnamePath",
            "HostsPath",
            "LogPath",
            "Name",
            "RestartCount",
            "Driver",
            "Platform",
            "MountLabel",
            "ProcessLabel",
            "AppArmorProfile",
            "ExecIDs",
            "HostConfig",
            "GraphDriver",
            "Mounts",
            "Config",
            "NetworkSettings"
        ]
    );
    let host = &ctr["HostConfig"];
    assert_eq!(host["Binds"], serde_json::json!(["data:/data", "/tmp:/host:ro"]));
    assert_eq!(host["PortBindings"], serde_json::json!({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}));
    assert_eq!(host["RestartPolicy"], serde_json::json!({"Name": "on-failure", "MaximumRetryCount": 3}));
    assert_eq!(
        (host["Memory"].as_u64(), host["MemorySwap"].as_u64(), host["NanoCpus"].as_u64()),
        (Some(67_108_864), Some(134_217_728), Some(500_000_000))
    );
    assert_eq!(host["Tmpfs"], serde_json::json!({"/t": "size=1048576"}));
    assert!(host["CapAdd"].is_null() && host["Dns"] == serde_json::json!([]));
    assert_eq!(ctr["State"]["FinishedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(ctr["Config"]["Labels"]["x"], "y");
    check(&fake, "inspect -f {{.State.Status}}|{{.Name}} web", 0, "running|/web\n", "");
    let ran = run_with(&fake, &["inspect", "-f", "{{range .Mounts}}{{.Type}} {{end}}", "web"], "");
    assert_eq!(ran.out, "volume bind tmpfs \n");
    check(&fake, "inspect nosuch", 1, "[]\n", "Error: No such object: nosuch\n");
    let missing =
        "template parsing error: template: :1: executing \"\" at <.Nope>: map has no entry for key \"Nope\"\n";
    check(&fake, "inspect -f {{.Nope}} web", 1, "", missing);
    check(&fake, "inspect --type image -f {{.Os}} busybox", 0, "linux\n", "");
    check(&fake, "volume inspect -f {{.Name}} data", 0, "data\n", "");
    assert!(run(&fake, "inspect -s web").out.contains("\"SizeRw\""));
}

#[test]
fn images_volumes_and_networks() {
    let fake = small();
    let id = run(&fake, "images -q --no-trunc").out.trim().to_owned();
    let short = &id[7..19];
    check(
        &fake,
        "images",
        0,
        &format!(
            "REPOSITORY   TAG       IMAGE ID       CREATED                  SIZE\nbusybox      latest    {short}   Less than a second ago   1.98MB\n"
        ),
        "",
    );
    check(&fake, "tag busybox bb:1", 0, "", "");
    check(&fake, "rmi bb:1", 0, "Untagged: bb:1\n", "");
    check(&fake, "rmi nosuch", 1, "", "Error: No such image: nosuch:latest\n");
    check(&fake, "load -i /nosuch", 1, "", "open /nosuch: no such file or directory\n");
    assert_eq!(run_with(&fake, &["load"], "archive").out, "Loaded image: loaded:7\n");
    assert!(run_with(&fake, &["import", "-", "made:1"], "tar").out.starts_with("sha256:"));
    check(&fake, "image from-host tools /bin/true", 0, "Loaded image: tools:latest\n", "");
    assert!(run(&fake, "save busybox").out.contains(" busybox:latest {"));
    let history = run(&fake, "history busybox").out;
    assert!(
        history.contains("<missing>") && history.contains("CREATED   ") && !history.contains("CREATED AT"),
        "{history}"
    );
    assert!(run(&fake, "history --human=false busybox").out.contains("CREATED AT"));
    check(&fake, "volume create foo", 0, "foo\n", "");
    check(&fake, "volume ls", 0, "DRIVER    VOLUME NAME\nlocal     foo\n", "");
    check(&fake, "volume inspect nope", 1, "[]\n", "Error: get nope: no such volume\n");
    check(&fake, "volume rm -f nope", 0, "nope\n", "");
    check(&fake, "volume rm nope", 1, "", "Error: get nope: no such volume\n");
    check(&fake, "volume prune -f", 0, "Total reclaimed space: 0B\n", "");
    check(&fake, "network ls --format {{.Name}}", 0, "bridge\nhost\nnone\n", "");
}

#[test]
fn logs_go_to_their_streams_with_nine_digit_times() {
    let fake = small();
    run_with(&fake, &["run", "--name", "ended", "busybox", "sh", "-c", "echo one; echo two >&2; printf three"], "");
    check(&fake, "logs ended", 0, "one\nthree", "two\n");
    let stamped = run(&fake, "logs -t -n 1 ended").out;
    assert_eq!(stamped, "2026-11-21T12:00:00.000000000Z three");
    check(&fake, "logs --tail 2 ended", 0, "three", "two\n");
    check(&fake, "logs nosuch", 1, "", "Error: No such container: nosuch\n");
    let wrong = "invalid value for \"since\": failed to parse value as time or duration: \"foo\"\n";
    check(&fake, "logs --since foo ended", 1, "", wrong);
    check(&fake, "logs --until 1h ended", 0, "", "");
}

#[test]
fn events_stats_and_system_speak_docker() {
    let fake = small();
    let id = fake.add_running("web", &spec("serve")).unwrap();
    let line = format!("2026-11-21T12:00:00.000000000Z container start {id} (image=busybox, name=web)\n");
    check(&fake, "events --since 1h --until 0s --filter event=start", 0, &line, "");
    fake.end("web", orlop::engine::Exit::default()).unwrap();
    let stats = run(&fake, "stats --no-stream -a").out;
    let first = format!(
        "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS\n{}   web       --        -- / --             --        -- / --   -- / --     --\n",
        &id[..12]
    );
    assert_eq!(stats, first);
    assert!(
        run(&fake, "system df").out.starts_with("TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\nImages ")
    );
    check(&fake, "version --format {{.Client.Version}}", 0, concat!(env!("CARGO_PKG_VERSION"), "\n"), "");
    check(&fake, "info --format {{.Swarm.LocalNodeState}}", 0, "inactive\n", "");
    assert!(run(&fake, "completion bash").out.contains("_orlop"));
}

#[test]
fn an_engine_that_is_gone_is_said_once_with_a_hint() {
    let fake = small();
    fake.go_away("cannot reach the host");
    check(&fake, "ps", 1, "", "Error: cannot reach the host\nhint: is the host up, and the daemon running?\n");
}

#[test]
fn the_screens_line_runs_the_same_verbs() {
    let fake = small();
    let lines = |line: &str| -> Vec<LineOutput> {
        let engine = Arc::new(fake.clone());
        runtime().block_on(async { CommandLine::default().run(engine, line).collect().await })
    };
    let out = |text: &str| LineOutput::Out(text.to_owned());
    assert_eq!(lines("run --rm busybox sh -c 'echo a; echo b; exit 2'"), [out("a"), out("b"), LineOutput::Ended(2)]);
    let failed = lines("rm nosuch");
    assert_eq!(failed, [LineOutput::Err("Error: No such container: nosuch".to_owned()), LineOutput::Ended(1)]);
    assert!(matches!(lines("run 'open").last(), Some(LineOutput::Ended(1))));
    assert!(matches!(lines("nonsense").last(), Some(LineOutput::Ended(1))));
    let words =
        |line: &str| CommandLine::default().complete(line).into_iter().map(|found| found.word).collect::<Vec<_>>();
    assert_eq!(words("pau"), ["pause"]);
    assert!(words("volume ").contains(&"prune".to_owned()));
    assert!(words("run --mem").contains(&"--memory-swap".to_owned()));
}

#[test]
fn an_image_is_copied_to_another_host() {
    let (here, there) = (small(), Fake::empty());
    let hosts: Arc<dyn Hosts> = Arc::new(Two(here.clone(), there.clone()));
    let copy = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        run_among(&here, Some(Arc::clone(&hosts)), &words, "")
    };
    let first = copy("image copy busybox there");
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.out.contains("Copied busybox:latest to there: 3 layers sent ("), "{first:?}");
    assert_eq!(runtime().block_on(there.inspect("busybox")).unwrap().summary.references, ["busybox:latest"]);
    let again = copy("image copy busybox --to there");
    assert!(again.out.ends_with("Copied busybox:latest to there: nothing sent, 3 already there\n"), "{again:?}");
    let back = copy("image copy --from there --quiet busybox here");
    assert!(back.code == 0 && back.out.starts_with("sha256:"), "{back:?}");
    assert_eq!(copy("image copy busybox guarded").err, "guarded is marked read-only in the config file\n");
    assert_eq!(copy("image copy busybox").err, "name the host to copy to: orlop image copy IMAGE HOST\n");
    assert_eq!(
        copy("image copy gone there"),
        Ran { code: 1, out: String::new(), err: "Error: No such image: gone:latest\n".into() }
    );
    assert_eq!(copy("image copy busybox nowhere").err, "Error: no host is called nowhere\n");
    check(&here, "image copy busybox there", 1, "", "there is no other host here\n");
}
