//! `inspect`: docker's JSON of anything, whole or through a template.

use std::io::Write;

use serde_json::Value;

use super::{Ctx, Outcome};
use crate::api::container::Sizes;
use crate::api::{container, image, network, volume};
use crate::cli::args::{InspectArgs, InspectOneArgs};
use crate::cli::failure::Said;
use crate::cli::template::{Template, TemplateError, pretty};
use crate::engine::{Class, EngineError, Filters};

/// `inspect [--type …] NAME…`
pub async fn any(args: InspectArgs, ctx: &mut Ctx) -> Outcome {
    let kinds: &[&str] = match args.kind.as_deref() {
        None | Some("") => &["container", "image", "network", "volume"],
        Some("container") => &["container"],
        Some("image") => &["image"],
        Some("network") => &["network"],
        Some("volume") => &["volume"],
        Some(other) => return Err(Said(format!("\"{other}\" is not a valid value for --type")).into()),
    };
    show(kinds, &args.names, args.format.as_deref(), sizes(args.size), ctx).await
}

/// `container inspect` and its kin.
pub async fn one(kind: &'static str, args: InspectOneArgs, ctx: &mut Ctx) -> Outcome {
    show(&[kind], &args.names, args.format.as_deref(), sizes(args.size), ctx).await
}

fn sizes(shown: bool) -> Sizes {
    if shown { Sizes::Shown } else { Sizes::Hidden }
}

async fn show(kinds: &[&str], names: &[String], format: Option<&str>, sizes: Sizes, ctx: &mut Ctx) -> Outcome {
    let template = match format {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(text).map_err(|error| Said(format!("template parsing error: {error}")))?),
    };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        match look(kinds, name, sizes, ctx).await {
            Ok(value) => found.push(value),
            Err(error) if error.class == Class::NotFound => errors.push(match kinds {
                [_] => format!("Error: {error}"),
                _ => format!("Error: No such object: {name}"),
            }),
            Err(error) => errors.push(format!("Error: {error}")),
        }
    }
    match (&template, format) {
        (Some(template), _) => {
            for value in &found {
                let text = template.render(value).map_err(said)?;
                writeln!(ctx.io.out, "{text}")?;
            }
            if found.is_empty() && !errors.is_empty() {
                writeln!(ctx.io.out)?;
            }
        }
        (None, Some("json")) => writeln!(ctx.io.out, "{}", Value::Array(found))?,
        (None, _) => writeln!(ctx.io.out, "{}", pretty(&Value::Array(found)))?,
    }
    errors.iter().for_each(|error| ctx.io.say(error));
    Ok(u8::from(!errors.is_empty()))
}

fn said(error: TemplateError) -> Said {
    Said(format!("template parsing error: {error}"))
}

/// The first kind that knows the name.
async fn look(kinds: &[&str], name: &str, sizes: Sizes, ctx: &Ctx) -> Result<Value, EngineError> {
    let mut last = None;
    for kind in kinds {
        let found = match *kind {
            "container" => ctx.engine.containers().inspect(name).await.map(|detail| container::to_json(&detail, sizes)),
            "image" => ctx.engine.images().inspect(name).await.map(|detail| image::to_json(&detail)),
            "network" => network_named(name, ctx).await,
            _ => ctx.engine.volumes().inspect(name).await.map(|found| volume::to_json(&found)),
        };
        match found {
            Err(error) if error.class == Class::NotFound => last = Some(error),
            found => return found,
        }
    }
    Err(last.unwrap_or_else(|| EngineError::new(Class::NotFound, name, format!("No such object: {name}"))))
}

async fn network_named(name: &str, ctx: &Ctx) -> Result<Value, EngineError> {
    let all = ctx.engine.networks().list(&Filters::default()).await?;
    let by_id = |id: &str| name.len() >= 4 && id.starts_with(name);
    let found = all.iter().find(|network| network.name == name || by_id(&network.id));
    found
        .map(network::to_json)
        .ok_or_else(|| EngineError::new(Class::NotFound, name, format!("network {name} not found")))
}
