//! Each verb: arguments → engine calls → output. One file per kind; this one only chooses.

pub mod containers;
pub mod copy;
pub mod events;
pub mod images;
pub mod inspect;
pub mod logs;
pub mod ps;
pub mod registry;
pub mod run;
pub mod stats;
pub mod system;
pub mod volumes;

use std::sync::Arc;

use super::args::{ContainerVerb, ImageVerb, NetworkVerb, SystemVerb, Verb, VolumeVerb};
use super::failure::Said;
use super::io::Io;
use super::values;
use crate::engine::{Engine, Filters, Hosts};

/// What a verb ends with: an exit code, or why it failed.
pub type Outcome = anyhow::Result<u8>;

/// What every verb has.
pub struct Ctx {
    pub engine: Arc<dyn Engine>,
    /// Other hosts that can be named; `None` where there is only the engine.
    pub hosts: Option<Arc<dyn Hosts>>,
    pub io: Io,
}

/// Runs one verb.
///
/// # Errors
/// Whatever it could not do; `failure::report` says it.
pub async fn run(verb: Verb, ctx: &mut Ctx) -> Outcome {
    match verb {
        Verb::Run(args) => run::run(*args, ctx).await,
        Verb::Create(args) => run::create(*args, ctx).await,
        Verb::Start(args) => run::start(args, ctx).await,
        Verb::Stop(args) => containers::stop(args, ctx).await,
        Verb::Restart(args) => containers::restart(args, ctx).await,
        Verb::Kill(args) => containers::kill(args, ctx).await,
        Verb::Pause(args) => containers::pause(args, ctx).await,
        Verb::Unpause(args) => containers::unpause(args, ctx).await,
        Verb::Rm(args) => containers::rm(args, ctx).await,
        Verb::Rename(args) => containers::rename(args, ctx).await,
        Verb::Wait(args) => containers::wait(args, ctx).await,
        Verb::Exec(args) => run::exec(args, ctx).await,
        Verb::Attach(args) => run::attach(args, ctx).await,
        Verb::Logs(args) => logs::logs(args, ctx).await,
        Verb::Inspect(args) => inspect::any(args, ctx).await,
        Verb::Stats(args) => stats::stats(args, ctx).await,
        Verb::Top(args) => containers::top(args, ctx).await,
        Verb::Port(args) => containers::port(args, ctx).await,
        Verb::Update(args) => containers::update(args, ctx).await,
        Verb::Events(args) => events::events(args, ctx).await,
        Verb::Ps(args) => ps::ps(args, ctx).await,
        Verb::Images(args) => images::ls(args, ctx).await,
        Verb::Rmi(args) => images::rm(args, ctx).await,
        Verb::Tag(args) => images::tag(args, ctx).await,
        Verb::History(args) => images::history(args, ctx).await,
        Verb::Load(args) => images::load(args, ctx).await,
        Verb::Save(args) => images::save(args, ctx).await,
        Verb::Import(args) => images::import(args, ctx).await,
        Verb::Pull(args) => registry::pull(args, ctx).await,
        Verb::Push(args) => registry::push(args, ctx).await,
        Verb::Search(args) => registry::search(args, ctx).await,
        Verb::Login(args) => registry::login(args, ctx).await,
        Verb::Logout(args) => registry::logout(args, ctx).await,
        Verb::Commit(args) => copy::commit(args, ctx).await,
        Verb::Cp(args) => copy::cp(args, ctx).await,
        Verb::Diff(args) => copy::diff(args, ctx).await,
        Verb::Export(args) => copy::export(args, ctx).await,
        Verb::Container(verb) => container(verb, ctx).await,
        Verb::Image(verb) => image(verb, ctx).await,
        Verb::Volume(verb) => volume(verb, ctx).await,
        Verb::Network(NetworkVerb::Ls(args)) => volumes::networks(args, ctx).await,
        Verb::Network(NetworkVerb::Inspect(args)) => inspect::one("network", args, ctx).await,
        Verb::System(SystemVerb::Check(args)) => system::check(args, ctx).await,
        Verb::System(SystemVerb::Df(args)) => system::df(args, ctx).await,
        Verb::System(SystemVerb::Events(args)) => events::events(args, ctx).await,
        Verb::System(SystemVerb::Info(args)) | Verb::Info(args) => system::info(args, ctx).await,
        Verb::System(SystemVerb::Prune(args)) => system::prune(args, ctx).await,
        Verb::Version(args) => system::version(args, ctx).await,
        Verb::Runtime(_) => Err(Said("orlop: 'runtime' must be the first word".to_owned()).into()),
        Verb::Completion(args) => super::completion::print(&args.shell, &mut ctx.io),
    }
}

/// Whether all that the verb prints is words about things: no bytes of a container, no archive, nothing that is drawn and drawn again.
pub fn shows_text(verb: &Verb) -> bool {
    use {ContainerVerb as Ctr, ImageVerb as Img};
    let is_change = matches!(verb, Verb::Create(_) | Verb::Rm(_) | Verb::Commit(_) | Verb::Rmi(_));
    let is_list = matches!(verb, Verb::Ps(_) | Verb::Images(_) | Verb::History(_) | Verb::Search(_) | Verb::Top(_));
    let is_look = matches!(verb, Verb::Inspect(_) | Verb::Port(_) | Verb::Diff(_) | Verb::Events(_));
    let is_host = matches!(verb, Verb::Info(_) | Verb::Version(_) | Verb::System(_));
    is_change
        || is_list
        || is_look
        || is_host
        || matches!(verb, Verb::Volume(_) | Verb::Network(_))
        || matches!(verb, Verb::Container(Ctr::Ls(_) | Ctr::Inspect(_) | Ctr::Top(_) | Ctr::Port(_) | Ctr::Diff(_)))
        || matches!(verb, Verb::Container(Ctr::Prune(_) | Ctr::Create(_) | Ctr::Commit(_)))
        || matches!(verb, Verb::Image(Img::Ls(_) | Img::Inspect(_) | Img::History(_) | Img::Rm(_) | Img::Prune(_)))
}

async fn container(verb: ContainerVerb, ctx: &mut Ctx) -> Outcome {
    match verb {
        ContainerVerb::Attach(args) => run::attach(args, ctx).await,
        ContainerVerb::Commit(args) => copy::commit(args, ctx).await,
        ContainerVerb::Cp(args) => copy::cp(args, ctx).await,
        ContainerVerb::Diff(args) => copy::diff(args, ctx).await,
        ContainerVerb::Export(args) => copy::export(args, ctx).await,
        ContainerVerb::Create(args) => run::create(*args, ctx).await,
        ContainerVerb::Exec(args) => run::exec(args, ctx).await,
        ContainerVerb::Inspect(args) => inspect::one("container", args, ctx).await,
        ContainerVerb::Kill(args) => containers::kill(args, ctx).await,
        ContainerVerb::Logs(args) => logs::logs(args, ctx).await,
        ContainerVerb::Ls(args) => ps::ps(args, ctx).await,
        ContainerVerb::Pause(args) => containers::pause(args, ctx).await,
        ContainerVerb::Port(args) => containers::port(args, ctx).await,
        ContainerVerb::Prune(args) => containers::prune(args, ctx).await,
        ContainerVerb::Rename(args) => containers::rename(args, ctx).await,
        ContainerVerb::Restart(args) => containers::restart(args, ctx).await,
        ContainerVerb::Rm(args) => containers::rm(args, ctx).await,
        ContainerVerb::Run(args) => run::run(*args, ctx).await,
        ContainerVerb::Start(args) => run::start(args, ctx).await,
        ContainerVerb::Stats(args) => stats::stats(args, ctx).await,
        ContainerVerb::Stop(args) => containers::stop(args, ctx).await,
        ContainerVerb::Top(args) => containers::top(args, ctx).await,
        ContainerVerb::Unpause(args) => containers::unpause(args, ctx).await,
        ContainerVerb::Update(args) => containers::update(args, ctx).await,
        ContainerVerb::Wait(args) => containers::wait(args, ctx).await,
    }
}

async fn image(verb: ImageVerb, ctx: &mut Ctx) -> Outcome {
    match verb {
        ImageVerb::Copy(args) => registry::copy(args, ctx).await,
        ImageVerb::FromHost(args) => images::from_host(args, ctx).await,
        ImageVerb::History(args) => images::history(args, ctx).await,
        ImageVerb::Import(args) => images::import(args, ctx).await,
        ImageVerb::Inspect(args) => inspect::one("image", args, ctx).await,
        ImageVerb::Load(args) => images::load(args, ctx).await,
        ImageVerb::Ls(args) => images::ls(args, ctx).await,
        ImageVerb::Pull(args) => registry::pull(args, ctx).await,
        ImageVerb::Push(args) => registry::push(args, ctx).await,
        ImageVerb::Prune(args) => images::prune(args, ctx).await,
        ImageVerb::Rm(args) => images::rm(args, ctx).await,
        ImageVerb::Save(args) => images::save(args, ctx).await,
        ImageVerb::Tag(args) => images::tag(args, ctx).await,
    }
}

async fn volume(verb: VolumeVerb, ctx: &mut Ctx) -> Outcome {
    match verb {
        VolumeVerb::Create(args) => volumes::create(args, ctx).await,
        VolumeVerb::Inspect(args) => inspect::one("volume", args, ctx).await,
        VolumeVerb::Ls(args) => volumes::ls(args, ctx).await,
        VolumeVerb::Prune(args) => volumes::prune(args, ctx).await,
        VolumeVerb::Rm(args) => volumes::rm(args, ctx).await,
    }
}

/// `--filter key=value` words.
///
/// # Errors
/// A word without `=`.
pub fn filters(typed: &[String]) -> anyhow::Result<Filters> {
    let mut filters = Filters::default();
    for text in typed {
        filters.add(text).map_err(|_| values::bad("-f, --filter", text, format!("invalid filter '{text}'")))?;
    }
    Ok(filters)
}
