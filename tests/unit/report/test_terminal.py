"""What `run` and `report` print: the answer in words below a table that fits the terminal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.outcome import Outcome
from orchestrator.report import figures, terminal
from orchestrator.report.layout import Layout
from orchestrator.report.ranking import Ranking
from orchestrator.results.results import Results
from tests.support import made


def printed(
    results: Results, width: int = 100, height: int = 200, *, colour: bool = False, **asked: Any
) -> str:
    """What stands on a terminal of so many columns and lines."""
    stream = io.StringIO()
    options: dict[str, Any] = {"force_terminal": True, "color_system": "standard"} if colour else {}
    terminal.show(results, Console(file=stream, width=width, height=height, **options), **asked)
    return stream.getvalue()


def table_of(text: str) -> list[str]:
    """The lines from the headings to the end of the first table."""
    lines = text.splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("Implem"))
    return lines[first : lines.index("", first)]


def swept(
    flags: dict[str, tuple[str, ...]],
    points: int = 2,
    names: tuple[str, ...] = ("standard", "improved"),
    **spec: Any,
) -> Results:
    """A sweep whose rows carry flags by implementation."""
    axes = {"batch": list(range(1, points + 1)), "seq_len": [1024], "heads": [8]}
    planned = made.trials(names, axes, dtype="float32")
    records = [made.ok(trial, flags=flags.get(trial.implementation, ())) for trial in planned]
    return made.results(planned, records, axes=axes, **spec)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_table_is_no_wider_than_the_terminal_and_never_than_100_columns(
    mixed: Results, width: int
) -> None:
    """At 60 columns figures are left out, at 200 the table stays where the eye follows it."""
    lines = table_of(printed(mixed, width))
    assert max(map(cell_len, lines)) <= min(width, 100)
    assert "Time (ms)" in lines[0]
    assert "Speed" in lines[0]


def test_rules_stand_between_implementations_only(mixed: Results) -> None:
    """Three implementations of four rows: a rule below the headings, and two between them."""
    rules = [line for line in table_of(printed(mixed)) if set(line) == {"─"}]
    assert len(rules) == 3


def test_the_fastest_of_a_shape_is_marked_and_speed_is_over_the_first() -> None:
    """Improved takes 1/2.5 of standard's time at both shapes."""
    rows = [
        line.split()
        for line in table_of(printed(swept({})))
        if line.startswith(("standard", "improved"))
    ]
    assert [("*" in row, "2.50x" in row, "1.00x" in row) for row in rows] == [
        (False, False, True), (False, False, True), (True, True, False), (True, True, False),
    ]  # fmt: skip


def test_a_baseline_that_the_sweep_names_takes_the_place_of_the_first() -> None:
    """Speeds are over `improved`, of which standard has two fifths."""
    text = printed(swept({}, baseline="improved"))
    assert "Speed over improved" in text
    assert "0.40x" in text


def test_the_answer_stands_below_the_table(mixed: Results) -> None:
    """Who is wrong, who does not fit, who is fastest and by how much; then a line for each
    implementation.
    """
    text = printed(mixed)
    after = text[text.index("fastest of its shape") :]
    for said in (
        "Wrong: 1 row (multihead_standard",
        "Out of memory: multihead_standard in 1 of 4.",
        "Fastest: improved",
    ):
        assert said in after
    assert "standard            4 of 4" in after


def test_a_disturbed_row_is_no_winner_and_has_no_star() -> None:
    """The same function 15 times as fast as itself, both contended, is no result."""
    text = printed(swept({"improved": ("contended",)}))
    assert "*" not in "".join(line[:-20] for line in table_of(text))
    assert "Fastest: improved" not in text
    assert "Not ranked: both shapes" in text
    assert "~2.50x" in text


def test_a_busy_machine_opens_the_verdict() -> None:
    """Where most rows are contended, that is the first sentence, and no implementation leads."""
    results = swept({"improved": ("noisy", "contended"), "standard": ("contended",)})
    text = printed(results)
    verdict = text[
        text.index("N noisy") if "N noisy" in text else text.index("not ranked\n") :
    ].split("\n\n")[1]
    assert verdict.startswith(
        "No ranking: the machine was busy (all 4 timed rows contended or throttled)"
    )
    assert "ahead of the next" not in text


def test_noise_alone_is_ranked() -> None:
    """Noisy says that the interval is wide, which the interval knows."""
    assert "Fastest: improved in both shapes" in printed(swept({"improved": ("noisy",)}))


def test_an_interval_that_reaches_zero_is_not_shown() -> None:
    """A call takes some time."""
    axes = {"batch": [1], "seq_len": [1024], "heads": [8]}
    planned = made.trials(["standard"], axes)
    record = made.ok(planned[0])
    wide = {
        **(record.metrics or {}),
        "latency_ms": 68.0,
        "latency_ci_low_ms": 0.0,
        "latency_ci_high_ms": 174.0,
    }
    text = printed(made.results(planned, [record.model_copy(update={"metrics": wide})], axes=axes))
    assert "68.00" in text
    assert "174" not in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_words_are_not_broken_and_commands_and_paths_stay_whole(mixed: Results, width: int) -> None:
    """Sentences end within the terminal; what is to be pasted is on one line."""
    text = printed(mixed, width)
    for line in text.splitlines():
        whole = line.lstrip().startswith(("mlruns", "Logs:", "Page:", "orchestrator"))
        assert whole or cell_len(line) <= width
    trial_id = mixed.rows[8].trial_id
    ends = [line.rpartition(" · ")[2].strip() for line in text.splitlines() if trial_id in line]
    assert ends[-1] == f"orchestrator try {trial_id}"
    assert f"/logs/{trial_id}.log" in text


def test_each_implementations_line_fits_where_the_terminal_is_narrow(mixed: Results) -> None:
    """The range of its speed-ups goes first."""
    lines = printed(mixed, 80).splitlines()
    first = next(place for place, line in enumerate(lines) if "Fastest in" in line)
    standings = lines[first : first + 6]
    assert max(map(cell_len, standings)) <= 80
    assert any("baseline" in line for line in standings)


def test_columns_of_choice(mixed: Results) -> None:
    """--columns names them, in the order they are shown."""
    heading = table_of(printed(mixed, columns="tflops,time,ci,gbps"))[0].split()
    assert heading.index("TFLOP/s") < heading.index("Time") < heading.index("GB/s")
    assert "MiB" not in heading


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"columns": "tme"}, "did you mean 'time'"),
        ({"columns": ""}, "names no column"),
        ({"sort": "speed"}, "did you mean 'speedup'"),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_the_nearest(
    mixed: Results, asked: dict[str, Any], said: str
) -> None:
    """The known names are listed."""
    with pytest.raises(RequestError, match=said):
        printed(mixed, **asked)


def test_the_names_of_columns_are_those_that_there_are(mixed: Results) -> None:
    """What is refused before a sweep runs is what its table would refuse."""
    layout = Layout.of(mixed)
    assert tuple(figures.figures(layout, Ranking.of(layout))) == (*figures.NAMES, *figures.OTHERS)
    with pytest.raises(RequestError, match="did you mean 'memory'"):
        figures.check_names("memry", None)


def test_every_metric_of_results_csv_is_a_column(mixed: Results) -> None:
    """By its name there, with the heading it has everywhere."""
    heading = table_of(printed(mixed, columns="time,noise_pct,joules_per_call"))[0]
    assert "Noise (% of the median)" in heading


def test_a_metric_of_the_workloads_own_is_a_column() -> None:
    """By its name; before the sweep has run it is known from the workload."""
    axes = {"batch": [1], "seq_len": [1024], "heads": [8]}
    planned = made.trials(("standard",), axes, dtype="float32")
    record = made.ok(planned[0])
    figures_of = {**(record.metrics or {}), "keys_per_s": 2e6}
    own = made.results(planned, [record.model_copy(update={"metrics": figures_of})], axes=axes)
    lines = table_of(printed(own, columns="time,keys_per_s", sort="keys_per_s"))
    assert "keys_per_s" in lines[0]
    assert "2,000,000" in "\n".join(lines)
    figures.check_names("keys_per_s", "keys_per_s", lambda: ["keys_per_s"])
    with pytest.raises(RequestError, match="no column 'keys_per_s'"):
        figures.check_names("keys_per_s", None)


def test_a_column_is_not_blamed_for_a_sweep_that_cannot_be_read():
    """The name may be one of its workload's own."""

    def own():
        raise RequestError("sweep.yaml:2: workload: ...")

    with pytest.raises(RequestError, match=r"sweep\.yaml:2"):
        figures.check_names("keys_per_s", None, own)


def test_sorted_by_time_the_fastest_come_first_and_rows_without_a_time_last(mixed: Results) -> None:
    """No rules, as implementations stand between each other."""
    lines = table_of(printed(mixed, sort="time"))
    assert lines[2].startswith("improved")
    rows = [line for line in lines if line.startswith(("standard", "improved", "multihead"))]
    assert [line.split()[0] for line in rows[-3:]] == ["multihead_standard"] * 3
    assert sum(set(line) == {"─"} for line in lines) == 1


def test_sorted_by_shape_implementations_stand_beside_each_other(mixed: Results) -> None:
    """A rule between shapes."""
    lines = table_of(printed(mixed, sort="shape"))
    assert [line.split()[0] for line in lines[2:5]] == [
        "standard",
        "improved",
        "multihead_standard",
    ]
    assert sum(set(line) == {"─"} for line in lines) == 4


@pytest.mark.slow
def test_ten_thousand_rows_print_the_answer_and_where_the_rest_is(tmp_path: Path) -> None:
    """Less than a screen; the command that prints them is named."""
    axes = {"batch": list(range(1, 2501)), "seq_len": [128, 256], "heads": [8]}
    planned = made.trials(["standard", "improved"], axes)
    results = made.results(
        planned, [made.ok(trial) for trial in planned], axes=axes, directory=tmp_path
    )
    text = printed(results)
    assert len(text.splitlines()) < 30
    assert "All 10,000 rows are in" in text
    assert "--full-grid" in text
    assert "Fastest: improved in all 5000 shapes" in text


def test_the_first_rows_of_very_many_can_be_asked_for(tmp_path: Path) -> None:
    """--sort time prints the fastest 200."""
    axes = {"batch": list(range(1, 251)), "seq_len": [128], "heads": [8]}
    planned = made.trials(["standard"], axes)
    results = made.results(
        planned, [made.ok(trial) for trial in planned], axes=axes, directory=tmp_path
    )
    text = printed(results, sort="time")
    assert "the first 200 of 250 rows" in text


def test_the_device_is_said_again_where_the_heading_has_scrolled_away(mixed: Results) -> None:
    """On a terminal of 24 lines it stands above the verdict, too; on one of 200 lines, or in a
    file, once.
    """
    assert printed(mixed, height=24, colour=True).count("NVIDIA H100") == 2
    assert printed(mixed, height=200, colour=True).count("NVIDIA H100") == 1
    assert printed(mixed, height=24).count("NVIDIA H100") == 1


def test_colour_and_links_where_there_is_a_terminal_and_none_in_a_file(mixed: Results) -> None:
    """A pipe gets plain text; a terminal the page as a link that opens it."""
    assert "\x1b" not in printed(mixed)
    coloured = printed(mixed, colour=True)
    assert "\x1b[1;32m" in coloured
    assert "\x1b]8;" in coloured
    assert "file://" in coloured


def test_a_label_cannot_move_the_cursor() -> None:
    """Control characters of a journal that was edited by hand are shown as escapes."""
    planned = made.trials(["standard"], {"batch": [1], "seq_len": [1024], "heads": [8]})
    evil = planned[0].model_copy(update={"implementation": "a\x1b[31m\u202eb"})
    text = printed(made.results([evil], [], implementations=("standard",)))
    assert r"a\x1b[31m\u202eb" in text
    assert "\x1b" not in text


def test_flags_become_letters_where_words_do_not_fit() -> None:
    """The letters are explained below the table."""
    results = swept({"improved": ("noisy", "contended")})
    wide, narrow = printed(results, 100), printed(results, 60)
    assert "✓ noisy, contended" in wide
    assert "✓ NC" in narrow
    assert "N noisy, C contended" in narrow


def test_wide_characters_of_a_label_keep_the_columns_in_line() -> None:
    """A label of CJK characters takes two columns each."""
    planned = made.trials(["核", "standard"], {"batch": [1, 2], "seq_len": [1024], "heads": [8]})
    lines = table_of(printed(made.results(planned, [made.ok(trial) for trial in planned])))
    ends = {cell_len(line[: line.index("✓")]) for line in lines if "✓" in line}
    assert len(ends) == 1


def test_a_sweep_without_two_rows_to_compare_says_so() -> None:
    """One implementation: nothing is fastest, and there is no speed to show."""
    text = printed(swept({}, names=("standard",)))
    assert "Fastest: nothing to compare" in text
    assert "Speed" not in table_of(text)[0]
    assert "Speed" in table_of(printed(swept({}, names=("standard",)), columns="time,speedup"))[0]


def test_nothing_planned_is_no_crash() -> None:
    """A search that proposed nothing has a heading and a reason."""
    results = made.results([], [], implementations=("standard",))
    assert "0 trials" in printed(results)
    assert Outcome.OK not in printed(results)
