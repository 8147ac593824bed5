"""Cases: rows of a file that set several params at once, and whose name is a param of its own."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import SweepFileError
from orchestrator.plan.sweep import Sweep

ROOT = Path(__file__).parents[3]
WORKLOAD = "def inputs(heads: int, width: int = 64, causal: bool = False): ...\ndef reference(x): ...\ndef f(x): ...\n"
SHAPES = "# published shapes\nname, heads, width\nsmall, 8, 64\nwide, 16, 128\n\nsame-heads, 16,\n"


def sweep(tmp_path: Path, cases: str, more: str = "") -> Sweep:
    (tmp_path / "w.py").write_text(WORKLOAD)
    text = f"name: s\nworkload: ./w.py\nimplementations: ['./w.py:f']\ncases: {cases}\n{more}"
    return Sweep.parse(text, tmp_path)


def points(found: Sweep) -> list[tuple[object, ...]]:
    return [
        (trial.params.get("name"), trial.params["heads"], trial.params["width"])
        for trial in found.trials
    ]


EXPECTED = [("small", 8, 64), ("wide", 16, 128), ("same-heads", 16, 64)]
ROWS = [
    {"name": "small", "heads": 8},
    {"name": "wide", "heads": 16, "width": 128},
    {"name": "same-heads", "heads": 16},
]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("shapes.csv", SHAPES),
        ("shapes.json", json.dumps(ROWS, indent=1)),
        ("shapes.jsonl", "\n".join(map(json.dumps, ROWS))),
        (
            "shapes.yaml",
            "- {name: small, heads: 8}\n- {name: wide, heads: 16, width: 128}\n- {name: same-heads, heads: 16}",
        ),
    ],
)
def test_every_kind_of_file_gives_the_same_points(tmp_path: Path, file: str, content: str) -> None:
    """A param that a row leaves out has its default, also where other rows state it."""
    (tmp_path / file).write_text(content)
    assert points(sweep(tmp_path, file)) == EXPECTED


def test_cases_stand_in_the_sweep_file_too(tmp_path: Path) -> None:
    """And are multiplied by the axes."""
    found = sweep(
        tmp_path, "[{name: a, heads: 1}, {name: b, heads: 2}]", "axes: {causal: [true, false]}"
    )
    assert len(found.trials) == 4
    assert found.plan.explain() == ["1 implementation x 2 name with heads x 2 causal = 4 trials"]


def test_cases_of_many_params_are_counted() -> None:
    """A dozen names say less than how many there are."""
    text = (
        "name: s\nworkload: dilated_attention\nimplementations: [standard]\ncases:\n"
        "- {batch: 1, seq_len: 8, heads: 2, segment_lengths: [8], dilation_rates: [1]}\n"
        "- {batch: 2, seq_len: 8, heads: 2, segment_lengths: [8], dilation_rates: [2]}\n"
    )
    found = Sweep.parse(text).plan.explain()
    assert found == ["1 implementation x 2 cases of batch, seq_len and 3 more = 2 trials"]


def test_the_name_chooses(tmp_path: Path) -> None:
    """`--only` knows it, as every param."""
    (tmp_path / "shapes.csv").write_text(SHAPES)
    (tmp_path / "w.py").write_text(WORKLOAD)
    (tmp_path / "s.yaml").write_text(
        "name: s\nworkload: ./w.py\nimplementations: ['./w.py:f']\ncases: shapes.csv\n"
    )
    assert points(Sweep.load(tmp_path / "s.yaml", only="name == 'wide'")) == EXPECTED[1:2]


def test_every_and_where_choose(tmp_path: Path) -> None:
    """`where` first, then every so many-th."""
    (tmp_path / "shapes.csv").write_text(SHAPES)
    assert points(sweep(tmp_path, "{file: shapes.csv, every: 2}")) == EXPECTED[::2]
    assert (
        points(sweep(tmp_path, "{file: shapes.csv, where: 'heads == 16 and width == 64'}"))
        == EXPECTED[2:]
    )


def test_columns_are_picked_and_renamed(tmp_path: Path) -> None:
    """A file of a model's sizes serves workloads that know a few of them, by their own names."""
    (tmp_path / "shapes.csv").write_text(
        "name, heads, hidden_size, layers\na, 8, 64, 2\nb, 16, 128, 3\n"
    )
    found = sweep(
        tmp_path, "{file: shapes.csv, columns: {name: name, heads: heads, width: hidden_size}}"
    )
    assert points(found) == [("a", 8, 64), ("b", 16, 128)]
    assert points(sweep(tmp_path, "{file: shapes.csv, columns: [name, heads]}")) == [
        ("a", 8, 64),
        ("b", 16, 64),
    ]
    with pytest.raises(
        SweepFileError,
        match=r"shapes.csv: hidden: is not a column of this file \(did you mean 'hidden_size'",
    ):
        sweep(tmp_path, "{file: shapes.csv, columns: {heads: heads, width: hidden}}")


def test_what_was_read_is_kept(tmp_path: Path) -> None:
    """A resumed sweep has the cases it began with, whatever became of the file."""
    (tmp_path / "shapes.csv").write_text(SHAPES)
    found = sweep(tmp_path, "shapes.csv")
    (tmp_path / "shapes.csv").unlink()
    again = Sweep.resolved(found.spec, str(tmp_path), None, "s.yaml")
    assert [trial.trial_id for trial in again.trials] == [trial.trial_id for trial in found.trials]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name, heads\na, 1\na, 2\n", "shapes.csv:3: name: is given twice, first on line 2"),
        (
            "name, haeds\na, 1\n",
            "shapes.csv:2: haeds: is not a param of the workload (did you mean 'heads'?)",
        ),
        ("name, heads\na, x + 1\n", "cases.heads: 'x + 1' reads 'x'"),
        ("name, heads\na, 3\nb, 4.5\n", "in shapes.csv:3"),
        ("name, heads\na\n", "shapes.csv:2: file: has 1 cells, and the header 2"),
        ("name, heads\n", "holds no cases"),
        ("name, width\na, 3\n", "required by workload w"),
        ("name, heads\n,3\nb, 4\n", "shapes.csv:2: name: this row does not state it"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_file_and_line(
    tmp_path: Path, content: str, said: str
) -> None:
    """A list of hundreds of shapes is mended line by line."""
    (tmp_path / "shapes.csv").write_text(content)
    with pytest.raises(SweepFileError) as refused:
        sweep(tmp_path, "shapes.csv")
    assert said in str(refused.value)


def test_zipped_axes_may_repeat_values_and_not_points(tmp_path: Path) -> None:
    """Models share a number of heads; two points alike are a slip."""
    (tmp_path / "w.py").write_text(WORKLOAD)
    text = "name: s\nworkload: ./w.py\nimplementations: ['./w.py:f']\nzip: [[heads, width]]\n"
    assert len(Sweep.parse(text + "axes: {heads: [8, 8], width: [1, 2]}", tmp_path).trials) == 2
    with pytest.raises(SweepFileError, match="the points of zipped axes must differ"):
        Sweep.parse(text + "axes: {heads: [8, 8], width: [1, 1]}", tmp_path)


def test_a_baseline_is_one_of_the_labels(tmp_path: Path) -> None:
    """Else nothing could be held against it."""
    assert sweep(tmp_path, "[{heads: 1}]", "baseline: 'w:f'").spec.baseline == "w:f"
    with pytest.raises(SweepFileError, match="no implementation has this label"):
        sweep(tmp_path, "[{heads: 1}]", "baseline: fast")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "docs/examples/shapes").iterdir()), ids=lambda path: path.name
)
def test_the_shapes_of_published_models_can_be_read(tmp_path: Path, file: Path) -> None:
    """Every head divides by the heads of keys and values, as the models' own code demands."""
    found = sweep(
        tmp_path, f"{{file: '{file}', columns: {{name: name, heads: heads, width: kv_heads}}}}"
    )
    assert len(found.trials) >= 4
    assert all(trial.params["heads"] % trial.params["width"] == 0 for trial in found.trials)


def test_a_formula_of_a_metric_is_checked(tmp_path: Path) -> None:
    """Before a night of trials that lack it."""
    (tmp_path / "m.py").write_text(WORKLOAD + "metrics = {'keys_per_s': 'heads / secnds'}\n")
    text = "name: s\nworkload: ./m.py\nimplementations: ['./m.py:f']\naxes: {heads: [1]}\n"
    with pytest.raises(SweepFileError, match=r"its metric keys_per_s: .* reads 'secnds'"):
        Sweep.parse(text, tmp_path)


@pytest.mark.parametrize("name", ["latency_ms", "outcome", "relative_error", "trial_id"])
def test_a_metric_may_not_have_the_name_of_a_column(tmp_path: Path, name: str) -> None:
    """It would stand in the place of what was measured."""
    (tmp_path / "m.py").write_text(WORKLOAD + f"metrics = {{'{name}': 'heads / seconds'}}\n")
    text = "name: s\nworkload: ./m.py\nimplementations: ['./m.py:f']\naxes: {heads: [1]}\n"
    message = rf"its metric {name} has the name of a column .*own_{name}"
    with pytest.raises(SweepFileError, match=message):
        Sweep.parse(text, tmp_path)


@pytest.mark.parametrize("stated", ["'shapes.csv'", "[{'name': 'small', 'heads': 8}]"])
def test_a_workloads_cases_are_left_where_the_sweep_states_their_params(
    tmp_path: Path, stated: str
) -> None:
    """Whether they stand in a file or in the workload; where it states others, they are run."""
    (tmp_path / "shapes.csv").write_text("name,heads,width\nsmall,8,64\n")
    (tmp_path / "w.py").write_text(f"cases = {stated}\n{WORKLOAD}")
    text = "name: s\nworkload: ./w.py\nimplementations: ['./w.py:f']\n"
    assert points(Sweep.parse(f"{text}axes: {{heads: [3, 4]}}\n", tmp_path)) == [
        (None, 3, 64),
        (None, 4, 64),
    ]
    assert points(Sweep.parse(f"{text}axes: {{causal: [true]}}\n", tmp_path)) == [("small", 8, 64)]
