//! `events`: what happens, as it happens, in docker's line format.

use std::io::Write;

use futures_util::stream::StreamExt;
use serde_json::json;

use super::{Ctx, Outcome, filters};
use crate::api::{event, time};
use crate::cli::args::EventsArgs;
use crate::cli::failure::Said;
use crate::cli::template::Template;
use crate::cli::values;
use crate::engine::EventsQuery;
use crate::engine::event::Event;

pub async fn events(args: EventsArgs, ctx: &mut Ctx) -> Outcome {
    let now = (ctx.io.now)();
    let moment = |flag: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => values::moment(text, now).map(Some).ok_or_else(|| {
            Said(format!("invalid value for \"{flag}\": failed to parse value as time or duration: {text:?}"))
        }),
    };
    let query = EventsQuery {
        since: moment("since", &args.since)?,
        until: moment("until", &args.until)?,
        filters: filters(&args.filter)?,
    };
    let template = match args.format.as_deref() {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let mut stream = ctx.engine.system().events(&query).await?;
    while let Some(event) = stream.next().await {
        let event = event?;
        match (&template, args.format.as_deref()) {
            (Some(template), _) => {
                let mut shape = event::to_json(&event);
                shape["Time"] = json!(shape["time"]);
                shape["TimeNano"] = json!(shape["timeNano"]);
                writeln!(ctx.io.out, "{}", template.render(&shape)?)?;
            }
            (None, Some("json")) => writeln!(ctx.io.out, "{}", event::to_json(&event))?,
            (None, _) => writeln!(ctx.io.out, "{}", line(&event))?,
        }
        ctx.io.out.flush()?;
    }
    Ok(0)
}

/// `2026-11-21T04:45:39.117003172Z volume create data (driver=local)`
fn line(event: &Event) -> String {
    let head = format!("{} {} {} {}", time::with_nanos(event.time), event.kind.as_str(), event.action, event.id);
    let words: Vec<_> = event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if words.is_empty() { head } else { format!("{head} ({})", words.join(", ")) }
}
