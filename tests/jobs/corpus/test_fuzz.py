"""The properties of ``make fuzz``, for a few seconds and always with the same examples."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.properties import PROPERTIES


@pytest.mark.parametrize(("strategy", "check"), PROPERTIES, ids=[check.__name__ for _, check in PROPERTIES])
def test_property(strategy, check):
    limits = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    limits(given(strategy)(check))()
