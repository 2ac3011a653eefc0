"""`unrender insert` and `synth --insertion` from the shell, and `unrender.insert` in Python."""

import json
import math

import numpy as np
import pytest
import torch

import unrender as ur

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")
pytest.importorskip("trimesh", reason="trimesh is not installed; the extra [raytrace] brings it")

import trimesh

from unrender.cli import main
from unrender.files.cameras import NamedCameras, read_object_poses, read_transforms, write_transforms
from unrender.files.exr import read_channels
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import read_image, write_image
from unrender.insert import Placement, Standing, SupportPlane
from unrender.scene.camera import Camera
from unrender.synth.insertion import random_pair, write_pair

SIZE = (40, 56)
PLANE = ["--plane", "0,1,0,-1", "--at", "28,30", "--height", "0.8"]


pytestmark = pytest.mark.usefixtures("vectorised_mitsuba")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    ramp = torch.linspace(0.2, 0.7, SIZE[1]).expand(3, *SIZE)
    write_image(path, ramp * torch.linspace(0.6, 1.0, SIZE[0])[:, None])
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_every_layer_is_written_and_they_add_up(photo, tmp_path):
    out = tmp_path / "out"
    status = run("insert", photo, "-o", out, "--asset", "teapot", "--light", "city", "--exposure", "0", *PLANE)
    assert status == 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        *("photo.insert.png", "photo.insert.exr", "photo.light.exr", "photo.light.foreground.exr"),
        *("photo.light.shadow.exr", "photo.transforms.json", "run.json"),
    }
    found = read_channels(out / "photo.insert.exr").channels

    def layer(name):
        return np.stack([found[f"{name}.{c}" if name else c] for c in "RGB"])

    mask = found["mask.A"]
    assert mask.max() == 1
    assert 0.01 < mask.mean() < 0.5
    whole = np.where(mask > 0, (1 - mask) * layer("shadow_ratio") * layer("background") + layer("foreground"), 0)
    np.testing.assert_allclose(layer("")[:, mask > 0], whole[:, mask > 0], atol=1e-6)
    np.testing.assert_allclose(layer("foreground_key") + layer("foreground_fill"), layer("foreground"), atol=1e-5)
    assert layer("shadow_ratio").min() < 0.9
    gbuffer = read_gbuffer(out / "photo.insert.exr")
    inside = gbuffer.mask[0, 0] == 1
    assert gbuffer.depth[0, 0][inside].isfinite().all()
    torch.testing.assert_close(
        gbuffer.normal[0][:, inside].norm(dim=0), torch.ones(int(inside.sum())), atol=1e-3, rtol=0
    )
    # Where nothing was put and no shadow falls, the photo is as it was, to the last bit of its PNG.
    same = (mask == 0) & (layer("shadow_ratio") == 1).all(0)
    before, after = (read_image(path).rgb[0].numpy() for path in (photo, out / "photo.insert.png"))
    assert same.mean() > 0.05
    np.testing.assert_array_equal(before[:, same], after[:, same])
    record = json.loads((out / "run.json").read_text())
    assert record["verb"] == "insert"
    assert record["insertion"]["objects"][0]["asset"] == "teapot"


def test_what_was_written_places_the_object_again(photo, tmp_path):
    first, second = tmp_path / "first.exr", tmp_path / "again"
    common = ("--asset", "crate", "--light", "studio", "--exposure", "0", "--samples", "16")
    assert run("insert", photo, "-o", tmp_path / "one", *common, *PLANE) == 0
    where = tmp_path / "one" / "photo.transforms.json"
    pose = read_object_poses(where)[0]
    assert np.linalg.det(pose[:3, :3]) > 0
    assert run("insert", photo, "-o", second, *common, "--camera", where, "--pose", where) == 0
    one, other = (read_image(folder / "photo.insert.exr").rgb for folder in (tmp_path / "one", second))
    torch.testing.assert_close(one, other, atol=0.02, rtol=0)
    assert not first.exists()


def test_the_light_is_found_where_none_is_given(photo, tmp_path):
    out = tmp_path / "composite.png"
    assert run("insert", photo, "-o", out, "--asset", "grey", "--fit-steps", "5", "--samples", "8", *PLANE) == 0
    assert (tmp_path / "composite.run.json").exists()
    assert not torch.equal(read_image(out).rgb, read_image(photo).rgb)
    preview = tmp_path / "preview"
    assert run("insert", photo, "-o", preview, "--asset", "grey", "--preview", *PLANE) == 0
    assert {path.name for path in preview.iterdir()} == {"photo.preview.png", "run.json"}


def test_a_clip_has_one_light_under_a_moving_camera(tmp_path):
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3], poses[:, 1, 3] = torch.tensor([-0.4, 0.0, 0.4]), 1.0
    camera = Camera.perspective(SIZE, 50.0, poses)
    write_transforms(tmp_path / "path.json", NamedCameras(("a", "b", "c"), camera))
    for i in range(3):
        write_image(tmp_path / f"clip.{i + 1:04d}.exr", torch.full((3, *SIZE), 0.3 + 0.1 * i))
    out = tmp_path / "out"
    common = ("--asset", "ball", "--light", "sunset", "--samples", "16", "--camera", tmp_path / "path.json")
    assert run("insert", tmp_path / "clip.####.exr", "-o", out, *common, "--at", "28,32", "--height", "0.6") == 0
    masks = [read_gbuffer(out / f"clip.insert.{i + 1:04d}.exr").mask[0, 0] for i in range(3)]
    columns = [float((mask.sum(0) * torch.arange(SIZE[1])).sum() / mask.sum()) for mask in masks]
    assert columns[0] > columns[1] + 2
    assert columns[1] > columns[2] + 2
    assert (out / "clip.insert.mp4").exists()
    assert len(read_transforms(out / "clip.transforms.json").camera) == 3


def assets(folder):
    """Meshes as they come."""
    box = trimesh.creation.box((1, 2, 1))
    (folder / "bare.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    trimesh.Trimesh(box.vertices, box.faces[2:], process=False).export(folder / "open.ply")
    box.copy().apply_scale(1000).export(folder / "millimetres.glb")
    scene = trimesh.Scene()
    scene.add_geometry(box, transform=np.diag([-1.0, 1, 1, 1]))
    scene.export(folder / "negative.glb")


@pytest.mark.parametrize("name", ["bare.obj", "open.ply", "millimetres.glb", "negative.glb"])
def test_assets_of_all_sorts_are_inserted(photo, tmp_path, name):
    assets(tmp_path)
    out = tmp_path / "out.exr"
    settings = ("--light", "city", "--exposure", "0", "--samples", "8")
    assert run("insert", photo, "-o", out, "--asset", tmp_path / name, *settings, *PLANE) == 0
    mask = read_gbuffer(out).mask
    assert 0.01 < float(mask.mean()) < 0.6


def broken(folder, name):
    if name == "empty.obj":
        (folder / name).write_text("# nothing\n")
    elif name == "draco.gltf":
        said = {"asset": {"version": "2.0"}, "extensionsRequired": ["KHR_draco_mesh_compression"]}
        (folder / name).write_text(json.dumps(said))
    elif name == "huge.ply":
        ball = trimesh.creation.icosphere(4, 1.0)
        ball.export(folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty.obj", "no triangles"),
        ("draco.gltf", "KHR_draco_mesh_compression"),
        ("huge.ply", "decimate it"),
        ("chiar", "did you mean chair?"),
        ("missing.glb", "missing.glb"),
    ],
)
def test_what_cannot_be_inserted_is_one_line(photo, tmp_path, capsys, monkeypatch, name, says):
    monkeypatch.setattr("unrender.raytrace.assets.MOST_TRIANGLES", 4000)
    asset = name if name == "chiar" else broken(tmp_path, name)
    assert run("insert", photo, "-o", tmp_path / "out", "--asset", asset, "--light", "city", *PLANE) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("--at", "500,10"), "outside the picture"),
        (("--at", "here"), "X,Y in pixels"),
        (("--at", "28,2", "--plane", "0,1,0,-1"), "not seen at"),
        (("--plane", "0,1,0"), "expected 4"),
        (("--plane", "0,0,0,1"), "not all 0"),
        (("--pose", "1,0,0,0"), "expected 16"),
        (("--exposure", "bright"), "auto, or EV"),
        (("--at", "20,30", "--at", "25,30"), "2 --at for 1 --asset"),
        (("-o", "out.glb"), "cannot write .glb"),
        (("--camera", "nowhere.json"), "nowhere.json"),
    ],
)
def test_mistakes_are_said_in_one_line(photo, tmp_path, capsys, monkeypatch, settings, says):
    monkeypatch.chdir(tmp_path)
    arguments = ["insert", photo, "--asset", "ball", "--light", "city", *settings]
    assert run(*arguments, *(() if "-o" in settings else ("-o", "out"))) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert len(said.splitlines()) == 1


def test_an_input_is_not_overwritten(photo, tmp_path, capsys):
    assert run("insert", photo, "-o", photo, "--asset", "ball", "--light", "city", *PLANE) == 2
    assert "would overwrite an input" in capsys.readouterr().err


def test_pairs_are_drawn_and_a_known_light_gives_their_truth(tmp_path, capsys):
    out = tmp_path / "pairs"
    command = ("synth", out, "--insertion", "--clips", "1", "--resolution", "48", "--samples", "64", "--seed", "1")
    assert run(*command) == 0
    files = {path.name for path in (out / "0000").iterdir()}
    assert files == {"background.exr", "truth.exr", "object.glb", "light.exr", "transforms.json", "class.txt"}
    before = (out / "0000" / "truth.exr").read_bytes()
    assert run(*command) == 0
    assert (out / "0000" / "truth.exr").read_bytes() == before
    assert run("synth", out, "--insertion", "--clips", "1", "--resolution", "32") == 2
    assert "give another folder" in capsys.readouterr().err
    assert run("synth", tmp_path / "other", "--insertion", "--frames", "3") == 2


SLOW = pytest.mark.slow


@pytest.mark.parametrize("index", [1, pytest.param(2, marks=SLOW), pytest.param(6, marks=SLOW)])
def test_the_composite_under_a_known_light_is_the_truth(tmp_path, index):
    pair = random_pair(index, resolution=64, samples=256)
    write_pair(tmp_path, pair)
    made = ur.insert(
        tmp_path / "background.exr",
        tmp_path / "object.glb",
        tmp_path / "light.exr",
        placement=Placement(
            camera=read_transforms(tmp_path / "transforms.json").camera,
            poses=read_object_poses(tmp_path / "transforms.json"),
        ),
    ).composite
    changed = (pair.mask > 0.5) | ((pair.truth - pair.background).abs().amax(1, keepdim=True) > 0.01)
    error = (made.clamp(0, 1) - pair.truth.clamp(0, 1)).square()[changed.expand_as(made)].mean()
    before = (pair.background.clamp(0, 1) - pair.truth.clamp(0, 1)).square()[changed.expand_as(made)].mean()
    assert -10 * math.log10(float(error)) > 30
    assert error < 0.1 * before


def test_python_has_the_same_door():
    frames = ur.Frames(torch.full((1, 3, *SIZE), 0.4))
    placement = Placement(
        (Standing((20.0, 30.0), "0.5"), Standing((40.0, 30.0), "0.5", turn=30.0)),
        plane=SupportPlane(torch.tensor([0.0, 1.0, 0.0]), -1.0),
    )
    options = ur.insert.InsertOptions(exposure=0.0, samples=8)
    made = ur.insert(frames, ["ball", "vase"], "studio", placement=placement, options=options)
    assert made.composite.shape == (1, 3, *SIZE)
    assert len(made.plan.scene.objects) == 2
    alpha = made.frames[0].rendered.layers.alpha[0, 0]
    assert alpha[:, :28].max() == 1
    assert alpha[:, 28:].max() == 1
