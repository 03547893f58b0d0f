//! A small model of SentencePiece, written field by field (`sentencepiece_model.proto`).

/// A field of bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend(bytes);
    out
}

fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
    let mut message = field(1, text.as_bytes());
    message.push(2 << 3 | 5);
    message.extend(score.to_le_bytes());
    message.extend([3 << 3, kind]);
    field(1, &message)
}

/// A model that ALBERT's tokenizer takes.
pub fn good() -> Vec<u8> {
    let special = [("<pad>", 3), ("<unk>", 2), ("[CLS]", 3), ("[SEP]", 3), ("[MASK]", 4)];
    let mut file: Vec<u8> =
        special.iter().flat_map(|(text, kind)| piece(text, 0.0, *kind)).collect();
    let normal = "▁ a b e h l o ▁a ▁the ▁he llo 1 9 7 , 97, ▁1,99 ▁1 ( ) é aa";
    for (number, text) in normal.split(' ').enumerate() {
        file.extend(piece(text, -1.0 - number as f32 / 7.0, 1));
    }
    file
}

/// The normaliser with these rules, to be put after a model.
pub fn rules(charsmap: &[u8]) -> Vec<u8> {
    field(3, &field(2, charsmap))
}

/// Rules with a trie of one key, "a" to "b".
pub fn charsmap() -> Vec<u8> {
    let mut units = vec![0_u32; 256];
    // The root's children are at its offset XOR their label; "a" has its value at its own offset.
    units[0] = 1 << 10;
    units[1 ^ 0x61] = 0x61 | 1 << 8 | (3 << 10);
    units[1 ^ 0x61 ^ 3] = 1 << 31;
    let mut charsmap = 1024_u32.to_le_bytes().to_vec();
    charsmap.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    charsmap.extend(b"b\0");
    charsmap
}
