"""Whole files that are put in the place of a good one: what is larger than it looks, what starts programs or looks for
other files and machines, and what is no regular file at all."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SECRET = "secret.png"


@dataclass(frozen=True)
class Elsewhere:
    """What no reader may touch.

    Attributes:
        folder: a folder beside that of the case, with a picture in it.
        port: of this machine, where somebody listens.
    """

    folder: Path
    port: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names that lead there."""
        outside, address = self.folder.name, f"http://127.0.0.1:{self.port}/x.png"
        return (
            *(f"../{outside}/{SECRET}", f"sub/../../{outside}/{SECRET}", f"..\\{outside}\\{SECRET}"),
            *(str(self.folder / SECRET), f"file://{self.folder / SECRET}", f"//{self.folder / SECRET}"),
            *(address, f"tcp://127.0.0.1:{self.port}", f"concat:{self.folder / SECRET}", "subfile,,start,0,end,9,,:x"),
            *("/dev/zero", "/proc/self/environ", "..", ".", "", "a" * 5000, "x\0y", "%d", "a\nb", "\udce9", "CON"),
        )

    @property
    def texts(self) -> tuple[bytes, ...]:
        """Files of other kinds that name it."""
        address, secret = f"127.0.0.1:{self.port}", str(self.folder / SECRET)
        http = f"http://{address}/a.ts"
        texts = (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{http}\n#EXTINF:9,\n{secret}\n",
            f"ffconcat version 1.0\nfile '{secret}'\nfile '{http}'\n",
            f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {self.port} RTP/AVP 96\n",
            f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({secret}) (r) file\nshowpage\n",
            f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{http}"/><image href="{secret}"/></svg>',
            f'<?xml version="1.0"?><MPD><Period><BaseURL>{http}</BaseURL></Period></MPD>',
            f'<!DOCTYPE x [<!ENTITY e SYSTEM "{http}">]><x>&e;</x>',
            f"RTSPtext\nrtsp://{address}/x\n",
            "%PDF-1.4\n1 0 obj<<>>endobj\n",
        )
        return tuple(text.encode() for text in texts)


Trap = Callable[[Path, random.Random, Elsewhere], None]


def set_trap(path: Path, rng: random.Random, elsewhere: Elsewhere) -> str:
    """Puts one in the place of `path`; its name."""
    trap = rng.choice(TRAPS)
    path.unlink()
    trap(path, rng, elsewhere)
    return trap.__name__


def _empty(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    path.touch()


def _pipe(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    os.mkfifo(path)


def _folder(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    path.mkdir()


def _device(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    path.symlink_to(rng.choice(("/dev/zero", "/dev/urandom", "/dev/tty", "/proc/kmsg")))


def _dangling(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    path.symlink_to(rng.choice((path.name, "not-there", "a" * 250)))


def _unreadable_text(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    path.write_bytes(rng.choice((b"\xff" * 999, b"\0" * 2**16, b"a" * 2**24, b"[" * 10**6, b'"' * 99, b"\xfe\xff\0{")))


def _pointer(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 99\n")


def _other_kind(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    path.write_bytes(rng.choice(elsewhere.texts))


def _png_bomb(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    side = rng.choice((13_000, 40_000, 2**31 - 1))
    rows = zlib.compress(b"\0" * min(13_000 * (1 + 13_000 // 8), 2**24), 9)
    header = struct.pack(">IIBBBBB", side, side, rng.choice((1, 16)), 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts)
    )


def _exr_bomb(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    side = rng.choice((20_000, 100_000, 2**30))
    channel = b"R\0" + struct.pack("<iB3xii", 1, 0, 1, 1)
    box = struct.pack("<4i", 0, 0, side, side)
    small = struct.pack("<4i", 0, 0, 1, 1)
    attributes = (
        (b"channels", b"chlist", channel + b"\0"),
        (b"compression", b"compression", rng.choice((b"\0", b"\3"))),
        (b"dataWindow", b"box2i", rng.choice((box, small))),
        (b"displayWindow", b"box2i", box),
        (b"lineOrder", b"lineOrder", b"\0"),
        (b"pixelAspectRatio", b"float", struct.pack("<f", 1)),
        (b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0)),
        (b"screenWindowWidth", b"float", struct.pack("<f", 1)),
    )
    packed = (name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value for name, kind, value in attributes)
    path.write_bytes(b"\x76\x2f\x31\x01\x02\0\0\0" + b"".join(packed) + b"\0" + b"\0" * 4096)


def _said_size(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    """Formats whose first bytes say the size, and nothing much behind them."""
    heads = (
        b"P6\n60000 60000\n255\n",
        b"PF\n50000 50000\n-1.0\n",
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n",
        b"BM"
        + struct.pack("<IHHI", 99, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 1, 1, 9, 0, 0, 2, 0),
        b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\0" * 6 + b",",
        b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 60000, 60000, 8, 3) + b"\0" * 14,
        b"YUV4MPEG2 W60000 H60000 F25:1 Ip A1:1 C420jpeg\nFRAME\n",
    )
    path.write_bytes(rng.choice(heads) + b"\0" * rng.choice((0, 64, 4096)))


def _sparse_tar(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    """A member of GNU's sparse kind that says 8 GB, and has none of them."""
    info = tarfile.TarInfo("000000.gbuffer.0000.exr")
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[156:157], size = b"S", 8 * 2**30
    head[386:398], head[398:410] = b"%011o\0" % (size - 1), b"%011o\0" % 1
    head[483:495] = b"\x80" + size.to_bytes(11, "big")
    head[124:136] = b"%011o\0" % 1
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    path.write_bytes(bytes(head) + b"\0" * 512 * 3)


def _packed_zeros(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    """A gigabyte of one byte, in gzip (twice, for few bytes of it), in zip, or in HDF5."""
    match rng.randrange(3):
        case 0:
            stream = zlib.compressobj(9, zlib.DEFLATED, 31)
            path.write_bytes(b"".join(stream.compress(b"[" * 2**24) for _ in range(24)) + stream.flush())
        case 1:
            target = io.BytesIO()
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("archive/data.pkl", b"\x80\x02" + b"(" * 2**25)
            path.write_bytes(target.getvalue())
        case _:
            import h5py

            with h5py.File(path, "w") as file:
                shape = rng.choice(((60_000, 60_000), (60_000, 60_000, 3), (2**40,)))
                file.create_dataset("dataset", shape, np.float16, chunks=True, compression="gzip")


def _safetensors_bomb(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    shape = rng.choice(([2**40], [2**62, 4], [0, 2**60], [-1]))
    header = f'{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{rng.choice((0, 4, 2**50))}]}}}}'.encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def _pickle(path: Path, rng: random.Random, elsewhere: Elsewhere) -> None:
    """A pickle that would write a file elsewhere, bare, packed, or as torch writes it."""
    target = str(elsewhere.folder / "was-run").encode()
    code = b"\x80\x02cbuiltins\nopen\nX" + struct.pack("<I", len(target)) + target + b"X\1\0\0\0w\x86R."
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", code)
        file.writestr("archive/version", "3\n")
    path.write_bytes(rng.choice((code, gzip.compress(code), archive.getvalue(), b"\x93NUMPY\1\0v\0" + code)))


TRAPS: tuple[Trap, ...] = (
    *(_empty, _pipe, _folder, _device, _dangling, _unreadable_text, _pointer, _other_kind, _png_bomb, _exr_bomb),
    *(_said_size, _sparse_tar, _packed_zeros, _safetensors_bomb, _pickle),
)
