"""Outputs appear whole or not at all."""

from pathlib import Path

import pytest

from unrender.errors import UserError
from unrender.files.atomic import atomic_write


def test_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_write(target) as partial:
        assert partial.suffix == ".txt"
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_folder_appears_at_the_end(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "out") as partial:
        partial.mkdir()
        (partial / "a.txt").write_text("a")
    assert (tmp_path / "out/a.txt").read_text() == "a"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("folder", [True, False])
def test_failure_leaves_nothing(tmp_path: Path, folder: bool) -> None:
    def fail() -> None:
        with atomic_write(tmp_path / "out") as partial:
            if folder:
                partial.mkdir()
                (partial / "a").write_text("a")
            else:
                partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())


def test_results_of_others_are_not_wiped_out(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").write_text("x")
    with pytest.raises(UserError, match="folder with files in it"), atomic_write(tmp_path / "out"):
        pass
    assert (tmp_path / "out/precious").exists()


def test_parent_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"), atomic_write(tmp_path / "no/a.png"):
        pass
    with pytest.raises(UserError, match="cannot write"), atomic_write(Path("/proc/a.png")):
        pass
