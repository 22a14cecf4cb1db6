//! The inputs of commands that read runs: files, directories, archives and standard input.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use crate::intake::{Coding, ENDINGS, Format, IngestError, Looks, Part, looks_like};

/// Inputs of known formats, opened one after the other.
#[derive(Debug, Clone)]
pub struct Inputs {
    list: Vec<Input>,
}

#[derive(Debug, Clone)]
struct Input {
    name: String,
    format: Format,
    coding: Coding,
    /// Format of the files within an archive, if it was given.
    files: Option<Format>,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    /// Standard input, of which these first bytes were read already.
    Stdin(Vec<u8>),
}

/// Number of bytes inspected to recognise a file's format.
const LOOKED_AT: u64 = 64;

/// Finds the inputs that paths refer to: `-` is standard input, and a directory stands for all files below it with
/// known endings.
///
/// # Errors
/// If one cannot be opened, or its format is not clear.
pub fn find_inputs(paths: &[PathBuf], format: Option<Format>) -> anyhow::Result<Inputs> {
    let mut inputs = Inputs { list: Vec::new() };
    if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        bail!("- is standard input, and can be read once");
    }
    for path in paths {
        if path.as_os_str() == "-" {
            inputs.list.push(stdin(format)?);
        } else if path.is_dir() {
            inputs.add_directory(path, format)?;
        } else {
            inputs.add_file(path, format)?;
        }
    }
    Ok(inputs)
}

impl Inputs {
    /// The inputs, each opened when it is reached.
    pub fn parts(self) -> impl Iterator<Item = Result<Part, IngestError>> + Send + 'static {
        self.list.into_iter().map(move |input| {
            let Input { name, format, coding, files, place } = input;
            let unopened = |error: io::Error| IngestError::In {
                name: name.clone(),
                error: Box::new(IngestError::Malformed(format!("it cannot be opened: {error}"))),
            };
            let source: Box<dyn Read> = match place {
                Place::File(path) => Box::new(File::open(path).map_err(unopened)?),
                Place::Stdin(start) => Box::new(Cursor::new(start).chain(io::stdin())),
            };
            Ok(Part { name, format, coding, files, source })
        })
    }

    /// Adds a file that was named explicitly.
    fn add_file(&mut self, path: &Path, format: Option<Format>) -> anyhow::Result<()> {
        let name = path.display().to_string();
        let mut file = File::open(path).with_context(|| format!("opening {name}"))?;
        let (known, coding) = by_name(path)?;
        let (known, files, format) = match known {
            #[cfg(feature = "archives")]
            Some(Format::Zip) => (known, format, None),
            known => (known, None, format),
        };
        let (format, coding) = match format.or(known) {
            Some(format) => (format, coding),
            // The format of the content is known only after decompression.
            None if coding != Coding::Identity => {
                bail!("the format of {name} is not clear: say --format")
            }
            None => {
                let start = beginning(&mut file).with_context(|| format!("reading {name}"))?;
                by_start(&start, None, &name)?
            }
        };
        self.list.push(Input { name, format, coding, files, place: Place::File(path.to_owned()) });
        Ok(())
    }

    /// Adds all files below a directory whose ending is known, and reports the others.
    fn add_directory(&mut self, path: &Path, format: Option<Format>) -> anyhow::Result<()> {
        let before = self.list.len();
        let mut folders = vec![path.to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            let entries =
                fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
            for entry in entries {
                let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
                let hidden = entry.file_name().to_string_lossy().starts_with('.');
                let kind = entry.file_type().context("reading a directory")?;
                match () {
                    () if hidden => {}
                    () if kind.is_dir() => folders.push(entry.path()),
                    () => files.push(entry.path()),
                }
            }
        }
        files.sort_unstable();
        for file in files {
            let known = by_name(&file).ok().and_then(|(known, _)| known);
            if known.is_some() {
                self.add_file(&file, format)?;
            } else {
                eprintln!("not read: {} (its ending says of no format)", file.display());
            }
        }
        if self.list.len() == before {
            bail!("{} has no files of runs: their endings are {ENDINGS}", path.display());
        }
        Ok(())
    }
}

/// Format and compression according to a file's name, if it shows them.
fn by_name(path: &Path) -> anyhow::Result<(Option<Format>, Coding)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Format::of_name(&name).map_err(|cause| anyhow!("{}: {cause}", path.display()))
}

/// Format and compression according to the first bytes.
fn by_start(start: &[u8], format: Option<Format>, name: &str) -> anyhow::Result<(Format, Coding)> {
    let looks = looks_like(start).map(|(looks, _)| looks);
    let coding = if let Some(Looks::Coded(coding)) = looks { coding } else { Coding::Identity };
    let found = match looks {
        Some(Looks::Format(format)) => Some(format),
        Some(Looks::Json { array: true }) => Some(Format::Json),
        #[cfg(feature = "xlsx")]
        Some(Looks::Zip) => Some(Format::Xlsx),
        // An object may be a single run or the first of many lines; any other text may be of any format.
        _ => None,
    };
    match format.or(found) {
        Some(format) => Ok((format, coding)),
        None => bail!("the format of {name} is not clear: say --format"),
    }
}

fn beginning(file: &mut File) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(LOOKED_AT).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(start)
}

fn stdin(format: Option<Format>) -> anyhow::Result<Input> {
    let mut start = Vec::new();
    io::stdin().take(LOOKED_AT).read_to_end(&mut start).context("reading standard input")?;
    let name = "standard input".to_owned();
    let (format, coding) = by_start(&start, format, &name)?;
    Ok(Input { name, format, coding, files: None, place: Place::Stdin(start) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_what_files_are() {
        for (name, format, coding) in [
            ("a.csv", Some(Format::Csv), Coding::Identity),
            ("a.tsv.gz", Some(Format::Csv), Coding::Gzip),
            ("a.jsonl.zst", Some(Format::Ndjson), Coding::Zstd),
            ("a.feather", Some(Format::Arrow), Coding::Identity),
            ("a.txt", None, Coding::Identity),
            ("runs", None, Coding::Identity),
        ] {
            assert_eq!(by_name(Path::new(name)).unwrap(), (format, coding), "{name}");
        }
        assert!(by_name(Path::new("a.xls")).unwrap_err().to_string().contains("save it as .xlsx"));
    }

    #[test]
    fn first_bytes_say_what_endings_do_not() {
        let found = |start: &[u8], format| by_start(start, format, "x").ok();
        assert_eq!(found(b"[{", None), Some((Format::Json, Coding::Identity)));
        assert_eq!(found(b"ARROW1\0\0", None), Some((Format::Arrow, Coding::Identity)));
        assert_eq!(found(b"{}", None), None);
        assert_eq!(found(b"a,b", None), None);
        assert_eq!(found(b"a,b", Some(Format::Csv)), Some((Format::Csv, Coding::Identity)));
        assert_eq!(found(b"\x1f\x8b\x08", Some(Format::Csv)), Some((Format::Csv, Coding::Gzip)));
    }
}
