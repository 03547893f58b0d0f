//! Containers around what the fuzzer gives: their lengths and checksums are right, so that what is
//! inside is looked at. Written apart from the library, which only reads these formats.

/// The entries of a zip archive, stored, as `torch.save` writes them. The reader of weights looks at
/// no checksum of an entry, so it is 0 here.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let start = file.len() as u32;
        let len = (bytes.len() as u32).to_le_bytes();
        // Version, flags, method, time and date, checksum, both sizes, name and extra field.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0];
        common.extend([len, len].concat());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(name.as_bytes());
        file.extend(*bytes);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(common);
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, start) = ((entries.len() as u16).to_le_bytes(), file.len() as u32);
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count, count].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

/// A safetensors file of this header, with so many zeros after it as its offsets ask for, up to 64 KiB.
pub fn safetensors(header: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    // The largest number in the header that could be the end of the data.
    let digits = header.split(|byte| !byte.is_ascii_digit());
    let numbers = digits.filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let end = numbers.filter(|&number: &usize| number <= 1 << 16).max().unwrap_or(0);
    file.resize(file.len() + end, 0);
    file
}

const FOOTER_LEN: usize = 48;

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn read_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A table of TensorFlow with one block, which is `contents` with the type of compression after it.
pub fn table(contents: &[u8], compression: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let mut append = |contents: &[u8], compression| {
        let handle = [varint(file.len()), varint(contents.len())].concat();
        let start = file.len();
        file.extend(contents);
        file.push(compression);
        file.extend(masked(&file[start..]));
        handle
    };
    let block = append(contents, compression);
    let index = [&[0, 1, block.len() as u8, b'~'][..], &block, &[0, 0, 0, 0, 1, 0, 0, 0]].concat();
    let mut footer = append(&[0; 4], 0);
    footer.extend(append(&index, 0));
    footer.resize(FOOTER_LEN - 8, 0);
    file.extend(footer);
    file.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    file
}

/// Makes the checksums of a damaged table right: of the blocks in its footer and of those that the
/// second of them, the index, names.
pub fn repair(file: &mut [u8]) {
    let Some(start) = file.len().checked_sub(FOOTER_LEN) else { return };
    let footer = file[start..].to_vec();
    let mut rest = &footer[..];
    let mut handle = || Some((read_varint(&mut rest)?, read_varint(&mut rest)?));
    let (meta, index) = (handle(), handle());
    let mut blocks: Vec<(usize, usize)> = meta.into_iter().chain(index).collect();
    if let Some((start, len)) = index
        && let Some(contents) = start.checked_add(len).and_then(|end| file.get(start..end))
    {
        blocks.extend(handles(contents).unwrap_or_default());
    }
    for (start, len) in blocks {
        let place = start.checked_add(len).and_then(|end| Some(start..end.checked_add(1)?));
        let Some(checksum) = place.and_then(|place| Some((place.end, masked(file.get(place)?))))
        else {
            continue;
        };
        if let Some(stored) = file.get_mut(checksum.0..checksum.0 + 4) {
            stored.copy_from_slice(&checksum.1);
        }
    }
}

/// The places that the entries of an uncompressed block of blocks name.
fn handles(mut block: &[u8]) -> Option<Vec<(usize, usize)>> {
    let mut found = Vec::new();
    block = block.get(..block.len().checked_sub(8)?)?;
    while !block.is_empty() {
        let _shared = read_varint(&mut block)?;
        let (unshared, len) = (read_varint(&mut block)?, read_varint(&mut block)?);
        let mut value = block.get(unshared..unshared.checked_add(len)?)?;
        found.push((read_varint(&mut value)?, read_varint(&mut value)?));
        block = &block[unshared + len..];
    }
    Some(found)
}
