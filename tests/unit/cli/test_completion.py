"""Completion, as a shell asks for it."""

import shutil
import subprocess

import pytest

from orchestrator.cli.completion import script
from orchestrator.cli.parser import build_parser


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    """Words typed, the last one unfinished -> what bash offers, in a folder with a sweep file and a
    finished sweep.
    """
    folder = tmp_path_factory.mktemp("here")
    (folder / "shapes.yaml").write_text("name: shapes\n")
    (folder / "notes.txt").write_text("no sweep\n")
    (folder / "sweeps").mkdir()
    done = folder / "mlruns" / "sweeps" / "shapes" / "20261122_093000_ab12"
    done.mkdir(parents=True)
    (done / "sweep.resolved.json").write_text("{}")
    (folder / "completion.bash").write_text(script(build_parser()[0], "bash"))

    def offered(*words):
        typed = " ".join(f"'{word}'" for word in words)
        asked = (
            f"source ./completion.bash; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; "
            + ("_orchestrator_python" if words[0] == "python" else "_orchestrator")
            + "; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        command = ["bash", "--norc", "-c", asked]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    return offered


def test_the_first_word_is_a_command_or_a_sweep_file(bash):
    """Both are offered: a sweep file alone means run."""
    assert {"run", "plan", "init", "compare", "shapes.yaml", "sweeps"} <= bash("orchestrator", "")
    assert bash("orchestrator", "pl") == {"plan"}
    assert "notes.txt" not in bash("orchestrator", "")


def test_python_m_orchestrator_completes_as_the_command_does(bash):
    """And python with anything else is left to the shell."""
    assert bash("python", "-m", "orchestrator", "pl") == {"plan"}
    assert bash("python", "-m", "pip", "in") == set()


def test_options_are_those_of_the_subcommand(bash):
    """--only belongs to plan, --rerun does not."""
    offered = bash("orchestrator", "plan", "shapes.yaml", "--")
    assert {"--only", "--json", "--device"} <= offered
    assert "--rerun" not in offered


def test_a_sweep_file_alone_has_the_options_of_run(bash):
    """`python -m orchestrator shapes.yaml --re` goes on to --resume, --rerun and --reuse."""
    offered = bash("python", "-m", "orchestrator", "shapes.yaml", "--re")
    assert offered == {"--resume", "--rerun", "--reuse"}


def test_choices_of_an_option_are_offered(bash):
    """The devices and the formats have fixed names."""
    assert {"cpu", "cuda", "auto"} <= bash("orchestrator", "run", "shapes.yaml", "--device", "")
    assert {"latex"} == bash("orchestrator", "report", "last", "--format", "la")


@pytest.mark.parametrize(
    "command", [("resume",), ("report",), ("sync",), ("compare",), ("compare", "last")]
)
def test_sweeps_are_offered_by_id(bash, command):
    """Finished sweeps under mlruns/, and the word for the newest of them."""
    assert {"20261122_093000_ab12", "last"} <= bash("orchestrator", *command, "")
    assert bash("orchestrator", *command, "2026") == {"20261122_093000_ab12"}


def test_a_folder_is_completed_with_its_slash(bash):
    """So that the next press of the key looks inside."""
    assert bash("orchestrator", "plan", "swe") == {"sweeps/"}


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_reads_its_script(tmp_path):
    """Sourced in a bare shell, it defines the functions and registers them."""
    (tmp_path / "completion.zsh").write_text(script(build_parser()[0], "zsh"))
    asked = "source ./completion.zsh && print $_comps[python] $_comps[orchestrator] $+functions[_shtab_orchestrator]"
    done = subprocess.run(
        ["zsh", "-f", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["_orchestrator_python", "_orchestrator", "1"]
