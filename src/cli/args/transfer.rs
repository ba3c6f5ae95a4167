//! What can be typed for moving images and files: registries, `cp`, `commit`, `export`, `diff`, and `system check`. Docker's names.

use clap::Args;

#[derive(Clone, Debug, Args)]
pub struct PullArgs {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    pub platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// Skip image verification (orlop verifies digests always; taken for docker's sake)
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_content_trust: Option<bool>,
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
}

#[derive(Clone, Debug, Args)]
pub struct PushArgs {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_content_trust: Option<bool>,
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
}

#[derive(Clone, Debug, Args)]
pub struct ImageCopyArgs {
    /// Host that has the image (default: the one that all verbs go to)
    #[arg(long, value_name = "host")]
    pub from: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// Host to copy it to, in place of HOST
    #[arg(long, value_name = "host")]
    pub to: Option<String>,
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// A name of the config file, a docker context, `embedded`, or an address: ssh://, tcp://, unix://
    #[arg(value_name = "HOST")]
    pub host: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct SearchArgs {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    pub filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string")]
    pub format: Option<String>,
    /// Max number of search results
    #[arg(long, value_name = "int")]
    pub limit: Option<u32>,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    #[arg(value_name = "TERM")]
    pub term: String,
}

#[derive(Clone, Debug, Args)]
pub struct LoginArgs {
    /// Password
    #[arg(short, long, value_name = "string")]
    pub password: Option<String>,
    /// Take the password from stdin
    #[arg(long)]
    pub password_stdin: bool,
    /// Username
    #[arg(short, long, value_name = "string")]
    pub username: Option<String>,
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct LogoutArgs {
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct CommitArgs {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "string")]
    pub author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "list")]
    pub change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "string")]
    pub message: Option<String>,
    /// Pause container during commit
    #[arg(short, long, action = clap::ArgAction::Set, default_value = "true", hide_default_value = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub pause: bool,
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct CpArgs {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    pub archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(value_name = "CONTAINER:SRC_PATH|SRC_PATH|-")]
    pub source: String,
    #[arg(value_name = "DEST_PATH|-|CONTAINER:DEST_PATH")]
    pub target: String,
}

#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    pub output: Option<String>,
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Put right what can be put right: set damaged content aside, rebuild the index from what is on disk
    #[arg(long)]
    pub repair: bool,
    /// Believe sizes and names; do not read and hash every blob
    #[arg(long)]
    pub quick: bool,
    /// Format output: 'json'
    #[arg(long, value_name = "string")]
    pub format: Option<String>,
}
