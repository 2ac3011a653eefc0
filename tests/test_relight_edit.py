"""Edits: other materials where they are meant and nowhere else, materials taken from pictures, objects laid over."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unrender as ur
from forward_scenes import sphere
from unrender.cli import main
from unrender.errors import UserError
from unrender.files.gbuffers import read_gbuffer, write_gbuffer
from unrender.files.images import read_image
from unrender.forward import DeferredRenderer
from unrender.relight import (
    Edit,
    MaterialChange,
    change_materials,
    decompose_gbuffers,
    edit_gbuffer,
    edit_stream,
    material_of,
)
from unrender.scene.color import srgb_to_linear
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

FORWARD = DeferredRenderer("split_sum")
LIGHT = EnvironmentMap(torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(1)) * 2)
SIZE = 32
LEFT = torch.zeros(1, 1, SIZE, SIZE)
LEFT[..., : SIZE // 2] = 1.0


def ball(color: tuple[float, float, float] = (0.6, 0.5, 0.4), roughness: float = 0.6) -> GBuffer:
    """A sphere with the picture that it is under `LIGHT`."""
    truth = sphere(SIZE, color, roughness, 0.0)
    return truth.with_maps(rgb=FORWARD(truth, LIGHT).beauty)


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("roughness=0.1", MaterialChange("roughness", (0.1,))),
        (" metallic = 1 ", MaterialChange("metallic", (1.0,))),
        ("roughness*=0.5", MaterialChange("roughness", (0.5,), "multiply")),
        ("base_color += -0.1", MaterialChange("base_color", (-0.1,), "add")),
        ("base_color=0.5,0.25,0", MaterialChange("base_color", (0.5, 0.25, 0.0))),
    ],
)
def test_a_change_reads_as_it_is_written(text: str, change: MaterialChange):
    assert MaterialChange.parse(text) == change


@pytest.mark.parametrize("text", ["base_color=#c04020", "base_color=#C04020"])
def test_a_colour_of_a_screen_is_made_linear(text: str):
    codes = torch.tensor([0xC0, 0x40, 0x20], dtype=torch.float64) / 255
    assert MaterialChange.parse(text).value == pytest.approx(srgb_to_linear(codes).tolist())
    assert MaterialChange.parse("base_color=#f80").value == MaterialChange.parse("base_color=#ff8800").value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roughness", "no change of material"),
        ("roughness:0.1", "no change of material"),
        ("roughnes=0.1", "did you mean roughness"),
        ("normal=0.1", "cannot be changed"),
        ("roughness=rough", "no value"),
        ("roughness=", "no value"),
        ("roughness=nan", "finite"),
        ("roughness=1.5", "from 0 to 1"),
        ("roughness=0.1,0.2,0.3", "one number"),
        ("base_color=0.1,0.2", "one number, or 3"),
        ("base_color=#12345", "no value"),
    ],
)
def test_a_change_that_means_nothing_is_refused(text: str, said: str):
    with pytest.raises(UserError, match=said):
        MaterialChange.parse(text)


def test_changes_follow_one_another_where_they_are_meant():
    gbuffer = ball()
    changes = [MaterialChange("roughness", (0.5,), "multiply"), MaterialChange("roughness", (0.2,), "add")]
    edited = change_materials(gbuffer, changes, LEFT)
    assert edited.roughness[..., : SIZE // 2].unique().tolist() == pytest.approx([0.5])
    assert torch.equal(edited.roughness[..., SIZE // 2 :], gbuffer.roughness[..., SIZE // 2 :])
    assert float(change_materials(gbuffer, [MaterialChange("metallic", (7.0,), "add")]).metallic.max()) == 1.0


def test_the_diffuse_albedo_follows_base_color_and_metallic():
    gbuffer = ball().with_maps(diffuse_albedo=ball().base_color)
    edited = change_materials(gbuffer, [MaterialChange("metallic", (1.0,))], LEFT)
    assert float(edited.diffuse_albedo[..., : SIZE // 2].max()) == 0.0
    assert torch.equal(edited.diffuse_albedo[..., SIZE // 2 :], gbuffer.base_color[..., SIZE // 2 :])


def test_the_material_of_a_part_is_its_median():
    gbuffer = ball()
    spotted = gbuffer.base_color.clone()
    spotted[..., 10:12, 10:12] = 1.0
    changes = material_of(gbuffer.with_maps(base_color=spotted), LEFT)
    assert {change.name: change.value for change in changes} == {
        "base_color": pytest.approx((0.6, 0.5, 0.4)),
        "roughness": pytest.approx((0.6,)),
        "metallic": pytest.approx((0.0,)),
    }
    with pytest.raises(UserError, match="no pixel with a surface"):
        material_of(gbuffer, torch.zeros(1, 1, SIZE, SIZE))


def test_under_its_own_light_what_is_not_edited_stays_to_the_last_bit():
    gbuffer = ball()
    edit = Edit((MaterialChange("base_color", (0.1, 0.1, 0.8)),), LEFT)
    (edited,) = edit_stream(decompose_gbuffers([gbuffer], FORWARD), edit, FORWARD)
    untouched = (LEFT * gbuffer.mask == 0).expand(1, 3, -1, -1)
    assert torch.equal(edited.beauty[untouched], gbuffer.rgb[untouched])
    changed = (LEFT * gbuffer.mask == 1).expand(1, 3, -1, -1)
    blue, red = edited.beauty[changed].reshape(3, -1).mean(1)[[2, 0]]
    assert blue > 2 * red


def test_an_edit_to_what_is_there_gives_the_picture_back():
    gbuffer = ball()
    edit = Edit((MaterialChange("roughness", (0.6,)),))
    (edited,) = edit_stream(decompose_gbuffers([gbuffer], FORWARD), edit, FORWARD)
    error = (edited.beauty - gbuffer.rgb).abs()[(gbuffer.mask == 1).expand(1, 3, -1, -1)]
    # The light is estimated, and detail brings the picture back up to the exponent that it is kept with.
    assert float(error.mean()) < 0.02 * float(gbuffer.rgb.max())


def test_under_another_light_all_of_it_is_rendered():
    gbuffer = ball()
    edit = Edit((MaterialChange("roughness", (0.1,)),))
    (edited,) = edit_stream(decompose_gbuffers([gbuffer], FORWARD), edit, FORWARD, LIGHT.rotated(90))
    right = FORWARD(edit_gbuffer(gbuffer, edit), LIGHT.rotated(90), 0.0)
    torch.testing.assert_close(edited.passes.specular, right.specular * edited.decomposition.gain, rtol=1e-5, atol=1e-6)


def test_a_gbuffer_without_a_picture_is_edited_under_a_light_and_not_without():
    gbuffer = ball().with_maps(rgb=None)
    edit = Edit((MaterialChange("metallic", (1.0,)),))
    with pytest.raises(UserError, match="no picture"):
        list(edit_stream(decompose_gbuffers([gbuffer], FORWARD), edit, FORWARD))
    (edited,) = edit_stream(decompose_gbuffers([gbuffer], FORWARD, LIGHT), edit, FORWARD, LIGHT)
    torch.testing.assert_close(edited.passes.surface, FORWARD(edit_gbuffer(gbuffer, edit), LIGHT, 0.0).surface)


def test_an_object_is_laid_over_and_takes_nothing_of_the_rest():
    scene, front = ball(), sphere(SIZE, (0.9, 0.1, 0.1), 0.4, 0.0)
    corner = torch.roll(front.mask, (10, 10), (2, 3)) * LEFT.flip(3)
    front = front.with_maps(mask=corner, depth=None)
    (edited,) = edit_stream(decompose_gbuffers([scene], FORWARD), Edit(inserted=front), FORWARD)
    elsewhere = (corner == 0).expand(1, 3, -1, -1)
    torch.testing.assert_close(edited.beauty[elsewhere], scene.rgb[elsewhere])
    assert float(edited.decomposition.gbuffer.base_color[0, 1][corner[0, 0] == 1].max()) == pytest.approx(0.1)


def test_each_frame_of_a_clip_has_its_own_edit():
    clip = [ball(), ball(), ball()]
    edits = [Edit((MaterialChange("base_color", (value,)),)) for value in (0.1, 0.5, 0.9)]
    made = list(edit_stream(decompose_gbuffers(clip, FORWARD), edits, FORWARD))
    found = [float(part.decomposition.gbuffer.base_color.max()) for part in made]
    assert found == pytest.approx([0.1, 0.5, 0.9])


def test_one_call_edits_a_photo_or_a_gbuffer(tmp_path: Path):
    write_gbuffer(tmp_path / "scene.exr", ball())
    told = [ur.edit(given, ["roughness=0.1"], "metallic < 0.5") for given in (ball(), tmp_path / "scene.exr")]
    for edited in told:
        assert edited.decomposition.gbuffer.roughness.unique().tolist() == pytest.approx([0.1], abs=1e-3)
    edited = ur.edit(photo(tmp_path), [MaterialChange("metallic", (1.0,))], light="sunset")
    assert float(edited.decomposition.gbuffer.metallic.min()) == 1.0


def test_an_edit_of_nothing_and_masks_of_other_shapes_are_refused():
    with pytest.raises(UserError, match="changes nothing"):
        Edit()
    with pytest.raises(UserError, match="a mask of shape"):
        edit_gbuffer(ball(), Edit((MaterialChange("roughness", (0.1,)),), torch.ones(1, 3, 8, 8)))


def photo(folder: Path) -> Path:
    codes = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    path = folder / "photo.png"
    Image.fromarray(codes).resize((64, 48), Image.Resampling.BICUBIC).save(path)
    return path


def test_the_command_edits_a_photo_in_a_mask(tmp_path: Path):
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :32] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    arguments = ["edit", str(photo(tmp_path)), "-o", str(out), "--set", "roughness=0.2", "--set", "base_color=#2040c0"]
    assert main([*arguments, "--mask", str(tmp_path / "mask.png")]) == 0
    names = {path.name for path in out.iterdir()}
    edited = {f"photo.edited.{ending}" for ending in ("png", "exr", "gbuffer.exr", "maps.png")}
    assert names == edited | {"run.json"}
    gbuffer = read_gbuffer(out / "photo.edited.gbuffer.exr")
    assert gbuffer.roughness[..., :32].unique().tolist() == pytest.approx([0.2], abs=1e-3)
    before, after = (read_image(path).rgb[..., 32:] for path in (tmp_path / "photo.png", out / "photo.edited.png"))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
    assert json.loads((out / "run.json").read_text())["settings"]["changes"] == arguments[5::2]


def test_the_command_edits_gbuffers_where_a_condition_holds(tmp_path: Path):
    write_gbuffer(tmp_path / "scene.exr", ball().with_maps(instance=LEFT * 3))
    arguments = ["--set", "metallic=1", "--mask", "instance==3 & roughness > 0.5", "--light", "sunset"]
    assert main(["edit", str(tmp_path / "scene.exr"), "-o", str(tmp_path / "out"), *arguments]) == 0
    edited = read_gbuffer(tmp_path / "out" / "scene.edited.gbuffer.exr")
    assert torch.equal(edited.metallic, LEFT)


def test_the_command_takes_a_material_from_another_picture_and_inserts(tmp_path: Path):
    write_gbuffer(tmp_path / "scene.exr", ball())
    write_gbuffer(tmp_path / "gold.exr", ball((0.9, 0.7, 0.2), 0.3).with_maps(metallic=torch.ones(1, 1, SIZE, SIZE)))
    arguments = ["--material-from", str(tmp_path / "gold.exr"), "--material-mask", "mask > 0.5"]
    out = tmp_path / "edited.exr"
    assert main(["edit", str(tmp_path / "scene.exr"), "-o", str(out), *arguments]) == 0
    assert out.exists()
    front = ball((0.1, 0.9, 0.1))
    write_gbuffer(tmp_path / "front.exr", replace(front, depth=None).with_maps(rgb=None))
    folder = tmp_path / "inserted"
    inserted = ["--insert", str(tmp_path / "front.exr")]
    assert main(["edit", str(tmp_path / "scene.exr"), "-o", str(folder), *inserted]) == 0
    found = read_gbuffer(folder / "scene.edited.gbuffer.exr").base_color[0, :, SIZE // 2, SIZE // 2]
    assert found.tolist() == pytest.approx([0.1, 0.9, 0.1], abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing is edited"),
        (["--mask", "roughness>0.5"], "nothing is edited"),
        (["--insert", "missing.exr", "--mask", "roughness>0.5"], "--set or --material-from"),
        (["--set", "roughness=2"], "from 0 to 1"),
        (["--set", "roughness=0.2", "--mask", "gloss>0.5"], "no map gloss"),
        (["--set", "roughness=0.2", "--mask", "missing.png"], "missing.png"),
        (["--set", "roughness=0.2", "--yaw", "10"], "--light"),
        (["--set", "roughness=0.2", "--material-mask", "mask"], "--material-from"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_writes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    out = tmp_path / "out"
    assert main(["edit", str(photo(tmp_path)), "-o", str(out), *arguments]) == 2
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert said in error
    assert not out.exists()


def test_masks_of_a_clip_go_along_with_it(tmp_path: Path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(2):
        Image.new("RGB", (32, 24), (90 + 40 * index, 80, 70)).save(frames / f"shot.{index + 1:04d}.png")
        Image.new("L", (32, 24), 255 * index).save(tmp_path / f"mask.{index + 1:04d}.png")
    arguments = ["--set", "roughness=0.25", "--mask", str(tmp_path / "mask.####.png")]
    assert main(["edit", str(frames), "-o", str(tmp_path / "out"), *arguments]) == 0
    first, second = (read_gbuffer(tmp_path / "out" / f"frames.edited.gbuffer.000{i}.exr").roughness for i in (1, 2))
    assert float((first - 0.25).abs().max()) > 0.01
    assert second.unique().tolist() == [0.25]
    Image.new("L", (32, 24), 255).save(tmp_path / "mask.0003.png")
    assert main(["edit", str(frames), "-o", str(tmp_path / "again"), *arguments]) == 2


def test_a_part_of_a_clip_takes_as_many_masks_and_one_frame_is_a_picture(tmp_path: Path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(3):
        Image.new("RGB", (32, 24), (90, 80, 70)).save(frames / f"shot.{index + 1:04d}.png")
        Image.new("L", (32, 24), 255).save(tmp_path / f"mask.{index + 1:04d}.png")
    (tmp_path / "mask.0003.png").unlink()
    arguments = ["edit", str(frames), "--set", "roughness=0.25"]
    masks = ["--mask", str(tmp_path / "mask.####.png")]
    assert main([*arguments, *masks, "--frames", "2", "-o", str(tmp_path / "out")]) == 0
    assert main([*arguments, *masks, "-o", str(tmp_path / "all")]) == 2
    assert main([*arguments, "--frames", "1", "-o", str(tmp_path / "one.png")]) == 0
    assert (tmp_path / "one.png").exists()
    assert main([*arguments, "-o", str(tmp_path / "three.png")]) == 2


def test_frames_are_not_taken_for_gbuffers(tmp_path: Path):
    from unrender.files.images import write_image
    from unrender.files.sequences import holds_gbuffers

    write_image(tmp_path / "beauty.exr", Frames(torch.rand(1, 3, 8, 8)).rgb[0])
    write_gbuffer(tmp_path / "maps.exr", ball())
    assert not holds_gbuffers(tmp_path / "beauty.exr")
    assert not holds_gbuffers(photo(tmp_path))
    assert holds_gbuffers(tmp_path / "maps.exr")
