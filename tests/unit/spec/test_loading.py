"""The sweep file is refused for every rule it breaks, with file, line, field, rule, value and the
nearest name.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given

from orchestrator.errors import RequestError, SweepFileError
from orchestrator.plan.sweep import Sweep
from orchestrator.spec import loading
from orchestrator.spec.models import SweepSpec
from tests.support import strategies
from tests.support.sweeps import LINE, NEXT_LINE, problem, problems, sweep, text


@pytest.mark.parametrize(
    ("field", "value", "where", "near"),
    [
        ("mesure", "{repeats: 2}", "mesure", "measure"),
        ("timeout_s", "20", "timeout_s", "resources.timeout_s"),
        ("label", "mine", "label", "implementations[0].label"),
        ("measure", "{target_cl: 0.01}", "measure.target_cl", "target_ci"),
        ("resources", "{gpu_memory: 8}", "resources.gpu_memory", "gpu_memory_gib"),
        ("retries", "{losst: 8}", "retries.losst", "lost"),
        ("tracking", "{url: x}", "tracking.url", "uri"),
        ("verify", "{tolerence: 0.1}", "verify.tolerence", "tolerance"),
        ("implementations", "[{use: standard, lable: a}]", "implementations[0].lable", "label"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_valid_one(
    field: str, value: str, where: str, near: str
) -> None:
    """At every level of the file."""
    found = problem(text(**{field: value}))
    assert (found.field, found.line) == (where, LINE.get(field, NEXT_LINE))
    assert found.rule == f"unknown key (did you mean {near!r}?)"


@pytest.mark.parametrize(
    ("field", "value", "where", "rule", "found"),
    [
        ("name", "5", "name", "must be a string", "5"),
        ("name", "../up", "name", "must be a slug: 1 to 64 letters", '"../up"'),
        ("measure", "{repeats: true}", "measure.repeats", "must be an integer", "true"),
        ("measure", "{repeats: 2.0}", "measure.repeats", "must be an integer", "2.0"),
        ("measure", "{repeats: 0}", "measure.repeats", "must be greater than or equal to 1", "0"),
        ("measure", "{min_time_s: '5'}", "measure.min_time_s", "must be a number", '"5"'),
        ("measure", "{target_ci: 5}", "measure.target_ci", "must be less than 1", "5"),
        ("measure", "{max_time_s: .inf}", "measure.max_time_s", "must be a finite number", '".inf"'),
        ("measure", "", "measure", "must be a mapping", "null"),
        ("verify", "false", "verify", "must be a mapping", "false"),
        ("verify", "{tolerance: 0}", "verify.tolerance", "must be greater than 0", "0"),
        ("resources", "{gpus: true}", "resources.gpus", "must be 'auto' or an integer", "true"),
        ("resources", "{timeout_s: 0}", "resources.timeout_s", "must be greater than 0", "0"),
        ("retries", "{lost: -1}", "retries.lost", "must be greater than or equal to 0", "-1"),
        ("max_failures", "0", "max_failures", "must be greater than or equal to 1", "0"),
        ("max_concurrent", "1.5", "max_concurrent", "must be an integer", "1.5"),
        ("max_trials", "true", "max_trials", "must be an integer", "true"),
        ("seed", "-1", "seed", "must be greater than or equal to 0", "-1"),
        ("implementations", "standard", "implementations", "must be a list", '"standard"'),
        ("implementations", "[]", "implementations", "must have at least 1 item", "[]"),
        ("implementations", "[3]", "implementations[0]", "must be a name, or a mapping with use", "3"),
        ("implementations", "[{label: a}]", "implementations[0].use", "required, and not given", None),
        ("implementations", '[{use: standard, label: "a\\tb"}]', "implementations[0].label", "1 to 64 printable", None),
        ("axes", "", "axes", "must be a mapping", "null"),
        ("axes", "{batch: 1}", "axes.batch", "must be a list", "1"),
        ("axes", "{batch: []}", "axes.batch", "must have at least 1 item", "[]"),
        ("axes", "{batch: [{a: 1}]}", "axes.batch[0]", "must be a boolean, an integer, a number,", '{"a": 1}'),
        ("axes", "{batch: [[[1]]]}", "axes.batch[0][0]", "must be a boolean, an integer, a number or a", "[1]"),
        ("exclude", "batch == 1", "exclude", "must be a list", '"batch == 1"'),
        ("zip", "[[batch]]", "zip[0]", "must have at least 2 items", '["batch"]'),
        ("workload", "", "workload", "must be a string", "null"),
        ("workload", None, "workload", "required, and not given", None),
    ],
)  # fmt: skip
def test_a_wrong_type_or_value_is_named(
    field: str, value: str | None, where: str, rule: str, found: str | None
) -> None:
    """One problem a field: where, which rule, which value; a bool is no int."""
    refused = problem(text(**{field: value}))
    assert refused.field == where
    assert rule in refused.rule
    assert refused.line == (None if value is None else LINE.get(field, NEXT_LINE))
    if found is not None:
        assert refused.found == found


def test_every_problem_of_the_file_is_named_at_once() -> None:
    """The user mends the file in one go, from the top down."""
    found = problems(text(name="a/b", measure="{repeats: 0, warmup: 1}", max_trials="0"))
    assert [problem.field for problem in found] == [
        "name",
        "measure.repeats",
        "measure.warmup",
        "max_trials",
    ]


@pytest.mark.parametrize(
    "measure",
    [
        "{min_repetitions: 1}",
        "{target_ci: 0.005}",
        "{min_time_s: 0}",
        "{min_time_s: 20}",
        "{max_time_s: 0.1}",
    ],
)
def test_sound_knobs_are_accepted(measure: str) -> None:
    """One repetition and a fraction are legal, and one bound alone moves the other's default along."""
    spec = sweep(measure=measure).spec.measure
    for device in ("cpu", "cuda"):
        protocol = spec.for_device(device)
        assert protocol.min_time_s <= protocol.max_time_s


def test_min_time_must_not_exceed_max_time() -> None:
    """Equal is legal."""
    found = problem(text(measure="{min_time_s: 2, max_time_s: 1}"))
    assert (found.field, found.line) == ("measure", NEXT_LINE)
    assert "min_time_s must not exceed max_time_s: min_time_s is 2, max_time_s is 1" in found.rule
    assert sweep(measure="{min_time_s: 2, max_time_s: 2}").spec.measure.max_time_s == 2


@pytest.mark.parametrize(
    ("content", "rule", "line"),
    [
        ("", "must be a mapping of fields such as name", None),
        ("# nothing\n", "must be a mapping of fields such as name", None),
        ("- a\n- b\n", "must be a mapping of fields such as name", None),
        ("hello", "must be a mapping of fields such as name", None),
        ("name: a\n\tworkload: b\n", r"does not parse as YAML: found character '\t'", 2),
        ("name: a: b\n", "does not parse as YAML: mapping values are not allowed here", 1),
        ("exclude: [a b\n", "does not parse as YAML: expected ',' or ']'", 2),
        ("name: a\n---\nname: b\n", "a second document begins", 2),
        ("name: a\nseed: 1\nname: b\n", "is given twice, first on line 1", 3),
        ("axes: {batch: [1], batch: [2]}\n", "is given twice, first on line 1", 1),
        ("1: a\n", "a key must be a string", 1),
        ("? [a, b]\n: 1\n", "a key must be a string", 1),
        ("name: !!python/object/apply:os.system [id]\n", "YAML tags are not allowed", 1),
        ("name: !!python/name:os.system\n", "YAML tags are not allowed", 1),
        ("name: !mine x\n", "YAML tags are not allowed", 1),
        ("seed: !!binary aGk=\n", "YAML tags are not allowed", 1),
        ("axes: !!omap [a: 1]\n", "YAML tags are not allowed", 1),
        ("name: *nowhere\n", "there is no anchor 'nowhere'", 1),
        ("exclude: &all [*all]\n", "there is no anchor 'all'", 1),
        ('name: "\\ud83d"\n', "half a character", 1),
        ('name: "a\\e[31m"\n', "control character", 1),
        ("seed: 99999999999999999999\n", "at most 64 bits", 1),
        ("seed: 0x" + "f" * 9000 + "\n", "at most 64 bits", 1),
        ("seed: " + "9" * 9000 + "\n", "not a number that can be read", 1),
        ("measure: {min_time_s: 1e999}\n", "must be a finite number", 1),
        ("implementations: [{use: standard, options: {x: .nan}}]\n", "must be a finite number", 1),
    ],
)
def test_yaml_that_is_no_sweep_is_refused_with_its_line(
    content: str, rule: str, line: int | None
) -> None:
    """Nothing is constructed, nothing is guessed, and there is no traceback."""
    found = problem(content)
    assert rule in str(found)
    assert found.line == line


def test_a_key_that_stands_twice_is_named_with_both_lines() -> None:
    """Inside axes, too, where silently the last would win."""
    found = problem(text(axes="\n  batch: [1]\n  seq_len: [64]\n  batch: [2]"))
    assert (found.field, found.line) == ("axes.batch", LINE["axes"] + 3)
    assert "first on line 5" in found.rule


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

BLOCKS = "".join(f"{' ' * depth}a:\n" for depth in range(300))


@pytest.mark.parametrize(
    "content",
    [BOMB, "a: " + "[" * 20_000, "a: " + "{a: " * 20_000, BLOCKS, "a: " + "x" * 300_000],
    ids=["aliases", "lists", "mappings", "blocks", "one long word"],
)  # fmt: skip
def test_a_bomb_is_refused_quickly(content: str) -> None:
    """Neither aliases nor nesting make a small file large: a fraction of a second, whatever they
    would expand to.
    """
    began = time.process_time()
    problems(content)
    assert time.process_time() - began < 5


def test_a_huge_product_is_refused_by_name_and_number_quickly() -> None:
    """The product is multiplied out, never built."""
    axis = json.dumps(list(range(1, 301)))
    began = time.process_time()
    found = problem(
        text(axes=f"{{batch: {axis}, seq_len: {axis}, heads: {axis}, head_dim: {axis}}}")
    )
    assert time.process_time() - began < 5
    assert (found.field, found.line) == ("axes", LINE["axes"])
    assert f"expand to {2 * 300**4} trials, more than max_trials (100000)" in found.rule


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (bytes(range(128, 256)), "is not valid UTF-8: byte 0x80 at offset 0"),
        ("name: ü".encode("utf-16"), "is not valid UTF-8: byte 0xff"),
        (b"\x00\x01\x02", "special characters are not allowed"),
        (b"#" * 1_000_001, "is larger than 1000000 bytes"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, raw: bytes, rule: str) -> None:
    """Binary, another encoding, too large."""
    path = tmp_path / "sweep.yaml"
    path.write_bytes(raw)
    with pytest.raises(SweepFileError, match=rule):
        loading.read(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Missing, a folder, a name that no file can have."""
    for path, why in [
        (tmp_path / "no.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / ("x" * 400), "name too long"),
        ("a\0b", "null byte"),
    ]:
        with pytest.raises(
            SweepFileError, match=f"cannot be read .*{why}.*name an existing sweep file"
        ):
            loading.read(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """Some editors write one."""
    path = tmp_path / "sweep.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + text().encode())
    assert loading.read(path)[0].name == "tiny"


def test_an_anchor_may_be_used_again_and_merged() -> None:
    """Aliases are copies; a merged key gives way to one that is stated."""
    found = sweep(
        implementations="[&base {use: standard, label: a, options: {x: 1, y: [2]}}, {<<: *base, label: b}]"
    )
    first, second = found.spec.implementations
    assert (second.label, second.options) == ("b", {"x": 1, "y": [2]})
    assert first.options == second.options


def test_what_yaml_reads_otherwise_keeps_its_meaning() -> None:
    """A date is text, `yes` is text, 010 is ten, an underscore may part digits."""
    found = sweep(description="2020-01-01", seed="010").spec
    assert (found.description, found.seed) == ("2020-01-01", 10)
    assert sweep(description="yes", seed="1_000").spec.description == "yes"


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("name=other", ("name",), "other"),
        ("axes.heads=[8]", ("axes", "heads"), [8]),
        ("axes.heads[0]=8", ("axes", "heads"), [8]),
        ("axes.options.block_m=[64, 128]", ("axes", "options.block_m"), [64, 128]),
        ("constants.dilation_rates[1]=1", ("constants", "dilation_rates"), [1, 1]),
        ("measure.repeats=3", ("measure", "repeats"), 3),
        ("resources.gpu_memory_gib=8", ("resources", "gpu_memory_gib"), 8.0),
        ("retries={lost: 1}", ("retries", "lost"), 1),
        ("implementations=[ring_v2]", ("implementations", 0, "label"), "ring_v2"),
        ("implementations[1]=ring_v2", ("implementations", 1, "label"), "ring_v2"),
        (
            "implementations[0].options.block_m=64",
            ("implementations", 0, "options"),
            {"block_m": 64},
        ),
        (
            "implementations[0].params.ring_size=2",
            ("implementations", 0, "params"),
            {"ring_size": 2},
        ),
        ("implementations[0].label=mine", ("implementations", 0, "label"), "mine"),
        ("exclude=['batch == 1']", ("exclude",), ["batch == 1"]),
        ("max_failures=null", ("max_failures",), None),
        ("description=a = b, # no comment", ("description",), "a = b,"),
    ],
)
def test_an_override_sets_any_field(
    override: str, path: tuple[str | int, ...], value: object
) -> None:
    """-S path=value, with the value in YAML; an entry that is a mere name becomes a mapping."""
    found = loading.parse(text(), "sweep.yaml", [override])[0].model_dump(mode="json")
    for part in path:
        found = found[part]
    assert found == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("name", "an override is path=value"),
        ("=3", "an override is path=value"),
        (".=3", "an override is path=value"),
        ("[0]=3", "an override is path=value"),
        ("a..b=3", "an override is path=value"),
        ("implementations[7]=x", r"there is no implementations\[7\] in sweep.yaml"),
        ("implementations[7].label=x", r"there is no implementations\[7\]"),
        ("implementations.label=x", "there is no implementations.label"),
        ("name.first=x", "there is no name.first"),
        ("axes[0]=x", r"there is no axes\[0\]"),
        ("exclude[0]=x", r"there is no exclude\[0\]"),
        ("seed=[1", "the value does not parse as YAML"),
        ("seed=!!python/name:os.system", "the value YAML tags are not allowed"),
        ("seed=.nan", "the value must be a finite number"),
    ],
)
def test_an_override_that_fits_nowhere_is_refused(override: str, message: str) -> None:
    """It names itself and what is wrong with it."""
    with pytest.raises(RequestError, match=message) as caught:
        loading.parse(text(), "sweep.yaml", [override])
    assert str(caught.value).startswith(f"-S {override}")


def test_a_problem_that_an_override_made_says_so() -> None:
    """There is no line to point at."""
    with pytest.raises(
        SweepFileError, match=r"measure.repeats: must be greater .* found 0 \(set by -S\)"
    ) as caught:
        loading.parse(text(), "sweep.yaml", ["measure.repeats=0"])
    assert caught.value.problems[0].line is None


def test_later_overrides_win() -> None:
    """As on any command line."""
    assert loading.parse(text(), "sweep.yaml", ["seed=1", "seed=2"])[0].seed == 2


@pytest.mark.slow
@given(strategies.attention_sweeps())
def test_a_valid_file_survives_a_round_trip(data: dict[str, object]) -> None:
    """JSON is YAML; what was read, written and read again is the same spec with the same trials."""
    spec, document = loading.parse(json.dumps(data), "sweep.yaml")
    assert document.data == data
    assert SweepSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_resolved_spec_gives_the_same_trials() -> None:
    """What `resume` reads back from sweep.resolved.json."""
    found = sweep(exclude="['heads == 4 and batch == 1']")
    spec = SweepSpec.model_validate_json(found.spec.model_dump_json())
    assert Sweep.resolved(spec, found.base_dir, None, "sweep.resolved.json").trials == found.trials


@pytest.mark.parametrize("slip", ["quik.yaml", "quick.yml", "Quick.yaml"])
def test_a_sweep_file_that_is_not_there_is_named_with_the_one_that_is_meant(
    slip: str, tmp_path: Path
) -> None:
    """A slip of the finger, or the other ending."""
    (tmp_path / "quick.yaml").write_text("name: quick")
    (tmp_path / "unrelated.yaml").write_text("name: x")
    with pytest.raises(SweepFileError, match=r"did you mean '.*/quick\.yaml'"):
        loading.read(tmp_path / slip)


@pytest.mark.parametrize(
    ("half", "whole"), [("half", "float16"), ("fp16", "float16"), ("bf16", "bfloat16")]
)
def test_a_dtype_by_another_name_is_refused_with_the_name_it_has_here(
    half: str, whole: str
) -> None:
    """What other libraries and papers call it."""
    with pytest.raises(SweepFileError, match=f"did you mean '{whole}'"):
        Sweep.parse(text(axes=f"{{batch: [1], seq_len: [64], heads: [8], dtype: [{half}]}}"))
