"""Numbers keep the digits that mean something; text cannot break what shows it."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.formatting import (
    axis_text,
    chance,
    duration,
    fitted,
    interval,
    latex,
    markdown,
    number,
    one_line,
    printable,
    roughly,
    table_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.1649, "1.16"), (0.02345, "0.0234"), (1234.5, "1234.50"), (0.0, "0.00"), (None, "N/A")],
)
def test_numbers_have_two_decimals_or_three_digits(value: float | None, text: str) -> None:
    """The seed's two decimals, more where they would show nothing."""
    assert number(value) == text


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((1.16, 1.152, 1.171), "1.1600 [1.1520, 1.1710]"),
        ((1234.0, 1100.0, 1300.0), "1234 [1100, 1300]"),
        ((1.0, 1.0, 1.0), "1.00 [1.00, 1.00]"),
        ((2.0, None, None), "2.00"),
        ((68.0, 0.0, 174.0), "68.00"),
        ((0.58, 0.016, 21.0), "0.58 [0.02, 21.00]"),
        ((1.26, 0.9, 439.0), "1.3 [0.9, 439.0]"),
        ((None, None, None), "N/A"),
    ],
)
def test_an_interval_decides_its_own_decimals(bounds: tuple[float | None, ...], text: str) -> None:
    """Two significant digits of the half-width, of the median at least two, no bound that reads as
    0.
    """
    assert interval(*bounds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(45.2, "45 s"), (185, "3 min 5 s"), (3600, "1 h"), (7800, "2 h 10 min")]
)
def test_durations_read_as_spoken(seconds: float, text: str) -> None:
    """Two units at most."""
    assert duration(seconds) == text


def test_the_reason_is_the_first_line_but_the_last_of_a_traceback() -> None:
    """Both are cut to the width, saying so."""
    assert one_line("CUDA error\nfor debugging ...") == "CUDA error"
    assert (
        one_line("Traceback (most recent call last):\n  File\nValueError: no") == "ValueError: no"
    )
    assert one_line("x" * 200, 10) == "xxxxxxxxx…"
    assert one_line("") == ""


@given(st.text())
def test_printable_text_is_one_printable_line(text: str) -> None:
    """Whatever goes in, no control character, newline or surrogate comes out."""
    assert printable(text).isprintable()
    printable(text).encode()


@given(st.text())
def test_a_markdown_cell_has_no_bare_pipe(text: str) -> None:
    """Every pipe follows a backslash that is not itself escaped."""
    bare = markdown(text).replace("\\\\", "").replace("\\|", "")
    assert "|" not in bare


@given(st.text(alphabet="&%$#_{}~^\\<>|ab"))
def test_a_latex_cell_has_no_bare_special(text: str) -> None:
    """What is left after removing the known escapes is plain."""
    plain = latex(text)
    for escape in (
        r"\textbackslash{}",
        r"\textasciitilde{}",
        r"\textasciicircum{}",
        r"\textless{}",
        r"\textgreater{}",
        r"\textbar{}",
    ):
        plain = plain.replace(escape, "")
    for escape in (r"\&", r"\%", r"\$", r"\#", r"\_", r"\{", r"\}"):
        plain = plain.replace(escape, "")
    assert not set(plain) & set("&%$#_{}~^\\<>|")


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.2, "5 s"), (133, "2 min 10 s"), (665, "11 min"), (7000, "1 h 57 min")]
)
def test_a_forecast_claims_no_more_than_it_knows(seconds: float, text: str) -> None:
    """Fewer digits the further away."""
    assert roughly(seconds) == text


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_table_is_no_wider_than_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its long column is broken between words; markup of a label is text; a pipe has whole lines."""
    words = "one two three four five six seven eight nine ten eleven twelve thirteen"
    body = [["[red]", words, ""], ["standard", "short", words]]
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    lines = table_text(["Name", "What", "Why"], body, wrapped=(1, 2)).splitlines()
    assert max(map(len, lines)) <= columns
    assert {word for line in lines for word in line.split()} >= {*words.split(), "[red]"}
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert len(table_text(["Name", "What", "Why"], body, wrapped=(1, 2)).splitlines()) == 4


def test_a_text_is_broken_between_words_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A path stays whole, however long."""
    path = "a-folder/" * 10
    text = f"error: one two three four five six\n  {path} seven"
    assert fitted(text) == text
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    lines = fitted(text).splitlines()
    assert lines[:2] == ["error: one two three", "  four five six"]
    assert path in [line.strip() for line in lines]


def test_an_option_that_was_not_set_is_at_its_default() -> None:
    """`N/A` would say that there is no such value."""
    assert axis_text("options.block", None) == "default"
    assert axis_text("options.block", 64) == "64"
    assert axis_text("case", None) == "N/A"


@pytest.mark.parametrize(
    ("missed", "said"),
    [
        (0.999, "more than 99 %"),
        (0.386, "39 %"),
        (0.99, "99 %"),
        (0.01, "1 %"),
        (0.002, "less than 1 %"),
    ],
)
def test_no_chance_is_rounded_to_none_or_all(missed: float, said: str) -> None:
    assert chance(missed) == said
