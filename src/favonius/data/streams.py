"""Bytes and lines of a file, plain, gzipped or zstandard-compressed, in constant memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from favonius.errors import UserError

PLAIN_BYTES = 1 << 20
PACKED_BYTES = 1 << 13
"""Read at a time; text shrinks four to ten times, and in the worst of files a thousand."""
WIDEST_WINDOW = 1 << 31
"""What `zstd --long=31` writes; the library refuses more than 128 MiB unless it is told."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PACKED = (".gz", ".zst")
BEGINNINGS = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
"""Of compressed files (RFC 1952, RFC 8878); no UTF-8 text begins so."""


class DamagedFileError(Exception):
    """Compressed data end too early or are not what they say; all before that was yielded.

    `tail` is what `numbered_lines` had of the line that was being read.
    """

    def __init__(self, cause: str, tail: bytes = b"") -> None:
        super().__init__(cause)
        self.cause = cause
        self.tail = tail


def unpacked_name(path: Path) -> str:
    """`talk.jsonl.gz` → `talk.jsonl`; other names as they are."""
    return path.stem if path.suffix in PACKED else path.name


def chunks(path: Path) -> Iterator[bytes]:
    """The content of `path`, decompressed by its suffix, piece by piece; none is empty. DamagedFileError, OSError, and
    UserError where it is compressed and its name does not say so."""
    with open(path, "rb") as file:
        if path.suffix == ".gz":
            yield from _unpacked(file, "gzip")
        elif path.suffix == ".zst":
            yield from _unpacked(file, "zstandard")
        else:
            _refuse_packed(path, file.peek(PLAIN_BYTES))
            while chunk := file.read(PLAIN_BYTES):
                yield chunk


def _refuse_packed(path: Path, first: bytes) -> None:
    for beginning, suffix in BEGINNINGS.items():
        if first.startswith(beginning):
            raise UserError(f"{path}: it is compressed, and its name does not say so; call it {path.name}{suffix}")


def _unpacked(file: BinaryIO, method: str) -> Iterator[bytes]:
    """A file may be several streams one after another, as `cat a.gz b.gz` makes it."""
    stream: Any = None
    while packed := file.read(PACKED_BYTES):
        while packed:
            if stream is None:
                packed = packed.lstrip(b"\0")  # padding of tapes and blocks, which gzip allows between streams
                if not packed:
                    break
                stream = _decompressor(method)
            try:
                chunk = stream.decompress(packed)
            except (zlib.error, zstandard.ZstdError) as error:
                raise DamagedFileError(f"the {method} data are damaged") from error
            if chunk:
                yield chunk
            packed = stream.unused_data if stream.eof else b""
            if stream.eof:
                stream = None
    if stream is not None:
        raise DamagedFileError(f"the {method} data are cut off")


def _decompressor(method: str) -> Any:
    if method == "gzip":
        return zlib.decompressobj(zlib.MAX_WBITS | 16)
    return zstandard.ZstdDecompressor(max_window_size=WIDEST_WINDOW).decompressobj()


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with something on them, stripped, with their numbers from 1. DamagedFileError, OSError.

    Only a line feed ends a line: U+2028 and its like are text.
    """
    for number, line in raw_lines(path):
        if bare := line.strip():
            yield number, bare


def raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every line without its line feed, with its number from 1; a byte order mark at the beginning is left out."""
    number, open_line = 0, [b""]
    try:
        for chunk in chunks(path):
            first, *others = chunk.split(b"\n")
            open_line.append(first)
            if not others:
                continue
            number += 1
            line = b"".join(open_line)
            yield number, line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
            *whole, last = others
            yield from enumerate(whole, start=number + 1)
            number += len(whole)
            open_line = [last]
    except DamagedFileError as error:
        raise DamagedFileError(error.cause, b"".join(open_line)) from error
    if line := b"".join(open_line):
        yield number + 1, line.removeprefix(BYTE_ORDER_MARK) if number == 0 else line


def head(path: Path, size: int) -> bytes:
    """The first `size` bytes of the content, or what can be read of them. OSError."""
    found = b""
    try:
        for chunk in chunks(path):
            found += chunk
            if len(found) >= size:
                break
    except DamagedFileError:
        pass  # whoever reads on meets it again, and reports it
    return found[:size].removeprefix(BYTE_ORDER_MARK)
