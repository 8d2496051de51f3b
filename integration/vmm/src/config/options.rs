//! Option arguments of the form `key=value,key=[value,value]`.

use std::fmt::Display;
use std::str::FromStr;

use crate::quoted;

/// An option argument that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A part is no `key=value`.
    #[error("\"{part}\" is not of the form key=value; the keys are {keys}")]
    NoValue {
        /// The part, as it can be shown.
        part: String,
        /// The keys there are.
        keys: String,
    },
    /// As [`NoValue`](Self::NoValue), behind a path.
    #[error(
        "\"{part}\" is not of the form key=value; the keys are {keys}, and a path has no comma here \
         (in a configuration file it can have)"
    )]
    Comma {
        /// The part, as it can be shown.
        part: String,
        /// The keys there are.
        keys: String,
    },
    /// A key has to be there.
    #[error("the key \"{0}\" is missing")]
    Missing(&'static str),
    /// There is no such key.
    #[error("there is no key \"{key}\"; the keys are {keys}")]
    UnknownKey {
        /// What was written, as it can be shown.
        key: String,
        /// The keys there are.
        keys: String,
    },
    /// A key is there twice.
    #[error("the key \"{0}\" is given twice")]
    Twice(String),
    /// Two keys are there that mean the same.
    #[error("there can be one of the keys \"{0}\" and \"{1}\", not both")]
    Both(&'static str, &'static str),
    /// One of two keys has to be there.
    #[error("one of the keys \"{0}\" and \"{1}\" has to be given")]
    Neither(&'static str, &'static str),
    /// A key means something beside another one only.
    #[error("the key \"{0}\" needs the key \"{1}\"")]
    Needs(&'static str, &'static str),
    /// A value is wrong.
    #[error("{key}={value}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// Its value, as it can be shown.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Keys whose values are paths.
const PATHS: [&str; 4] = ["path", "socket", "src", "file"];

/// The values of an option argument, by key.
#[derive(Debug)]
pub struct Options<'a> {
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    /// Takes `text` apart; only `keys` may be in it, each once.
    ///
    /// # Errors
    /// [`OptionError`] names the part that is wrong and the keys there are.
    pub fn parse(text: &'a str, keys: &[&str]) -> Result<Self, OptionError> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in parts(text) {
            let Some((key, value)) = part.split_once('=') else {
                let (part, keys) = (quoted::text(part), keys.join(", "));
                let is_behind_path = pairs.last().is_some_and(|(key, _)| PATHS.contains(key));
                return Err(match is_behind_path {
                    true => OptionError::Comma { part, keys },
                    false => OptionError::NoValue { part, keys },
                });
            };
            if !keys.contains(&key) {
                let keys = keys.join(", ");
                return Err(OptionError::UnknownKey { key: quoted::text(key), keys });
            }
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(OptionError::Twice(key.to_owned()));
            }
            pairs.push((key, value));
        }
        Ok(Self { pairs })
    }

    /// The value of `key`, if it is there.
    ///
    /// # Errors
    /// [`OptionError::Value`] when it is not a `T`.
    pub fn get<T: FromStr<Err: ToString>>(&self, key: &str) -> Result<Option<T>, OptionError> {
        let Some((_, value)) = self.pairs.iter().find(|(known, _)| *known == key) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|error: T::Err| OptionError::Value {
            key: key.to_owned(),
            value: quoted::text(value),
            reason: error.to_string(),
        })
    }

    /// The number that `key` has, if it is there; `what` says which ones there can be.
    ///
    /// # Errors
    /// [`OptionError::Value`] when it is none.
    pub fn number<T: FromStr>(
        &self,
        key: &str,
        what: impl Display,
    ) -> Result<Option<T>, OptionError> {
        let value: Option<&str> =
            self.pairs.iter().find(|(known, _)| *known == key).map(|pair| pair.1);
        let wrong = |value| OptionError::Value {
            key: key.to_owned(),
            value: quoted::text(value),
            reason: format!("{what} is needed"),
        };
        value.map(|value| value.parse().map_err(|_| wrong(value))).transpose()
    }

    /// The value of `key`, which has to be there.
    ///
    /// # Errors
    /// [`OptionError::Missing`] when it is not; else as [`get`](Self::get).
    pub fn need<T: FromStr<Err: ToString>>(&self, key: &'static str) -> Result<T, OptionError> {
        self.get(key)?.ok_or(OptionError::Missing(key))
    }
}

/// What is between the commas of `text`, but for those of a list: of a value in brackets.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_in_list, mut before) = (false, ',');
    text.split(move |c| {
        is_in_list = c == '[' && before == '=' || is_in_list && c != ']';
        before = c;
        c == ',' && !is_in_list
    })
}

/// A list of values, `[value,value]`; one needs no brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: FromStr> FromStr for List<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        inner.unwrap_or(text).split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" | "true" => Ok(Self(true)),
            "off" | "false" => Ok(Self(false)),
            _ => Err("the values are on and off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Size;
    use super::*;

    #[test]
    fn values_are_found_by_key() {
        let options = Options::parse("boot=1,max=4", &["boot", "max"]).unwrap();
        assert_eq!(options.get::<u32>("max"), Ok(Some(4)));
        let options = Options::parse("boot=1", &["boot", "max"]).unwrap();
        assert_eq!(options.get::<u32>("max"), Ok(None));
    }

    #[test]
    fn errors_say_what_is_allowed() {
        let error = |text| Options::parse(text, &["size", "x"]).unwrap_err().to_string();
        assert_eq!(error("sise=1"), "there is no key \"sise\"; the keys are size, x");
        assert_eq!(error("1G"), "\"1G\" is not of the form key=value; the keys are size, x");
        assert_eq!(error("x=1,x=2"), "the key \"x\" is given twice");
        let options = Options::parse("path=a[1,x=2", &["path", "x"]).unwrap();
        assert_eq!(options.need::<String>("path").unwrap(), "a[1");
        assert_eq!(options.need::<String>("size"), Err(OptionError::Missing("size")));
        let options = Options::parse("size=lots", &["size"]).unwrap();
        let error = options.get::<Size>("size").unwrap_err().to_string();
        assert!(error.starts_with("size=lots: a size is"), "{error}");
    }
}
