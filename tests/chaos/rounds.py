"""One round: a job on a cluster that something happens to, resumed until it is done, then accounted for."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.accounts import Account, look_at_end, look_midway
from tests.chaos.cluster import Cluster
from tests.chaos.drivers import Driver
from tests.chaos.stores import Bucket, Disk, Store

SHARDS = 48
SHARD_ROWS = 8
MOST_RESUMES = 4
# What Ray passes on of a worker begins with its name in colour, and goes on for as many lines as it wrote: up to
# one of the progress display, of the driver's last words, or of Ray's own log.
FORWARDED = re.compile(r"^\x1b\[3\dm\(.*?(?=^(?:\d|strideformer |\[20)|\Z)", re.MULTILINE | re.DOTALL)


@dataclass
class Stage:
    """What is there for all rounds."""

    folder: Path
    cluster: Cluster
    bucket: Bucket
    model: Path
    ids: set[str]
    input: str


@dataclass
class Round:
    """A job with an output of its own.

    Attributes:
        note: what the line of the round says beside its time and exit codes.
    """

    stage: Stage
    number: int
    random: random.Random
    store: Store
    cluster: Cluster
    drivers: list[Driver] = field(default_factory=list)
    account: Account = field(default_factory=Account)
    finished: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        return f"out-{self.number:03d}"

    def start(self, resume: bool = False) -> Driver:
        arguments = [self.stage.input, self.store.url(self.name), "--model", str(self.stage.model)]
        arguments += ["--id-column", "doc_id", "--shard-rows", str(SHARD_ROWS), "--device", "cpu", "--encoders", "2"]
        arguments += ["--ray-address", self.cluster.address, "--progress", "plain"]
        log = self.stage.folder / "logs" / f"{self.name}-{len(self.drivers)}.log"
        driver = Driver(arguments + ["--resume"] * resume, self.stage.bucket.environment, log)
        self.drivers.append(driver)
        return driver

    def parts(self) -> int:
        return sum(path.startswith("part-") for path in self.store.files(self.name))

    def wait_for_parts(self, driver: Driver, number: int) -> None:
        """Until so many shards are committed, or the driver is over."""
        deadline = time.monotonic() + 240
        while driver.poll() is None and self.parts() < number:
            if time.monotonic() > deadline:
                self.fault(f"only {self.parts()} of {number} shards in 240 s")
                return
            time.sleep(0.05)

    def some_moment(self, driver: Driver) -> None:
        """Mostly some time between the first and the last shard, now and then while the job starts."""
        if self.random.random() < 0.2:
            time.sleep(self.random.uniform(0.1, 4.0))
        else:
            self.wait_for_parts(driver, self.random.randrange(1, SHARDS - 8))
            time.sleep(self.random.uniform(0.0, 0.2))

    def fault(self, sentence: str) -> None:
        self.account.faults.append(sentence)

    def expect(self, driver: Driver, code: int, words: str = "", within: float = 400.0) -> None:
        """The driver must end with this exit code, and say this."""
        try:
            found = driver.wait(within)
        except TimeoutError as error:
            self.fault(str(error))
            return
        if found != code:
            self.fault(f"exit code {found} and not {code}: {driver.said()[-600:]}")
        elif words not in driver.said():
            self.fault(f"does not say {words!r}: {driver.said()[-600:]}")
        if "Traceback (most recent call last)" in FORWARDED.sub("", driver.said()) and code in (1, 2):
            self.fault(f"a traceback: {driver.log}")

    def midway(self) -> None:
        """Nothing that is published may be wrong at a moment when a driver has just ended."""
        account = look_midway(self.store, self.name, self.stage.ids)
        self.account.faults += account.faults
        self.account.doubled += account.doubled

    def finish(self) -> None:
        """Resume until the job is done, and account for it; once, where an action has done so itself."""
        if self.finished:
            return
        self.finished = True
        for _ in range(MOST_RESUMES):
            if self.drivers[-1].poll() == 0:
                break
            self.midway()
            self.start(resume=True).wait()
        else:
            if self.drivers[-1].poll() != 0:
                self.fault(f"not done after {MOST_RESUMES} resumes: {self.drivers[-1].said()[-600:]}")
        account = look_at_end(self.store, self.name, self.stage.ids)
        self.account.lost += account.lost
        self.account.doubled += account.doubled
        self.account.faults += account.faults


def a_store(stage: Stage, chooser: random.Random) -> Store:
    return chooser.choice([stage.bucket, Disk(stage.folder / "disk")])
