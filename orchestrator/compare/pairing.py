"""Which rows of two sweeps belong together, and whether they may be compared. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from orchestrator.formatting import shown
from orchestrator.machine.environment import differences
from orchestrator.results import sources
from orchestrator.results.answers import Answer
from orchestrator.results.results import Results
from orchestrator.results.rows import Row

MORE_ERROR, LEAST_ERROR = 4.0, 1e-6  # what is worth a word: noise of rounding is not
MORE_MEMORY, LEAST_MIB = 0.1, 1.0
FEW = 6  # names in a message

Paired = tuple[list[tuple[Row, Row]], list[dict[str, Any]]]


def pair_up(base: Sequence[Row], candidate: Sequence[Row]) -> Paired:
    """Rows of both that were run, and the others. Options tell apart only rows that nothing else
    tells apart.

    A row that is ok in the base and was to be run in the candidate, and was not, is among the
    first, if any is.
    """
    ambiguous = _repeated(base) | _repeated(candidate)
    here, there = _by_key(base, ambiguous), _by_key(candidate, ambiguous)
    both = [key for key in here if key in there]
    ran = {
        key: None
        for key in both
        if here[key].outcome is not None and there[key].outcome is not None
    }
    if ran:
        ran = {
            key: None for key in both if key in ran or (here[key].ok and there[key].outcome is None)
        }
    matched = [(here[key], there[key]) for key in ran]
    unmatched = [_only(here[key], "base") for key in here if key not in there]
    unmatched += [_only(there[key], "candidate") for key in there if key not in here]
    unmatched += [
        _only(here[key], _run_where(here[key], there[key])) for key in both if key not in ran
    ]
    return matched, unmatched


def pair_answers(base: Sequence[Answer], candidate: Sequence[Answer]) -> Paired:
    """The best rows of two sweeps that searched, by implementation and the axes that were not
    searched.
    """
    here = {_question(answer): answer for answer in base}
    there = {_question(answer): answer for answer in candidate}
    matched = [(_shown(here[key]), _shown(there[key])) for key in here if key in there]
    unmatched = [_only(_shown(here[key]), "base") for key in here if key not in there]
    unmatched += [_only(_shown(there[key]), "candidate") for key in there if key not in here]
    return matched, unmatched


def _question(answer: Answer) -> str:
    return json.dumps([answer.implementation, dict(answer.point)], sort_keys=True, default=str)


def _shown(answer: Answer) -> Row:
    """The row that answers, or one that did not."""
    return answer.rows[0] if answer.best is None else answer.best


def _run_where(base: Row, candidate: Row) -> str:
    if base.outcome is None and candidate.outcome is None:
        return "neither (not run)"
    return (
        "base (not run in candidate)"
        if candidate.outcome is None
        else "candidate (not run in base)"
    )


def name_of(row: Row, with_options: bool = True) -> str:
    """What a row is called in every sweep: its label, params and options, as JSON."""
    content = [
        row.implementation,
        dict(row.params),
        *([dict(row.trial.options)] if with_options else []),
    ]
    return json.dumps(content, sort_keys=True, default=str)


def _repeated(rows: Iterable[Row]) -> set[str]:
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
    return [_value(row.params.get(name, "not given")) for row in rows]


def _value(value: Any) -> str:
    return f"[{shown(value)}]" if isinstance(value, list | tuple) else shown(value)


def _few(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return (", ".join(names[:FEW]) or "none") + more


def unlike(base: Results, candidate: Results, matched: Sequence[tuple[Row, Row]]) -> list[str]:
    """What must match and does not: workload, protocol, and the environments of the rows of both."""
    found = differences(
        {"workload": base.meta.spec.workload}, {"workload": candidate.meta.spec.workload}
    )
    found += differences(
        *(
            {"measured": "alone" if one.meta.duel is None else "in turns"}
            for one in (base, candidate)
        )
    )
    found += differences(
        *({"verify.tolerance": one.meta.spec.verify.tolerance} for one in (base, candidate))
    )
    protocols = [
        results.meta.spec.measure.for_device(results.meta.device) for results in (base, candidate)
    ]
    was, now = (one.model_dump() for one in protocols)
    found += differences(_prefixed("protocol.", was), _prefixed("protocol.", now))
    seen: dict[tuple[str, str], None] = {}  # a set that keeps the order
    for base_row, candidate_row in matched:
        for left, right in product(base_row.records, candidate_row.records):
            seen[left.fingerprint.environment, right.fingerprint.environment] = None
    for was_in, now_in in seen:
        found += _facts_unlike(
            base.environments.get(was_in), candidate.environments.get(now_in), was_in == now_in
        )
    return list(dict.fromkeys(found))


def _facts_unlike(
    base: Mapping[str, Any] | None, candidate: Mapping[str, Any] | None, same_hash: bool
) -> list[str]:
    if same_hash:
        return []
    if base is None or candidate is None:
        return [
            "environment: the fingerprints differ, and environment.json is not there to say in what"
        ]
    return differences(base.get("match", {}), candidate.get("match", {}))


def code_differences(
    base: Results, candidate: Results, matched: Sequence[tuple[Row, Row]]
) -> list[str]:
    """What the code of the matched rows differs in, as far as both sweeps say what they ran: files
    and packages.
    """
    known = sources.read(base.directory), sources.read(candidate.directory)
    found: dict[str, None] = {}
    for left, right in dict.fromkeys((_source(was), _source(now)) for was, now in matched):
        if left != right:
            found |= dict.fromkeys(sources.differences(known[0].get(left), known[1].get(right)))
    return list(found)


def same_code(matched: Sequence[tuple[Row, Row]]) -> bool:
    """Whether every row that ran in both was measured with the same source code."""
    ran = [(_source(was), _source(now)) for was, now in matched if was.records and now.records]
    return bool(ran) and all(left and left == right for left, right in ran)


def doubts(base: Row, candidate: Row) -> list[str]:
    """What a ratio of times does not say of two rows: an error that grew, memory that changed,
    other cards.
    """
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


def _prefixed(prefix: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in facts.items()}


def _source(row: Row) -> str:
    return row.records[-1].fingerprint.source if row.records else ""
