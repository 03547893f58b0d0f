//! The table of a TensorFlow checkpoint's `.index` file, which is LevelDB's: blocks of sorted keys
//! that share prefixes, found by a block of blocks, which is found by the last bytes of the file
//! (LevelDB, `doc/table_format.md`). It knows keys and values, not what they mean.

/// What the file ends with.
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
const FOOTER_LEN: usize = 48;

/// The type of compression and the checksum after each block.
const TRAILER_LEN: usize = 5;

/// More than the names of any model take; it bounds the memory that a damaged file can ask for.
const BLOCK_LEN_MAX: usize = 16 << 20;
const TABLE_LEN_MAX: usize = 64 << 20;

/// What an entry takes beside the bytes of its key and its value.
const ENTRY_LEN: usize = 96;

/// What is wrong with a file; the caller knows its name.
type Result<T> = std::result::Result<T, String>;

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

const DAMAGED: &str = "not a whole index of a TensorFlow checkpoint";

/// The CRC-32C of `bytes`, masked as LevelDB and TensorFlow do so that a checksum of data that holds
/// checksums is still one.
pub(super) fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// All keys with their values, in order.
pub(super) fn entries(file: &[u8]) -> Result<Vec<Entry>> {
    let start = file.len().checked_sub(FOOTER_LEN).ok_or(DAMAGED)?;
    let mut footer = Bytes(&file[start..]);
    if file[file.len() - 8..] != MAGIC.to_le_bytes() {
        return Err(DAMAGED.to_owned());
    }
    let _metaindex = block(file, footer.handle()?)?;
    let index = block(file, footer.handle()?)?;
    // Damaged handles may all point to the same block, and keys share what they begin with: the file
    // may be far smaller than what it holds.
    let mut room = TABLE_LEN_MAX;
    let mut all = Vec::new();
    for (_, handle) in block_entries(&index, &mut room)? {
        let contents = block(file, Bytes(&handle).handle()?)?;
        all.extend(block_entries(&contents, &mut room)?);
    }
    Ok(all)
}

/// The contents of the block that starts and ends at `handle`.
fn block(file: &[u8], (start, len): (usize, usize)) -> Result<Vec<u8>> {
    let end = start.checked_add(len).and_then(|end| end.checked_add(TRAILER_LEN));
    let block = end.and_then(|end| file.get(start..end)).ok_or(DAMAGED)?;
    let (with_type, checksum) = block.split_at(len + 1);
    if masked_crc(with_type).to_le_bytes() != checksum {
        return Err("a block of its table does not have its checksum: it is damaged".to_owned());
    }
    let contents = &with_type[..len];
    match with_type[len] {
        0 if len <= BLOCK_LEN_MAX => Ok(contents.to_vec()),
        1 if snap::raw::decompress_len(contents).is_ok_and(|len| len <= BLOCK_LEN_MAX) => {
            snap::raw::Decoder::new().decompress_vec(contents).map_err(|_| DAMAGED.to_owned())
        }
        0 | 1 => Err("a block of its table is larger than that of any model".to_owned()),
        other => Err(format!("a block of its table is compressed in an unknown way ({other})")),
    }
}

/// The entries of a block, which must not take more than is left of `room`.
fn block_entries(block: &[u8], room: &mut usize) -> Result<Vec<Entry>> {
    let (rest, restarts) = block.split_last_chunk().ok_or(DAMAGED)?;
    let restarts = u32::from_le_bytes(*restarts) as usize;
    let end = restarts.checked_mul(4).and_then(|len| rest.len().checked_sub(len));
    let mut bytes = Bytes(&rest[..end.ok_or(DAMAGED)?]);
    let mut entries: Vec<Entry> = Vec::new();
    while !bytes.0.is_empty() {
        let (shared, unshared, len) = (bytes.varint()?, bytes.varint()?, bytes.varint()?);
        let last = entries.last().map_or(&[][..], |(key, _)| key);
        let shared = last.get(..shared).ok_or(DAMAGED)?;
        let (unshared, value) = (bytes.take(unshared)?, bytes.take(len)?);
        let taken = shared.len() + unshared.len() + value.len() + ENTRY_LEN;
        *room = room.checked_sub(taken).ok_or("its table is larger than that of any model")?;
        entries.push(([shared, unshared].concat(), value.to_vec()));
    }
    Ok(entries)
}

/// Bytes that are taken from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(DAMAGED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<usize> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).map_err(|_| DAMAGED.to_owned());
            }
        }
        Err(DAMAGED.to_owned())
    }

    /// Where a block starts, and its length without the trailer.
    fn handle(&mut self) -> Result<(usize, usize)> {
        Ok((self.varint()?, self.varint()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One block of `entries`, prefixes shared where they can be.
    fn written(entries: &[Entry]) -> Vec<u8> {
        let mut block = Vec::new();
        let mut last: &[u8] = &[];
        for (key, value) in entries {
            let shared = last.iter().zip(key).take_while(|(a, b)| a == b).count();
            for len in [shared, key.len() - shared, value.len()] {
                prost::encode_length_delimiter(len, &mut block).unwrap();
            }
            block.extend(&key[shared..]);
            block.extend(value);
            last = key;
        }
        block.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        block
    }

    /// Appends a block and gives its handle.
    fn append(file: &mut Vec<u8>, contents: &[u8], compress: bool) -> Vec<u8> {
        let mut stored = match compress {
            true => snap::raw::Encoder::new().compress_vec(contents).unwrap(),
            false => contents.to_vec(),
        };
        let mut handle = Vec::new();
        prost::encode_length_delimiter(file.len(), &mut handle).unwrap();
        prost::encode_length_delimiter(stored.len(), &mut handle).unwrap();
        stored.push(u8::from(compress));
        let checksum = masked_crc(&stored);
        file.extend(stored);
        file.extend(checksum.to_le_bytes());
        handle
    }

    fn table(compress: bool) -> (Vec<u8>, Vec<Entry>) {
        let entry = |n: usize| (format!("a/long/name/{n:03}").into_bytes(), vec![n as u8; n]);
        let entries: Vec<_> = (0..40).map(entry).collect();
        let mut file = Vec::new();
        let index: Vec<_> = entries
            .chunks(15)
            .map(|part| {
                let last = part.last().unwrap().0.clone();
                (last, append(&mut file, &written(part), compress))
            })
            .collect();
        let mut footer = append(&mut file, &written(&[]), compress);
        footer.extend(append(&mut file, &written(&index), compress));
        footer.resize(FOOTER_LEN - 8, 0);
        file.extend(footer);
        file.extend(MAGIC.to_le_bytes());
        (file, entries)
    }

    #[test]
    fn what_is_written_is_read() {
        for compress in [false, true] {
            let (file, expected) = table(compress);
            assert_eq!(entries(&file).unwrap(), expected, "{compress}");
        }
        assert_eq!(
            masked_crc(b"123456789"),
            0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        for compress in [false, true] {
            let (file, expected) = table(compress);
            for len in 0..file.len() {
                assert!(entries(&file[..len]).is_err());
            }
            for at in 0..file.len() {
                let mut damaged = file.clone();
                damaged[at] ^= 0x55;
                // Nothing reads the padding of the footer.
                let is_footer = at >= file.len() - FOOTER_LEN;
                match entries(&damaged) {
                    Ok(read) => assert!(is_footer && read == expected, "{at}"),
                    Err(why) => assert!(!why.is_empty()),
                }
            }
        }
    }

    /// A few hundred kilobytes that stand for gigabytes of keys.
    #[test]
    fn keys_that_share_a_long_beginning_take_no_memory() {
        let mut block = written(&[(vec![b'k'; 1 << 16], vec![])]);
        block.truncate(block.len() - 8);
        for _ in 0..20_000 {
            // All of the key before it, nothing more, and no value.
            block.extend([0x80, 0x80, 0x04, 0, 0]);
        }
        block.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        let mut file = Vec::new();
        let handle = append(&mut file, &block, true);
        let index: Vec<_> = (0..9u8).map(|n| (vec![n], handle.clone())).collect();
        let mut footer = append(&mut file, &written(&[]), false);
        footer.extend(append(&mut file, &written(&index), false));
        footer.resize(FOOTER_LEN - 8, 0);
        file.extend(footer);
        file.extend(MAGIC.to_le_bytes());
        assert!(file.len() < 1 << 19);
        assert!(entries(&file).unwrap_err().contains("larger than"));
    }

    #[test]
    fn a_block_that_claims_to_be_huge_takes_no_memory() {
        let mut file = Vec::new();
        // Snappy's length comes first: four gigabytes less one.
        let mut stored = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 1];
        let checksum = masked_crc(&stored);
        let mut footer = vec![0, stored.len() as u8 - 1, 0, stored.len() as u8 - 1];
        file.append(&mut stored);
        file.extend(checksum.to_le_bytes());
        footer.resize(FOOTER_LEN - 8, 0);
        file.extend(footer);
        file.extend(MAGIC.to_le_bytes());
        assert!(entries(&file).unwrap_err().contains("larger than"));
    }
}
