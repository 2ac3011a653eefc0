"""States of runs: what goes in comes out, and nothing else is read."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
import safetensors.torch
import torch

from forward_scenes import sphere
from unrender.cli.clip_run import Progress
from unrender.cli.clip_states import KINDS
from unrender.errors import UserError
from unrender.files.state import Unsaveable, load_state, save_state
from unrender.forward.clips import RenderState
from unrender.inverse.clips import ClipState, InverseState
from unrender.inverse.steady import Held
from unrender.scene.gbuffer import GBuffer


def test_a_state_comes_back_bit_by_bit(tmp_path: Path):
    held = Held(torch.rand(1, 3, 4, 5), {"depth": torch.rand(1, 1, 4, 5)}, torch.ones(1, 1, 4, 5))
    clip = ClipState((torch.rand(2, 3), torch.rand(2, 3).bfloat16()), sphere(8, (0.5, 0.4, 0.3), 0.5, 0.0), held)
    state = Progress(7, 2, 1, (InverseState(3, clip), RenderState(), Fraction(1, 3), [1.5, None, "x"]), False)
    save_state(tmp_path / "state", state)
    found = load_state(tmp_path / "state", (*KINDS, Progress))
    inverse = found.state[0]
    assert isinstance(inverse.clip.pending, GBuffer)
    assert inverse.clip.pending == clip.pending
    assert all(torch.equal(a, b) for a, b in zip(inverse.clip.found, clip.found, strict=True))
    assert torch.equal(inverse.clip.held.maps["depth"], held.maps["depth"])
    assert (found.frames, found.state[1:]) == (7, (RenderState(), Fraction(1, 3), [1.5, None, "x"]))


@dataclass(frozen=True)
class Other:
    number: int = 1


def test_what_is_not_known_is_neither_written_nor_read(tmp_path: Path):
    with pytest.raises(Unsaveable):
        save_state(tmp_path / "state", {"a": object()})
    assert not (tmp_path / "state").exists()
    save_state(tmp_path / "state", Other())
    assert load_state(tmp_path / "state", (Other,)) == Other()
    with pytest.raises(UserError, match="damaged"):
        load_state(tmp_path / "state", KINDS)


@pytest.mark.parametrize("content", [b"", b"no state", None], ids=["empty", "text", "no metadata"])
def test_a_damaged_state_is_said(content: bytes | None, tmp_path: Path):
    if content is None:
        safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "state")
    else:
        (tmp_path / "state").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load_state(tmp_path / "state", KINDS)
