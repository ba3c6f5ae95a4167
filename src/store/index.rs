//! The index: which images there are, what they are called, which layers and blobs they need. SQLite, so that several
//! processes change it at once; `images.json` holds the same, written inside each transaction, and a damaged or missing
//! database is made again from it. Called by the store's own files. Content is in place before a row names it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::error::{Class, IoContext, StoreError};
use super::layers::BlobRef;
use super::{Result, Store};
use crate::oci::reference::Reference;
use crate::stdx::atomic::{self, Durability};
use crate::stdx::ids::{Digest, Id};
use crate::stdx::lock::{FileLock, Mode};

/// Of the dump; the schema's own is set in it, and both change only with the store's format.
const DUMP_VERSION: u32 = 1;
const SCHEMA: &str = "
    CREATE TABLE images(
        id TEXT PRIMARY KEY,
        manifest TEXT,
        added_s INTEGER NOT NULL,
        layers TEXT NOT NULL
    ) STRICT;
    CREATE TABLE names(
        reference TEXT PRIMARY KEY,
        image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX names_image ON names(image);
    PRAGMA user_version = 1;
";
/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(30);

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerRef {
    pub(super) diff_id: Digest,
    /// As it came, when it came compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) blob: Option<BlobRef>,
}

/// One image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ImageRow {
    /// Digest of the config.
    pub(super) id: Digest,
    /// The manifest it came with.
    pub(super) manifest: Option<Digest>,
    /// Unix seconds.
    pub(super) added_s: i64,
    /// Lowest first.
    pub(super) layers: Vec<LayerRef>,
    /// In alphabetical order.
    pub(super) names: Vec<Reference>,
}

#[derive(Serialize, Deserialize)]
struct Dump {
    version: u32,
    /// Of the index once the change is committed that the dump was written in.
    #[serde(default)]
    generation: i32,
    images: Vec<ImageRow>,
}

/// The connection of a store handle; opened at its first use.
#[derive(Debug, Default)]
pub(super) struct Index {
    connection: Mutex<Option<Connection>>,
}

impl Store {
    /// Reads under one snapshot of the index.
    pub(super) fn read_index<T>(&self, read: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        self.with_index(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            Ok(Ok(read(&transaction)?))
        })
    }

    /// Changes the index in one transaction, flushed before this returns. `change` may refuse with an error of its own.
    pub(super) fn change_index<T>(
        &self,
        change: impl Fn(&Transaction<'_>) -> rusqlite::Result<Result<T>>,
    ) -> Result<T> {
        self.with_index(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = match change(&transaction)? {
                Ok(result) => result,
                Err(error) => return Ok(Err(error)),
            };
            let next = generation(&transaction)?.wrapping_add(1);
            transaction.pragma_update(None, GENERATION, next)?;
            // The dump is written while the write lock is held, so dumps have the order of the transactions.
            if let Err(error) = self.dump(next, &all(&transaction)?) {
                return Ok(Err(error));
            }
            transaction.commit()?;
            Ok(Ok(result))
        })
    }

    fn with_index<T>(&self, act: impl Fn(&mut Connection) -> rusqlite::Result<Result<T>>) -> Result<T> {
        let mut slot = self.index.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.connect(&mut slot).and_then(act_on(&act));
        match first {
            Err(error) if is_damage(&error) => {
                *slot = None;
                self.set_damaged_index_aside()?;
                self.connect(&mut slot).and_then(act_on(&act)).unwrap_or_else(|e| Err(self.sql_error(e)))
            }
            Err(error) => Err(self.sql_error(error)),
            Ok(result) => result,
        }
    }

    fn connect<'c>(&self, slot: &'c mut Option<Connection>) -> rusqlite::Result<&'c mut Connection> {
        if slot.is_none() {
            *slot = Some(self.open_index()?);
        }
        // It was set just above.
        slot.as_mut().ok_or(rusqlite::Error::InvalidQuery)
    }

    fn open_index(&self) -> rusqlite::Result<Connection> {
        let mut connection = Connection::open(self.path("index.db"))?;
        connection.busy_timeout(BUSY)?;
        // A rollback journal, SQLite's default: a reader that lives for milliseconds then makes no file and takes one lock. A write-ahead log
        // is made, mapped, recovered and removed by every first and last reader, under locks that others meet asleep.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        if user_version(&connection)? == 0 {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if user_version(&transaction)? == 0 {
                transaction.execute_batch(SCHEMA)?;
                for image in self.read_dump() {
                    put(&transaction, &image)?;
                }
            }
            transaction.commit()?;
        }
        Ok(connection)
    }

    fn set_damaged_index_aside(&self) -> Result<()> {
        let lock = self.path("index.lock");
        let _lock = FileLock::acquire(&lock, Mode::Exclusive, BUSY).map_err(|e| StoreError::lock("the index", e))?;
        let path = self.path("index.db");
        // Another process may have made it anew while we waited.
        let is_whole =
            Connection::open(&path).and_then(|c| c.query_row("PRAGMA quick_check", [], |r| r.get::<_, String>(0)));
        if is_whole.is_ok_and(|text| text == "ok") {
            return Ok(());
        }
        for suffix in ["-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(self.path(format!("index.db{suffix}")));
        }
        let aside = self.path(format!("index.db.damaged-{}", Id::random().short()));
        std::fs::rename(&path, &aside).at("set the damaged index aside", &path)?;
        tracing::warn!(kept = %aside.display(), "the index was damaged and is made again from images.json");
        Ok(())
    }

    fn dump(&self, generation: i32, images: &[ImageRow]) -> Result<()> {
        let path = self.path("images.json");
        let dump = Dump { version: DUMP_VERSION, generation, images: images.to_vec() };
        let bytes = serde_json::to_vec(&dump)
            .map_err(|e| StoreError::new(Class::Internal, "images.json", "cannot serialise the index").caused_by(e))?;
        atomic::write(&path, &bytes, Durability::Synced).at("write", &path)
    }

    /// The images of the dump whose content is still there.
    fn read_dump(&self) -> Vec<ImageRow> {
        let Ok(bytes) = std::fs::read(self.path("images.json")) else { return Vec::new() };
        match serde_json::from_slice::<Dump>(&bytes) {
            Ok(dump) => dump.images.into_iter().filter(|image| self.has_content(image)).collect(),
            Err(error) => {
                tracing::error!(%error, "images.json cannot be read; the index starts empty");
                Vec::new()
            }
        }
    }

    /// The images of the dump whose content is still there.
    pub(super) fn dumped_rows(&self) -> Vec<ImageRow> {
        self.read_dump()
    }

    /// The ids that an index of this generation should have by the dump; `None` when there is no dump that can be read.
    ///
    /// A dump one generation ahead was written for a change that was killed before its commit: it tells nothing of the index, and the
    /// next change writes it anew.
    pub(super) fn dumped_ids(&self, generation: i32) -> Option<Vec<Digest>> {
        let bytes = std::fs::read(self.path("images.json")).ok()?;
        let dump = serde_json::from_slice::<Dump>(&bytes).ok()?;
        if dump.generation == generation.wrapping_add(1) {
            return Some(Vec::new());
        }
        Some(dump.images.into_iter().map(|image| image.id).collect())
    }

    fn has_content(&self, image: &ImageRow) -> bool {
        self.blob_path(&image.id).exists() && image.layers.iter().all(|l| self.layer_dir(&l.diff_id).is_dir())
    }

    fn sql_error(&self, error: rusqlite::Error) -> StoreError {
        let path = self.path("index.db");
        let class = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Class::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => Class::Denied,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Class::Conflict,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Class::Corrupt,
            _ => Class::Internal,
        };
        StoreError::new(class, path.display(), format!("cannot use the index {}", path.display())).caused_by(error)
    }
}

fn act_on<T, A>(act: &A) -> impl FnOnce(&mut Connection) -> rusqlite::Result<Result<T>>
where
    A: Fn(&mut Connection) -> rusqlite::Result<Result<T>>,
{
    move |connection| act(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Counts the changes: a number in the header of the database that SQLite leaves to us and that belongs to the transaction.
const GENERATION: &str = "application_id";

/// The number of the last committed change.
pub(super) fn generation(transaction: &Transaction<'_>) -> rusqlite::Result<i32> {
    transaction.pragma_query_value(None, GENERATION, |row| row.get(0))
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// All images, newest first.
pub(super) fn all(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<ImageRow>> {
    let mut statement = transaction.prepare_cached("SELECT id FROM images ORDER BY added_s DESC, id")?;
    let ids: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    ids.iter().filter_map(|id| by_id(transaction, id).transpose()).collect()
}

/// The image with this full id.
pub(super) fn by_id(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<ImageRow>> {
    let mut names = transaction.prepare_cached("SELECT reference FROM names WHERE image = ?1 ORDER BY reference")?;
    let names: Vec<Reference> =
        names.query_map([id], |row| parsed(row.get::<_, String>(0)?))?.collect::<rusqlite::Result<_>>()?;
    let mut image = transaction.prepare_cached("SELECT id, manifest, added_s, layers FROM images WHERE id = ?1")?;
    image
        .query_row([id], |row| {
            let layers: String = row.get(3)?;
            Ok(ImageRow {
                id: parsed(row.get::<_, String>(0)?)?,
                manifest: row.get::<_, Option<String>>(1)?.map(parsed).transpose()?,
                added_s: row.get(2)?,
                layers: serde_json::from_str(&layers).map_err(unreadable)?,
                names: names.clone(),
            })
        })
        .optional()
}

/// The id of the image that a reference names.
pub(super) fn by_name(transaction: &Transaction<'_>, name: &Reference) -> rusqlite::Result<Option<String>> {
    let mut statement = transaction.prepare_cached("SELECT image FROM names WHERE reference = ?1")?;
    statement.query_row([name.to_string()], |row| row.get(0)).optional()
}

/// The ids that start so, two at most.
pub(super) fn by_prefix(transaction: &Transaction<'_>, hex: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = transaction.prepare_cached("SELECT id FROM images WHERE id GLOB ?1 LIMIT 2")?;
    statement.query_map([format!("sha256:{hex}*")], |row| row.get(0))?.collect()
}

/// Adds an image, or its names to one that is there. A name moves from the image that had it.
pub(super) fn put(transaction: &Transaction<'_>, image: &ImageRow) -> rusqlite::Result<()> {
    let layers = serde_json::to_string(&image.layers).map_err(unreadable)?;
    transaction.execute(
        "INSERT INTO images(id, manifest, added_s, layers) VALUES(?1, ?2, ?3, ?4)
         ON CONFLICT(id) DO UPDATE SET manifest = coalesce(excluded.manifest, manifest),
             layers = CASE WHEN excluded.manifest IS NULL AND manifest IS NOT NULL THEN layers ELSE excluded.layers END",
        params![image.id.as_str(), image.manifest.as_ref().map(Digest::as_str), image.added_s, layers],
    )?;
    image.names.iter().try_for_each(|name| name_it(transaction, name, &image.id))
}

/// Gives an image a name, taking it from another.
pub(super) fn name_it(transaction: &Transaction<'_>, name: &Reference, id: &Digest) -> rusqlite::Result<()> {
    let sql = "INSERT INTO names(reference, image) VALUES(?1, ?2) ON CONFLICT DO UPDATE SET image = excluded.image";
    transaction.execute(sql, [&name.to_string(), id.as_str()]).map(drop)
}

/// Takes a name away.
pub(super) fn unname(transaction: &Transaction<'_>, name: &Reference) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM names WHERE reference = ?1", [name.to_string()]).map(drop)
}

/// Removes an image with its names.
pub(super) fn delete(transaction: &Transaction<'_>, id: &Digest) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM images WHERE id = ?1", [id.as_str()]).map(drop)
}

fn parsed<T: std::str::FromStr>(text: String) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(unreadable)
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}
