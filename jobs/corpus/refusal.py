"""A file, or a part of it, that cannot be read: why, and what becomes of it. The table is in README.md here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from strideformer.errors import StrideformerError

OnBadFile = Literal["quarantine", "fail"]

UNREADABLE_FILE = "unreadable_file"
WRONG_SCHEMA = "wrong_schema"
FILE_CHANGED = "file_changed"
FILE_MISSING = "file_missing"
RECORD_TOO_LARGE = "record_too_large"

# 64 million tokens of English, some five hundred times what the longest context of a job reads. Parsing such a
# record takes a few times its size in memory, which a worker must have to spare.
LARGEST_RECORD = 256 << 20


@dataclass(frozen=True)
class Refusal:
    """What the quarantine says of a file or of a record."""

    reason: str
    detail: str


class FileRefusedError(StrideformerError):
    """The file is at fault, for ever, and not the storage, whose failures may pass.

    Attributes:
        reason: one of the reasons of this module.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[FileRefusedError], tuple[str, str]]:
        return type(self), (self.reason, str(self))  # else it would not come back from a Ray worker

    @property
    def refusal(self) -> Refusal:
        return Refusal(self.reason, str(self))
