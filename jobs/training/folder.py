"""The output folder of training: what may be written where, and what a resumed run must have in common."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jobs.corpus.storage_errors import require_local_folder
from jobs.training.lock import FolderLock
from strideformer.errors import StrideformerError

MARKER = "training.json"


class TrainingFolder:
    """OUTPUT while a model is trained: checkpoints and vectors in ``_training``, the model at the end.

    ``training.json`` is written last, so its presence says that the run is finished. Of the processes of a run it is
    the first that holds the folder, until the ``with`` block ends.
    """

    def __init__(self, output: str) -> None:
        self.output = Path(output)
        self.work = self.output / "_training"
        self._lock = FolderLock(self.work / "lock", self.output)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    @property
    def is_finished(self) -> bool:
        """Whether a run here has come to its end."""
        return (self.output / MARKER).exists()

    def hold(self) -> None:
        """Keep others out of a run that is there, before anything is read; a new one is held once it begins.

        Raises:
            StrideformerError: another process is at it.
        """
        if self.work.exists():
            self._lock.take()

    def begin(self, resume: bool, fingerprint: dict[str, Any]) -> None:
        """Make the folder, or find the run that is to go on.

        Args:
            resume: whether a run may be there.
            fingerprint: what decides the result.

        Raises:
            StrideformerError: the folder is there and not to be resumed, or another process is at it, or it holds a run
                of another fingerprint.
        """
        self.refuse(resume)
        self.work.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        file = self.work / "run.json"
        wanted = json.loads(json.dumps(fingerprint))
        if file.exists():
            found = json.loads(file.read_text(encoding="utf-8"))
            different = _different(found, wanted)
            if different:
                raise StrideformerError(
                    f"the run in {self.output} had {', '.join(different)}: resume it with the same, or choose another "
                    f"output"
                )
            return
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        partial.rename(file)

    def refuse(self, resume: bool) -> None:
        """Refuse an output that holds something which is not to be resumed: asked before anything is read.

        Raises:
            StrideformerError: it does, or no folder can be made there.
        """
        require_local_folder(self.output)
        if not self.output.exists():
            return
        if not resume:
            hint = ", or go on with --resume" if self.work.exists() else ""
            raise StrideformerError(f"output {self.output} exists: choose a folder that does not{hint}")
        if not self.work.exists() and not self.is_finished and any(self.output.iterdir()):
            raise StrideformerError(f"output {self.output} holds no run to resume: choose a folder that does not exist")

    def finish(self, record: dict[str, Any]) -> None:
        """Mark the run finished and remove what only it needed."""
        text = json.dumps(record, indent=2) + "\n"
        partial = self.output / (MARKER + ".partial")
        partial.write_text(text, encoding="utf-8")
        partial.rename(self.output / MARKER)
        self._lock.release()
        shutil.rmtree(self.work, ignore_errors=True)


def _different(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What two fingerprints do not have in common, for a person: of the settings each with what it was and is."""
    names = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    before, now = found.get("settings", {}), wanted.get("settings", {})
    settings = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    said = [f"{name} {json.dumps(before.get(name))} in place of {json.dumps(now.get(name))}" for name in settings]
    return said + [f"another {name}" for name in names if name != "settings"]
