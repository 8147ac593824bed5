"""How the trials of a sweep over somebody else's problems end."""

from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from tests.support.attempts import attempts_of, recorded


def outcomes(sweep: Sweep, param: str = "name") -> dict[tuple[str, str], Outcome]:
    """(label, problem or case or another param) -> how the trial ended."""
    found = {}
    for attempt in attempts_of(sweep):
        trial = attempt.trial
        point = trial.params.get("problem") or trial.params[param]
        found[trial.implementation, point] = recorded(attempt).outcome
    return found
