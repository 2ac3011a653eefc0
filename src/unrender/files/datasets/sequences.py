"""Captures that walk round one thing, of CO3Dv2 and uCO3D: pictures, cameras, points, words. Nothing is written into
either."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unrender.errors import UserError
from unrender.files.cameras import co3d_cameras, read_co3d_frames, read_co3d_table
from unrender.files.images import read_image
from unrender.files.ply import read_points
from unrender.files.video import open_video
from unrender.scene.camera import Camera
from unrender.scene.frames import Frames

FRAMES = "frame_annotations.jgz"
SEQUENCES = "sequence_annotations.jgz"
METADATA = "metadata.sqlite"


@dataclass(frozen=True, eq=False)
class PosedSequence:
    """One capture.

    Attributes:
        name, category: of it.
        camera: T frames, all of one size.
        pictures: what each picture is: a file, or a film and the second in it.
        points: (P, 3) of its point cloud in the cameras' world; None where it has none.
        caption: in words; the category where nobody wrote any.
    """

    name: str
    category: str
    camera: Camera
    pictures: tuple[tuple[Path, float | None], ...]
    points: Tensor | None
    caption: str

    def read(self, indices: list[int]) -> list[Frames]:
        """Some of the pictures, T = 1 each, in that order. A film is decoded once, up to the last of them.

        Raises:
            UserError: one is missing, damaged or of another size than its camera.
        """
        found: dict[int, Frames] = {}
        films = {self.pictures[i][0] for i in indices if self.pictures[i][1] is not None}
        for i in indices:
            path, second = self.pictures[i]
            if second is None:
                found[i] = read_image(path).frame(0)
        for film in films:
            found |= self._from_film(film, [i for i in indices if self.pictures[i][0] == film])
        for i, picture in found.items():
            if picture.size != self.camera.size:
                raise UserError(
                    f"{self.pictures[i][0]} has pictures of {picture.size}; expected {self.camera.size}, as its "
                    "camera says"
                )
        return [found[i] for i in indices]

    def _from_film(self, film: Path, indices: list[int]) -> dict[int, Frames]:
        reader = open_video(film)
        rate = reader.fps or 30.0
        wanted = {i: min(len(reader) - 1, round((self.pictures[i][1] or 0.0) * rate)) for i in indices}
        last, found = max(wanted.values()), {}
        for number, frame in enumerate(reader):
            found |= {i: frame for i, place in wanted.items() if place == number}
            if number >= last:
                break
        if len(found) != len(wanted):
            raise UserError(f"{film} ends before frame {last + 1}; expected an undamaged film")
        return found


def read_co3d_sequences(root: str | Path, category: str, least_quality: float = 0.0) -> Iterator[PosedSequence]:
    """The captures of one category of CO3Dv2, in the order of their names; those with pictures of several sizes are
    left out, and those whose cameras are rated below `least_quality`.

    Raises:
        UserError: the category is not there, or its annotations are damaged.
    """
    folder = Path(root) / category
    named = read_co3d_frames(folder / FRAMES)
    about = _co3d_about(folder / SEQUENCES)
    for name in sorted(named):
        said = about.get(name, {})
        if float(said.get("viewpoint_quality_score") or math.inf) < least_quality:
            continue
        sizes = {tuple(frame.get("image", {}).get("size") or ()) for frame in named[name]}
        if len(sizes) != 1:
            continue
        cameras = co3d_cameras(folder / FRAMES, name, named[name])
        cloud = (said.get("point_cloud") or {}).get("path")
        path = Path(root) / cloud if isinstance(cloud, str) else None
        yield PosedSequence(
            name,
            category,
            cameras.camera,
            tuple((Path(root) / picture, None) for picture in cameras.names),
            read_points(path) if path is not None and path.is_file() else None,
            f"a {category}",
        )


def read_uco3d_sequences(root: str | Path, category: str | None = None) -> Iterator[PosedSequence]:
    """The captures of uCO3D, all or those of one category, in the order of their names, by `metadata.sqlite`, which is
    opened to be read only. Captures without cameras, with lens distortion, or without a film are left out.

    Raises:
        UserError: there is no metadata, or it is damaged.
    """
    path = Path(root) / METADATA
    if not path.is_file():
        raise UserError(f"{root} has no {METADATA}; expected the folder of uCO3D")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as table:
            where = "" if category is None else " WHERE category = ?"
            rows = table.execute(
                "SELECT sequence_name, category, _video_path, _segmented_point_cloud_path, sequence_caption FROM "
                f"sequence_annots{where} ORDER BY sequence_name",
                () if category is None else (category,),
            ).fetchall()
            for row in rows:
                made = _uco3d_sequence(Path(root), row, table)
                if made is not None:
                    yield made
    except sqlite3.Error as error:
        raise UserError(f"{path} is damaged or no metadata of uCO3D: {error}") from error


def _uco3d_sequence(root: Path, row: tuple[Any, ...], table: sqlite3.Connection) -> PosedSequence | None:
    name, category, video, cloud, caption = row
    frames = table.execute(
        "SELECT frame_timestamp, _image_size, _viewpoint_R, _viewpoint_T, _viewpoint_focal_length, "
        "_viewpoint_principal_point, _viewpoint_intrinsics_format, _viewpoint_colmap_distortion_coeffs FROM "
        "frame_annots WHERE sequence_name = ? ORDER BY frame_number",
        (name,),
    ).fetchall()
    annotations = [_uco3d_frame(name, frame) for frame in frames if all(value is not None for value in frame[1:6])]
    if video is None or len(annotations) < 2 or len({tuple(one["image"]["size"]) for one in annotations}) != 1:
        return None
    if any(one["distorted"] for one in annotations):
        return None
    cameras = co3d_cameras(root / METADATA, name, annotations)
    path = root / cloud if isinstance(cloud, str) else None
    return PosedSequence(
        name,
        category or "",
        cameras.camera,
        tuple((root / video, float(one["time"])) for one in annotations),
        read_points(path) if path is not None and path.is_file() else None,
        caption or f"a {category}",
    )


def _uco3d_frame(name: str, row: tuple[Any, ...]) -> dict[str, Any]:
    """A row as CO3D's JSON would say it; numbers are kept as bytes, 32 bits each."""
    time, size, rotation, place, focal, principal, layout, distortion = row
    bent = np.frombuffer(distortion, np.float32) if distortion else np.zeros(1, np.float32)

    def floats(value: bytes) -> list[float]:
        return np.frombuffer(value, np.float32).astype(float).tolist()

    turned = floats(rotation)
    return {
        "sequence_name": name,
        "time": time or 0.0,
        "distorted": bool(np.abs(bent).max() > 1e-6),
        "image": {"path": name, "size": np.frombuffer(size, np.int32).tolist()},
        "viewpoint": {
            "R": [turned[i : i + 3] for i in range(0, 9, 3)],
            "T": floats(place),
            "focal_length": floats(focal),
            "principal_point": floats(principal),
            "intrinsics_format": layout or "ndc_norm_image_bounds",
        },
    }


def _co3d_about(path: Path) -> dict[str, dict[str, Any]]:
    """What `sequence_annotations.jgz` says, by sequence; {} where there is none."""
    if not path.is_file():
        return {}
    said = read_co3d_table(path)
    rows = [row for row in said if isinstance(row, dict)] if isinstance(said, list) else []
    return {str(row.get("sequence_name")): row for row in rows}
