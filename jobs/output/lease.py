"""One driver at a time on an output folder: a lease with an owner and an expiry, in OUTPUT/_strideformer/lease.json.

The lease saves work and confusion; correctness does not depend on it. Parts are deterministic and published whole, so
two drivers of one job that both go on (after a clock that is wrong, or on a storage without conditional writes)
write the same files twice, and what they write is right.

A lease is its owner's until it expires, 30 seconds after it was last renewed. Who finds the lease of another
- takes over at once if it has expired, or if its owner was a process of this machine that is no more;
- is refused at once if its owner is a process of this machine that is alive;
- otherwise waits: a lease that is renewed meanwhile has a live owner, and it is refused; one that runs out is taken
  over. A driver that was killed on one host so delays its successor on another by no more than the 30 seconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from jobs.corpus.exclusive import create_if_absent, is_exclusive
from jobs.corpus.storage import delete, join, read_bytes, write_atomically
from jobs.corpus.storage_errors import storage_error
from jobs.output.commit import TEMPORARY_FOLDER
from jobs.output.record import OutputFolder
from strideformer.errors import StrideformerError

LEASE_FILE = "_strideformer/lease.json"
# Long enough for a few renewals to fail before the lease is lost, short enough to wait for.
LEASE_SECONDS = 30.0
RENEWAL_SECONDS = 10.0
LOOK_SECONDS = 1.0
# Between a write that another driver may overwrite and the look at who won; above any one write's duration.
SETTLE_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """Who holds an output folder.

    Attributes:
        id: Random; tells two leases of one process apart.
        host, pid: For a person.
        process: Kernel's boot, pid namespace and the process's start, which together name a process for good; ""
            where there is no /proc, and then a dead owner is only known by its expiry.
        expires: Seconds since 1970, by the owner's clock.
    """

    id: str
    host: str
    pid: int
    process: str
    expires: float

    @classmethod
    def this_process(cls) -> Owner:
        return cls(uuid.uuid4().hex, platform.node(), os.getpid(), process_name(os.getpid()), 0.0)

    @property
    def seconds_left(self) -> float:
        return self.expires - time.time()

    def is_dead(self) -> bool:
        """True if it was a process of this machine and is gone; False if it is alive or cannot be told."""
        return bool(self.process) and self.is_near() and process_name(self.pid) != self.process

    def is_near(self) -> bool:
        """Whether its pid means something here: the same boot and pid namespace."""
        return self.process.split("/")[:2] == _machine()

    def to_json(self) -> bytes:
        until = f"{datetime.fromtimestamp(self.expires, UTC):%Y-%m-%dT%H:%M:%SZ}"
        return json.dumps(asdict(self) | {"until": until}, indent=2).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Owner:
        values = json.loads(text)
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


class Lease:
    """Holds an output folder as long as the ``with`` block runs; a thread renews it, and leaving releases it."""

    def __init__(self, folder: OutputFolder) -> None:
        self.folder = folder
        self.url = join(folder.url, LEASE_FILE)
        self.owner = Owner.this_process()
        self._stopped = threading.Event()
        self._renewing = threading.Thread(target=self._keep, daemon=True, name="lease")

    def __enter__(self) -> Self:
        """Take the lease, waiting at most until another's expires.

        Raises:
            StrideformerError: another driver holds it and is alive, or the storage fails.
        """
        try:
            self._take()
        except OSError as error:
            raise storage_error(error, self.folder.url) from error
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._renewing.join(timeout=RENEWAL_SECONDS)
        with contextlib.suppress(OSError):  # it expires by itself, and the job's own outcome is what matters
            found = self.holder()
            if found is not None and found.id == self.owner.id:
                if kind is None:  # finished: a renewal may have made the folder of temporary files anew
                    self.folder.sweep()
                delete(*self.folder.at(LEASE_FILE))

    def holder(self) -> Owner | None:
        """Whose the lease is now; None if nobody's, or if the file cannot be understood."""
        try:
            return Owner.from_json(read_bytes(*self.folder.at(LEASE_FILE)))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return None

    def _take(self) -> None:
        seen: Owner | None = None
        while True:
            found = self.holder()
            if found is not None and found.seconds_left > 0 and not found.is_dead():
                renewed = seen is not None and (found.id, found.expires) != (seen.id, seen.expires)
                if renewed or found.is_near() or found.seconds_left > LEASE_SECONDS:
                    raise StrideformerError(refusal(self.folder.url, found))
                if seen is None:
                    _log.warning(
                        "%s was held by process %d on %s: waiting for %.0f s to see whether it is alive",
                        self.folder.url,
                        found.pid,
                        found.host,
                        found.seconds_left,
                    )
                seen = found
                time.sleep(LOOK_SECONDS)
                continue
            if self._write_anew(is_there=found is not None):
                return

    def _write_anew(self, is_there: bool) -> bool:
        if is_there:
            delete(*self.folder.at(LEASE_FILE))
        self.owner = replace(self.owner, expires=time.time() + LEASE_SECONDS)
        options = self.folder.options
        created = create_if_absent(self.url, options, self.owner.to_json(), join(self.folder.url, TEMPORARY_FOLDER))
        if created and not is_there and is_exclusive(self.folder.url, options):
            return True
        time.sleep(SETTLE_SECONDS)
        found = self.holder()
        return found is not None and found.id == self.owner.id

    def _keep(self) -> None:
        while not self._stopped.wait(RENEWAL_SECONDS):
            try:
                found = self.holder()
                if found is not None and found.id != self.owner.id:
                    _log.warning(
                        "%s has been taken over by process %d on %s, since this one could not renew its lease in time; "
                        "both go on and write the same files: end one of them to save its work",
                        self.folder.url,
                        found.pid,
                        found.host,
                    )
                    return
                if self._stopped.is_set():
                    return
                self.owner = replace(self.owner, expires=time.time() + LEASE_SECONDS)
                filesystem, path = self.folder.at(LEASE_FILE)
                temporary = self.folder.at(TEMPORARY_FOLDER)[1]
                write_atomically(filesystem, path, pa.py_buffer(self.owner.to_json()), temporary_folder=temporary)
            except Exception as error:
                _log.warning("%s: the lease could not be renewed: %s", self.folder.url, error)


def refusal(url: str, owner: Owner) -> str:
    """The sentence for who finds a live lease."""
    until = f"{datetime.fromtimestamp(owner.expires, UTC):%H:%M:%S} UTC"
    return (
        f"{url} is being written by process {owner.pid} on {owner.host}, which holds it until {until} "
        f"({max(0, owner.seconds_left):.0f} s from now) and renews that: wait for it to finish, or end it first"
    )


def process_name(pid: int) -> str:
    """``boot/pid namespace/pid/start`` of a process of this machine; "" if it is no more, or there is no /proc."""
    machine = _machine()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    if not machine or fields[0] in "ZX":
        return ""
    return "/".join([*machine, str(pid), fields[19]])  # starttime: field 22 of proc(5), 20th after the name


def _machine() -> list[str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return [boot, str(Path("/proc/self/ns/pid").readlink())]
    except OSError:
        return []
