"""A Ray of our own on this machine, none of whose ports can be reached from another."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
# Ray's switch for the systems where a Ray is always alone on its machine: off, and 127.0.0.1 stays what it is.
SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
# What Ray keeps account of for a dashboard and for Prometheus: of two cores it takes one percent. RAY_ and the name in
# the environment is for who wants it all the same.
UNWATCHED = {"enable_metrics_collection": False, "event_stats": False, "task_events_report_interval_ms": 0}
# How often to look whether the node is up, and how long before Ray, which then raises, is left to it.
POLL_SECONDS, MOST_SECONDS = 0.02, 20.0

_log = logging.getLogger(__name__)


def start_on_loopback(
    include_dashboard: bool = False, meanwhile: Callable[[], object] | None = None, **options: Any
) -> None:
    """``ray.init`` of a new Ray that listens on 127.0.0.1 alone.

    Token authentication is as Ray has it: on, unless RAY_AUTH_MODE says otherwise. The token that Ray writes into the
    home folder, by which anyone who may read it can run code here, is made the user's own.

    Args:
        include_dashboard: as Ray's own, which is on loopback, too.
        meanwhile: called on this thread while the node comes up, which takes a second or two; more than once if Ray
            looks more than once.
        options: what else ``ray.init`` is told.
    """
    import ray

    token = Path.home() / ".ray" / "auth_token"
    known = token.exists()
    if not include_dashboard:
        unasked = {name: value for name, value in UNWATCHED.items() if f"RAY_{name}" not in os.environ}
        options["_system_config"] = unasked | options.get("_system_config", {})
    with _loopback_kept(), _node_awaited(meanwhile or (lambda: None)):
        ray.init(address="local", include_dashboard=include_dashboard, _node_ip_address=LOOPBACK, **options)
    if not known and token.exists():
        token.chmod(0o600)
    found = ray.util.get_node_ip_address()
    if found != LOOPBACK:
        _log.warning("Ray listens on %s and not on loopback alone: keep others off this machine's ports", found)


@contextmanager
def _loopback_kept() -> Iterator[None]:
    """Keep Ray from replacing 127.0.0.1 by the machine's outer address, upon which it listens on every address.

    Here, where Ray has read its switch already, and in the processes that it starts.
    """
    from ray._private import ray_constants

    inherited, here = os.environ.get(SWITCH), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[SWITCH], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = here
        if inherited is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = inherited


@contextmanager
def _node_awaited(meanwhile: Callable[[], object]) -> Iterator[None]:
    """Look often whether the node is up: Ray looks once a second, and so starts up to a second late.

    Where a release of Ray has other parts than these, it starts as it does by itself.
    """
    from ray._private import services

    ask = getattr(services, "get_node", None)
    if ask is None:
        yield
        return

    def ask_when_it_is_up(address: str, node_id: str) -> Any:
        meanwhile()
        with suppress(Exception):
            from ray._raylet import GcsClient  # type: ignore[attr-defined]  # of Cython, without stubs

            client, end = GcsClient(address=address), time.monotonic() + MOST_SECONDS
            while not client.get_all_node_info(timeout=MOST_SECONDS) and time.monotonic() < end:
                time.sleep(POLL_SECONDS)
        return ask(address, node_id)

    services.get_node = ask_when_it_is_up
    try:
        yield
    finally:
        services.get_node = ask
