"""On which addresses processes listen, as /proc tells it."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

LISTENING = "0A"  # the kernel's TCP_LISTEN
SOCKET = re.compile(r"socket:\[(\d+)\]")


def listening(pids: Iterable[int]) -> dict[str, str]:
    """``address:port`` of every TCP socket that these processes listen on, each with the process's title."""
    found = {}
    sockets = _all_listening()
    for pid in pids:
        with contextlib.suppress(OSError):  # it may end at any time
            title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inode = SOCKET.fullmatch(str(descriptor.readlink()))
                    if inode and inode[1] in sockets:
                        found[sockets[inode[1]]] = title
    return found


def beyond_loopback(pids: Iterable[int]) -> dict[str, str]:
    """Of those, the ones that another machine could reach."""
    return {place: title for place, title in listening(pids).items() if not _is_loopback(place.rpartition(":")[0])}


def _all_listening() -> dict[str, str]:
    """``address:port`` of each listening TCP socket of the machine, by its inode."""
    found = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING:
                    address, _, port = fields[1].partition(":")
                    found[fields[9]] = f"{_readable(address)}:{int(port, 16)}"
    return found


def _readable(address: str) -> str:
    """The kernel writes 32 bits at a time, each as this machine's integers are."""
    words = [bytes.fromhex(address[start : start + 8])[::-1] for start in range(0, len(address), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    inside = getattr(found, "ipv4_mapped", None)  # ::ffff:127.0.0.1
    return bool((inside or found).is_loopback)
