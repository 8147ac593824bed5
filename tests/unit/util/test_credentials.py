"""What is secret of an address is in nothing that is shown or written."""

from __future__ import annotations

import pytest

from orchestrator.util.credentials import is_masked, masked, redacted, without_credentials

SECRET = [
    ("postgresql://bob:hunter2@db/runs", "postgresql://***@db/runs", "hunter2"),
    ("postgresql://bob:hun@ter2@db:5432/runs", "postgresql://***@db:5432/runs", "hun@ter2"),
    ("postgresql://bob:hun/ter2@db/runs", "postgresql://***@db/runs", "hun/ter2"),
    ("postgresql://bob:hun?ter2@db/runs", "postgresql://***@db/runs", "hun?ter2"),
    ("postgresql://bob:hun%40ter2@db/runs", "postgresql://***@db/runs", "hun@ter2"),
    (
        "postgresql://db/runs?user=bob&password=hunter2",
        "postgresql://db/runs?user=bob&password=***",
        "hunter2",
    ),
    (
        "mysql+pymysql://bob:hunter2@db/r?ssl_key=k.pem",
        "mysql+pymysql://***@db/r?ssl_key=***",
        "hunter2",
    ),
    ("https://bob:hunter2@host:5000/at@sign", "https://***@host:5000/at@sign", "hunter2"),
    ("https://tok3n@host/", "https://***@host/", "tok3n"),
    ("https://host/?access_token=hunter2&x=1", "https://host/?access_token=***&x=1", "hunter2"),
]
PLAIN = [
    "sqlite:////home/me@work/mlflow.db",
    "http://127.0.0.1:5000",
    "databricks://profile",
    "./mlruns",
    "",
]


@pytest.mark.parametrize(("uri", "expected", "secret"), SECRET)
def test_names_passwords_and_tokens_are_masked(uri: str, expected: str, secret: str) -> None:
    """Wherever they stand, also with an @ in them; and a second time nothing more."""
    assert masked(uri) == expected
    assert secret not in masked(uri)
    assert masked(masked(uri)) == masked(uri)
    assert is_masked(masked(uri))
    assert redacted(uri) == expected.replace("***@", "")


@pytest.mark.parametrize("uri", PLAIN)
def test_an_address_without_a_secret_is_left_alone(uri: str) -> None:
    """A path may have an @ in it."""
    assert masked(uri) == redacted(uri) == uri
    assert not is_masked(uri)


@pytest.mark.parametrize(("uri", "expected", "secret"), SECRET)
def test_a_text_keeps_nothing_of_the_secret(uri: str, expected: str, secret: str) -> None:
    """The whole address, the password alone, and the password as it was before it was encoded."""
    text = without_credentials(f"tracking: {{uri: '{uri}'}}\n# {secret}\n", uri)
    assert secret not in text
    assert expected in text


def test_other_texts_are_left_alone() -> None:
    """Without an address, or with one that has no secret."""
    assert without_credentials("a@b:c", None) == "a@b:c"
    assert without_credentials("http://host", "http://host") == "http://host"
