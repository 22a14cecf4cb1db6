//! Where runs of the command line come from: files, directories, archives and standard input.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

#[cfg(feature = "archives")]
use crate::intake::archive::Archive;
use crate::intake::{Coding, Format, IngestError, Looks, Part, looks_like};

/// Inputs, whose formats are known, and which are opened one after the other.
#[derive(Debug, Clone)]
pub struct Inputs {
    list: Vec<Input>,
    /// The most bytes of a file in an archive.
    #[cfg_attr(
        not(feature = "archives"),
        expect(dead_code, reason = "only archives are unpacked")
    )]
    most: u64,
}

#[derive(Debug, Clone)]
struct Input {
    name: String,
    format: Format,
    coding: Coding,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    /// Standard input, of which so much was looked at.
    Stdin(Vec<u8>),
    #[cfg(feature = "archives")]
    Entry {
        archive: PathBuf,
        entry: String,
    },
}

/// Bytes that say what a file is.
const LOOKED_AT: u64 = 64;

/// Finds what the paths lead to: `-` is standard input, a directory all files below it with known endings, a zip
/// archive the files in it. `most` bounds what comes out of an archive.
///
/// # Errors
/// Where one cannot be opened, or its format is not clear.
pub fn find_inputs(paths: &[PathBuf], format: Option<Format>, most: u64) -> anyhow::Result<Inputs> {
    let mut inputs = Inputs { list: Vec::new(), most };
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
    /// Each, opened when its turn comes.
    pub fn parts(self) -> impl Iterator<Item = Result<Part, IngestError>> + Send + 'static {
        #[cfg(feature = "archives")]
        let most = self.most;
        self.list.into_iter().map(move |input| {
            let Input { name, format, coding, place } = input;
            let unopened = |error: io::Error| IngestError::In {
                name: name.clone(),
                error: Box::new(IngestError::Malformed(format!("it cannot be opened: {error}"))),
            };
            let source: Box<dyn Read> = match place {
                Place::File(path) => Box::new(File::open(path).map_err(unopened)?),
                Place::Stdin(start) => Box::new(Cursor::new(start).chain(io::stdin())),
                #[cfg(feature = "archives")]
                Place::Entry { archive, entry } => {
                    let file = File::open(archive).map_err(unopened)?;
                    let unpacked = Archive::open(file).and_then(|mut a| a.extract(&entry, most));
                    Box::new(unpacked.map_err(|error| IngestError::In {
                        name: name.clone(),
                        error: Box::new(error),
                    })?)
                }
            };
            Ok(Part { name, format, coding, source })
        })
    }

    /// A file that was named itself.
    fn add_file(&mut self, path: &Path, format: Option<Format>) -> anyhow::Result<()> {
        let name = path.display().to_string();
        let mut file = File::open(path).with_context(|| format!("opening {name}"))?;
        if has_ending(path, "zip") {
            return self.add_archive(path, format);
        }
        let (known, coding) = by_name(&file_name(path))?;
        let (format, coding) = match format.or(known) {
            Some(format) => (format, coding),
            // What it is without its compression is not known before it is undone.
            None if coding != Coding::Identity => {
                bail!("the format of {name} is not clear: say --format")
            }
            None => {
                let start = beginning(&mut file).with_context(|| format!("reading {name}"))?;
                by_start(&start, None, &name)?
            }
        };
        self.list.push(Input { name, format, coding, place: Place::File(path.to_owned()) });
        Ok(())
    }

    /// All files below a directory whose ending is known; the others are named.
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
            let known = by_name(&file_name(&file)).ok().and_then(|(known, _)| known);
            if has_ending(&file, "zip") || known.is_some() {
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

    #[cfg(feature = "archives")]
    fn add_archive(&mut self, path: &Path, format: Option<Format>) -> anyhow::Result<()> {
        let display = path.display();
        let archive = Archive::open(File::open(path)?).with_context(|| display.to_string())?;
        let before = self.list.len();
        for entry in archive.names().with_context(|| display.to_string())? {
            let (known, coding) = by_name(&file_name(Path::new(&entry)))?;
            let Some(format) = format.or(known) else {
                eprintln!("not read: {entry} in {display} (its ending says of no format)");
                continue;
            };
            let name = format!("{display}/{entry}");
            let place = Place::Entry { archive: path.to_owned(), entry };
            self.list.push(Input { name, format, coding, place });
        }
        if self.list.len() == before {
            bail!("{display} has no files of runs: their endings are {ENDINGS}");
        }
        Ok(())
    }

    #[cfg(not(feature = "archives"))]
    fn add_archive(&mut self, path: &Path, _: Option<Format>) -> anyhow::Result<()> {
        bail!("{} is an archive, and this build reads none (feature archives)", path.display())
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// Endings that are known, for messages.
const ENDINGS: &str = ".csv, .tsv, .json, .ndjson, .jsonl, .parquet, .arrow, .feather and .xlsx, also with .gz, .zst, \
                       .xz or .bz2 behind, and .zip";

/// Format and coding by the ending of a name in small letters, where it says so.
fn by_name(name: &str) -> anyhow::Result<(Option<Format>, Coding)> {
    let (coding, stem) = match name.rsplit_once('.') {
        Some((stem, "gz" | "gzip")) => (Coding::Gzip, stem),
        Some((stem, "zst" | "zstd")) => (Coding::Zstd, stem),
        #[cfg(feature = "archives")]
        Some((stem, "xz")) => (Coding::Xz, stem),
        #[cfg(feature = "archives")]
        Some((stem, "bz2" | "bzip2")) => (Coding::Bzip2, stem),
        #[cfg(not(feature = "archives"))]
        Some((_, "xz" | "bz2" | "bzip2")) => {
            bail!("{name}: this build does not undo its compression (feature archives)")
        }
        _ => (Coding::Identity, name),
    };
    let format = match stem.rsplit_once('.') {
        Some((_, "csv" | "tsv" | "tab")) => Some(Format::Csv),
        Some((_, "ndjson" | "jsonl")) => Some(Format::Ndjson),
        Some((_, "json")) => Some(Format::Json),
        #[cfg(feature = "parquet")]
        Some((_, "parquet" | "pq")) => Some(Format::Parquet),
        Some((_, "arrow" | "arrows" | "feather" | "ipc")) => Some(Format::Arrow),
        #[cfg(feature = "xlsx")]
        Some((_, "xlsx" | "xlsm")) => Some(Format::Xlsx),
        Some((_, "xls" | "xlsb" | "ods")) => {
            bail!("{name} is a workbook of another kind: save it as .xlsx or .csv")
        }
        _ => None,
    };
    Ok((format, coding))
}

/// Format and coding by the first bytes.
fn by_start(start: &[u8], format: Option<Format>, name: &str) -> anyhow::Result<(Format, Coding)> {
    let looks = looks_like(start).map(|(looks, _)| looks);
    let coding = if let Some(Looks::Coded(coding)) = looks { coding } else { Coding::Identity };
    let found = match looks {
        Some(Looks::Format(format)) => Some(format),
        Some(Looks::Json { array: true }) => Some(Format::Json),
        #[cfg(feature = "xlsx")]
        Some(Looks::Zip) => Some(Format::Xlsx),
        // An object may be one run, or the first of many lines; a text without either is any.
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
    Ok(Input { name, format, coding, place: Place::Stdin(start) })
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
            assert_eq!(by_name(name).unwrap(), (format, coding), "{name}");
        }
        assert!(by_name("a.xls").unwrap_err().to_string().contains("save it as .xlsx"));
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
