"""A reader for each process that carries guides out."""

import pytest

from tests.docs.guide import Reader


@pytest.fixture(scope="session")
def reader(tmp_path_factory, give_store):
    return Reader(tmp_path_factory.mktemp("reader"), give_store)
