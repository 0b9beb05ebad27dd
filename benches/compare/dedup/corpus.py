"""Text for the comparisons of filters: what installable packages bring as documentation and data, in an order that a seed decides.

Packages are downloaded once (about 260 MB), are never installed, and hold about 1.2 GB of text: modules whose documentation is
most of them, descriptions of services as JSON, pages and examples. A piece is at most 4,000 characters of one file.
"""

import array
import gzip
import json
import random
import re
import subprocess
import sys
import zipfile

PACKAGES = [
    "ansible==12.3.0",
    "awscli==1.46.3",
    "botocore==1.44.8",
    "Django==5.2",
    "google-api-python-client==2.202.0",
    "homeassistant==2024.3.3",
    "kubernetes==37.0.2",
    "oci==2.189.0",
    "pandas==3.1.1",
    "pulumi-aws==7.51.1",
    "sympy==1.14.0",
    "transformers==5.24.0",
]
ENDINGS = (".py", ".pyi", ".txt", ".md", ".rst", ".json", ".json.gz", ".yaml", ".yml", ".html", ".po", ".csv")
PIECE, LEAST_WORDS = 4000, 40


def packages(work):
    """The wheels, downloaded where they are not there."""
    folder = work / "wheels"
    if len(list(folder.glob("*.whl"))) < len(PACKAGES):
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder]
        subprocess.run([*pip, *PACKAGES], check=True)
    return sorted(folder.glob("*.whl"))


def pieces(work, seed):
    """Every piece; each file is cut where it begins, files come in the seed's order."""
    archives = [zipfile.ZipFile(wheel) for wheel in packages(work)]
    files = [(index, name) for index, archive in enumerate(archives) for name in sorted(archive.namelist())]
    files = [file for file in files if file[1].endswith(ENDINGS)]
    random.Random(seed).shuffle(files)
    for index, name in files:
        content = archives[index].read(name)
        text = (gzip.decompress(content) if name.endswith(".gz") else content).decode(errors="replace")
        for start in range(0, len(text), PIECE):
            piece = text[start : start + PIECE]
            if len(piece.split()) >= LEAST_WORDS:
                yield piece


class Rows:
    """Rows of text as JSON lines: written in turn, and read again by their number, from 0."""

    def __init__(self, path):
        self.path, self.file, self.bytes, self.starts = path, path.open("wb"), 0, array.array("Q")

    def __len__(self):
        return len(self.starts)

    def add(self, text):
        self.starts.append(self.file.tell())
        self.bytes += len(text.encode())
        self.file.write(json.dumps({"id": str(len(self) - 1), "text": text}, ensure_ascii=False).encode() + b"\n")

    def close(self):
        self.file.close()
        self.file = self.path.open("rb")

    def __getitem__(self, row):
        self.file.seek(self.starts[row])
        return json.loads(self.file.readline())["text"]


# The tokens of filters/src/near/tokens.rs, written down a second time: what is compared is what it says, not what it does.
ALONE = "฀-࿿က-႟ក-៿々-〇぀-ㄯㇰ-ㇿ㐀-䶿一-鿿豈-﫿ｦ-ﾟ\U00020000-\U000323af"
BLANK = "\\s\x00-\x20\x7f-\x9f\xad\u200b-\u200f\u2060\ufeff"
NUMBER = r"[0-9]+(?:\.[0-9]+)*"
TOKEN = re.compile(
    rf"\\[A-Za-z]+|\\[!-/:-@\[-`{{-~]|(?<![A-Za-z0-9\\\x80-\U0010ffff])\.{NUMBER}|{NUMBER}"
    rf"|(?:(?![{ALONE}\d_])\w)+|(?![0-9])\d+|[^{BLANK}]"
)


def tokens(text):
    """The tokens of a text, the case of words folded."""
    return [token if token[0] == "\\" else token.lower() for token in TOKEN.findall(text)]


def shingles(tokens, size=5):
    """The set of runs of `size` tokens; a text of fewer is one."""
    if len(tokens) < size:
        return {tuple(tokens)} if tokens else set()
    return set(zip(*(tokens[at:] for at in range(size))))


def jaccard(one, other):
    """How alike two sets are, from 0 to 1."""
    both = len(one & other)
    return both / (len(one) + len(other) - both)
