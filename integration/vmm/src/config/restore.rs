//! A machine that was saved, and is to go on.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::options::{OptionError, Options, Switch};

/// A saved machine: `source_url=file:///FOLDER` on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreConfig {
    /// The folder that it is in.
    pub source_url: FolderUrl,
    /// Whether all of its memory is read before it runs, in place of each page when it is used.
    pub prefault: bool,
    /// Whether it runs at once, where that is said.
    pub resume: Option<bool>,
}

impl RestoreConfig {
    /// Takes the argument of `--restore` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["source_url", "prefault", "resume"])?;
        let switch = |key| Ok(options.get::<Switch>(key)?.map(|switch| switch.0));
        Ok(Self {
            source_url: options.need("source_url")?,
            prefault: switch("prefault")?.unwrap_or(false),
            resume: switch("resume")?,
        })
    }
}

/// A folder of the host, as `file:///PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderUrl(PathBuf);

impl FolderUrl {
    /// Its path, which is absolute.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A URL that is no folder's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is file:// and the absolute path of a folder, as in file:///var/lib/vm/saved")]
pub struct NoFolderUrl;

impl FromStr for FolderUrl {
    type Err = NoFolderUrl;

    fn from_str(text: &str) -> Result<Self, NoFolderUrl> {
        let path = text.strip_prefix("file://").filter(|path| path.starts_with('/'));
        path.map(|path| Self(path.into())).ok_or(NoFolderUrl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_urls() {
        let config = RestoreConfig::parse("source_url=file:///a b/c,resume=on").unwrap();
        assert_eq!(config.source_url.path(), Path::new("/a b/c"));
        assert_eq!((config.prefault, config.resume), (false, Some(true)));
        let config = RestoreConfig::parse("source_url=file:///a,prefault=true").unwrap();
        assert_eq!((config.prefault, config.resume), (true, None));
        for (text, words) in [
            ("resume=on", "\"source_url\" is missing"),
            ("source_url=/a", "file:// and the absolute path"),
            ("source_url=file://a", "file:// and the absolute path"),
            ("source_url=http:///a", "file:// and the absolute path"),
            ("source_url=file:///a,resume=perhaps", "resume=perhaps"),
        ] {
            let error = RestoreConfig::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
