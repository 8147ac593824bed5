"""report.html in a real headless Chromium: it draws, sorts, filters, opens, prints, and asks
nothing of any network.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.outcome import Outcome
from orchestrator.report import render
from orchestrator.results.results import Results
from tests.support import made
from tests.unit.report.test_answer_table import search

pytest.importorskip("selenium", reason="selenium drives the browser: pip install selenium")
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

CHROMIUM = (
    shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
)
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no Chromium with its chromedriver on this machine"
    ),
    # its sockets close when they are collected
    pytest.mark.filterwarnings("ignore::ResourceWarning:selenium"),
]

EVIL = "<img src=x onerror=alert(1)>"
AXES: dict[str, list[Any]] = {"batch": [1, 2, 4], "seq_len": [1024, 2048, 4096], "heads": [8, 16]}
NAMES = ("standard", "improved", "multihead_standard", "multihead_improved", EVIL)
WAIT_S = 30.0

CONTRAST = Path(__file__).with_name("contrast.js").read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 90 rows with failures, flags and a label that is markup."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(sweep(AXES), "html"), encoding="utf-8")
    return path


def sweep(axes: dict[str, list[Any]]) -> Results:
    """Five implementations; the third runs out of memory at the largest shapes, the fourth is noisy
    there.
    """
    planned = made.trials(["standard", "improved", "c", "d", "e"], axes, dtype="float32")
    names = dict(zip(["standard", "improved", "c", "d", "e"], NAMES, strict=True))
    planned = [
        trial.model_copy(update={"implementation": names[trial.implementation]})
        for trial in planned
    ]
    records = [_record(trial) for trial in planned]
    return made.results(
        planned, records, axes=axes, implementations=("standard", "improved", "c", "d", "e")
    )


def _record(trial: made.Trial) -> made.TrialRecord:
    large = trial.params["batch"] * trial.params["seq_len"] >= 8192
    if large and trial.implementation == NAMES[2]:
        return made.bad(trial, Outcome.OOM, "OutOfMemoryError", f"CUDA out of memory {EVIL}")
    return made.ok(trial, flags=("noisy",) if large and trial.implementation == NAMES[3] else ())


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """One headless Chromium; the network and the console are recorded."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def opened(
    browser: webdriver.Chrome, path: Path, width: int = 1280, scheme: str = "light"
) -> webdriver.Chrome:
    """The page, drawn."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": features})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(path.as_uri())
    until(
        browser,
        lambda: (
            browser.execute_script("return document.getElementById('charts').dataset.drawn")
            == "yes"
        ),
    )
    return browser


def until(browser: webdriver.Chrome, condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    WebDriverWait(browser, WAIT_S, poll_frequency=0.05).until(lambda _: condition())


def column(browser: webdriver.Chrome, heading: str) -> list[str]:
    """The cells of a column of the rows' table, top to bottom."""
    script = """
    const headings = [...document.querySelectorAll('#table thead th')].map((cell) => cell.innerText);
    const place = headings.indexOf(arguments[0]);
    return [...document.querySelectorAll('#table tr.row')].map((row) => row.children[place].innerText);"""
    return browser.execute_script(script, heading)


def press(browser: webdriver.Chrome, selector: str) -> None:
    """Focus and press Enter: whatever is tested by it is reachable by keyboard."""
    element = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].focus()", element)
    element.send_keys(Keys.ENTER)


def test_it_loads_without_an_error_or_a_request(browser: webdriver.Chrome, page: Path) -> None:
    """The console is empty, and the only thing asked for is the file itself."""
    opened(browser, page)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert asked == [page.as_uri()]


def test_a_hundred_rows_take_less_than_a_second(browser: webdriver.Chrome, page: Path) -> None:
    """Until the last curve is drawn, in processor time of the page, so that a busy machine does not
    decide.
    """
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    before = task_seconds(browser)
    opened(browser, page)
    assert task_seconds(browser) - before < 1.0


def task_seconds(browser: webdriver.Chrome) -> float:
    """Processor time that the page's main thread has spent."""
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def test_curves_are_drawn_for_every_combination(browser: webdriver.Chrome, page: Path) -> None:
    """Six panels of batch and heads, each with a line per implementation that has times there."""
    opened(browser, page)
    panels = browser.find_elements(By.CSS_SELECTOR, "#charts figure")
    assert len(panels) == 6
    lines = [
        len(panel.find_elements(By.CSS_SELECTOR, "[aria-label=line] path")) for panel in panels
    ]
    assert lines == [5] * 6
    assert all("NaN" not in panel.get_attribute("innerHTML") for panel in panels)


@pytest.mark.parametrize(
    "metric", ["throughput_tokens_per_s", "peak_memory_mib", "speedup", "tflops_per_s"]
)
def test_other_figures_are_a_key_away(browser: webdriver.Chrome, page: Path, metric: str) -> None:
    """Choosing one redraws the curves under its name."""
    opened(browser, page)
    before = browser.find_element(By.CSS_SELECTOR, "#charts h3").text
    radio = browser.find_element(By.CSS_SELECTOR, f"input[value={metric}]")
    browser.execute_script("arguments[0].focus()", radio)
    radio.send_keys(Keys.SPACE)
    until(
        browser,
        lambda: (
            browser.execute_script("return document.getElementById('charts').dataset.drawn")
            == "yes"
        ),
    )
    assert browser.find_element(By.CSS_SELECTOR, "#charts h3").text != before
    assert len(browser.find_elements(By.CSS_SELECTOR, "#charts figure svg")) == 6


def test_a_heading_sorts_and_sorts_back(browser: webdriver.Chrome, page: Path) -> None:
    """Ascending, then descending; rows without the figure stay at the end, and the heading says
    which way.
    """
    opened(browser, page)
    press(browser, "#table button[data-key=latency_ms]")
    up = column(browser, "Time (ms)")
    press(browser, "#table button[data-key=latency_ms]")
    down = column(browser, "Time (ms)")
    timed = [float(text) for text in up if text != "N/A"]
    assert timed == sorted(timed)
    assert [float(text) for text in down if text != "N/A"] == sorted(timed, reverse=True)
    assert up[-1] == down[-1] == "N/A"
    heading = browser.find_element(By.CSS_SELECTOR, "#table th:has(button[data-key=latency_ms])")
    assert heading.get_attribute("aria-sort") == "descending"


def test_filters_narrow_rows_curves_and_map_together(browser: webdriver.Chrome, page: Path) -> None:
    """By outcome, by an axis, by an implementation's button and by text; reset brings all back."""
    opened(browser, page)
    selects = [
        Select(found) for found in browser.find_elements(By.CSS_SELECTOR, "#filter-row select")
    ]
    selects[0].select_by_value("oom")
    assert set(column(browser, "Status")) == {"✗ oom"}
    selects[0].select_by_value("")
    selects[3].select_by_visible_text("16")
    assert set(column(browser, "Heads")) == {"16"}
    press(browser, "#legend button:first-child")
    assert "standard" not in column(browser, "Implementation")
    browser.find_element(By.CSS_SELECTOR, "#filter-row input").send_keys("improved 4096")
    until(browser, lambda: len(column(browser, "Heads")) == 6)
    assert set(column(browser, "Implementation")) == {"improved", "multihead_improved"}
    assert len(browser.find_elements(By.CSS_SELECTOR, "#map tbody tr")) == 3
    press(browser, "#filter-row button[type=reset]")
    assert browser.find_element(By.ID, "shown").text == "90 rows"


def test_a_row_opens_by_key_and_shows_its_repetitions(
    browser: webdriver.Chrome, page: Path
) -> None:
    """Nine repetitions are nine dots, with a link to the log; the focus stays on the row."""
    opened(browser, page)
    press(browser, "#table button.toggle")
    detail = browser.find_element(By.CSS_SELECTOR, "tr.detail")
    assert (
        len(detail.find_elements(By.CSS_SELECTOR, "[aria-label=dot] circle, [aria-label=dot] path"))
        == 9
    )
    assert detail.find_element(By.CSS_SELECTOR, "a").get_attribute("href").endswith(".log")
    assert browser.switch_to.active_element.get_attribute("aria-expanded") == "true"


def test_a_failure_shows_its_error_and_its_log(browser: webdriver.Chrome, page: Path) -> None:
    """The message as text, markup and all, and the way to the log."""
    opened(browser, page)
    Select(browser.find_element(By.CSS_SELECTOR, "#filter-row select")).select_by_value("oom")
    press(browser, "#table button.toggle")
    detail = browser.find_element(By.CSS_SELECTOR, "tr.detail")
    assert detail.find_element(By.CSS_SELECTOR, "pre").text == f"CUDA out of memory {EVIL}"
    assert "/logs/" in detail.find_element(By.CSS_SELECTOR, "a").get_attribute("href")


def test_labels_that_are_markup_stay_text(browser: webdriver.Chrome, page: Path) -> None:
    """The label is shown as written, and no element came of it."""
    opened(browser, page)
    assert browser.find_elements(By.CSS_SELECTOR, "body img") == []
    assert EVIL in browser.find_element(By.ID, "legend").text


def test_the_map_names_the_fastest_of_each_shape(browser: webdriver.Chrome, page: Path) -> None:
    """One star in each of the eighteen shapes, all of them in improved's column."""
    opened(browser, page)
    lines = browser.find_elements(By.CSS_SELECTOR, "#map tbody tr")
    assert [line.text.count("★") for line in lines] == [1] * 18
    assert all(line.find_elements(By.CSS_SELECTOR, "td")[4].text.startswith("★") for line in lines)


def test_a_contended_row_is_never_called_the_fastest(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    """However far ahead it lies: one process's interval knows nothing of a neighbour who comes and
    goes.
    """
    axes = {"batch": [1], "seq_len": [1024, 2048], "heads": [8]}
    planned = made.trials(["standard", "improved"], axes)
    # the second shape's next one, and the first shape's fastest
    disturbed = [planned[1], planned[2]]
    records = [
        made.ok(trial, flags=("contended",) if trial in disturbed else ()) for trial in planned
    ]
    path = tmp_path / "report.html"
    path.write_text(render(made.results(planned, records, axes=axes), "html"), encoding="utf-8")
    opened(browser, path)
    text = browser.find_element(By.CSS_SELECTOR, "#map tbody").text
    assert (text.count("★"), text.count("☆")) == (0, 2)


def test_more_than_eight_implementations_turn_the_map(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    """One line each, the shapes as columns: eighteen names do not fit side by side."""
    names = [f"kernel_{number}" for number in range(12)]
    axes = {"batch": [1, 2], "seq_len": [1024, 2048], "heads": [8]}
    planned = made.trials(names, axes)
    path = tmp_path / "report.html"
    results = made.results(planned, [made.ok(trial) for trial in planned], axes=axes)
    path.write_text(render(results, "html"), encoding="utf-8")
    opened(browser, path)
    headings = [found.text for found in browser.find_elements(By.CSS_SELECTOR, "#map tbody th")]
    assert headings == names
    assert len(browser.find_elements(By.CSS_SELECTOR, "#map tbody tr:first-child td")) == 4


def test_a_phone_shows_status_and_time_of_each_row(browser: webdriver.Chrome, page: Path) -> None:
    """Within 390 px, the shape below the name instead of in columns of its own."""
    opened(browser, page, width=390)
    right = browser.execute_script(
        "return [...document.querySelector('#table tr.row').children].slice(0, 3)"
        ".map((cell) => cell.getBoundingClientRect().right)"
    )
    assert max(right) <= 390
    assert (
        browser.find_element(By.CSS_SELECTOR, "#table .shape-line").text
        == "Batch 1, Seq Len 1024, Heads 8"
    )
    assert browser.find_element(By.CSS_SELECTOR, "#table td.axis").is_displayed() is False


def test_an_opened_row_is_not_cut(browser: webdriver.Chrome, page: Path) -> None:
    """The frame of the rows grows with it: nothing of the detail has to be scrolled to within a
    box.
    """
    opened(browser, page)
    press(browser, "#table tr:nth-child(20) button.toggle")
    bottom = "return document.querySelector(arguments[0]).getBoundingClientRect().bottom"
    assert browser.execute_script(bottom, "tr.detail") <= browser.execute_script(
        bottom, ".scroll.tall"
    )


def test_the_roofline_is_drawn_where_peaks_are_known(
    browser: webdriver.Chrome, page: Path, tmp_path: Path
) -> None:
    """A mark per row that has an intensity, below one roof; without peaks there is no such section."""
    opened(browser, page)
    assert not browser.find_element(By.ID, "roofline-section").is_displayed()
    results = sweep({"batch": [1, 2], "seq_len": [1024], "heads": [8]})
    records = [
        record.model_copy(update={"metrics": {**record.metrics, "gb_per_s": 100.0}})
        for record in results.records
    ]
    path = tmp_path / "report.html"
    known = replace(results, records=tuple(records), observations=(made.peaks(float32=52e12),))
    path.write_text(render(known, "html"), encoding="utf-8")
    opened(browser, path)
    drawn = browser.find_element(By.ID, "roofline")
    assert len(drawn.find_elements(By.CSS_SELECTOR, "[aria-label=line] path")) == 1
    assert len(
        drawn.find_elements(By.CSS_SELECTOR, "[aria-label=dot] circle, [aria-label=dot] path")
    ) == len(records)
    assert "float32 matmul: 52 TFLOP/s" in drawn.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(
    browser: webdriver.Chrome, page: Path, scheme: str
) -> None:
    """WCAG AA: 4.5 to 1, large text 3 to 1, with a row open and a filter pressed."""
    opened(browser, page, scheme=scheme)
    press(browser, "#table button.toggle")
    assert browser.execute_script(CONTRAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_stand_out_in_both_schemes(
    browser: webdriver.Chrome, page: Path, scheme: str
) -> None:
    """Every implementation's colour is 3 to 1 against the page (WCAG 1.4.11)."""
    opened(browser, page, scheme=scheme)
    script = CONTRAST.split("const walker")[0] + (
        "const style = getComputedStyle(document.documentElement), page = rgba(style.getPropertyValue('--bg'));"
        "return [...Array(8).keys()].map((n) => ratio(rgba(style.getPropertyValue('--i' + n)), page));"
    )
    assert min(browser.execute_script(script)) >= 3


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_itself_never_scrolls_sideways(
    browser: webdriver.Chrome, page: Path, width: int
) -> None:
    """Wide tables scroll in their own frame, on a phone as on a desk."""
    opened(browser, page, width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_paper_gets_every_figure_and_every_row(browser: webdriver.Chrome, page: Path) -> None:
    """What is printed has curves of time, throughput, memory and speed-up, and the screen is as
    before.
    """
    opened(browser, page)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    headings = [heading.text for heading in browser.find_elements(By.CSS_SELECTOR, "#charts h3")]
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert headings[:4] == [
        "Time (ms)",
        "Peak memory (MiB)",
        "Throughput (tokens/s)",
        "Speed over standard (times)",
    ]
    assert len(browser.find_elements(By.CSS_SELECTOR, "#charts h3")) == 1


def test_ten_thousand_rows_still_open(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Two hundred of them at first, the rest on request; sorting looks at all."""
    axes = {
        "batch": [2**n for n in range(8)],
        "seq_len": [2**n for n in range(8, 18)],
        "heads": list(range(1, 26)),
    }
    path = tmp_path / "report.html"
    path.write_text(render(sweep(axes), "html"), encoding="utf-8")
    begun = time.monotonic()
    opened(browser, path)
    assert time.monotonic() - begun < 20
    assert browser.find_element(By.ID, "shown").text == "10000 rows"
    assert len(column(browser, "Heads")) == 200
    press(browser, "#table button[data-key='at.heads']")
    assert set(column(browser, "Heads")) == {"1"}
    press(browser, "#more")
    assert len(column(browser, "Heads")) == 400


def test_a_search_is_drawn_trial_by_trial(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """One panel for each search, a line along the best so far; nothing that compares rows of one
    shape.
    """
    path = tmp_path / "report.html"
    path.write_text(render(search().results(), "html"), encoding="utf-8")
    opened(browser, path)
    captions = [
        found.text for found in browser.find_elements(By.CSS_SELECTOR, "#charts figcaption")
    ]
    assert captions == ["Seq Len 64", "Seq Len 128"]
    assert len(browser.find_elements(By.CSS_SELECTOR, "#charts [aria-label=line] path")) == 2
    assert "line: the best so far" in browser.find_element(By.ID, "charts").text
    assert not browser.find_elements(By.ID, "map")
    assert "Speed-up" not in browser.find_element(By.ID, "table").text
    browser.find_element(By.CSS_SELECTOR, "#chart-controls option[value='']").click()
    until(
        browser,
        lambda: (
            browser.execute_script("return document.getElementById('charts').dataset.drawn")
            == "yes"
        ),
    )
    assert "line: the best so far" not in browser.find_element(By.ID, "charts").text
    assert browser.get_log("browser") == []


def test_a_sweep_without_a_numeric_axis_is_drawn_too(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    """One shape: a dot with its interval for each implementation."""
    path = tmp_path / "report.html"
    path.write_text(
        render(sweep({"batch": [1], "seq_len": [1024], "heads": [8]}), "html"), encoding="utf-8"
    )
    opened(browser, path)
    assert (
        len(
            browser.find_elements(
                By.CSS_SELECTOR, "#charts figure [aria-label=dot] path, #charts circle"
            )
        )
        == 5
    )
    assert browser.get_log("browser") == []
