"""The doors themselves: help, version, exit statuses, one-line mistakes; no model is needed."""

import subprocess
import sys

import pytest
import typer

from unrender import __version__
from unrender.cli import main, run
from unrender.errors import UserError

VERBS = (
    "inverse",
    "forward",
    "relight",
    "edit",
    "insert",
    "light",
    "serve",
    "studio",
    "synth",
    "label",
    "train e2e",
    "evaluate maps",
    "evaluate pictures",
    "evaluate forward",
    "evaluate light",
    "evaluate claims",
    "models list",
    "models show",
    "lights list",
    "doctor",
)


def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "unrender", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]):
    assert main([*verb.split(), "--help"]) == 0
    assert "Usage: unrender " + verb in capsys.readouterr().out


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"unrender {__version__}\n"


def test_help_loads_nothing_slow():
    program = (
        "import sys; from unrender.cli import main; main(['relight', '--help']); import unrender as ur; dir(ur);"
        "print({'torch', 'numpy', 'diffusers', 'mitsuba', 'av', 'PIL'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["frobnicate"], "frobnicate"),
        (["relight", "a.png", "-o", "out", "--light", "sunset", "--lihgt", "x"], "--lihgt"),
        (["relight", "a.png", "-o", "out"], "--light"),
        (["inverse"], "INPUT"),
        (["relight", "a.png", "-o", "out", "--light", "sunset", "--yaw", "east"], "--yaw"),
        (["relight", "a.png", "-o", "out", "--light", "sunset", "--frames", "0"], "frames"),
        (["inverse", "a.png", "-o", "out", "--profile", "maya"], "maya"),
        (["inverse", "a.png", "-o", "out", "--device", "tpu"], "tpu"),
        (["train"], "command"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("unrender: ")
    assert told.err.count("\n") == 1
    assert named in told.err


def test_statuses_of_mistakes_faults_and_interruptions(capsys: pytest.CaptureFixture[str]):
    def failing(fault: BaseException) -> int:
        commands = typer.Typer()

        @commands.command()
        def fail() -> None:
            raise fault

        return run(commands, ["--"])

    assert failing(UserError("wrong\nthing")) == 2
    assert capsys.readouterr().err == "unrender: wrong thing\n"
    assert failing(KeyboardInterrupt()) == 130
    assert failing(RuntimeError("ours")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_python_dash_m_gives_the_status_to_the_shell():
    assert shell("--version").returncode == 0
    wrong = shell("inverse", "a.png", "-o", "out.gif")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("unrender: -o out.gif: cannot write .gif here; ")
