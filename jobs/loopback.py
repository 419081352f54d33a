"""A Ray of our own on this machine, none of whose ports can be reached from another."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
# Ray's switch for the systems where a Ray is always alone on its machine: off, and 127.0.0.1 stays what it is.
SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

_log = logging.getLogger(__name__)


def start_on_loopback(include_dashboard: bool = False, **options: Any) -> None:
    """``ray.init`` of a new Ray that listens on 127.0.0.1 alone.

    Token authentication is as Ray has it: on, unless RAY_AUTH_MODE says otherwise. The token that Ray writes into the
    home folder, by which anyone who may read it can run code here, is made the user's own.

    Args:
        include_dashboard: as Ray's own, which is on loopback, too.
        options: what else ``ray.init`` is told.
    """
    import ray

    token = Path.home() / ".ray" / "auth_token"
    known = token.exists()
    with _loopback_kept():
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
