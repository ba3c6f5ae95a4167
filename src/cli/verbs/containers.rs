//! Verbs that act on existing containers and say their names.

use std::future::Future;
use std::io::Write;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::{Ctx, Outcome, filters};
use crate::api::host_config;
use crate::cli::args::{KillArgs, Names, PortArgs, PruneArgs, RenameArgs, RmArgs, StopArgs, TopArgs, UpdateArgs};
use crate::cli::failure::{Said, say_engine};
use crate::cli::{create, table, values};
use crate::engine::{Class, EngineError, RemoveContainer, StopOptions, WaitCondition};
use crate::stdx::human;

/// At once, so that stopping ten containers takes as long as the slowest; in order, so that output is.
const AT_ONCE: usize = 16;

/// Does it to each; prints each name that worked and each error; 1 when one failed.
async fn each<T, F>(
    ctx: &mut Ctx,
    names: &[String],
    act: impl Fn(String) -> F,
    print: impl Fn(&str, T) -> String,
) -> Outcome
where
    F: Future<Output = Result<T, EngineError>>,
{
    let mut code = 0;
    let mut results = stream::iter(names.to_vec()).map(|name| {
        let act = &act;
        async move { (name.clone(), act(name).await) }
    });
    let mut results = results.by_ref().buffered(AT_ONCE);
    while let Some((name, result)) = results.next().await {
        match result {
            Ok(answer) => {
                writeln!(ctx.io.out, "{}", print(&name, answer))?;
                ctx.io.out.flush()?;
            }
            Err(error) => {
                say_engine("Error: ", &error, &mut ctx.io);
                code = 1;
            }
        }
    }
    Ok(code)
}

fn name_alone(name: &str, (): ()) -> String {
    name.to_owned()
}

/// "It is already so" is fine for these verbs, as docker has it.
fn unless_already(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.class == Class::NotModified => Ok(()),
        result => result,
    }
}

fn stop_options(args: &StopArgs) -> anyhow::Result<StopOptions> {
    let timeout = match &args.timeout {
        None => None,
        Some(text) => {
            let seconds: i64 = values::whole("-t, --timeout", text)?;
            Some(u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs))
        }
    };
    Ok(StopOptions { signal: args.signal.clone(), timeout })
}

pub async fn stop(args: StopArgs, ctx: &mut Ctx) -> Outcome {
    let (options, engine) = (stop_options(&args)?, ctx.engine.clone());
    let act = |name: String| {
        let (engine, options) = (engine.clone(), options.clone());
        async move { unless_already(engine.containers().stop(&name, &options).await) }
    };
    each(ctx, &args.names, act, name_alone).await
}

pub async fn restart(args: StopArgs, ctx: &mut Ctx) -> Outcome {
    let (options, engine) = (stop_options(&args)?, ctx.engine.clone());
    let act = |name: String| {
        let (engine, options) = (engine.clone(), options.clone());
        async move { engine.containers().restart(&name, &options).await }
    };
    each(ctx, &args.names, act, name_alone).await
}

pub async fn kill(args: KillArgs, ctx: &mut Ctx) -> Outcome {
    let engine = ctx.engine.clone();
    let act = |name: String| {
        let (engine, signal) = (engine.clone(), args.signal.clone());
        async move { engine.containers().kill(&name, &signal).await }
    };
    each(ctx, &args.names, act, name_alone).await
}

pub async fn pause(args: Names, ctx: &mut Ctx) -> Outcome {
    let engine = ctx.engine.clone();
    let act = |name: String| {
        let engine = engine.clone();
        async move { engine.containers().pause(&name).await }
    };
    each(ctx, &args.names, act, name_alone).await
}

pub async fn unpause(args: Names, ctx: &mut Ctx) -> Outcome {
    let engine = ctx.engine.clone();
    let act = |name: String| {
        let engine = engine.clone();
        async move { engine.containers().unpause(&name).await }
    };
    each(ctx, &args.names, act, name_alone).await
}

pub async fn rm(args: RmArgs, ctx: &mut Ctx) -> Outcome {
    let engine = ctx.engine.clone();
    let options = RemoveContainer { force: args.force, volumes: args.volumes };
    let mut code = 0;
    let names = stream::iter(args.names.clone());
    let mut results = names
        .map(|name| {
            let engine = engine.clone();
            async move { (name.clone(), engine.containers().remove(name.trim_matches('/'), &options).await) }
        })
        .buffered(AT_ONCE);
    while let Some((name, result)) = results.next().await {
        match result {
            Ok(()) => writeln!(ctx.io.out, "{name}")?,
            Err(error) => {
                say_engine("Error: ", &error, &mut ctx.io);
                // With --force a container that is not there is what was wanted.
                if !(args.force && error.class == Class::NotFound) {
                    code = 1;
                }
            }
        }
    }
    Ok(code)
}

pub async fn rename(args: RenameArgs, ctx: &mut Ctx) -> Outcome {
    ctx.engine.containers().rename(&args.name, args.new_name.trim_start_matches('/')).await?;
    Ok(0)
}

pub async fn wait(args: Names, ctx: &mut Ctx) -> Outcome {
    let engine = ctx.engine.clone();
    let act = |name: String| {
        let engine = engine.clone();
        async move { engine.containers().wait(&name, WaitCondition::NotRunning).await }
    };
    each(ctx, &args.names, act, |_, exit| exit.code.to_string()).await
}

pub async fn update(args: UpdateArgs, ctx: &mut Ctx) -> Outcome {
    let update = create::update(&args)?;
    if update == crate::engine::UpdateContainer::default() {
        return Err(Said("you must provide one or more flags when using this command.".to_owned()).into());
    }
    let mut code = 0;
    for name in &args.names {
        match ctx.engine.containers().update(name, &update).await {
            Ok(warnings) => {
                writeln!(ctx.io.out, "{name}")?;
                warnings.iter().for_each(|warning| ctx.io.say(&format!("WARNING: {warning}")));
            }
            Err(error) => {
                say_engine("Error: ", &error, &mut ctx.io);
                code = 1;
            }
        }
    }
    Ok(code)
}

pub async fn top(args: TopArgs, ctx: &mut Ctx) -> Outcome {
    let Some((name, options)) = args.words.split_first() else { return Ok(1) };
    let options = if options.is_empty() { "-ef".to_owned() } else { options.join(" ") };
    let found = ctx.engine.containers().top(name, &options).await?;
    let rows = std::iter::once(found.titles).chain(found.rows).collect();
    table::write_cells(rows, 20, &mut ctx.io.out)?;
    Ok(0)
}

pub async fn port(args: PortArgs, ctx: &mut Ctx) -> Outcome {
    let detail = ctx.engine.containers().inspect(&args.name).await?;
    let alive = detail.state.status.is_alive();
    let bindings = if alive { host_config::port_bindings(&detail.spec.ports) } else { Default::default() };
    let shown = |on: &host_config::HostPort| {
        let ip = if on.host_ip.is_empty() { "0.0.0.0" } else { &on.host_ip };
        format!("{ip}:{}", on.host_port)
    };
    let Some(wanted) = &args.port else {
        for (port, on) in &bindings {
            for host in on {
                writeln!(ctx.io.out, "{port} -> {}", shown(host))?;
            }
        }
        return Ok(0);
    };
    let full = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
    let Some(on) = bindings.get(&full) else {
        return Err(Said(format!("Error: No public port '{full}' published for {}", args.name)).into());
    };
    for host in on {
        writeln!(ctx.io.out, "{}", shown(host))?;
    }
    Ok(0)
}

pub async fn prune(args: PruneArgs, ctx: &mut Ctx) -> Outcome {
    let warning = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";
    if !args.force && !ctx.io.confirm(warning)? {
        return Ok(1);
    }
    let report = ctx.engine.containers().prune(&filters(&args.filter)?).await?;
    if !report.removed.is_empty() {
        writeln!(ctx.io.out, "Deleted Containers:\n{}\n", report.removed.join("\n"))?;
    }
    writeln!(ctx.io.out, "Total reclaimed space: {}", human::size_si_long(report.reclaimed_bytes))?;
    Ok(0)
}
