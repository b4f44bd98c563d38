//! A file that a command writes at its end.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::problem::Problem;

/// The path of a file that could be written when the command began.
#[derive(Clone)]
pub(crate) struct Destination(PathBuf);

impl Destination {
    /// Checks that a file can be written there.
    ///
    /// # Errors
    /// Names the path.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Problem> {
        let place = Self(path);
        if std::fs::metadata(&place.0).is_ok_and(|found| !found.is_file()) {
            return Err(place.named(&"this is not a file").into());
        }
        place.temporary()?;
        Ok(place)
    }

    /// Replaces the file atomically, readable by its owner only.
    ///
    /// # Errors
    /// Names the path.
    pub(crate) fn write(&self, text: &str) -> Result<(), Problem> {
        let mut file = self.temporary()?;
        file.write_all(text.as_bytes())
            .map_err(|error| self.named(&error))?;
        file.persist(&self.0)
            .map_err(|failed| self.named(&failed.error))?;
        Ok(())
    }

    fn temporary(&self) -> Result<NamedTempFile, Problem> {
        let folder = match self.0.parent() {
            Some(folder) if folder != Path::new("") => folder,
            Some(_) | None => Path::new("."),
        };
        // The error names a file with a random name, which means nothing to the user.
        NamedTempFile::new_in(folder).map_err(|error| {
            let words = if error.kind() == ErrorKind::NotFound {
                "its folder does not exist: make it, or name another file".to_owned()
            } else {
                std::io::Error::from(error.kind()).to_string()
            };
            self.named(&words).into()
        })
    }

    fn named(&self, error: &dyn Display) -> String {
        format!("{}: {error}", self.0.display())
    }
}
