"""A fast tokenizer that is used only where it is proven to give the reference's ids."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import numpy as np

from strideformer.fast_tokenizer import MOST_BYTES, FastTokenizer, load_tokie
from strideformer.tokenizer_probes import PROBES
from strideformer.tokenizer_proof import ProvenCharacters, agreement, pairs_to_try, parse, unsupported, words_to_try

# The proof takes about as long as the reference needs for so many characters, so small jobs never pay for it.
START_AFTER_CHARACTERS = 1_500_000
# These are compared with the reference one by one, and after them one in so many. The reference takes about 20
# times as long, so the comparison costs some 2 % (python -m tests.benchmarks.tokenise).
FIRST_COMPARED = 20
COMPARED_EVERY = 1_000

# One thread of the process proves a tokenizer; the others have the reference meanwhile. Not the tokenizer's own: it
# travels to other processes, which a lock cannot.
_PROVING = Lock()

LoadFast = Callable[[str], FastTokenizer | None]


@dataclass
class FastStatus:
    """What became of the fast tokenizer; the counts are of segments, of whole short texts or some 20,000 characters.

    Attributes:
        state: ``waiting`` until enough text was seen, ``on``, or ``off`` for good.
        reason: why it is off; empty otherwise.
        asked: segments that were to be tokenised, in whatever state.
        fast: segments whose ids come from it.
        referred: segments that the reference took while it was on, as they hold what is not proven.
        compared: segments of which both found the same ids.
    """

    state: Literal["waiting", "on", "off"] = "waiting"
    reason: str = ""
    asked: int = 0
    fast: int = 0
    referred: int = 0
    compared: int = 0


class ProvenTokenizer:
    """Ids from a fast tokenizer, or None wherever the reference is to find them.

    The fast tokenizer is loaded and proven once `start_after` characters were asked for. Then it takes the texts
    made of proven characters that hold no added token; some are compared with the reference. At the first
    difference or failure it is off for good, and says so with a warning.

    Args:
        reference: a ``tokenizers.Tokenizer`` without truncation and padding.
        load: makes the fast tokenizer from a ``tokenizer.json``; returns None if there is none.
        start_after: characters.

    Attributes:
        status: counts, and whether it is on.
    """

    def __init__(self, reference: Any, load: LoadFast = load_tokie, start_after: int = START_AFTER_CHARACTERS) -> None:
        self.status = FastStatus()
        self._reference = reference
        self._load = load
        self._characters_to_wait = start_after
        self._fast: FastTokenizer | None = None
        self._added: list[str] = []
        self._added_initials: set[str] = set()
        self._characters: ProvenCharacters | None = None

    def encode(self, text: str) -> np.ndarray | None:
        """(num_tokens,) uint32 ids without special tokens, or None: ask the reference."""
        self.status.asked += 1
        if self.status.state == "off":
            return None
        try:
            if self._fast is None and not self._start(len(text)):
                return None
            if not self._is_proven(text):
                self.status.referred += 1
                return None
            ids = self._fast.encode(text) if self._fast is not None else None
            if ids is None:
                return None
        except BaseException as error:
            # A panic in Rust arrives as PanicException, which is no Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            self._stop(f"it failed ({error})")
            return None
        self.status.fast += 1
        if self.status.fast <= FIRST_COMPARED or self.status.fast % COMPARED_EVERY == 0:
            return self._compared(text, ids)
        return ids

    def _start(self, characters: int) -> bool:
        self._characters_to_wait -= characters
        if self._characters_to_wait > 0 or not _PROVING.acquire(blocking=False):
            return False
        try:
            return self._prove() if self.status.state == "waiting" else self._fast is not None
        finally:
            _PROVING.release()

    def _prove(self) -> bool:
        serialised = self._reference.to_str()
        description = parse(serialised)
        if reason := unsupported(description):
            self._off(reason)
            return False
        fast = self._load(serialised)
        if fast is None:
            self._off("no fast tokenizer is installed")
            return False
        self._added = [token["content"] for token in description["added_tokens"]]
        self._added_initials = {content[:1] for content in self._added}
        self._characters = ProvenCharacters(self._reference_ids, fast.encode)
        texts = [*words_to_try(description), *pairs_to_try(), *PROBES]
        agree = agreement(texts, self._reference_ids, fast.encode)
        suspects = [texts[index] for index in np.flatnonzero(~agree)]
        # A difference counts only in what would be handed over, be it the whole text or one word of it.
        suspects += [word for text in suspects for word in text.split(" ")]
        suspects = [text for text in suspects if self._is_proven(text)]
        agree = agreement(suspects, self._reference_ids, fast.encode)
        if not agree.all():
            self._stop(f"it gives other ids than the reference for {suspects[int(agree.argmin())][:60]!r}")
            return False
        self._fast = fast
        self.status.state = "on"
        return True

    def _is_proven(self, text: str) -> bool:
        if any(initial in text for initial in self._added_initials) and any(token in text for token in self._added):
            return False
        if self._characters is None:
            return False
        most_bytes = len(text) if text.isascii() else 4 * len(text)
        return self._characters.hold(text) and (most_bytes <= MOST_BYTES or len(text.encode("utf-8")) <= MOST_BYTES)

    def _compared(self, text: str, ids: np.ndarray | None) -> np.ndarray | None:
        expected = self._reference_ids([text])[0]
        if ids is None or not np.array_equal(ids, expected):
            self.status.fast -= 1
            self._stop(f"its ids differed from the reference's after {self.status.compared} comparisons")
            return expected
        self.status.compared += 1
        return ids

    def _reference_ids(self, texts: list[str]) -> list[np.ndarray]:
        encode = getattr(self._reference, "encode_batch_fast", self._reference.encode_batch)
        return [np.array(encoding.ids, np.uint32) for encoding in encode(texts, add_special_tokens=False)]

    def _off(self, reason: str) -> None:
        self.status.state, self.status.reason = "off", reason
        self._fast, self._characters = None, None

    def _stop(self, reason: str) -> None:
        self._off(reason)
        warnings.warn(
            f"the fast tokenizer is not used any more: {reason}; the reference tokenizer goes on from here, and "
            f"{self.status.fast} segments have ids of the fast one",
            RuntimeWarning,
            stacklevel=2,
        )
