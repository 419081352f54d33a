"""What may happen to a job. Each action starts it, does its worst, and says how the job must have answered."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable

from tests.chaos.cluster import Cluster
from tests.chaos.drivers import Driver
from tests.chaos.hog import Hog
from tests.chaos.processes import kill
from tests.chaos.rounds import SHARDS, Round
from tests.chaos.stores import Disk

# A stop is "within seconds" on idle cores; the bound is what a loaded machine may take.
STOP_SECONDS = 30.0
OUTAGE_SECONDS = 10.0
RETRIED = "the next is in"
GAVE_UP = "gave up after"


def driver_killed(run: Round) -> None:
    driver = run.start()
    run.some_moment(driver)
    driver.send(signal.SIGKILL)
    driver.wait()


def driver_terminated(run: Round) -> None:
    _stop(run, signal.SIGTERM, "stopped by SIGTERM; the same command with --resume goes on")


def driver_interrupted(run: Round) -> None:
    _stop(run, signal.SIGINT, "interrupted; the same command with --resume goes on")


def _stop(run: Round, number: signal.Signals, words: str) -> None:
    driver = run.start()
    run.some_moment(driver)
    if driver.poll() is not None:
        return
    driver.send(number)
    sent = time.monotonic()
    code = driver.wait(STOP_SECONDS)
    run.note = f"stopped within {time.monotonic() - sent:.1f} s"
    if code != 0:  # it may have been done at that very moment
        run.expect(driver, 1, words)


def encoder_killed(run: Round) -> None:
    driver = run.start()
    run.wait_for_parts(driver, run.random.randrange(1, SHARDS // 2))
    _kill_a_worker(run, driver, "EncodeAndAggregate")


def tokeniser_killed(run: Round) -> None:
    """Tokenising runs ahead of encoding: it is looked for from the start."""
    _kill_a_worker(run, run.start(), "Chunk")


def counter_killed(run: Round) -> None:
    """The actor that counts the attempts at each shard."""
    driver = run.start()
    run.wait_for_parts(driver, run.random.randrange(1, SHARDS - 12))
    _kill_a_worker(run, driver, "Attempts")


def _kill_a_worker(run: Round, driver: Driver, title: str) -> None:
    victims: list[int] = []
    while driver.poll() is None and not victims:
        victims = run.cluster.tasks([title])
        time.sleep(0.02)
    if victims:
        kill([run.random.choice(victims)])
    else:
        run.fault(f"the job was over before a {title} could be killed")
    run.expect(driver, 0)


def node_killed(run: Round) -> None:
    """A raylet with all its workers; another node joins a little later."""
    driver = run.start()
    run.wait_for_parts(driver, run.random.randrange(1, SHARDS - 12))
    run.cluster.kill_node(run.random.choice(run.cluster.workers))
    run.cluster.add()
    run.expect(driver, 0)


def storage_killed(run: Round) -> None:
    run.store = run.stage.bucket
    driver = run.start()
    run.wait_for_parts(driver, run.random.randrange(1, SHARDS - 12))
    run.stage.bucket.server.kill()
    time.sleep(OUTAGE_SECONDS)
    run.stage.bucket.server.start_again()
    run.expect(driver, 0, RETRIED)


def two_drivers(run: Round) -> None:
    """Two that resume at once, or one that resumes what another still runs: one works, the other is refused."""
    first = run.start()
    run.wait_for_parts(first, run.random.randrange(1, SHARDS // 2))
    if run.random.random() < 0.5:
        run.expect(run.start(resume=True), 2, "is being written by process")
        run.expect(first, 0)
        return
    first.send(signal.SIGKILL)
    first.wait()
    both = [run.start(resume=True), run.start(resume=True)]
    codes = sorted(driver.wait() for driver in both)
    if codes == [0, 2]:
        run.expect(next(driver for driver in both if driver.poll() == 2), 2, "is being written by process")
    elif codes != [0, 0] or not any("Nothing to do" in driver.said() for driver in both):
        run.fault(f"two drivers ended with {codes}")
    run.drivers.sort(key=lambda driver: driver.poll() == 0)  # the one that finished comes last


def storage_slow_down(run: Round) -> None:
    _break(run, "slow_down", share=0.95, most=40)


def storage_reset(run: Round) -> None:
    _break(run, "reset", share=0.3, most=60)


def storage_truncates(run: Round) -> None:
    _break(run, "truncate", share=0.3, most=60)


def storage_stalls(run: Round) -> None:
    _break(run, "stall", share=0.3, most=2)


def _break(run: Round, fault: str, share: float, most: int) -> None:
    """Faults that pass, within what the retries have patience for: the job must not notice."""
    run.store = run.stage.bucket
    driver = run.start()
    run.wait_for_parts(driver, run.random.randrange(1, SHARDS // 2))
    run.stage.bucket.break_with(fault, share, most)
    run.expect(driver, 0)
    run.stage.bucket.heal()


def storage_stays_away(run: Round) -> None:
    """What does not pass is given up, after having been told all along; resumable once the storage is back."""
    run.store = run.stage.bucket
    driver = run.start()
    run.wait_for_parts(driver, run.random.randrange(1, SHARDS // 2))
    run.stage.bucket.break_with("slow_down", 1.0, 1 << 40)
    run.expect(driver, 1, "--resume goes on")
    for words in (RETRIED, GAVE_UP):
        if words not in driver.said():
            run.fault(f"does not say {words!r}: {driver.said()[-600:]}")
    run.stage.bucket.heal()


def storage_forbids(run: Round) -> None:
    """403 from some moment on is no fault that passes: a sentence, and resumable once it is allowed again."""
    run.store = run.stage.bucket
    driver = run.start()
    run.wait_for_parts(driver, run.random.randrange(1, SHARDS // 2))
    run.stage.bucket.break_with("forbid", 1.0, 1 << 40)
    run.expect(driver, 1, "access denied")
    run.stage.bucket.heal()


def disk_full(run: Round) -> None:
    """The output's disk is full after some shards; room is made, and the job resumed."""
    folder = run.stage.folder / f"full-{run.number}"
    folder.mkdir()
    room = run.random.randrange(80, 200)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}k", "tmpfs", str(folder)], check=True)
    run.store = Disk(folder)
    try:
        run.expect(run.start(), 1, "no space is left on the disk")
        run.midway()
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        run.finish()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def spill_full(run: Round) -> None:
    """Ray's object store and the disk that it spills to are full of another's objects; then they are freed."""
    folder = run.stage.folder / f"spill-{run.number}"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(folder)], check=True)
    usual = run.cluster
    run.cluster = Cluster(folder / "ray", run.stage.bucket.environment, nodes=1, cpus=4)
    hog = None
    try:
        hog = Hog(run.cluster.address, folder, run.stage.folder / "logs" / f"hog-{run.number}.log")
        driver = run.start()
        run.wait_for_parts(driver, 1)
        hog.fill_the_disk()
        run.expect(driver, 1, "spills its objects to is full on a node")
        run.midway()
        hog.stop()
        run.finish()
    finally:
        if hog is not None:
            hog.stop()
        run.cluster.stop()
        run.cluster = usual
        subprocess.run(["umount", "-l", str(folder)], check=False)


# How often each comes in a run, one of another; those that need another cluster or half a minute of waiting come less.
WEIGHTS: dict[Callable[[Round], None], int] = {
    driver_killed: 9,
    driver_terminated: 5,
    driver_interrupted: 4,
    encoder_killed: 6,
    tokeniser_killed: 5,
    counter_killed: 2,
    node_killed: 5,
    storage_killed: 3,
    two_drivers: 5,
    storage_slow_down: 3,
    storage_reset: 3,
    storage_truncates: 3,
    storage_stalls: 1,
    storage_stays_away: 1,
    storage_forbids: 3,
    disk_full: 3,
    spill_full: 1,
}
