//! The configuration file: replaced atomically, with a backup.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::problem::Problem;

/// Returns the text of a file; `None` for a file that does not exist.
pub(super) fn read(file: &Path) -> Result<Option<String>, Problem> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display()).into()),
    }
}

/// The file that was written, behind symbolic links, and the copy of what it held.
pub(super) struct Replaced {
    pub(super) target: PathBuf,
    pub(super) backup: Option<PathBuf>,
    /// The folders that were created for it, from the innermost outwards.
    pub(super) folders: Vec<PathBuf>,
}

/// Folders and the backup that were created for the file. They are removed again unless it is written.
struct Made {
    /// From the innermost outwards.
    folders: Vec<PathBuf>,
    backup: Option<PathBuf>,
    keeps: bool,
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.keeps {
            return;
        }
        if let Some(backup) = &self.backup {
            let _stays = fs::remove_file(backup);
        }
        for folder in &self.folders {
            let _stays = fs::remove_dir(folder);
        }
    }
}

impl Made {
    fn create(folder: &Path) -> std::io::Result<Self> {
        let missing = folder.ancestors().take_while(|folder| !folder.exists());
        let folders = missing.map(Path::to_owned).collect();
        let made = Self {
            folders,
            backup: None,
            keeps: false,
        };
        fs::create_dir_all(folder)?;
        Ok(made)
    }
}

/// Replaces the file. A symbolic link is followed, so that a configuration at another location stays there.
pub(super) fn replace(file: &Path, before: Option<&str>, text: &str) -> Result<Replaced, Problem> {
    let fails = |error: std::io::Error| format!("{} cannot be written: {error}", file.display());
    let target = match fs::canonicalize(file) {
        Ok(target) => target,
        // The file that a link names may not exist yet.
        Err(_absent) => {
            let link = fs::read_link(file).unwrap_or_default();
            let folder = file.parent().unwrap_or(file);
            let named = if link.as_os_str().is_empty() {
                file.to_owned()
            } else {
                folder.join(link)
            };
            std::path::absolute(named).map_err(fails)?
        }
    };
    let folder = target.parent();
    let folder = folder.ok_or_else(|| format!("{} is in no directory", file.display()))?;
    let mut made = Made::create(folder).map_err(fails)?;
    if let Some(before) = before {
        made.backup = Some(backup(&target, before).map_err(fails)?);
    }
    let mut new = NamedTempFile::new_in(folder).map_err(fails)?;
    new.write_all(text.as_bytes()).map_err(fails)?;
    if let Ok(metadata) = fs::metadata(&target) {
        fs::set_permissions(new.path(), metadata.permissions()).map_err(fails)?;
    }
    new.as_file().sync_all().map_err(fails)?;
    // Another program may have changed it meanwhile, which must not be overwritten.
    if read(&target)?.as_deref() != before {
        return Err(format!(
            "{} was changed by another program; try again",
            file.display()
        )
        .into());
    }
    new.persist(&target).map_err(|error| fails(error.error))?;
    made.keeps = true;
    Ok(Replaced {
        target,
        backup: made.backup.clone(),
        folders: made.folders.clone(),
    })
}

/// Writes a backup beside the file, under an unused name.
fn backup(target: &Path, before: &str) -> std::io::Result<PathBuf> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    for number in 1_u32.. {
        let copy = target.with_file_name(format!("{name}.before-mcp-auth-{number}"));
        let created = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&copy);
        match created {
            Ok(mut out) => {
                if let Ok(metadata) = fs::metadata(target) {
                    fs::set_permissions(&copy, metadata.permissions())?;
                }
                out.write_all(before.as_bytes())?;
                return Ok(copy);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other("too many copies of the file"))
}
