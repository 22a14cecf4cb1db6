//! Reads Arrow's IPC format.
//!
//! A stream is read message by message. A file (Feather version 2) has its directory at the end, so it is kept in a
//! temporary file while it is read. The stream inside the file is not used, because some writers leave it out and write
//! only the blocks that the directory names.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, StreamDecoder};
use arrow_ipc::{Block, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::Schema;

use crate::intake::arrow::{Table, check_schema, is_uuid, push};
use crate::intake::error::{IngestError, Limit};
use crate::intake::guarded::guarded;
use crate::intake::rows::Rows;

/// First and last bytes of a file; a stream has none of these.
const MAGIC: &[u8; 6] = b"ARROW1";
/// Precedes the length of each message since version 0.15 of the format.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Maximum length of metadata, in bytes; no table of runs needs more.
const MOST_METADATA: u64 = 16 * 1024 * 1024;

const FORMAT: &str = "Arrow";

/// Reads a stream or a file, one batch at a time.
pub(crate) fn read(source: &mut impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let mut start = [0; MAGIC.len()];
    let mut filled = 0;
    while filled < start.len() {
        match source.read(&mut start[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    let mut source = start[..filled].chain(source);
    if start == *MAGIC { read_file(&mut source, rows) } else { read_stream(&mut source, rows) }
}

/// The columns of a schema that are read.
struct Selected {
    table: Table,
    places: Vec<usize>,
}

impl Selected {
    fn of(schema: &Schema, rows: &Rows<'_>) -> Result<Self, IngestError> {
        let places = check_schema(schema, rows)?;
        let uuids = places.iter().map(|place| schema.field(*place)).filter(|field| is_uuid(field));
        let uuids: HashSet<String> = uuids.map(|field| field.name().clone()).collect();
        Ok(Self { table: Table { uuids }, places })
    }

    fn push(&self, batch: &RecordBatch, rows: &mut Rows<'_>) -> Result<(), IngestError> {
        // All rows of a batch must be in memory, but columns without values take up no bytes for them, so the number of
        // rows is limited as well.
        if batch.num_rows() as u64 > rows.limits().rows {
            return Err(IngestError::TooLarge(Limit::Rows));
        }
        let batch = guarded(FORMAT, || batch.project(&self.places))?;
        push(&self.table, &batch, rows)
    }
}

fn read_stream(source: &mut impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let mut bound = Bound::new(rows.limits().block_bytes);
    let mut decoder = StreamDecoder::new();
    let mut selected = None;
    while let Some(message) = next_message(source, &mut bound)? {
        let batch = guarded(FORMAT, || decoder.decode(&mut message.into()))?;
        if selected.is_none()
            && let Some(schema) = decoder.schema()
        {
            selected = Some(Selected::of(&schema, rows)?);
        }
        if let Some((batch, selected)) = batch.zip(selected.as_ref()) {
            selected.push(&batch, rows)?;
        }
    }
    if selected.is_none() {
        return Err(IngestError::Malformed("the body is no Arrow: it has no schema".to_owned()));
    }
    Ok(())
}

/// Reads the next message, including the length before it; `None` at the end of the stream.
fn next_message(source: &mut impl Read, bound: &mut Bound) -> Result<Option<Vec<u8>>, IngestError> {
    let mut word = [0; 4];
    match source.read_exact(&mut word) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut message = word.to_vec();
    if word == CONTINUATION {
        let length = exactly(source, 4)?;
        word.copy_from_slice(&length);
        message.extend(length);
    }
    let length = u32::from_le_bytes(word);
    if length == 0 {
        return Ok(None);
    }
    let metadata = exactly(source, described(length.into())?)?;
    let body = exactly(source, bound.body(&metadata)?)?;
    bound.check(&metadata, &body)?;
    message.extend(metadata);
    message.extend(body);
    Ok(Some(message))
}

fn read_file(source: &mut impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let mut file = tempfile::tempfile().map_err(IngestError::Spool)?;
    let length = spool(source, &mut file)?;
    let mut bound = Bound::new(rows.limits().block_bytes);
    let footer = footer(&mut file, length)?;
    let (schema, version, dictionaries, batches) = guarded(FORMAT, || {
        let footer = root_as_footer(&footer).map_err(|error| error.to_string())?;
        let schema = footer.schema().ok_or("it has no schema")?;
        let dictionaries: Vec<Block> =
            footer.dictionaries().into_iter().flatten().copied().collect();
        let batches: Vec<Block> = footer.recordBatches().into_iter().flatten().copied().collect();
        let schema = try_fb_to_schema(schema).map_err(|error| error.to_string())?;
        Ok::<_, String>((Arc::new(schema), footer.version(), dictionaries, batches))
    })?;
    let selected = Selected::of(&schema, rows)?;
    let mut decoder = FileDecoder::new(schema, version);
    for block in dictionaries {
        let bytes = bound.block(&mut file, &block)?;
        guarded(FORMAT, || decoder.read_dictionary(&block, &bytes.into()))?;
    }
    for block in batches {
        let bytes = bound.block(&mut file, &block)?;
        if let Some(batch) = guarded(FORMAT, || decoder.read_record_batch(&block, &bytes.into()))? {
            selected.push(&batch, rows)?;
        }
    }
    Ok(())
}

/// Copies the source to the file and returns the number of bytes. Errors of the file become [`IngestError::Spool`].
fn spool(source: &mut impl Read, file: &mut File) -> Result<u64, IngestError> {
    let mut buffer = vec![0; crate::intake::decode::BUFFER];
    let mut length = 0;
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            return Ok(length);
        }
        io::Write::write_all(file, &buffer[..read]).map_err(IngestError::Spool)?;
        length += read as u64;
    }
}

/// Reads the directory of a file of this length.
fn footer(file: &mut File, length: u64) -> Result<Vec<u8>, IngestError> {
    // Length of the directory's length and the magic bytes at the end of the file.
    const END: u64 = 10;
    let cut = || {
        let detail = "the body is no Arrow file, or cut short: it does not end as one";
        IngestError::Malformed(detail.to_owned())
    };
    let start = length.checked_sub(END).ok_or_else(cut)?;
    file.seek(SeekFrom::Start(start)).map_err(IngestError::Spool)?;
    let end = exactly(file, END)?;
    let (size, magic) = end.split_at(4);
    if magic != MAGIC {
        return Err(cut());
    }
    let size = described(u32::from_le_bytes([size[0], size[1], size[2], size[3]]).into())?;
    file.seek(SeekFrom::Start(start.checked_sub(size).ok_or_else(cut)?))
        .map_err(IngestError::Spool)?;
    exactly(file, size)
}

/// Checks the length of a schema, a directory or a message's metadata.
fn described(length: u64) -> Result<u64, IngestError> {
    if length <= MOST_METADATA {
        return Ok(length);
    }
    let detail = format!(
        "the body is no Arrow, or damaged: {length} bytes describe a part of it, more than {MOST_METADATA}"
    );
    Err(IngestError::Malformed(detail))
}

/// Reads exactly this many bytes. Memory grows with the bytes that arrive, not with the announced length.
fn exactly(source: &mut impl Read, length: u64) -> Result<Vec<u8>, IngestError> {
    let mut bytes = Vec::new();
    source.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length {
        return Ok(bytes);
    }
    let detail = "the body is no Arrow, or cut short: a part of it has no end";
    Err(IngestError::Malformed(detail.to_owned()))
}

/// Limits the size of messages, both as sent and after decompression.
struct Bound {
    most: u64,
    /// Total size of the dictionaries so far, all of which stay in memory.
    dictionaries: u64,
}

impl Bound {
    const fn new(most: u64) -> Self {
        Self { most, dictionaries: 0 }
    }

    /// Returns the length of a message's body, after checking it.
    fn body(&self, metadata: &[u8]) -> Result<u64, IngestError> {
        let length = guarded(FORMAT, || {
            let message = root_as_message(metadata).map_err(|error| error.to_string())?;
            u64::try_from(message.bodyLength()).map_err(|error| error.to_string())
        })?;
        self.allowed(length)
    }

    /// Refuses a message whose buffers would exceed the limit after decompression.
    fn check(&mut self, metadata: &[u8], body: &[u8]) -> Result<(), IngestError> {
        let (size, of_dictionary) = guarded(FORMAT, || expanded(metadata, body))?;
        if of_dictionary {
            self.dictionaries = self.dictionaries.saturating_add(size);
        }
        self.allowed(size.max(self.dictionaries)).map(drop)
    }

    /// Reads a block of a file: a message with its length before it.
    fn block(&mut self, file: &mut File, block: &Block) -> Result<Vec<u8>, IngestError> {
        let damaged = || {
            let detail = "the body is no Arrow, or damaged: its directory leads nowhere";
            IngestError::Malformed(detail.to_owned())
        };
        let number = |number: i64| u64::try_from(number).map_err(|_| damaged());
        let metadata = described(number(block.metaDataLength().into())?)?;
        let body = self.allowed(number(block.bodyLength())?)?;
        file.seek(SeekFrom::Start(number(block.offset())?)).map_err(|_| damaged())?;
        let bytes = exactly(file, metadata + body)?;
        let (metadata, body) = bytes.split_at_checked(metadata as usize).ok_or_else(damaged)?;
        let begin = if metadata.starts_with(&CONTINUATION) { 8 } else { 4 };
        self.check(metadata.get(begin..).ok_or_else(damaged)?, body)?;
        Ok(bytes)
    }

    fn allowed(&self, bytes: u64) -> Result<u64, IngestError> {
        if bytes > self.most {
            return Err(IngestError::TooLarge(Limit::BlockBytes));
        }
        Ok(bytes)
    }
}

/// Returns the announced size of a message's body after decompression, and whether it belongs to a dictionary.
fn expanded(metadata: &[u8], body: &[u8]) -> Result<(u64, bool), String> {
    let message = root_as_message(metadata).map_err(|error| error.to_string())?;
    let of_dictionary = message.header_type() == MessageHeader::DictionaryBatch;
    let batch = message
        .header_as_record_batch()
        .or_else(|| message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()));
    let Some(batch) = batch.filter(|batch| batch.compression().is_some()) else {
        return Ok((body.len() as u64, of_dictionary));
    };
    let mut total: u64 = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        let whole = |number: i64| usize::try_from(number).map_err(|error| error.to_string());
        let (start, length) = (whole(buffer.offset())?, whole(buffer.length())?);
        let inside = start.checked_add(length).and_then(|end| body.get(start..end));
        let bytes = inside.ok_or("a buffer lies outside its message")?;
        // The decompressed length comes first; -1 means that the buffer is not compressed.
        let announced = bytes.first_chunk::<8>().map(|first| i64::from_le_bytes(*first));
        let size = announced.and_then(|announced| u64::try_from(announced).ok());
        total = total.saturating_add(size.unwrap_or(length as u64));
    }
    Ok((total, of_dictionary))
}
