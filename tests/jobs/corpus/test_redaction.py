from __future__ import annotations

import logging

import pytest

from jobs.corpus.redaction import without_secrets
from jobs.corpus.retries import with_retries
from jobs.sharded_job import first_line

SECRET = "hunter2hunter2"


NAMES = """
AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AZURE_STORAGE_KEY AZURE_STORAGE_ACCOUNT_KEY AZURE_STORAGE_CONNECTION_STRING
AZURE_STORAGE_SAS_TOKEN AZURE_CLIENT_SECRET HF_TOKEN RAY_AUTH_TOKEN my_password
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_values_of_secret_variables_are_taken_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, SECRET)
    assert without_secrets(f"refused: {SECRET}!") == "refused: ***!"


def test_other_words_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "falsefalse")
    monkeypatch.setenv("HF_TOKEN", "a")
    assert without_secrets("AKIAEXAMPLE falsefalse a") == "AKIAEXAMPLE falsefalse a"


def test_neither_logs_nor_the_jobs_last_words_tell(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    failures = [ConnectionError(f"reset while sending {SECRET}")]

    def action() -> str:
        if failures:
            raise failures.pop()
        return "done"

    with caplog.at_level(logging.WARNING):
        assert with_retries(action, "s3://a") == "done"
    assert "reset while sending ***" in caplog.text
    assert SECRET not in caplog.text
    assert first_line(RuntimeError(f"words\nstrange: {SECRET}")) == "strange: ***"
