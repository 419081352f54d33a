"""A Ray of our own: what is done while it starts, and what it keeps no account of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STARTS = """
import json
from ray._private import services
from ray._raylet import GcsClient
from jobs import loopback

ask, called, up = services.get_node, [], []
def recorded(address, node_id):
    up.append(len(GcsClient(address=address).get_all_node_info(timeout=20)))
    return ask(address, node_id)
services.get_node = recorded
loopback.start_on_loopback(meanwhile=lambda: called.append(1), logging_level="ERROR")
import ray
print(json.dumps({
    "called": len(called), "up": up, "kept": services.get_node is recorded,
    "nodes": len(ray.nodes()), "config": ray._private.worker._global_node._config,
}))
"""


def test_the_node_is_awaited_and_the_time_used(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", STARTS],
        env=os.environ | {"HOME": str(tmp_path), "RAY_event_stats": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = json.loads(run.stdout.splitlines()[-1])
    assert said["called"] == said["nodes"] == 1
    assert said["up"] == [1], "the node was up when Ray looked, which would else have slept for a second"
    assert said["kept"], "Ray has its own function back"
    assert said["config"]["enable_metrics_collection"] is False
    assert "event_stats" not in said["config"], "the environment asks for it"
