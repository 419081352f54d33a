"""``python -m tests.chaos.node …`` is ``ray start …`` for a node that listens on 127.0.0.1 alone and may join others.

Ray replaces a given 127.0.0.1 by the machine's outer address and then listens on every address, unless its switch says
that this machine's Ray is never part of a cluster; and then no second node may join.
"""

from __future__ import annotations

import os
import sys

from jobs.loopback import LOOPBACK, SWITCH


def main() -> None:
    os.environ[SWITCH] = "1"  # read as Ray is imported, here
    from ray._private import services
    from ray.scripts.scripts import main as ray_command

    os.environ[SWITCH] = "0"  # and in every process that it starts
    services.get_node_ip_address = lambda address=None: LOOPBACK
    sys.argv[0] = "ray"
    ray_command()


if __name__ == "__main__":
    main()
