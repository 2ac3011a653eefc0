"""Renderings and what was relit to files, whole and frame by frame."""

from pathlib import Path

import OpenEXR
import pytest
import torch

import unrender as ur
from unrender.errors import UserError
from unrender.files.images import read_image
from unrender.files.sequences import open_frames, open_gbuffers
from unrender.forward import RenderPasses
from unrender.output import PassesWriter, RelitPaths, passes_paths, write_passes_stream, write_relit_stream
from unrender.relight import Decomposition, Relit
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer


def rendering(frames: int = 1) -> RenderPasses:
    generator = torch.Generator().manual_seed(frames)
    diffuse, specular, background = torch.rand(3, frames, 3, 16, 24, generator=generator) * 0.3
    return RenderPasses({"diffuse": diffuse, "specular": specular}, background)


def relit(frames: int = 1) -> Relit:
    passes = rendering(frames)
    return Relit(passes, Decomposition(Frames(passes.beauty, fps=12.0), GBuffer(base_color=passes.diffuse)))


def layers(path: Path) -> set[str]:
    return {name.split(".")[0] for name in OpenEXR.File(str(path), separate_channels=True).channels() if "." in name}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_passes_are_joined_and_parted():
    clip = rendering(3)
    again = RenderPasses.concatenate([clip.frame(i) for i in range(3)])
    assert all(torch.equal(again.passes[name], value) for name, value in clip.passes.items())
    with pytest.raises(UserError, match="cannot be joined"):
        RenderPasses.concatenate([clip, RenderPasses({"rendered": clip.diffuse}, clip.background)])


def test_one_verb_writes_renderings_of_stills_and_clips(tmp_path: Path):
    ur.write(tmp_path / "a.exr", rendering())
    ur.write(tmp_path / "a.png", rendering())
    ur.write(tmp_path / "clip.mp4", rendering(3))
    ur.write(tmp_path / "clip.####.exr", rendering(3))
    ur.write(tmp_path / "relit.mp4", relit(3))
    assert layers(tmp_path / "a.exr") == layers(tmp_path / "clip.0003.exr") == {"diffuse", "specular", "background"}
    assert (len(open_frames(tmp_path / "clip.mp4")), open_frames(tmp_path / "clip.mp4").fps) == (3, 24.0)
    assert open_frames(tmp_path / "relit.mp4").fps == 12.0
    with pytest.raises(UserError, match="3 frames"):
        ur.write(tmp_path / "b.png", rendering(3))
    with pytest.raises(UserError, match=r"expected \.png"):
        ur.write(tmp_path / "b.gif", rendering())


def test_frames_go_to_several_files_as_they_come(tmp_path: Path):
    clip = rendering(3)
    paths = [tmp_path / "a.mkv", tmp_path / "a.####.png", tmp_path / "a.####.exr"]
    write_passes_stream(paths, (clip.frame(i) for i in range(3)), layers=False, fps=8)
    assert names(tmp_path) == {"a.mkv"} | {f"a.000{i}.{ending}" for i in (1, 2, 3) for ending in ("png", "exr")}
    assert layers(tmp_path / "a.0001.exr") == set()
    assert torch.equal(read_image(tmp_path / "a.0002.exr").rgb, clip.frame(1).beauty)


def test_nothing_is_left_of_a_clip_that_broke_off(tmp_path: Path):
    def fail() -> None:
        with PassesWriter([tmp_path / "a.mp4", tmp_path / "a.####.exr"]) as writer:
            writer.write(rendering(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with (
        pytest.raises(UserError, match="does not exist"),
        PassesWriter([tmp_path / "a.mp4", tmp_path / "no" / "a.mp4"]),
    ):
        pytest.fail("the work began")
    assert names(tmp_path) == set()


def test_the_files_of_stills_and_clips(tmp_path: Path):
    assert [path.name for path in passes_paths(tmp_path, "a", 1)] == ["a.png", "a.exr"]
    assert [path.name for path in passes_paths(tmp_path, "a", 2)] == ["a.mp4", "a.####.exr"]
    write_relit_stream(RelitPaths.in_folder(tmp_path, "a", 2), [relit(), relit()], fps=12)
    assert names(tmp_path) == {"a.relit.mp4", "a.maps.png"} | {
        f"a.{kind}.000{i}.exr" for kind in ("relit", "gbuffer") for i in (1, 2)
    }
    assert len(open_gbuffers(tmp_path / "a.gbuffer.####.exr")) == 2


def test_a_light_that_turns_about_a_still_is_a_video_beside_it(tmp_path: Path):
    paths = RelitPaths.in_folder(tmp_path, "a", 1, turning=True)
    write_relit_stream(paths, [relit(), relit(), relit()])
    assert names(tmp_path) == {"a.relit.png", "a.relit.exr", "a.gbuffer.exr", "a.maps.png", "a.turn.mp4"}
    assert len(open_frames(tmp_path / "a.turn.mp4")) == 3
