//! Arrow's IPC format, message by message: streams as they are, and files (Feather of the second version), which are
//! the same messages between a word at the beginning and a directory at the end.

use std::collections::HashSet;
use std::io::{self, Read};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{MessageHeader, root_as_message};

use crate::intake::arrow::{Table, check_schema, guarded, is_uuid, push};
use crate::intake::{IngestError, Limit, Rows};

/// How a file begins; a stream does not.
const MAGIC: &[u8; 8] = b"ARROW1\0\0";
/// What stands before the length of a message, since the format's version 0.15.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// More describes no table of runs.
const MOST_METADATA: u32 = 16 * 1024 * 1024;

const FORMAT: &str = "Arrow";

/// Reads batches, each whole.
pub(crate) fn read(source: &mut impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let mut messages = Messages::new(source, rows.limits().block_bytes);
    let mut decoder = StreamDecoder::new();
    let mut table = None;
    while let Some(message) = messages.next()? {
        let batch = guarded(FORMAT, || decoder.decode(&mut message.into()))?;
        if table.is_none()
            && let Some(schema) = decoder.schema()
        {
            let used = check_schema(&schema, rows)?;
            let is_uuid = |place: &&usize| is_uuid(schema.field(**place));
            let names =
                used.iter().filter(is_uuid).map(|place| schema.field(*place).name().clone());
            table = Some((Table { uuids: names.collect::<HashSet<_>>() }, used));
        }
        if let Some((batch, (table, used))) = batch.zip(table.as_ref()) {
            // Every row of a batch stands in memory, but a column without values takes none for each.
            let most = rows.limits().rows;
            if batch.num_rows() as u64 > most {
                return Err(IngestError::TooLarge(Limit::Rows));
            }
            let batch: RecordBatch = guarded(FORMAT, || batch.project(used))?;
            push(table, &batch, rows)?;
        }
    }
    if table.is_none() {
        return Err(IngestError::Malformed("the body is no Arrow: it has no schema".to_owned()));
    }
    Ok(())
}

/// Messages with what stands before them, each no larger than allowed also once it is decompressed.
struct Messages<'r, R> {
    source: &'r mut R,
    most: u64,
    /// What the dictionaries before may take: all of them stay.
    dictionaries: u64,
    begun: bool,
}

impl<'r, R: Read> Messages<'r, R> {
    fn new(source: &'r mut R, most: u64) -> Self {
        Self { source, most, dictionaries: 0, begun: false }
    }

    /// The next message with its length before it; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, IngestError> {
        let mut word = [0; 4];
        let ended = !self.fill(&mut word)?;
        if !self.begun && !ended {
            self.begun = true;
            if word == MAGIC[..4] {
                // Writers fill up to 8 bytes, or to the boundary that they choose.
                self.exactly(4)?;
                while word == MAGIC[..4] || word == [0; 4] {
                    if !self.fill(&mut word)? {
                        return Ok(None);
                    }
                }
            }
        }
        if ended {
            return Ok(None);
        }
        let mut message = word.to_vec();
        if word == CONTINUATION {
            let length = self.exactly(4)?;
            word.copy_from_slice(&length);
            message.extend(length);
        }
        let length = u32::from_le_bytes(word);
        if length == 0 {
            return Ok(None);
        }
        if length > MOST_METADATA {
            let detail = format!(
                "the body is no Arrow, or damaged: it begins a message of {length} bytes, more than {MOST_METADATA}"
            );
            return Err(IngestError::Malformed(detail));
        }
        let metadata = self.exactly(length.into())?;
        let (body, of_dictionary) = guarded(FORMAT, || {
            let parsed = root_as_message(&metadata).map_err(|error| error.to_string())?;
            let length = u64::try_from(parsed.bodyLength()).map_err(|error| error.to_string())?;
            Ok::<_, String>((length, parsed.header_type() == MessageHeader::DictionaryBatch))
        })?;
        if body > self.most {
            return Err(IngestError::TooLarge(Limit::BlockBytes));
        }
        let body = self.exactly(body)?;
        let expanded = guarded(FORMAT, || expanded(&metadata, &body))?;
        if of_dictionary {
            self.dictionaries = self.dictionaries.saturating_add(expanded);
        }
        if expanded > self.most || self.dictionaries > self.most {
            return Err(IngestError::TooLarge(Limit::BlockBytes));
        }
        message.extend(metadata);
        message.extend(body);
        Ok(Some(message))
    }

    /// Fills the buffer; `false` at the end of the input.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, IngestError> {
        match self.source.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// So many bytes; memory grows with what is there, not with what was announced.
    fn exactly(&mut self, length: u64) -> Result<Vec<u8>, IngestError> {
        let mut bytes = Vec::new();
        self.source.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length {
            return Ok(bytes);
        }
        Err(IngestError::Malformed(
            "the body is no Arrow, or cut short: a message has no end".into(),
        ))
    }
}

/// How many bytes the body of a message is once it is decompressed, by what its buffers announce.
fn expanded(metadata: &[u8], body: &[u8]) -> Result<u64, String> {
    let message = root_as_message(metadata).map_err(|error| error.to_string())?;
    let batch = message
        .header_as_record_batch()
        .or_else(|| message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()));
    let Some(batch) = batch.filter(|batch| batch.compression().is_some()) else {
        return Ok(body.len() as u64);
    };
    let mut total: u64 = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        let whole = |number: i64| usize::try_from(number).map_err(|error| error.to_string());
        let (start, length) = (whole(buffer.offset())?, whole(buffer.length())?);
        let inside = start.checked_add(length).and_then(|end| body.get(start..end));
        let bytes = inside.ok_or("a buffer lies outside its message")?;
        // The length before it; -1 where it is not compressed.
        let announced = bytes.first_chunk::<8>().map(|first| i64::from_le_bytes(*first));
        let size = announced.and_then(|announced| u64::try_from(announced).ok());
        total = total.saturating_add(size.unwrap_or(length as u64));
    }
    Ok(total)
}
