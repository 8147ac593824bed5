"""The guides to users' own code say what is true. They have a file of their own, so that they and
the others are carried out side by side.
"""

import pytest

from tests.docs.guide import ABOUT_OWN_CODE, carried_out


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("guide", carried_out(ABOUT_OWN_CODE), ids=str)
def test_a_guide_does_what_it_says(guide, reader):
    """Every block that is marked for it, in order, in a folder of its own."""
    reader.follow(guide)
