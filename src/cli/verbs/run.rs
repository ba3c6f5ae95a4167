//! `run`, `create`, `start`, `exec`, `attach`: verbs that make processes run and may stay with them.
//!
//! The order of `run` is create, attach, wait, start: nothing the process writes is lost and its exit is never missed, `--rm` or not.

use std::io::Write;
use std::path::Path;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Ctx, Outcome, registry};
use crate::cli::args::{AttachArgs, CreateArgs, CreateVerb, ExecArgs, RunVerb, StartArgs};
use crate::cli::create;
use crate::cli::failure::{NotRun, Quiet, Said, say_engine};
use crate::cli::session::{self, Ears, End, Target};
use crate::cli::terminal;
use crate::cli::values::{self, ValueError};
use crate::engine::container::Status;
use crate::engine::{
    AttachOptions, Attached, Class, ContainerSpec, Engine, EngineError, ExecSpec, Exit, PullImage, RemoveContainer,
    WaitCondition,
};

const NOT_A_TTY: &str = "the input device is not a TTY";

pub async fn create(args: CreateVerb, ctx: &mut Ctx) -> Outcome {
    match make(&args.create, Stay::Away, ctx).await {
        Ok(id) => {
            writeln!(ctx.io.out, "{id}")?;
            Ok(0)
        }
        Err(source) => Err(NotRun { verb: "create", source }.into()),
    }
}

pub async fn run(args: RunVerb, ctx: &mut Ctx) -> Outcome {
    if args.detach {
        return detached(args, ctx).await.map_err(|source| NotRun { verb: "run", source }.into());
    }
    foreground(args, ctx).await.map_err(|source| NotRun { verb: "run", source }.into())
}

async fn detached(args: RunVerb, ctx: &mut Ctx) -> Outcome {
    if !args.create.attach.is_empty() {
        return Err(
            ValueError::Plain("conflicting options: cannot specify both --attach and --detach".to_owned()).into()
        );
    }
    let id = make(&args.create, Stay::Away, ctx).await?;
    if let Err(error) = ctx.engine.containers().start(&id).await {
        return undo(&args.create, &id, error, ctx).await;
    }
    writeln!(ctx.io.out, "{id}")?;
    Ok(0)
}

/// What did not start under `--rm` is not kept; the engine may have removed it already.
async fn undo(args: &CreateArgs, id: &str, error: EngineError, ctx: &Ctx) -> Outcome {
    if args.rm {
        let _ = ctx.engine.containers().remove(id, &RemoveContainer { force: true, volumes: true }).await;
    }
    Err(error.into())
}

async fn foreground(args: RunVerb, ctx: &mut Ctx) -> Outcome {
    let streams = Streams::choose(&args.create)?;
    if args.create.tty && streams.stdin && !ctx.io.is_stdin_tty() {
        return Err(Said(NOT_A_TTY.to_owned()).into());
    }
    let id = make(&args.create, Stay::With, ctx).await?;
    let engine = ctx.engine.clone();
    let ears = Ears::open()?;
    let options = AttachOptions {
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        replay_logs: false,
        detach_keys: args.detach_keys.clone(),
    };
    let attached = match engine.containers().attach(&id, &options).await {
        Ok(attached) => attached,
        Err(error) => return undo(&args.create, &id, error, ctx).await,
    };
    let condition = if args.create.rm { WaitCondition::Removed } else { WaitCondition::NextExit };
    let exited = Waiting::register(engine.as_ref(), &id, condition);
    if let Err(error) = engine.containers().start(&id).await {
        return undo(&args.create, &id, error, ctx).await;
    }
    let target = Target::Container { id, is_proxied: args.sig_proxy };
    stay(engine.as_ref(), attached, streams.stdin, &target, ears, exited, ctx).await
}

/// A wait that stands from the moment it was made.
struct Waiting<'a> {
    future: BoxFuture<'a, Result<Exit, EngineError>>,
    ready: Option<Result<Exit, EngineError>>,
}

impl<'a> Waiting<'a> {
    /// The first poll registers it.
    fn register(engine: &'a dyn Engine, id: &str, condition: WaitCondition) -> Self {
        let id = id.to_owned();
        let mut future = async move { engine.containers().wait(&id, condition).await }.boxed();
        let ready = future.as_mut().now_or_never();
        Self { future, ready }
    }

    async fn done(&mut self) {
        if self.ready.is_none() {
            self.ready = Some(self.future.as_mut().await);
        }
    }

    async fn exit(mut self) -> Result<Exit, EngineError> {
        self.done().await;
        self.ready.unwrap_or_else(|| Ok(Exit::default()))
    }
}

/// The session and the exit code after it.
async fn stay(
    engine: &dyn Engine,
    attached: Attached,
    stdin: bool,
    target: &Target,
    ears: Ears,
    mut exited: Waiting<'_>,
    ctx: &mut Ctx,
) -> Outcome {
    let end = session::run(engine, attached, stdin, target, ears, exited.done(), &mut ctx.io).await?;
    match end {
        End::Detached => {
            ctx.io.say("read escape sequence");
            Ok(0)
        }
        End::Told(number) => Err(Quiet(128 + number as u8).into()),
        End::Output => Ok(session::code(&exited.exit().await?)),
    }
}

/// Whether the client stays with the container's first run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    With,
    Away,
}

/// Which streams the client joins.
#[derive(Clone, Copy)]
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Streams {
    fn choose(args: &CreateArgs) -> values::Result<Self> {
        if args.attach.is_empty() {
            return Ok(Self { stdin: args.interactive, stdout: true, stderr: true });
        }
        let mut streams = Self { stdin: false, stdout: false, stderr: false };
        for name in &args.attach {
            match name.to_lowercase().as_str() {
                "stdin" => streams.stdin = true,
                "stdout" => streams.stdout = true,
                "stderr" => streams.stderr = true,
                _ => {
                    let why = "valid streams are STDIN, STDOUT and STDERR";
                    return Err(values::bad("-a, --attach", name, why));
                }
            }
        }
        Ok(streams)
    }
}

/// Creates it; the id. Warnings go to stderr.
async fn make(args: &CreateArgs, stay: Stay, ctx: &mut Ctx) -> anyhow::Result<String> {
    let mut spec = create::spec(args)?;
    spec.stdin_once = spec.open_stdin && stay == Stay::With;
    check_asked(args)?;
    if let Some(path) = args.cidfile.as_deref().filter(|path| Path::new(path).exists()) {
        return Err(ValueError::Plain(format!(
            "container ID file found, make sure the other container isn't running or delete {path}"
        ))
        .into());
    }
    let policy = PullPolicy::of(args)?;
    if policy == PullPolicy::Always {
        fetch(&spec, args, ctx).await?;
    }
    if let Some(platform) = &args.platform
        && let Err(error) = check_platform(&spec, platform, ctx).await
    {
        if policy == PullPolicy::Never {
            return Err(error);
        }
        fetch(&spec, args, ctx).await?;
    }
    let created = match ctx.engine.containers().create(args.name.as_deref(), &spec).await {
        Err(error) if is_missing_image(&error) && policy == PullPolicy::Missing => {
            if !args.quiet {
                ctx.io.say(&format!("Unable to find image '{}' locally", with_tag(&spec.image)));
            }
            fetch(&spec, args, ctx).await?;
            ctx.engine.containers().create(args.name.as_deref(), &spec).await?
        }
        created => created?,
    };
    created.warnings.iter().for_each(|warning| ctx.io.say(&format!("WARNING: {warning}")));
    if let Some(path) = &args.cidfile {
        std::fs::write(path, &created.id).map_err(|error| {
            ValueError::Plain(format!("failed to write the container ID to {path}: {}", values::plain_io(&error)))
        })?;
    }
    Ok(created.id)
}

/// When the image is asked for from its registry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PullPolicy {
    Missing,
    Always,
    Never,
}

impl PullPolicy {
    fn of(args: &CreateArgs) -> values::Result<Self> {
        match args.pull.as_deref() {
            None | Some("missing") => Ok(Self::Missing),
            Some("always") => Ok(Self::Always),
            Some("never") => Ok(Self::Never),
            Some(other) => {
                let why =
                    format!("invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\"");
                Err(ValueError::Plain(why))
            }
        }
    }
}

fn is_missing_image(error: &EngineError) -> bool {
    error.class == Class::NotFound && error.message.starts_with("No such image")
}

/// Brings the image of a container in; what it says goes to stderr, as stdout is the container's.
async fn fetch(spec: &ContainerSpec, args: &CreateArgs, ctx: &mut Ctx) -> anyhow::Result<()> {
    let request = PullImage {
        reference: spec.image.clone(),
        platform: args.platform.clone(),
        all_tags: false,
        credentials: registry::credentials_for(&spec.image)?,
    };
    let talk = if args.quiet { registry::Talk::Nothing } else { registry::Talk::Err };
    for image in registry::fetch(&request, talk, ctx).await? {
        if !args.quiet {
            let what = if image.was_up_to_date { "Image is up to date" } else { "Downloaded newer image" };
            ctx.io.say(&format!("Digest: {}\nStatus: {what} for {}", image.digest, with_tag(&spec.image)));
        }
    }
    Ok(())
}

fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Options that name something other than what there is.
fn check_asked(args: &CreateArgs) -> values::Result<()> {
    match args.runtime.as_deref() {
        None | Some("" | "orlop") => Ok(()),
        Some(other) => Err(ValueError::Plain(format!("unknown or invalid runtime name: {other}"))),
    }
}

async fn check_platform(spec: &ContainerSpec, platform: &str, ctx: &Ctx) -> anyhow::Result<()> {
    let Ok(image) = ctx.engine.images().inspect(&spec.image).await else { return Ok(()) };
    let found = [Some(image.os), Some(image.architecture), image.variant];
    let wanted = platform.split('/').map(|word| match word {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        word => word,
    });
    let fits = wanted.zip(&found).all(|(wanted, found)| found.as_deref().is_none_or(|found| found == wanted));
    if fits {
        return Ok(());
    }
    let message = format!(
        "image with reference {} was found but does not provide the specified platform ({platform})",
        with_tag(&spec.image)
    );
    Err(EngineError::new(Class::NotFound, spec.image.clone(), message).into())
}

pub async fn start(args: StartArgs, ctx: &mut Ctx) -> Outcome {
    if args.attach || args.interactive {
        let [name] = args.names.as_slice() else {
            return Err(Said("you cannot start and attach multiple containers at once".to_owned()).into());
        };
        return start_attached(name, &args, ctx).await;
    }
    let mut failed = Vec::new();
    for name in &args.names {
        match ctx.engine.containers().start(name).await {
            Err(error) if error.class != Class::NotModified => {
                say_engine("Error: ", &error, &mut ctx.io);
                failed.push(name.as_str());
            }
            _ => writeln!(ctx.io.out, "{name}")?,
        }
    }
    if !failed.is_empty() {
        return Err(Said(format!("Error: failed to start containers: {}", failed.join(", "))).into());
    }
    Ok(0)
}

async fn start_attached(name: &str, args: &StartArgs, ctx: &mut Ctx) -> Outcome {
    let engine = ctx.engine.clone();
    let detail = engine.containers().inspect(name).await?;
    let stdin = args.interactive && detail.spec.open_stdin;
    if detail.spec.tty && stdin && !ctx.io.is_stdin_tty() {
        return Err(Said(NOT_A_TTY.to_owned()).into());
    }
    let ears = Ears::open()?;
    let options =
        AttachOptions { stdin, stdout: true, stderr: true, replay_logs: false, detach_keys: args.detach_keys.clone() };
    let attached = engine.containers().attach(&detail.id, &options).await?;
    let condition = if detail.spec.auto_remove { WaitCondition::Removed } else { WaitCondition::NextExit };
    let exited = if detail.state.status == Status::Running { WaitCondition::NotRunning } else { condition };
    let exited = Waiting::register(engine.as_ref(), &detail.id, exited);
    match engine.containers().start(&detail.id).await {
        Err(error) if error.class != Class::NotModified => {
            say_engine("Error: ", &error, &mut ctx.io);
            return Err(Quiet(error.exit_code.unwrap_or(1)).into());
        }
        _ => {}
    }
    let target = Target::Container { id: detail.id, is_proxied: true };
    stay(engine.as_ref(), attached, stdin, &target, ears, exited, ctx).await
}

pub async fn attach(args: AttachArgs, ctx: &mut Ctx) -> Outcome {
    let engine = ctx.engine.clone();
    let detail = engine.containers().inspect(&args.name).await?;
    let refused = match detail.state.status {
        Status::Running => None,
        Status::Paused => Some("You cannot attach to a paused container, unpause it first"),
        Status::Restarting => Some("You cannot attach to a restarting container, wait until it is running"),
        _ => Some("You cannot attach to a stopped container, start it first"),
    };
    if let Some(sentence) = refused {
        return Err(Said(sentence.to_owned()).into());
    }
    let stdin = !args.no_stdin && detail.spec.open_stdin;
    if detail.spec.tty && stdin && !ctx.io.is_stdin_tty() {
        return Err(Said(NOT_A_TTY.to_owned()).into());
    }
    let ears = Ears::open()?;
    let options =
        AttachOptions { stdin, stdout: true, stderr: true, replay_logs: false, detach_keys: args.detach_keys.clone() };
    let exited = Waiting::register(engine.as_ref(), &detail.id, WaitCondition::NotRunning);
    let attached = engine.containers().attach(&detail.id, &options).await?;
    let target = Target::Container { id: detail.id, is_proxied: args.sig_proxy };
    stay(engine.as_ref(), attached, stdin, &target, ears, exited, ctx).await
}

pub async fn exec(args: ExecArgs, ctx: &mut Ctx) -> Outcome {
    let Some((name, cmd)) = args.words.split_first().filter(|(_, cmd)| !cmd.is_empty()) else {
        ctx.io.say(
            "orlop: 'orlop exec' requires at least 2 arguments\n\nUsage:  orlop exec [OPTIONS] CONTAINER COMMAND [ARG...]\n\nRun 'orlop \
             exec --help' for more information",
        );
        return Ok(1);
    };
    if args.tty && args.interactive && !args.detach && !ctx.io.is_stdin_tty() {
        return Err(Said(NOT_A_TTY.to_owned()).into());
    }
    let spec = ExecSpec {
        cmd: cmd.to_vec(),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        env: create::environment(&args.env, &args.env_file)?,
        tty: args.tty,
        attach_stdin: args.interactive && !args.detach,
        attach_stdout: !args.detach,
        attach_stderr: !args.detach,
        privileged: args.privileged,
        detach_keys: args.detach_keys.clone(),
    };
    let engine = ctx.engine.clone();
    let id = engine.execs().create(name, &spec).await?;
    if args.detach {
        return engine.execs().start_detached(&id).await.map(|()| 0).or_else(|error| not_executed(error, ctx));
    }
    let ears = Ears::open()?;
    let size = if args.tty { terminal::size() } else { None };
    let attached = match engine.execs().start(&id, size).await {
        Ok(attached) => attached,
        Err(error) => return not_executed(error, ctx),
    };
    let target = Target::Exec(id.clone());
    let never = std::future::pending();
    match session::run(engine.as_ref(), attached, spec.attach_stdin, &target, ears, never, &mut ctx.io).await? {
        End::Detached => {
            ctx.io.say("read escape sequence");
            Ok(0)
        }
        End::Told(number) => Err(Quiet(128 + number as u8).into()),
        End::Output => exit_of(engine.as_ref(), &id).await,
    }
}

fn not_executed(error: EngineError, ctx: &mut Ctx) -> Outcome {
    let Some(code) = error.exit_code else { return Err(error.into()) };
    say_engine("orlop: ", &error, &mut ctx.io);
    Err(Quiet(code).into())
}

/// The exit code; output may end a moment before the exit is recorded.
async fn exit_of(engine: &dyn Engine, exec_id: &str) -> Outcome {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let mut pause = std::time::Duration::from_millis(1);
    loop {
        let detail = engine.execs().inspect(exec_id).await?;
        if let Some(exit) = &detail.exit {
            return Ok(session::code(exit));
        }
        if !detail.running || std::time::Instant::now() > deadline {
            return Ok(0);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(std::time::Duration::from_millis(50));
    }
}
