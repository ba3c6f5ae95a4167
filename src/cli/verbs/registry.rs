//! Verbs that speak with registries: `pull`, `push`, `search`, `login`, `logout`. Who one is comes from docker's configuration file.

use std::io::{IsTerminal, Write};

use serde_json::json;

use super::ps::ellipsis;
use super::{Ctx, Outcome, filters};
use crate::cli::args::{ImageCopyArgs, LoginArgs, LogoutArgs, PullArgs, PushArgs, SearchArgs};
use crate::cli::failure::{Quiet, Said};
use crate::cli::progress::Ledger;
use crate::cli::table::{Layout, Titles};
use crate::cli::terminal;
use crate::config::credentials::{CredentialsFile, HUB_KEY, Kept, Secret, key_of};
use crate::engine::auth::{Credentials, RegistryAuth};
use crate::engine::{Access, Progress, PullImage, PulledImage, PushImage, SearchImages};
use crate::fleet::copy::copy_image;
use crate::oci::reference::Reference;
use crate::stdx::human;

/// Who one is to the registry of an image.
///
/// # Errors
/// A configuration file, or a helper it names, that is of no use.
pub fn credentials_for(image: &str) -> anyhow::Result<Credentials> {
    let Ok(reference) = image.parse::<Reference>() else { return Ok(Credentials::Anonymous) };
    credentials_of(reference.domain())
}

fn credentials_of(registry: &str) -> anyhow::Result<Credentials> {
    let Some(file) = CredentialsFile::standard() else { return Ok(Credentials::Anonymous) };
    file.lookup(registry).map_err(|error| Said(error.to_string()).into())
}

/// Whether a pull says its steps, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// On stdout: the pull is what was asked for.
    Out,
    /// On stderr: it is on the way to something else, whose output stdout is for.
    Err,
    Nothing,
}

/// Pulls one image as `run` and `pull` do.
///
/// # Errors
/// The engine's.
pub async fn fetch(request: &PullImage, talk: Talk, ctx: &mut Ctx) -> anyhow::Result<Vec<PulledImage>> {
    let is_tty = match talk {
        Talk::Out => ctx.io.is_out_tty,
        Talk::Err => std::io::stderr().is_terminal(),
        Talk::Nothing => false,
    };
    if talk == Talk::Nothing {
        return Ok(ctx.engine.images().pull(request, Progress::none()).await?);
    }
    let mut ledger = Ledger::new(is_tty);
    let engine = ctx.engine.clone();
    let mut pull = engine.images().pull(request, ledger.progress());
    let out = if talk == Talk::Out { &mut ctx.io.out } else { &mut ctx.io.err };
    // The biased order: what is done is done, also when somebody has just given up.
    let pulled = tokio::select! {
        biased;
        pulled = ledger.watch(&mut pull, out) => Some(pulled),
        () = terminal::interrupted() => None,
    };
    // Dropped, it ends its transfers.
    drop(pull);
    match pulled {
        Some(pulled) => Ok(pulled?),
        None => Err(stopped("pull", "what came of it is kept, and the next pull goes on from there", ctx)),
    }
}

/// Says that somebody pressed Ctrl-C and what that means; the shell gets the code of a process that died of it.
fn stopped(verb: &str, meaning: &str, ctx: &mut Ctx) -> anyhow::Error {
    ctx.io.say(&format!("{verb} stopped: {meaning}"));
    Quiet(130).into()
}

pub async fn pull(args: PullArgs, ctx: &mut Ctx) -> Outcome {
    let parsed: Option<Reference> = args.name.parse().ok();
    if args.all_tags && args.name.rsplit('/').next().is_some_and(|last| last.contains([':', '@'])) {
        return Err(Said("tag can't be used with --all-tags/-a".to_owned()).into());
    }
    let has_tag = args.name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if !args.quiet && !args.all_tags && !has_tag && parsed.is_some() {
        writeln!(ctx.io.out, "Using default tag: latest")?;
    }
    let request = PullImage {
        reference: args.name.clone(),
        platform: args.platform.clone(),
        all_tags: args.all_tags,
        credentials: credentials_for(&args.name)?,
    };
    if let (false, Some(reference)) = (args.quiet, &parsed) {
        let tag = reference.tag().map(str::to_owned).or_else(|| reference.digest().map(|digest| digest.to_string()));
        let tag = tag.filter(|_| !args.all_tags).map_or_else(String::new, |tag| format!("{tag}: "));
        writeln!(ctx.io.out, "{tag}Pulling from {}", path_of(reference))?;
        ctx.io.out.flush()?;
    }
    let pulled = fetch(&request, if args.quiet { Talk::Nothing } else { Talk::Out }, ctx).await?;
    for image in &pulled {
        if args.quiet {
            writeln!(ctx.io.out, "{}", image.reference)?;
            continue;
        }
        let familiar = image.reference.parse::<Reference>().map_or(image.reference.clone(), |name| name.familiar());
        let what = if image.was_up_to_date { "Image is up to date" } else { "Downloaded newer image" };
        writeln!(ctx.io.out, "Digest: {}\nStatus: {what} for {familiar}\n{}", image.digest, image.reference)?;
    }
    Ok(0)
}

/// As registries call it: `library/debian`.
fn path_of(reference: &Reference) -> &str {
    reference.path()
}

pub async fn push(args: PushArgs, ctx: &mut Ctx) -> Outcome {
    if args.all_tags && args.name.rsplit('/').next().is_some_and(|last| last.contains([':', '@'])) {
        return Err(Said("tag can't be used with --all-tags/-a".to_owned()).into());
    }
    let request =
        PushImage { reference: args.name.clone(), all_tags: args.all_tags, credentials: credentials_for(&args.name)? };
    if let (false, Ok(reference)) = (args.quiet, args.name.parse::<Reference>()) {
        writeln!(ctx.io.out, "The push refers to repository [{}]", reference.repository())?;
        ctx.io.out.flush()?;
    }
    let pushed = if args.quiet {
        ctx.engine.images().push(&request, Progress::none()).await?
    } else {
        let mut ledger = Ledger::new(ctx.io.is_out_tty);
        let engine = ctx.engine.clone();
        let mut push = engine.images().push(&request, ledger.progress());
        let pushed = tokio::select! {
            biased;
            pushed = ledger.watch(&mut push, &mut ctx.io.out) => Some(pushed),
            () = terminal::interrupted() => None,
        };
        drop(push);
        match pushed {
            Some(pushed) => pushed?,
            None => return Err(stopped("push", "layers that are there are not sent again by the next one", ctx)),
        }
    };
    for image in pushed {
        if args.quiet {
            continue;
        }
        writeln!(ctx.io.out, "{}: digest: {} size: {}", image.tag, image.digest, image.size_bytes)?;
    }
    if args.quiet {
        writeln!(ctx.io.out, "{}", args.name)?;
    }
    Ok(0)
}

pub async fn copy(args: ImageCopyArgs, ctx: &mut Ctx) -> Outcome {
    let to = match (args.to, args.host) {
        (Some(_), Some(host)) => return Err(Said(format!("two hosts to copy to: --to and {host}")).into()),
        (Some(host), None) | (None, Some(host)) => host,
        (None, None) => {
            return Err(Said("name the host to copy to: orlop image copy IMAGE HOST".to_owned()).into());
        }
    };
    let hosts = ctx.hosts.clone().ok_or_else(|| Said("there is no other host here".to_owned()))?;
    let source = match &args.from {
        Some(from) => hosts.open(from)?.1,
        None => ctx.engine.clone(),
    };
    let (entry, target) = hosts.open(&to)?;
    if entry.access == Access::ReadOnly {
        return Err(Said(format!("{} is marked read-only in the config file", entry.name)).into());
    }
    let copied = if args.quiet {
        copy_image(&*source, &*target, &args.image, Progress::none()).await?
    } else {
        let mut ledger = Ledger::new(ctx.io.is_out_tty);
        let mut copy = Box::pin(copy_image(&*source, &*target, &args.image, ledger.progress()));
        ledger.watch(&mut copy, &mut ctx.io.out).await?
    };
    if args.quiet {
        writeln!(ctx.io.out, "{}", copied.id)?;
        return Ok(0);
    }
    if let Some(why) = &copied.why_all {
        ctx.io.say(&format!("all of it went over: {why}"));
    }
    let name = copied.references.first().unwrap_or(&copied.id);
    let host = &entry.name;
    let sent = match copied.n_sent {
        0 => "nothing sent".to_owned(),
        1 => format!("1 layer sent ({})", human::size_si(copied.sent_bytes)),
        n => format!("{n} layers sent ({})", human::size_si(copied.sent_bytes)),
    };
    writeln!(ctx.io.out, "Copied {name} to {host}: {sent}, {} already there", copied.n_present)?;
    Ok(0)
}

pub async fn search(args: SearchArgs, ctx: &mut Ctx) -> Outcome {
    const TITLES: Titles =
        &[("Name", "NAME"), ("Description", "DESCRIPTION"), ("StarCount", "STARS"), ("IsOfficial", "OFFICIAL")];
    let registry = match args.term.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => HUB_KEY,
    };
    let query = SearchImages {
        term: args.term.clone(),
        limit: args.limit,
        filters: filters(&args.filter)?,
        credentials: credentials_of(registry)?,
    };
    let found = ctx.engine.images().search(&query).await?;
    let layout = Layout::choose(args.format.as_deref(), &["Name", "Description", "StarCount", "IsOfficial"])?;
    let row = |image: &crate::engine::FoundImage| {
        let description = image.description.replace(['\n', '\r', '\t'], " ");
        json!({
            "Description": if args.no_trunc { description } else { ellipsis(&description, 45) },
            "IsOfficial": if image.is_official { "[OK]" } else { "" },
            "Name": image.name,
            "StarCount": image.n_stars.to_string(),
        })
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    layout.write(&rows, TITLES, &mut ctx.io.out)?;
    Ok(0)
}

pub async fn login(args: LoginArgs, ctx: &mut Ctx) -> Outcome {
    let registry = args.server.clone().unwrap_or_else(|| HUB_KEY.to_owned());
    let file = CredentialsFile::standard().ok_or_else(|| Said("there is no HOME to keep a login in".to_owned()))?;
    let (username, password) = identify(&args, &registry, &file, ctx)?;
    let credentials = Credentials::Password { username: username.clone(), password: password.clone() };
    let auth = RegistryAuth { registry: registry.clone(), credentials };
    let token = ctx.engine.system().login(&auth).await?;
    let secret = token.map_or(Secret::Password(password), Secret::IdentityToken);
    let kept = file.store(&registry, &username, &secret).map_err(|error| Said(error.to_string()))?;
    if let Kept::Plainly(path) = kept {
        let path = path.display();
        ctx.io.say(&format!("WARNING! Your credentials are stored unencrypted in '{path}'.\nConfigure a credential helper to remove this warning."));
    }
    writeln!(ctx.io.out, "Login Succeeded")?;
    Ok(0)
}

/// The user and the password: from flags, from stdin, from the file where nothing is said, else asked for.
fn identify(
    args: &LoginArgs,
    registry: &str,
    file: &CredentialsFile,
    ctx: &mut Ctx,
) -> anyhow::Result<(String, String)> {
    let said = |text: &str| anyhow::Error::from(Said(text.to_owned()));
    if args.password_stdin {
        if args.password.is_some() {
            return Err(said("--password and --password-stdin are mutually exclusive"));
        }
        let username = args.username.clone().ok_or_else(|| said("Must provide --username with --password-stdin"))?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut ctx.io.take_stdin(), &mut text)?;
        let password = text.trim_end_matches(['\n', '\r']).to_owned();
        return if password.is_empty() { Err(said("password is empty")) } else { Ok((username, password)) };
    }
    if let (Some(username), Some(password)) = (&args.username, &args.password) {
        ctx.io.say("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        return Ok((username.clone(), password.clone()));
    }
    if args.username.is_none()
        && args.password.is_none()
        && let Ok(Credentials::Password { username, password }) = file.lookup(registry)
    {
        ctx.io.say("Authenticating with existing credentials...");
        return Ok((username, password));
    }
    if !ctx.io.is_stdin_tty() {
        return Err(said("Error: Cannot perform an interactive login from a non TTY device"));
    }
    let username = match &args.username {
        Some(username) => username.clone(),
        None => terminal::ask("Username: ", terminal::Echo::Shown)?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None => terminal::ask("Password: ", terminal::Echo::Hidden)?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(said("Error: username and password are required"));
    }
    Ok((username, password))
}

pub async fn logout(args: LogoutArgs, ctx: &mut Ctx) -> Outcome {
    let registry = args.server.unwrap_or_else(|| HUB_KEY.to_owned());
    let file = CredentialsFile::standard().ok_or_else(|| Said("there is no HOME to keep a login in".to_owned()))?;
    let was_known = file.erase(&registry).map_err(|error| Said(error.to_string()))?;
    let key = key_of(&registry);
    if was_known {
        writeln!(ctx.io.out, "Removing login credentials for {key}")?;
    } else {
        writeln!(ctx.io.out, "Not logged in to {key}")?;
    }
    Ok(0)
}
