//! Finds the files of a checkpoint and reads which tensors they contain.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

use crate::error::MeasureError;

/// Longest header that the reference reader of the format accepts, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// Where a tensor is stored in a file.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The file.
    pub path: PathBuf,
    /// Offset of its data in the file, in bytes.
    pub offset: u64,
    /// Length of its data, in bytes.
    pub bytes: u64,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Lengths of the dimensions.
    pub shape: Vec<u64>,
}

impl Stored {
    /// Number of elements. It does not overflow, as the check of the header has made sure.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// The tensors of a checkpoint.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Where each tensor is stored, by name.
    pub tensors: BTreeMap<String, Stored>,
    /// Names that were dropped on saving because they share the weights of another: `(name, other)`.
    pub aliases: Vec<(String, String)>,
    /// Tensors in the files that the index does not name, so that no loader reads them.
    pub not_in_index: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Finds the files of a checkpoint and reads their headers.
pub fn open(path: &Path) -> Result<Checkpoint, MeasureError> {
    let file = if path.is_dir() { in_folder(path)? } else { path.to_owned() };
    if file.extension().is_some_and(|ending| ending == "json") {
        sharded(&file)
    } else {
        let mut checkpoint = Checkpoint::default();
        let (tensors, aliases) = header(&file)?;
        checkpoint.tensors = tensors;
        checkpoint.aliases = aliases;
        Ok(checkpoint)
    }
}

/// The index of a folder, or its single safetensors file.
fn in_folder(folder: &Path) -> Result<PathBuf, MeasureError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(MeasureError::io(folder))? {
        let entry = entry.map_err(MeasureError::io(folder))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    let ending =
        |end: &str| -> Vec<&String> { names.iter().filter(|n| n.ends_with(end)).collect() };
    let has = |name: &str| names.iter().any(|other| other == name);
    for name in ["model.safetensors.index.json", "model.safetensors"] {
        if has(name) {
            return Ok(folder.join(name));
        }
    }
    if let [index] = ending(".safetensors.index.json")[..] {
        return Ok(folder.join(index));
    }
    match ending(".safetensors")[..] {
        [] => {
            let other = names.iter().find(|name| {
                [".bin", ".pt", ".pth", ".gguf", ".msgpack", ".h5", ".npz"]
                    .iter()
                    .any(|end| name.ends_with(end))
            });
            let hint =
                other.map_or_else(String::new, |name| format!(", but {name}: convert it first"));
            Err(MeasureError::NoCheckpoint { path: folder.to_owned(), hint })
        }
        [file] => Ok(folder.join(file)),
        ref files => Err(MeasureError::SeveralFiles {
            path: folder.to_owned(),
            files: files.iter().map(|name| (*name).clone()).collect(),
        }),
    }
}

/// A checkpoint of several files: takes from each file the tensors that the index assigns to it.
fn sharded(path: &Path) -> Result<Checkpoint, MeasureError> {
    let text = std::fs::read(path).map_err(MeasureError::io(path))?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|source| MeasureError::Json { path: path.to_owned(), source })?;
    let wrong = |detail: String| MeasureError::Index { path: path.to_owned(), detail };
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut checkpoint = Checkpoint::default();
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    for file in files {
        // Only files beside the index are allowed, no paths that lead elsewhere.
        if Path::new(file).file_name().is_none_or(|name| name != file.as_str()) {
            return Err(wrong(format!("{file} is not the name of a file beside it")));
        }
        let (tensors, aliases) = header(&folder.join(file))?;
        for (name, stored) in tensors {
            if index.weight_map.get(&name) == Some(file) {
                checkpoint.tensors.insert(name, stored);
            } else {
                checkpoint.not_in_index.push(name);
            }
        }
        checkpoint.aliases.extend(aliases);
    }
    let missing = index.weight_map.iter().find(|(name, _)| !checkpoint.tensors.contains_key(*name));
    match missing {
        Some((name, file)) => Err(wrong(format!("{name} is not in {file}"))),
        None => Ok(checkpoint),
    }
}

type Header = (BTreeMap<String, Stored>, Vec<(String, String)>);

/// The tensors of one file, and the names that share the weights of others.
fn header(path: &Path) -> Result<Header, MeasureError> {
    let io = MeasureError::io;
    let wrong = |detail: String| MeasureError::NotSafetensors { path: path.to_owned(), detail };
    let mut file = File::open(path).map_err(io(path))?;
    let length = file.metadata().map_err(io(path))?.len();
    let mut start = [0; 8];
    let mut begin = Vec::new();
    file.by_ref().take(8).read_to_end(&mut begin).map_err(io(path))?;
    if begin.len() < 8 {
        return Err(wrong("it is shorter than 8 bytes".to_owned()));
    }
    start.copy_from_slice(&begin);
    let size = u64::from_le_bytes(start);
    if size > LONGEST_HEADER || size > length.saturating_sub(8) {
        // Checked only now, because the header length of a valid file may look like the start of another format.
        return Err(match other_format(&begin) {
            Some(what) => MeasureError::OtherFormat { path: path.to_owned(), what },
            None => wrong(format!("it says that its header has {size} bytes")),
        });
    }
    let mut text = Vec::new();
    file.take(size).read_to_end(&mut text).map_err(io(path))?;
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("header: {error}")))?;
    let data = 8 + size;
    let expected = data + metadata.data_len() as u64;
    if expected != length {
        return Err(wrong(format!("it has {length} bytes, and its header speaks of {expected}")));
    }
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (begin, end) = info.data_offsets;
        let stored = Stored {
            path: path.to_owned(),
            offset: data + begin as u64,
            bytes: (end - begin) as u64,
            dtype: info.dtype,
            shape: info.shape.iter().map(|length| *length as u64).collect(),
        };
        (name, stored)
    });
    let tensors: BTreeMap<_, _> = tensors.collect();
    // For each name that it drops, safetensors.torch.save_model notes which name it kept.
    let aliases = metadata.metadata().iter().flatten();
    let aliases = aliases
        .filter(|(name, other)| !tensors.contains_key(*name) && tensors.contains_key(*other))
        .map(|(name, other)| (name.clone(), other.clone()))
        .collect();
    Ok((tensors, aliases))
}

/// Recognises a format by its first bytes.
fn other_format(begin: &[u8]) -> Option<&'static str> {
    Some(match begin {
        [b'G', b'G', b'U', b'F', ..] => {
            "a GGUF file, whose quantised types make and lose zeros (Q4_0 makes 55 % zeros of 50 %, Q4_1 \
             0.2 %); measure the checkpoint that it was converted from"
        }
        [b'P', b'K', 3, 4, ..] => {
            "a ZIP archive, as torch.save and numpy.savez write; save the weights with safetensors"
        }
        // Pickle protocols 2 to 5.
        [0x80, 2..=5, ..] => "a pickle, as torch.save writes; save the weights with safetensors",
        [0x89, b'H', b'D', b'F', ..] => "an HDF5 file; save the weights with safetensors",
        _ => return None,
    })
}
