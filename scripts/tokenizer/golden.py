"""Writes the golden files of the tokenizer tests from transformers' slow ALBERT tokenizer and BERT tokenizer.

    python scripts/tokenizer/golden.py ../shared/data

Written with transformers 4.57.6, sentencepiece 0.2.3, tokenizers 0.22.2, Python 3.11.
"""

import hashlib
import io
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from transformers import AlbertTokenizer, BertTokenizer

OUT = Path(__file__).resolve().parents[2] / "crates/albert/tests/fixtures/tokenizer"

TEXTS = [
    "",
    " ",
    "\t\n",
    "Hello, world!",
    "This is an example",
    "low-density lipoprotein (LDL) costs £3,000 – or €2,500.50",
    "3.0, 1,234 1997, 1,2,3 1997,foo $10,000, 1,000,000 x1, 25,",
    "1997,1998 10,5 4,567 5,6789 ,000,000, 12,34,56 1,1 2,2 9,9 1,9,",
    "``quoted'' ''twice'' ''' `` ' '' \"",
    "caf\u00e9 cafe\u0301 na\u00efve \u212b \u1e9b\u0323 \u0958",
    "\ufb01ne o\ufb03ce \u0132 \u01c4 \u00bd \u00b2 \u2460 \u3392",
    "\u0130stanbul I\u0130 \u0131 \u1e9e STRASSE stra\u00dfe",
    "\u03a3\u0391\u03a3 \u1f48\u03b4\u03c5\u03c3\u03c3\u03b5\u03cd\u03c2 \U0001d6ba\U0001d6ba x\U0001d6ba \U0001d6ba",
    "\uff26\uff55\uff4c\uff4c \uff57\uff49\uff44\uff54\uff48 \uff08\uff09 \u30a2 \uff71\uff9e",
    "emoji \U0001f389 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f1e9\U0001f1ea",
    "zero\u200bwidth\u200d joi\u200cner\ufeff soft\u00adhyphen",
    "nbsp\u00a0thin\u2009ideographic\u3000em\u2003 line\u2028para\u2029",
    "tab\tnewline\ncr\rcrlf\r\nvt\x0bff\x0cfs\x1cgs\x1dnel\x85end",
    "a\u00b4b \u00a8 x\u00b8 \u02d8 \u2017",
    "control\x01\x02 \x7f\x80 nul\x00byte \x00",
    "\u2581literal \u2581 mark\u2581",
    "\u97d3\u56fd\u8a9e \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab \u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0e44\u0e17\u0e22",
    "[CLS] [MASK] [SEP] <pad> <unk> not special <PAD> [mask]",
    "unknown \U00010330\U00010331 \U00010332x\U00010333 \u16a0\u16a1.\u16a2",
    "\u0301leading mark \u0301 x\u0301\u0327\u0308 \u0345",
    "((a)) --b-- ..c.. \"\"d\"\" -.-. (.)\u2013\u00a3\u20ac",
    "don't it's 'tis rock'n'roll ''",
    "supercalifragilisticexpialidocious" * 5,
    "x" * 300,
    "word " * 200,
    "\ufffd replacement \ue000 private \U000e0001 tag",
    "1\u0661,\u0662 \u0663, \u00b2, \u2082, \u2167, \u00bd,",
]

MASK_TEXTS = [
    "Paris is the [MASK] of France.",
    "[MASK]",
    "[MASK] [MASK]x",
    "a  [MASK]  b.",
    "[CLS] a [SEP] b\u00e9 [MASK][MASK], c",
    "(\u00a0[MASK])",
    "<unk><pad>[SEP]",
    "[mask] [MASK [MASK]] MASK]",
]

DECODE = [
    [2, 10975, 15, 126, 3],
    [13, 5, 308, 6, 13, 9],
    [2, 3, 4, 0, 1],
    [48, 25, 4, 4, 40, 823, 3, 48, 3],
    [],
    [1, 1, 48, 1, 13],
    [13],
    [13, 13, 3, 13],
]

VOCAB = """[PAD] [UNK] [CLS] [SEP] [MASK] hello world ##s ##ing play un ##aff ##able the , . ! ' - ( ) " caf ##e cafe
1 ##2 ##3 \u4e2d \u56fd \u6587 \u5b57 \u6211 ##\u5b57 i stra ##sse strasse \u03c3 ##\u03c2 [ ] mask < > s it""".split()

BERT_TEXTS = [
    "Hello worlds, playing UNAFFABLE!",
    "caf\u00e9 CAF\u00c9 cafe\u0301",
    "\u6211\u4e2d\u56fd\u6587\u5b57 \u4e2d\u6587hello\u5b57",
    "123 1-2 (the) \"it's\" [mask]",
    "\u0130 STRASSE stra\u00dfe \u03a3\u03a3",
    "hello\u200bworld \u00a0the\tthe\nhello\x00\ufffd",
    "a" * 101 + " " + "s" * 100,
    "",
    "\U0001f389 \u2019 \uff0c\u3002",
    "\U00020000\u6211\uf900",
]


def paragraphs(data):
    path = data / "corpus/enwiki_heldout.txt.zst"
    raw = subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout
    return io.StringIO(raw.decode("utf-8"), newline="\n").read().split("\n")


def write_digests(tokenizer, data):
    """One line for each document: the first 16 digits of the SHA-256 of the ids of its paragraphs,
    each id as four bytes, little-endian, each paragraph followed by ff ff ff ff."""
    lines, digest, count = [], hashlib.sha256(), 0
    for paragraph in paragraphs(data) + [""]:
        if paragraph:
            ids = tokenizer.encode(paragraph, add_special_tokens=False)
            digest.update(struct.pack(f"<{len(ids) + 1}I", *ids, 0xFFFFFFFF))
            count += 1
        elif count:
            lines.append(digest.hexdigest()[:16])
            digest, count = hashlib.sha256(), 0
    (OUT / "heldout_slow_albert.txt").write_text("\n".join(lines) + "\n")


def write_albert(tokenizer):
    def plain(text):
        return tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text, split_special_tokens=True))

    golden = {
        "texts": [{"text": text, "ids": plain(text)} for text in TEXTS],
        "special_in_text": [
            {"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)} for text in MASK_TEXTS
        ],
        "decode": [
            {
                "ids": ids,
                "text": tokenizer.decode(ids),
                "without_special": tokenizer.decode(ids, skip_special_tokens=True),
            }
            for ids in DECODE
        ],
    }
    write(golden, "albert_golden.json")


def write_bert():
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vocab.txt"
        path.write_text("\n".join(VOCAB) + "\n")
        cases = []
        for lower in (True, False):
            tokenizer = BertTokenizer(str(path), do_lower_case=lower)
            for text in BERT_TEXTS:
                tokens = tokenizer.tokenize(text, split_special_tokens=True)
                cases.append({"lower": lower, "text": text, "ids": tokenizer.convert_tokens_to_ids(tokens)})
    write({"vocab": VOCAB, "cases": cases}, "bert_golden.json")


def write(golden, name):
    (OUT / name).write_text(json.dumps(golden, ensure_ascii=True, indent=1) + "\n")


if __name__ == "__main__":
    data = Path(sys.argv[1])
    slow = AlbertTokenizer(vocab_file=str(data / "albert/spiece.model"))
    write_albert(slow)
    write_bert()
    if "--quick" not in sys.argv:
        write_digests(slow, data)
