from __future__ import annotations

import logging

import pytest

from jobs.flow import quiet_ray_data


def test_what_ray_data_says_of_a_failure_goes_to_its_log_and_not_to_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    quiet_ray_data()
    logger = logging.getLogger("ray.data")
    kept: list[logging.LogRecord] = []
    file = logging.Handler()
    file.emit = kept.append  # type: ignore[method-assign]
    logger.addHandler(file)
    try:
        logging.getLogger("ray.data.anything").error("a task raised", exc_info=ValueError("inside"))
    finally:
        logger.removeHandler(file)
    shown = capfd.readouterr()
    assert shown.out + shown.err == ""
    assert [record.getMessage() for record in kept] == ["a task raised"]


def test_a_users_own_handler_keeps_its_level() -> None:
    logger, theirs = logging.getLogger("ray.data"), logging.StreamHandler()
    logger.addHandler(theirs)
    try:
        quiet_ray_data()
    finally:
        logger.removeHandler(theirs)
    assert theirs.level == logging.NOTSET
