"""Changes of a file's bytes that know how it is built, so that they get past the first check of a reader.

Every function takes the bytes and a `random.Random`, and gives other bytes; `mutated` chooses by content.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

Random = random.Random
Change = Callable[[bytes, Random], bytes]

NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 255, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**64, 10**400),
    *(0.0, -0.0, 0.5, 1e-300, 1e30, -1e300, 1e308, float("nan"), float("inf"), -float("inf")),
)
ODD: tuple[Any, ...] = (
    *NUMBERS,
    *(None, True, False, "", "x", [], {}, [[1]], [None] * 4, [0] * 1000, {"a": {"b": []}}, "9" * 5000, "\x1b[2J\n"),
)
WORDS = ("nan", "inf", "-inf", "1e999", "-1", "0", "1e400", "99999999999999999999", "2147483648", "", "x", "\x1b[2J")
BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF, 0x2D, 0x30, 0x22)

names: tuple[str, ...] = ("../x", "/etc/passwd")
"""Names that lead elsewhere; `cases` sets them for a case."""

MOST_BYTES = 1 << 24
"""Of a changed file: lists a thousand times as long, of lists a thousand times as long, have an end."""
_FIRST = 1 << 20  # of a text, where its words are looked for


def mutated(stored: bytes, rng: Random) -> bytes:
    """One to three changes, most of them such as the kind of file allows."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = structural(stored) if rng.random() < 0.7 else None
        try:
            stored = (change or anywhere)(stored, rng)
        except (ValueError, KeyError, IndexError, struct.error, OSError, EOFError, zlib.error, RecursionError):
            stored = anywhere(stored, rng)  # an earlier change took its structure away
        except (zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError):
            stored = anywhere(stored, rng)
        stored = stored[:MOST_BYTES]
    return stored


def structural(stored: bytes) -> Change | None:
    """The change for files that begin so; None where nothing is known of them."""
    known: tuple[tuple[bool, Change], ...] = (
        (stored[:8] == b"\x89PNG\r\n\x1a\n", in_png),
        (stored[:4] == b"glTF", in_glb),
        (stored[:4] == b"\x76\x2f\x31\x01", in_exr),
        (stored[:4] in (b"II*\0", b"MM\0*"), in_tiff),
        (stored[:4] == b"PK\x03\x04", in_zip),
        (stored[:2] == b"\x1f\x8b", in_gzip),
        (stored[257:262] == b"ustar", in_tar),
        (stored[4:8] in (b"ftyp", b"JXL ", b"jP  "), in_boxes),
        (stored[:4] == b"RIFF", in_riff),
        (len(stored) > 9 and stored[8:9] == b"{", in_safetensors),
        (stored[:1] in (b"{", b"["), in_json),
        (is_text(stored), in_text),
    )
    return next((change for fits, change in known if fits), None)


def is_text(stored: bytes) -> bool:
    return bool(stored) and all(byte in (9, 10, 13) or 32 <= byte < 127 for byte in stored[:200])


def anywhere(stored: bytes, rng: Random) -> bytes:
    """Bytes put in place of others, integers of any width, pieces doubled, dropped or moved, the end cut off."""
    data = bytearray(stored or b"\0")
    at = rng.randrange(len(data))
    piece = slice(at, min(len(data), at + rng.choice((1, 2, 4, 8, 64, 512))))
    match rng.randrange(8):
        case 0 | 1:
            for _ in range(rng.randint(1, 6)):
                data[rng.randrange(len(data))] = rng.choice(BYTES)
        case 2 | 3:
            width, order = rng.choice((2, 4, 8)), rng.choice(("little", "big"))
            value = rng.choice([number for number in NUMBERS if isinstance(number, int)]) % 256**width
            data[at : at + width] = value.to_bytes(width, order)
        case 4:
            del data[at:]
        case 5:
            del data[piece]
        case 6:
            data[at:at] = bytes(data[piece]) * rng.choice((1, 2, 100))
        case _:
            data[at:at] = bytes(rng.choice(BYTES) for _ in range(rng.choice((1, 16, 3000))))
    return bytes(data)


# Text and tables.


def in_text(stored: bytes, rng: Random) -> bytes:
    """Numbers, words and names in place of others; lines dropped, doubled or exchanged."""
    text = stored.decode("utf-8", "replace")
    words = list(re.finditer(r"[^\s,/]+", text[:_FIRST]))
    if words and rng.random() < 0.6:
        word = rng.choice(words)
        new = rng.choice((*WORDS, *names, "9" * 5000)) if rng.random() < 0.9 else "a" * 2**20
        return f"{text[: word.start()]}{new}{text[word.end() :]}".encode("utf-8", "surrogatepass")
    lines = text.split("\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines[at:at] = [lines[at]] * _times(rng.choice((1, 3, 5000)), len(lines[at]))
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at] = lines[at][: len(lines[at]) // 2]
        case _:
            lines[at:at] = [rng.choice(("", "\0", "\x1b]0;x\x07", "#", "\ufeff", "é" * 300))]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _times(most: int, size: int) -> int:
    """How often a piece of `size` bytes is repeated: `most` times, or as often as fits."""
    return max(1, min(most, MOST_BYTES // max(size, 1)))


def in_json(stored: bytes, rng: Random) -> bytes:
    """A value, at any depth, in place of another; keys dropped or renamed; depth without end."""
    said = json.loads(stored)
    if rng.random() < 0.04:
        depth = rng.choice((50, 20_000))
        return b'{"a":' * depth + b"1" + b"}" * depth if rng.random() < 0.5 else b"[" * depth + b"]" * depth
    return json.dumps(changed(said, rng)).encode("utf-8", "surrogatepass")


def changed(said: Any, rng: Random) -> Any:
    """A JSON value with one place in it changed."""
    found = _places(said)
    if not found:
        return rng.choice(ODD)
    where = rng.choice(found)
    inner = said
    for key in where[:-1]:
        inner = inner[key]
    key, old = where[-1], inner[where[-1]]
    if rng.random() < 0.2:
        del inner[key]
    elif isinstance(inner, dict) and rng.random() < 0.1:
        inner[rng.choice((*names, "x", "__class__"))] = inner.pop(key)
    elif isinstance(old, str) and rng.random() < 0.5:
        inner[key] = rng.choice(names)
    elif isinstance(old, int | float) and rng.random() < 0.6:
        inner[key] = rng.choice(NUMBERS)
    elif isinstance(old, list) and old and rng.random() < 0.5:
        longer = old * _times(1000, len(json.dumps(old))) if len(old) < 20 else old[:1]
        inner[key] = rng.choice((old[:-1], old + old, longer, [old]))
    else:
        inner[key] = rng.choice(ODD)
    return said


def _places(value: Any, at: tuple[Any, ...] = (), most: int = 4000) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if len(found) > most:
            break
        found += _places(inner, (*at, key))
    return found


# Binary files with a table in front.


def in_safetensors(stored: bytes, rng: Random) -> bytes:
    """The header's table changed, its length made right again; or that length changed."""
    (size,) = struct.unpack_from("<Q", stored)
    if rng.random() < 0.1:
        return struct.pack("<Q", rng.choice((0, 1, 2**40, 2**63, size + 1))) + stored[8:]
    header = json.dumps(changed(json.loads(stored[8 : 8 + size]), rng)).encode()
    return struct.pack("<Q", len(header)) + header + stored[8 + size :]


def in_glb(stored: bytes, rng: Random) -> bytes:
    """The JSON chunk changed, or the binary one, with lengths that are right."""
    (size,) = struct.unpack_from("<I", stored, 12)
    text, rest = stored[20 : 20 + size], stored[20 + size :]
    if rng.random() < 0.75:
        text = in_json(text, rng)
    else:
        rest = rest[:8] + anywhere(rest[8:], rng)
        rest = struct.pack("<I", len(rest) - 8) + rest[4:] if rng.random() < 0.8 else rest
    text += b" " * (-len(text) % 4)
    whole = struct.pack("<II", len(text), 0x4E4F534A) + text + rest
    return struct.pack("<4sII", b"glTF", 2, 12 + len(whole)) + whole


# Chunks, boxes, tags.


def in_png(stored: bytes, rng: Random) -> bytes:
    """A chunk changed, dropped, doubled or added, its sum made right again."""
    chunks, at = [], 8
    while at + 12 <= len(stored):
        (size,) = struct.unpack_from(">I", stored, at)
        chunks.append((stored[at + 4 : at + 8], stored[at + 8 : at + 8 + size]))
        at += 12 + size
    which = rng.randrange(len(chunks))
    kind, body = chunks[which]
    match rng.randrange(6):
        case 0:
            del chunks[which]
        case 1:
            chunks[which:which] = [chunks[which]] * rng.choice((1, 50))
        case 2:
            extra = rng.choice((b"iCCP", b"cICP", b"gAMA", b"cHRM", b"eXIf", b"tRNS", b"PLTE", b"acTL", b"zTXt"))
            packed = zlib.compress(b"\0" * rng.choice((0, 128, 10**6)))
            body = rng.choice((b"", b"\0" * 4, b"\xff" * 40, b"p\0\0" + packed, bytes(range(64))))
            chunks.insert(min(1, len(chunks)), (extra, body))
        case 3 if kind == b"IDAT":
            raw = zlib.decompress(body)
            chunks[which] = (kind, zlib.compress(rng.choice((raw[: len(raw) // 2], raw * 2, anywhere(raw, rng)))))
        case _:
            chunks[which] = (kind, anywhere(body, rng))
    packed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return stored[:8] + b"".join(packed)


def in_boxes(stored: bytes, rng: Random) -> bytes:
    """A box of an ISO file changed inside, dropped, doubled or given another size; those around it keep theirs right
    in half of the cases."""
    path: list[tuple[int, int]] = []
    start, end = 0, len(stored)
    for _ in range(rng.randint(1, 6)):
        boxes = _boxes(stored, start, end)
        if not boxes:
            break
        box = rng.choice(boxes)
        path.append(box)
        skip = 12 if stored[box[0] + 4 : box[0] + 8] in (b"meta", b"iinf", b"stsd", b"dref") else 8
        start, end = box[0] + skip, box[1]
    if not path:
        return anywhere(stored, rng)
    start, end = path[-1]
    box = stored[start:end]
    match rng.randrange(5):
        case 0:
            new = b""
        case 1:
            new = box * 2
        case 2:
            new = rng.choice((0, 1, 7, 2**31, 2**32 - 1, len(box) + 1)).to_bytes(4, "big") + box[4:]
        case 3:
            new = box[:4] + rng.choice((b"free", b"moov", b"trak", b"udta", b"uuid", b"\0\0\0\0")) + box[8:]
        case _:
            body = anywhere(box[8:], rng)
            new = struct.pack(">I", 8 + len(body)) + box[4:8] + body
    data = bytearray(stored[:start] + new + stored[end:])
    if rng.random() < 0.5:
        for outer, stop in path[:-1]:
            struct.pack_into(">I", data, outer, max(0, stop - outer + len(new) - len(box)))
    return bytes(data)


def _boxes(stored: bytes, start: int, end: int) -> list[tuple[int, int]]:
    found = []
    while start + 8 <= end:
        (size,) = struct.unpack_from(">I", stored, start)
        if size < 8 or start + size > end:
            break
        found.append((start, start + size))
        start += size
    return found


def in_riff(stored: bytes, rng: Random) -> bytes:
    """A chunk of AVI or WebP changed, dropped or doubled; the whole's length is made right."""
    at, chunks = 12, []
    while at + 8 <= len(stored):
        (size,) = struct.unpack_from("<I", stored, at + 4)
        chunks.append(stored[at : at + 8 + size + size % 2])
        at += 8 + size + size % 2
    which = rng.randrange(len(chunks))
    match rng.randrange(4):
        case 0:
            del chunks[which]
        case 1:
            chunks[which:which] = [chunks[which]]
        case 2:
            chunks[which] = chunks[which][:4] + struct.pack("<I", rng.choice((0, 2**31, 2**32 - 1))) + chunks[which][8:]
        case _:
            chunks[which] = chunks[which][:8] + anywhere(chunks[which][8:], rng)
    body = b"".join(chunks)
    return stored[:4] + struct.pack("<I", 4 + len(body)) + stored[8:12] + body


def in_tiff(stored: bytes, rng: Random) -> bytes:
    """An entry of the first directory given another tag, type, count or value."""
    order = "<" if stored[:2] == b"II" else ">"
    data = bytearray(stored)
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    entry = at + 2 + 12 * rng.randrange(count)
    match rng.randrange(5):
        case 0:
            struct.pack_into(
                f"{order}H", data, entry, rng.choice((256, 257, 258, 259, 277, 322, 330, 339, 34675, 34665))
            )
        case 1:
            struct.pack_into(f"{order}H", data, entry + 2, rng.choice((0, 1, 2, 3, 4, 5, 7, 11, 12, 13, 16, 999)))
        case 2:
            struct.pack_into(f"{order}I", data, entry + 4, rng.choice((0, 1, 2, 2**16, 2**28, 2**32 - 1)))
        case 3:
            struct.pack_into(f"{order}I", data, at + 2 + 12 * count, rng.choice((at, 8, 0, 2**31)))  # the next one
        case _:
            value = rng.choice((0, 1, 2, 3, 5, 7, 8, 16, 32, 64, 2**16, 2**31, 2**32 - 1, at))
            struct.pack_into(f"{order}I", data, entry + 8, value)
    return bytes(data)


def in_exr(stored: bytes, rng: Random) -> bytes:
    """An attribute of the first header given another name, type, length or value."""
    data, at, found = bytearray(stored), 8, []
    while data[at] != 0:
        name_end = data.index(0, at)
        type_end = data.index(0, name_end + 1)
        (size,) = struct.unpack_from("<i", data, type_end + 1)
        found.append((at, name_end, type_end, type_end + 5, size))
        at = type_end + 5 + size
    start, name_end, type_end, value, size = rng.choice(found)
    match rng.randrange(6):
        case 0:
            del data[start : value + size]
        case 1:
            data[value : value + size] = anywhere(bytes(data[value : value + size]), rng)[:size].ljust(size, b"\0")
        case 2:
            struct.pack_into("<i", data, type_end + 1, rng.choice((0, 1, -1, 2**31 - 1, size + 1, 4)))
        case 3:
            data[name_end + 1 : type_end] = rng.choice((b"int", b"float", b"string", b"box2i", b"chlist", b"xxx"))
        case 4:
            data[start:name_end] = rng.choice(
                (b"unrender:camera", b"view", b"multiView", b"type", b"tiles", b"x" * 300)
            )
        case _:
            whole = rng.choice((b"\x7f", b"\xff", b"\x00", b"\x80"))
            for offset in range(value, value + size, 4):
                if rng.random() < 0.4:
                    data[offset : offset + 4] = whole * 4 if rng.random() < 0.5 else b"\xff\xff\x00\x00"
    return bytes(data)


# Archives.


def in_gzip(stored: bytes, rng: Random) -> bytes:
    """What is packed changed, and packed again."""
    inside = gzip.decompress(stored)
    return gzip.compress((structural(inside) or anywhere)(inside, rng))


def in_zip(stored: bytes, rng: Random) -> bytes:
    """A member changed, renamed, dropped or doubled, its sum made right."""
    with zipfile.ZipFile(io.BytesIO(stored)) as old:
        members = [(info.filename, old.read(info)) for info in old.infolist()]
    which = rng.randrange(len(members))
    name, body = members[which]
    match rng.randrange(5):
        case 0:
            del members[which]
        case 1:
            members[which] = (rng.choice(names), body)
        case _:
            members[which] = (name, anywhere(body, rng))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as new:
        for name, body in members:
            new.writestr(name.replace("\0", ""), body)
    return target.getvalue()


def in_tar(stored: bytes, rng: Random) -> bytes:
    """A member changed, renamed, dropped, doubled or made a link; or a header whose sum is right says otherwise."""
    with tarfile.open(fileobj=io.BytesIO(stored)) as old:
        members = [(info, (old.extractfile(info) or io.BytesIO()).read()) for info in old]
    which = rng.randrange(len(members))
    info, body = members[which]
    match rng.randrange(7):
        case 0:
            del members[which]
        case 1:
            info.name = rng.choice((*names, info.name.replace("0", "9"), "x.json", info.name.upper()))[:900]
        case 2:
            members.insert(which, members[which])
        case 3:
            info.type, info.linkname = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE)), rng.choice(names)[:90]
        case 4:
            info.size = rng.choice((0, len(body) // 2, 2**33))
        case _:
            body = (structural(body) or anywhere)(body, rng)
            info.size, members[which] = len(body), (info, body)
    target = io.BytesIO()
    for info, body in members:
        target.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        target.write(body + b"\0" * (-len(body) % 512))
    return target.getvalue() + b"\0" * 1024
