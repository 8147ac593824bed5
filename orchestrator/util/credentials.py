"""Takes names, passwords and tokens out of servers' addresses before they are shown or written."""

from __future__ import annotations

import re
from urllib.parse import unquote

MASK = "***"

_SECRET = re.compile(r"pass|pwd|token|secret|key|auth|credential|sig", re.IGNORECASE)
_QUERY = re.compile(r"\?(?=[\w.\-%]+=)")
_LEAST = 3  # shorter pieces stand in any text


def masked(uri: str) -> str:
    """The URI with `***` for its name and password, and for secret values of its query."""
    scheme, slashes, rest = uri.partition("://")
    if not slashes:
        return uri
    place, query = _split(rest)
    if "@" in _authority(scheme, place):
        place = f"{MASK}@{place[len(_login(scheme, place)) + 1 :]}"
    return f"{scheme}://{place}{_masked_query(query)}"


def redacted(uri: str) -> str:
    """The URI without name and password, as an address to open; secrets of its query are `***`."""
    return masked(uri).replace(f"{MASK}@", "")


def is_masked(uri: str) -> bool:
    """Whether something was taken out of the URI, so that it opens nothing any more."""
    return MASK in uri


def without_credentials(text: str, uri: str | None) -> str:
    """`text` without what is secret of `uri`, wherever and however encoded it stands in there."""
    if uri is None or masked(uri) == uri:
        return text
    text = text.replace(uri, masked(uri))
    for secret in _secrets(uri):
        for form in {secret, unquote(secret)}:
            text = text.replace(form, MASK)
    return text


def _split(rest: str) -> tuple[str, str]:
    """What stands before the query, and the query with its question mark."""
    # A password may hold a question mark, so the query is first looked for behind it.
    found = _QUERY.search(rest, rest.rfind("@") + 1) or _QUERY.search(rest)
    if found is None:
        return rest, ""
    return rest[: found.start()], rest[found.start() :]


def _authority(scheme: str, place: str) -> str:
    """The part that may begin with a name and password."""
    if scheme.startswith("http") or place.startswith("/"):
        return place.partition("/")[0]
    return place  # databases take `/` in a password, the web does not


def _login(scheme: str, place: str) -> str:
    return _authority(scheme, place).rpartition("@")[0]


def _masked_query(query: str) -> str:
    pairs = []
    for pair in query.split("&"):
        name, equals, _ = pair.partition("=")
        if equals and _SECRET.search(name):
            pair = f"{name}={MASK}"
        pairs.append(pair)
    return "&".join(pairs)


def _secrets(uri: str) -> list[str]:
    """The pieces of a URI that nobody else is to read, longest first."""
    scheme, _, rest = uri.partition("://")
    place, query = _split(rest)
    name, colon, password = _login(scheme, place).partition(":")
    found = [password if colon else name]
    for pair in query.removeprefix("?").split("&"):
        key, _, value = pair.partition("=")
        if _SECRET.search(key):
            found.append(value)
    long_enough = [piece for piece in found if len(piece) >= _LEAST]
    return sorted(long_enough, key=len, reverse=True)
