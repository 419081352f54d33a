"""The report job: what a classify or embed job wrote, on one page that a person opens in a browser.

``strideformer report OUTPUT``, ``python -m jobs.report …``, or ``run(settings)``. The job may be finished, stopped or
still running: the page is of the parts that are there. It is made of these alone, so it is replaced when made again,
and a job's own ``--overwrite`` deletes it with the rest.
"""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from jobs.cli import run_command
from jobs.corpus.storage import join, open_input, resolve, write_atomically
from jobs.corpus.storage_errors import require_local_folder, storage_error
from jobs.report_settings import ReportSettings
from jobs.reporting.gather import gather
from jobs.reporting.job import open_job
from jobs.reporting.page import GENERATOR, page
from jobs.reporting.terminal import print_report
from strideformer.errors import StrideformerError

# Not OUTPUT/report.html: Arrow's readers of a folder take every file in it for Parquet whose name has no underscore
# in front, and of this one fail.
REPORT = "_strideformer/report.html"
# Where a page of ours says that it is one.
HEAD_BYTES = 1024


def run(settings: ReportSettings) -> str:
    """Make the page, and print it in short.

    Returns:
        Where the page is.

    Raises:
        StrideformerError: there is no job's output, a part of it cannot be read, or the page cannot be written.
    """
    job = open_job(settings.output, settings.storage_option)
    where = settings.html or join(settings.output, REPORT)
    if settings.html is not None:
        check_replaceable(where, settings)
    found = gather(job, settings.examples)
    write(page(job, found), where, settings)
    print_report(job, found, where)
    return where


def check_replaceable(where: str, settings: ReportSettings) -> None:
    """Refuse a place for the page where another file would be lost, before anything is read.

    Raises:
        StrideformerError: there is something, and no page of this job's; or its storage refuses.
    """
    filesystem, path = resolve(where, settings.storage_option)
    try:
        kind = filesystem.get_file_info(path).type
        if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
            require_local_folder(Path(path).parent)
        if kind == pyarrow.fs.FileType.Directory:
            raise StrideformerError(f"{where} is a folder: give the name of a file")
        if kind != pyarrow.fs.FileType.NotFound:
            with open_input(filesystem, path) as file:
                if GENERATOR.encode() not in bytes(file.read(HEAD_BYTES)):
                    raise StrideformerError(f"{where} is there and is no report: choose another name")
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, where) from error


def write(content: str, where: str, settings: ReportSettings) -> None:
    """Write the page, whole or not at all.

    Raises:
        StrideformerError: the storage refuses.
    """
    filesystem, path = resolve(where, settings.storage_option)
    try:
        buffer = pa.py_buffer(content.encode("utf-8", "replace"))
        write_atomically(filesystem, path, buffer, temporary_folder=posixpath.dirname(path))
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, where) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m jobs.report``."""
    return run_command("report", ReportSettings, run, list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
