//! File systems as an engine tells of them: what a container or a layer changed, and paths copied in and out.

use std::time::SystemTime;

/// How a path differs from what lies below it. Docker's numbers on the wire: 0, 1, 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// One path that differs; absolute, with `/` for the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: String,
    pub kind: ChangeKind,
    /// Bytes of a regular file as it is now, or as it was where it is deleted; 0 otherwise.
    pub size_bytes: u64,
}

/// One layer of an image as a list of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerFiles {
    pub diff_id: String,
    /// The instruction that made it; empty when the image does not say.
    pub created_by: String,
    /// Unpacked bytes of the layer.
    pub size_bytes: u64,
    /// In order of path.
    pub changes: Vec<Change>,
    /// Bytes of lower layers that this one replaced or removed: carried along, never seen.
    pub wasted_bytes: u64,
}

/// How to make an image from a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitContainer {
    /// `name[:tag]`; empty for an image without a name.
    pub reference: String,
    pub author: String,
    pub comment: String,
    /// Dockerfile instructions applied to the configuration, in order: CMD ENTRYPOINT ENV EXPOSE LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR.
    pub changes: Vec<String>,
    /// Pause while the file system is read (docker's default).
    pub pause: bool,
}

/// Facts of a copied path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedPath {
    /// Last component.
    pub name: String,
    pub size_bytes: u64,
    /// Unix mode with the file type bits (`st_mode`).
    pub mode: u32,
    pub modified: Option<SystemTime>,
    /// Where a symlink points; empty otherwise.
    pub link_target: String,
}

/// How a tar is unpacked into a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyInto {
    /// An existing directory.
    pub path: String,
    /// Refuse to replace a directory by a file or the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Keep owners of the archive instead of root.
    pub copy_uid_gid: bool,
}
