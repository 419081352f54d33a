from __future__ import annotations

import pytest

from jobs.output.limit import QuarantineLimit, TooManyQuarantinedError
from jobs.output.receipt import Receipt
from jobs.settings import ClassifySettings
from jobs.settings_file import load_settings
from strideformer.errors import StrideformerError


def done(documents: int, quarantined: int) -> Receipt:
    return Receipt(-1, "job", documents=documents, quarantined=quarantined, labelled=documents - quarantined)


@pytest.mark.parametrize(
    ("text", "planned", "documents", "quarantined", "exceeded"),
    [
        (None, 10, 10, 10, False),
        ("3", 10_000, 4, 3, False),
        ("3", 10_000, 4, 4, True),
        ("0", 10_000, 1, 1, True),
        ("5%", 100_000, 999, 999, False),
        ("5%", 100_000, 1000, 50, False),
        ("5%", 100_000, 1000, 51, True),
        ("5 %", 200, 200, 10, False),
        ("5%", 200, 11, 11, True),  # 11 of 200 are more than 5 %, whatever the rest is like
        ("0.1%", 100_000, 5000, 6, True),
        ("100%", 10, 10, 10, False),
    ],
)
def test_a_number_holds_at_once_and_a_share_after_a_thousand_documents(
    text: str | None, planned: int, documents: int, quarantined: int, exceeded: bool
) -> None:
    assert QuarantineLimit.of(text, planned).exceeded(done(documents, quarantined)) is exceeded


def test_the_most_common_reasons_are_told() -> None:
    total = Receipt(-1, "job", 2000, 100, 1900, reasons={"a": 1, "empty_text": 99, "null_text": 1799, "b": 1})
    with pytest.raises(TooManyQuarantinedError) as caught:
        QuarantineLimit.of("5%", 4000).check(total, "OUT")
    assert str(caught.value).startswith(
        "stopped: 1,900 of 2,000 documents were quarantined (null_text 1,799, empty_text 99, a 1), which is more than"
        " --max-quarantined 5% allows: look into OUT/_quarantine"
    )
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("text", ["-1", "5.5", "many", "101%", "%", ""])
def test_what_is_no_limit_is_refused_with_the_settings(text: str) -> None:
    values = {"inputs": ["a"], "output": "b", "model": "c"}
    with pytest.raises(StrideformerError, match="is neither a number of documents"):
        load_settings(ClassifySettings, values | {"max_quarantined": text})
    assert load_settings(ClassifySettings, values | {"max_quarantined": 7}).max_quarantined == "7"
