"""The wheel: installed beside nothing of the checkout, it holds every file that its commands need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT_FROM = (
    "orchestrator",
    "implementations",
    "sweeps",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
)
Command = Callable[..., str]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the wheel unpacked, built from a copy so that the checkout stays
    as it is.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    built = subprocess.run(
        [*pip, "--wheel-dir", folder, source], capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stderr
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def orchestrator(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the installed `orchestrator` in an empty folder, as its console command does; returns
    what it printed.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(site))
    console = "import sys; from orchestrator.__main__ import main; sys.argv[0] = 'orchestrator'; sys.exit(main())"

    def command(*arguments: str, expected: Sequence[int] = (0,)) -> str:
        line = [sys.executable, "-P", "-c", console, *arguments]
        done = subprocess.run(line, capture_output=True, text=True, timeout=400, env=os.environ)
        assert done.returncode in expected, done.stdout + done.stderr
        return done.stdout

    return command


def test_the_wheel_holds_what_commands_read(site: Path) -> None:
    """Sweep files, the starter, completion scripts, the page's assets and the licence; no general
    package name.
    """
    held = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert {f"orchestrator/sweeps/{path.name}" for path in (ROOT / "sweeps").glob("*.yaml")} <= held
    starter = ROOT / "implementations" / "starter"
    assert {
        f"orchestrator_implementations/starter/{path.name}" for path in starter.glob("*.*")
    } <= held
    assert {"orchestrator/py.typed", "orchestrator/report/page/assets/vendor/LICENSE.d3"} <= held
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in held)
    tops = {name.partition("/")[0] for name in held if "dist-info" not in name}
    assert tops == {
        "orchestrator",
        "orchestrator_implementations",
    }


def test_the_commands_of_the_first_guide_work(orchestrator: Command, tmp_path: Path) -> None:
    """init, plan, a sweep and its report, and the completion script, in a folder that holds nothing
    else.
    """
    assert "my-sweep/sweep.yaml" in orchestrator("init", "my-sweep")
    assert "6 trials" in orchestrator("plan", "my-sweep/sweep.yaml")
    one = ("--only", "implementation == 'my_attention'", "-S", "axes.seq_len=[1024]")
    quick = (
        "-S",
        "measure.max_time_s=0.05",
        "-S",
        "measure.min_time_s=0.02",
        "-S",
        "measure.warmup_s=0",
    )
    assert "failed" not in orchestrator("my-sweep/sweep.yaml", "--device", "cpu", *one, *quick)
    assert "my_attention" in orchestrator("report", "last")
    assert "complete" in orchestrator("completion", "bash")


def test_a_users_own_names_hide_nothing_and_are_not_hidden(
    orchestrator: Command, tmp_path: Path
) -> None:
    """A folder `implementations` and a file `orchestrator.py` of the user's own, on the path before
    ours.
    """
    own = tmp_path / "implementations"
    own.mkdir()
    (own / "__init__.py").write_text("")
    (own / "mine.py").write_text(
        "def build(config):\n    from .part import attention\n    return attention\n"
    )
    attention = (
        "from torch.nn.functional import scaled_dot_product_attention as sdpa\n\n\n"
        "def attention(q, k, v):\n"
        "    return sdpa(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)\n"
    )
    (own / "part.py").write_text(attention)
    (tmp_path / "orchestrator.py").write_text("raise SystemExit('the wrong orchestrator')\n")
    sweep = (
        "name: own-names\nworkload: dilated_attention\n"
        'implementations: [standard, {use: "implementations.mine:build", label: mine}]\n'
        "axes: {batch: [1], seq_len: [1024], heads: [4]}\n"
        "constants: {head_dim: 32, segment_lengths: [seq_len], dilation_rates: [1]}\n"
        "measure: {max_time_s: 0.05, min_time_s: 0.02, warmup_s: 0}\n"
    )
    (tmp_path / "own.yaml").write_text(sweep)
    os.environ["PYTHONPATH"] += os.pathsep + str(tmp_path)
    printed = orchestrator("own.yaml", "--device", "cpu")
    assert "2 trials" in printed
    assert not re.search("failed|crashed|lost|wrong orchestrator", printed)


def test_what_comes_with_it_can_be_tried_and_demonstrated(orchestrator: Command) -> None:
    """`try` finds the params in a sweep file of the wheel; `demo` reads one, and runs what is
    selected of it.
    """
    assert "✓ right" in orchestrator("try", "improved", "seq_len=64", "--check")
    # read and expanded; nothing is selected
    orchestrator("demo", "--only", "seq_len == 1", expected=(2,))
