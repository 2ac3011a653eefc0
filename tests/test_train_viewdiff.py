"""Training on sets of views: what is drawn, what counts, and that a killed run ends the same; CO3D and uCO3D
captures."""

import gzip
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from released_folders import write_base
from unrender.diffusion.card import ViewLayers
from unrender.diffusion.checkpoints.hub.recognise import local_model
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.networks.views.install import added_state
from unrender.errors import UserError
from unrender.files.datasets.sequences import read_co3d_sequences, read_uco3d_sequences
from unrender.files.shards import Clip
from unrender.files.writing import write
from unrender.scene.camera import Camera, project
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.train.base import FULL
from unrender.train.loop import BatchSpec
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.view_sets import TrainingViews, captured_views, draw_views, synthetic_views
from unrender.train.viewdiff import RECIPES, SMOKE, ViewDiffTask, starting_views, train_viewdiff
from view_scenes import box_picture, ring

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # diffusers' own
LAYERS = ViewLayers(distance=3.0)
CONFIG = TrainConfig(
    steps=2, stages=(Stage(1.0, 32, 1),), warmup=1, ema_decay=0.5, save_every=1, precision="no", validate_every=0
)


def sets(count: int = 2) -> list[TrainingViews]:
    camera = ring(4, (40, 40))
    return [TrainingViews(box_picture(camera)[0].half(), camera, f"box {'abc'[i]}") for i in range(count)]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Called `model`, as every run's is, so that what a run's model lacks is not looked for in itself."""
    return write_base(tmp_path_factory.mktemp("models") / "tiny-t2i" / "model")


def recipe(base: Path, **changes):
    return replace(SMOKE, config=CONFIG, base=str(base), prior_pictures=1, **changes)


# Data.


def test_a_batch_is_a_function_of_its_seed_and_its_cameras_fit_its_pictures():
    spec = BatchSpec(24, 2, 5)
    first, again = draw_views(sets(), spec, 3), draw_views(sets(), spec, 3)
    torch.testing.assert_close(first.rgb, again.rgb)
    assert first.rgb.shape == (6, 3, 24, 24)
    assert first.intensity.shape == (6, 2)
    expected, _ = box_picture(first.camera)
    # The window that was cut and the camera that was cut show the same: but for the edges, which are resampled.
    assert (first.rgb - expected).abs().mean() < 0.08
    assert (draw_views(sets(), BatchSpec(24, 2, 6), 3).rgb - first.rgb).abs().max() > 0.1


def clip(camera: Camera, instance: float = 2.0) -> Clip:
    rgb, depth = box_picture(camera)
    frames = []
    for i in range(len(camera)):
        there = depth[i : i + 1].isfinite()
        frames.append(
            GBuffer(
                rgb=rgb[i : i + 1],
                depth=depth[i : i + 1],
                instance=there * instance,
                mask=there.float(),
                camera=camera.frame(i),
                depth_kind="metric",
            )
        )
    light = EnvironmentMap(torch.ones(1, 3, 4, 8))
    return Clip(frames[0], light, "a box", 0, things=("oak ground", "box"), views=tuple(frames[1:]))


def test_synthetic_sets_have_their_named_thing_in_the_middle():
    camera = ring(4, (48, 48), distance=3.0)
    (found,) = synthetic_views([clip(camera)], LAYERS)
    assert len(found.camera) == 4
    place = found.camera.pose[:, :3, 3].norm(dim=1)
    assert (place > 3.0).all()  # the box is half a unit large, and its cube one
    middle, _ = project(torch.zeros(1, 3), found.camera)
    torch.testing.assert_close(middle, torch.full_like(middle, 24.0), atol=2.5, rtol=0)
    assert list(synthetic_views([replace(clip(camera), views=())], LAYERS)) == []
    assert list(synthetic_views([clip(camera, instance=1.0)], LAYERS)) == []  # ground alone


def co3d_frame(name: str, number: int, camera: Camera, path: str) -> dict:
    """A frame as CO3D has it: PyTorch3D's rows, NDC by the shorter side (from the definition, not from our writer)."""
    height, width = camera.size
    pose, k = camera.pose[0].double().numpy(), camera.intrinsics[0].double().numpy()
    left_up_ahead = pose[:3, :3] @ np.diag([-1.0, 1.0, -1.0])
    half = min(height, width) / 2
    return {
        "sequence_name": name,
        "frame_number": number,
        "image": {"path": path, "size": [height, width]},
        "viewpoint": {
            "R": left_up_ahead.tolist(),
            "T": (-pose[:3, 3] @ left_up_ahead).tolist(),
            "focal_length": [k[0, 0] / half, k[1, 1] / half],
            "principal_point": [(width / 2 - k[0, 2]) / half, (height / 2 - k[1, 2]) / half],
            "intrinsics_format": "ndc_isotropic",
        },
    }


POINTS = (torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1) * torch.tensor([0.6, 0.45, 0.5])


def write_ply(path: Path) -> None:
    head = (
        "ply\nformat ascii 1.0\nelement vertex 500\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    path.write_text(head + "".join(f"{x} {y} {z}\n" for x, y, z in POINTS.tolist()))


def write_co3d(root: Path) -> None:
    camera = ring(6, (40, 56), distance=2.0)
    rgb, _ = box_picture(camera)
    folder = root / "box"
    (folder / "one" / "images").mkdir(parents=True)
    frames = []
    for i in range(6):
        write(folder / "one" / "images" / f"{i}.png", Frames(rgb[i : i + 1]))
        frames.append(co3d_frame("one", i, camera.frame(i), f"box/one/images/{i}.png"))
        frames.append(co3d_frame("sizes", i, camera.frame(i), "x.png"))
    frames[1]["image"]["size"] = [41, 56]
    write_ply(folder / "one" / "pointcloud.ply")
    about = [
        {"sequence_name": "one", "point_cloud": {"path": "box/one/pointcloud.ply"}, "viewpoint_quality_score": 0.5}
    ]
    for name, table in (("frame_annotations", frames), ("sequence_annotations", about)):
        with gzip.open(folder / f"{name}.jgz", "wt") as file:
            json.dump(table, file)


def test_captures_of_co3d_are_level_and_in_the_middle_and_nothing_is_written(tmp_path):
    write_co3d(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    (sequence,) = read_co3d_sequences(tmp_path, "box")  # that of several sizes is left out
    assert (sequence.name, sequence.caption, len(sequence.pictures)) == ("one", "a box", 6)
    (views,) = captured_views([sequence], LAYERS, side=32, most=4)
    assert len(views.camera) == 4
    assert views.camera.size == (32, 32)
    # The box's longest side is 2 after normalisation, and the cameras stand 2 / 0.6 off.
    torch.testing.assert_close(views.camera.pose[:, :3, 3].norm(dim=1), torch.full((4,), 2 / 0.6), atol=0.1, rtol=0)
    expected, _ = box_picture(views.camera, (1.0, 0.75, 0.5 / 0.6))
    turned = [box_picture(turn(views.camera, angle), (1.0, 0.75, 0.5 / 0.6))[0] for angle in (0, 90, 180, 270)]
    best = min(float((views.rgb.float() - each).abs().mean()) for each in [expected, *turned])
    assert best < 0.12
    assert sorted(tmp_path.rglob("*")) == before
    assert list(read_co3d_sequences(tmp_path, "box", least_quality=0.9)) == []


def turn(camera: Camera, degrees: float) -> Camera:
    from unrender.scene.trajectory import orbit

    pose = torch.eye(4)
    pose[:3, :3] = orbit(torch.zeros(3), 1.0, 1, elevation=0.0, start=degrees)[0, :3, :3]
    return Camera(camera.intrinsics, pose @ camera.pose, camera.size)


@pytest.mark.slow
def test_captures_of_uco3d_come_from_films_by_their_times(tmp_path):
    from unrender.files.video import VideoWriter

    camera = ring(6, (48, 64), distance=2.0)
    rgb, _ = box_picture(camera)
    with VideoWriter(tmp_path / "film.mp4", 10.0) as film:
        film.write(rgb)
    with sqlite3.connect(tmp_path / "metadata.sqlite") as table:
        table.execute(
            "CREATE TABLE sequence_annots (sequence_name, category, _video_path, _segmented_point_cloud_path, "
            "sequence_caption)"
        )
        table.execute("INSERT INTO sequence_annots VALUES ('s', 'box', 'film.mp4', NULL, 'a painted box')")
        table.execute(
            "CREATE TABLE frame_annots (sequence_name, frame_number, frame_timestamp, _image_size, _viewpoint_R, "
            "_viewpoint_T,"
            " _viewpoint_focal_length, _viewpoint_principal_point, _viewpoint_intrinsics_format,"
            " _viewpoint_colmap_distortion_coeffs)"
        )
        for i in range(6):
            said = co3d_frame("s", i, camera.frame(i), "")
            view = said["viewpoint"]
            numbers = [
                np.array(view[name], np.float32).tobytes() for name in ("R", "T", "focal_length", "principal_point")
            ]
            size = np.array(said["image"]["size"], np.int32).tobytes()
            table.execute(
                "INSERT INTO frame_annots VALUES ('s', ?, ?, ?, ?, ?, ?, ?, 'ndc_isotropic', NULL)",
                (i, i / 10, size, *numbers),
            )
    table.close()
    (sequence,) = read_uco3d_sequences(tmp_path, "box")
    assert sequence.caption == "a painted box"
    torch.testing.assert_close(sequence.camera.pose, camera.pose, atol=1e-5, rtol=1e-5)
    third, first = sequence.read([3, 1])
    assert (third.rgb - rgb[3:4]).abs().mean() < 0.05 < (third.rgb - first.rgb).abs().mean()
    assert list(read_uco3d_sequences(tmp_path, "cup")) == []
    with pytest.raises(UserError, match=r"has no metadata\.sqlite"):
        next(read_uco3d_sequences(tmp_path / "none"))


# The recipe.


def test_known_views_are_out_of_the_loss_and_the_renderer_learns_at_its_own_rate(base):
    one = recipe(base, known=1.0, most_known=2, prior=0.0, frozen=False, dropout=0.0)
    task = ViewDiffTask(starting_views(one), one, sets(), sets())
    spec = BatchSpec(32, 1, 1)
    task.losses(task.networks, spec)["views"].backward()
    learnt = {name for name, value in task.networks["unet"].named_parameters() if value.grad is not None}
    assert any(".volume_renderer." in name for name in learnt)
    assert any("attn1.processor.to_q_lora" in name for name in learnt)
    assert "conv_in.weight" in learnt
    from unrender.train.loop import _parameter_groups

    groups = _parameter_groups(task, one.config)
    assert [group.get("rate") for group in groups] == [None, one.renderer_rate]
    assert groups[1]["weight_decay"] == 0
    whole = sum(len(group["params"]) for group in groups)
    assert whole == len(list(task.networks["unet"].parameters()))
    with torch.no_grad():
        # All views but the last known: what they are does not count, they are seen all the same.
        everything = replace(one, known=1.0, most_known=2, views=3)
        loss = ViewDiffTask(task.checkpoint, everything, sets(), sets()).losses(task.networks, spec)["views"]
    assert torch.isfinite(loss)


def test_a_run_that_was_killed_ends_with_the_same_weights_and_writes_the_added_layers_alone(base, tmp_path):
    whole = train_viewdiff(recipe(base, frozen=True), sets(), tmp_path / "whole")
    stopped = tmp_path / "stopped"

    def stop(step: int, loss: float) -> None:
        if step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_viewdiff(recipe(base, frozen=True), sets(), stopped, stop)
    again = train_viewdiff(recipe(base, frozen=True), sets(), stopped)
    first, second = (load_checkpoint(local_model(folder), FULL) for folder in (whole, again))
    for name, value in added_state(first.unet).items():
        torch.testing.assert_close(second.unet.state_dict()[name], value, atol=0, rtol=0)
    assert sorted(path.name for path in whole.iterdir()) == ["tokens.safetensors", "unrender.json", "views"]
    assert first.card.task == "multi_view"


@pytest.mark.slow
def test_a_whole_model_is_written_where_all_of_it_learns(base, tmp_path):
    model = train_viewdiff(recipe(base, frozen=False, prior=0.0), sets(), tmp_path / "run")
    assert {path.name for path in model.iterdir()} >= {"unet", "vae", "views", "unrender.json"}
    loaded = load_checkpoint(local_model(model), FULL)
    assert loaded.card.views == SMOKE.layers


def test_ablations_are_options_and_in_the_recipe(capsys):
    from unrender.cli import main

    told = ["train", "viewdiff", "--recipe", "smoke", "--dry-run", "-o", "run"]
    for options, kept in (([], SMOKE.layers), (["--no-cross-frame"], replace(SMOKE.layers, others=0))):
        assert main([*told, *options]) == 0
        assert json.loads(capsys.readouterr().out)["layers"]["others"] == kept.others
    assert main([*told, "--projection", "none"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"]["projection"] == "none"


def test_what_cannot_be_trained_is_one_line(base, tmp_path):
    for wrong, line in (
        ({"base": ""}, "expected --base"),
        ({"views": 2, "left_out": 1}, "expected one at least that is noisy"),
    ):
        with pytest.raises(UserError, match=line):
            train_viewdiff(replace(recipe(base), **wrong), sets(), tmp_path / "run")
    with pytest.raises(UserError, match="no sets of views"):
        train_viewdiff(recipe(base), [], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_paper_recipe_is_the_papers():
    paper = RECIPES["paper"]
    assert (paper.views, paper.known, paper.most_known, paper.left_out, paper.prior) == (5, 0.25, 2, 1, 0.1)
    assert (paper.config.steps, paper.config.lr, paper.config.max_grad_norm) == (60_000, 5e-5, 5e-3)
    assert paper.config.stages[0].batch * paper.config.accumulate == 64
    assert paper.config.lr * paper.renderer_rate == pytest.approx(1e-3)
