"""How much may be quarantined before a job is taken to be misconfigured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from jobs.output.receipt import Receipt
from strideformer.errors import StrideformerError

# Before so many documents a share says little: the bad ones of a corpus often lie together.
DOCUMENTS_BEFORE_A_SHARE = 1000
_REASONS_TOLD = 3
_NUMBER, _PERCENTAGE = re.compile(r"\d+"), re.compile(r"(\d+(?:\.\d+)?)\s*%")


def share_of(text: str) -> Fraction | None:
    """What ``5%`` is of 1; None of what is no percentage."""
    found = _PERCENTAGE.fullmatch(text.strip())
    return None if found is None else Fraction(found[1]) / 100


class TooManyQuarantinedError(StrideformerError):
    """The job was stopped; what is committed stays, and it goes on with ``--resume`` and a higher limit."""

    exit_code = 1


@dataclass(frozen=True)
class QuarantineLimit:
    """At most so many documents quarantined, or such a share of those done.

    Attributes:
        text: as the user gave it.
        planned: documents in the plan.
        number: most documents, or None.
        share: largest share of the documents done, or None.
    """

    text: str
    planned: int
    number: int | None = None
    share: Fraction | None = None

    @classmethod
    def of(cls, text: str | None, planned: int) -> Self:
        """``100``, ``5%`` or None for no limit.

        Raises:
            ValueError: it is neither.
        """
        if text is None:
            return cls("", planned)
        share = share_of(text)
        if share is not None and share <= 1:
            return cls(text, planned, share=share)
        if not _NUMBER.fullmatch(text.strip()):
            raise ValueError(f"max_quarantined {text!r} is neither a number of documents (100) nor a share (5%)")
        return cls(text, planned, number=int(text))

    def exceeded(self, total: Receipt) -> bool:
        """True as soon as it is certain for a number; for a share once enough documents are done, or all."""
        if self.number is not None:
            return total.quarantined > self.number
        if self.share is None:
            return False
        if total.quarantined > self.share * self.planned:
            return True  # whatever the rest is like
        enough = total.documents >= min(DOCUMENTS_BEFORE_A_SHARE, self.planned)
        return enough and total.quarantined > self.share * total.documents

    def check(self, total: Receipt, output: str) -> None:
        """Stop a job beyond the limit.

        Raises:
            TooManyQuarantinedError: names the most common reasons.
        """
        if not self.exceeded(total):
            return
        common = sorted(total.reasons.items(), key=lambda item: (-item[1], item[0]))[:_REASONS_TOLD]
        told = ", ".join(f"{reason} {number:,}" for reason, number in common)
        raise TooManyQuarantinedError(
            f"stopped: {total.quarantined:,} of {total.documents:,} documents were quarantined ({told}), which is more"
            f" than --max-quarantined {self.text} allows: look into {output}/_quarantine, then start again with"
            " --overwrite, or go on with --resume and a higher limit"
        )
