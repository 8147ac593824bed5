"""Which rows of two sweeps belong together, and whether they may be compared. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from orchestrator.formatting import shown
from orchestrator.machine.environment import differences
from orchestrator.results import sources
from orchestrator.results.answers import Answer
from orchestrator.results.results import Results
from orchestrator.results.rows import Row

# Changes below these are rounding, and are not reported.
MORE_ERROR, LEAST_ERROR = 4.0, 1e-6  # times; relative error
MORE_MEMORY, LEAST_MIB = 0.1, 1.0  # fraction; MiB
FEW = 6  # names in a message

Paired = tuple[list[tuple[Row, Row]], list[dict[str, Any]]]


def pair_up(base: Sequence[Row], candidate: Sequence[Row]) -> Paired:
    """Pairs of rows that were run in both sweeps, and the rows that have no such partner.

    Options tell apart only rows that nothing else tells apart. If any row ran in both, so counts
    one that is ok in the base and was not run in the candidate: the candidate stopped before it.
    """
    ambiguous = _repeated(base) | _repeated(candidate)
    here, there = _by_key(base, ambiguous), _by_key(candidate, ambiguous)
    both = [(row, there[key]) for key, row in here.items() if key in there]
    any_ran = any(was.outcome is not None and now.outcome is not None for was, now in both)
    matched, not_run = [], []
    for was, now in both:
        if (was.outcome is not None and now.outcome is not None) or (
            any_ran and was.ok and now.outcome is None
        ):
            matched.append((was, now))
        elif was.outcome is None and now.outcome is None:
            not_run.append(_only(was, "neither (not run)"))
        elif now.outcome is None:
            not_run.append(_only(was, "base (not run in candidate)"))
        else:
            not_run.append(_only(was, "candidate (not run in base)"))
    unmatched = [_only(row, "base") for key, row in here.items() if key not in there]
    unmatched += [_only(row, "candidate") for key, row in there.items() if key not in here]
    return matched, [*unmatched, *not_run]


def pair_answers(base: Sequence[Answer], candidate: Sequence[Answer]) -> Paired:
    """The best rows of two searches, matched by implementation and the unsearched axes."""
    here = {_question(answer): answer for answer in base}
    there = {_question(answer): answer for answer in candidate}
    matched, unmatched = [], []
    for key, answer in here.items():
        if key in there:
            matched.append((_shown(answer), _shown(there[key])))
        else:
            unmatched.append(_only(_shown(answer), "base"))
    for key, answer in there.items():
        if key not in here:
            unmatched.append(_only(_shown(answer), "candidate"))
    return matched, unmatched


def _question(answer: Answer) -> str:
    return json.dumps([answer.implementation, dict(answer.point)], sort_keys=True, default=str)


def _shown(answer: Answer) -> Row:
    """The row that answers, or one that did not."""
    if answer.best is None:
        return answer.rows[0]
    return answer.best


def name_of(row: Row, with_options: bool = True) -> str:
    """What a row is called in every sweep: its label, params and options, as JSON."""
    content = [row.implementation, dict(row.params)]
    if with_options:
        content.append(dict(row.trial.options))
    return json.dumps(content, sort_keys=True, default=str)


def _repeated(rows: Iterable[Row]) -> set[str]:
    """The names, without options, that several rows have."""
    names = Counter(name_of(row, with_options=False) for row in rows)
    return {name for name, count in names.items() if count > 1}


def _by_key(rows: Iterable[Row], ambiguous: set[str]) -> dict[str, Row]:
    found = {}
    for row in rows:
        is_ambiguous = name_of(row, with_options=False) in ambiguous
        found[name_of(row, with_options=is_ambiguous)] = row
    return found


def _only(row: Row, where: str) -> dict[str, Any]:
    return {"implementation": row.implementation, "params": dict(row.params), "only_in": where}


def why_apart(base: Sequence[Row], candidate: Sequence[Row]) -> str:
    """Why no row of two sweeps is the same: `heads 8 against 16; seq_len 128, 256 against 512`."""
    were = [row.implementation for row in base]
    are = [row.implementation for row in candidate]
    if not set(were) & set(are):
        return f"the implementations are {_few(were)} against {_few(are)}"
    names: dict[str, None] = {}  # a set that keeps the order
    for row in (*base, *candidate):
        names |= dict.fromkeys(row.params)
    apart = []
    for name in names:
        was, now = _values(base, name), _values(candidate, name)
        if set(was) != set(now):
            apart.append(f"{name} {_few(was)} against {_few(now)}")
    return "; ".join(apart) or "each has other combinations of the same values"


def _values(rows: Sequence[Row], name: str) -> list[str]:
    values = []
    for row in rows:
        value = row.params.get(name, "not given")
        text = shown(value)
        if isinstance(value, list | tuple):  # without brackets its items would seem values
            text = f"[{text}]"
        values.append(text)
    return values


def _few(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    names = list(dict.fromkeys(names))
    if not names:
        return "none"
    text = ", ".join(names[:FEW])
    if len(names) > FEW:
        text += f" and {len(names) - FEW} more"
    return text


def unlike(base: Results, candidate: Results, matched: Sequence[tuple[Row, Row]]) -> list[str]:
    """What must match and does not: workload, protocol, and the environments of both's rows."""
    found: list[str] = []
    for was_asked, now_asked in zip(_asked(base), _asked(candidate), strict=True):
        found += differences(was_asked, now_asked)
    seen: dict[tuple[str, str], None] = {}  # a set that keeps the order
    for base_row, candidate_row in matched:
        for left, right in product(base_row.records, candidate_row.records):
            seen[left.fingerprint.environment, right.fingerprint.environment] = None
    for was_in, now_in in seen:
        if was_in == now_in:
            continue
        was, now = base.environments.get(was_in), candidate.environments.get(now_in)
        if was is None or now is None:
            found.append(
                "environment: the fingerprints differ, and environment.json is not there to say "
                "in what"
            )
        else:
            found += differences(was.get("match", {}), now.get("match", {}))
    return list(dict.fromkeys(found))


def _asked(results: Results) -> list[dict[str, Any]]:
    """What of a sweep's file must match, by name; what is to be told first comes first."""
    spec = results.meta.spec
    protocol = spec.measure.for_device(results.meta.device).model_dump()
    return [
        {"workload": spec.workload},
        {"measured": "alone" if results.meta.duel is None else "in turns"},
        {"verify.tolerance": spec.verify.tolerance},
        {f"protocol.{name}": value for name, value in protocol.items()},
    ]


def code_differences(
    base: Results, candidate: Results, matched: Sequence[tuple[Row, Row]]
) -> list[str]:
    """The files and packages in which the code of the matched rows differs.

    Empty as far as the sweeps do not say what they ran.
    """
    here, there = sources.read(base.directory), sources.read(candidate.directory)
    found: dict[str, None] = {}  # a set that keeps the order
    for was, now in matched:
        was_hash, now_hash = _source(was), _source(now)
        if was_hash != now_hash:
            lines = sources.differences(here.get(was_hash), there.get(now_hash))
            found |= dict.fromkeys(lines)
    return list(found)


def same_code(matched: Sequence[tuple[Row, Row]]) -> bool:
    """Whether every row that ran in both was measured with the same source code."""
    any_ran = False
    for was, now in matched:
        if not was.records or not now.records:
            continue
        any_ran = True
        if not _source(was) or _source(was) != _source(now):  # empty: not known
            return False
    return any_ran


def other_changes(base: Row, candidate: Row) -> list[str]:
    """What changed besides the time: a larger error, other memory, another card."""
    found = []
    was, now = (row.metrics.get("relative_error") for row in (base, candidate))
    if was is not None and now is not None and now > max(MORE_ERROR * was, LEAST_ERROR):
        found.append(f"error {was:.1e}, now {now:.1e}")
    was, now = (row.metrics.get("peak_memory_mib") for row in (base, candidate))
    if was is not None and now is not None and abs(now - was) > max(MORE_MEMORY * was, LEAST_MIB):
        found.append(f"memory {was:.0f} MiB, now {now:.0f}")
    cards, others = _cards(base), _cards(candidate)
    if cards and others and cards != others:
        found.append("on another card")
    return found


def _cards(row: Row) -> set[str]:
    return {record.card for record in row.records if record.card}


def _source(row: Row) -> str:
    if not row.records:
        return ""
    return row.records[-1].fingerprint.source
