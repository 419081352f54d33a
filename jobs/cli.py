"""The ``strideformer`` command: a job's name, then that job's flags, which come from its settings model."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.command import EXTRA
from jobs.corpus.storage_errors import storage_error
from jobs.evaluate_settings import EvaluateSettings
from jobs.output.visible import on_a_terminal
from jobs.plan_settings import PlanSettings
from jobs.report_settings import ReportSettings
from jobs.settings import ClassifySettings, EmbedSettings
from jobs.settings_file import load_settings, read_settings_file
from jobs.stored_model import as_given
from jobs.train_settings import TrainSettings
from strideformer.errors import StrideformerError

TERMINATED = "stopped by SIGTERM"
# Slurm and Kubernetes end a process 30 seconds after SIGTERM.
SECONDS_TO_STOP = 25.0

JOBS: dict[str, type[BaseModel]] = {
    "classify": ClassifySettings,
    "embed": EmbedSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
    "plan": PlanSettings,
    "report": ReportSettings,
}


def build_parser(name: str, kind: type[BaseModel]) -> argparse.ArgumentParser:
    """The parser of a job: INPUT … OUTPUT, INPUT …, one path or none, then one flag a field of its settings model."""
    positional: tuple[str, ...] = ()
    paths = ""
    if one := _one_path(kind):
        positional = (one,)
        paths = one.upper() if kind.model_fields[one].is_required() else f"[{one.upper()}]"
    elif {"inputs", "output"} <= kind.model_fields.keys():
        positional, paths = ("inputs", "output"), "INPUT [INPUT ...] OUTPUT"
    elif "inputs" in kind.model_fields:
        positional, paths = ("inputs",), "INPUT [INPUT ...]"
    parser = argparse.ArgumentParser(
        prog=program(name),
        usage=f"{program(name)} {paths} [flags]".replace("  ", " ")
        + (
            f"\n       {program(name)} --embeddings STORE OUTPUT [flags]"
            * ({"inputs", "embeddings"} <= kind.model_fields.keys())
        ),
        description=kind.__doc__,
        argument_default=argparse.SUPPRESS,
    )
    if positional:
        metavar = one.upper() if one else "INPUT ... OUTPUT" if "output" in positional else "INPUT"
        parser.add_argument("paths", nargs="*", metavar=metavar, help=_paths_help(kind))
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings; flags win over it.")
    for field_name, field in kind.model_fields.items():
        if field_name not in positional:
            _add_flag(parser, field_name, field)
    return parser


def program(name: str) -> str:
    """How a person starts a job: some are modules alone."""
    return f"strideformer {name}" if name in JOBS else f"python -m jobs.{name}"


def parse(name: str, kind: type[BaseModel], arguments: Sequence[str]) -> Any:
    """Arguments to settings; flags win over the file of ``--config``, the file over the defaults.

    Raises:
        StrideformerError: a value is missing or wrong.
        SystemExit: an unknown flag (2) or ``--help`` (0), by argparse.
    """
    flags = vars(build_parser(name, kind).parse_intermixed_args(arguments))
    file = read_settings_file(flags.pop("config", None))
    paths = flags.pop("paths", [])
    if one := _one_path(kind):
        if len(paths) > 1:
            raise StrideformerError(f"give one {one.upper()}: {len(paths)} paths were given")
        if paths:
            flags[one] = paths[0]
    elif "output" not in kind.model_fields:
        if "inputs" in kind.model_fields and not paths and "inputs" not in file:
            raise StrideformerError("give at least one INPUT")
        flags |= {"inputs": paths} if paths else {}
    elif len(paths) == 1 and "embeddings" not in flags and {"inputs", "embeddings"} & file.keys():
        flags["output"] = paths[0]
    elif len(paths) == 1 and "embeddings" not in flags:
        raise StrideformerError(f"give at least one INPUT and then OUTPUT: only {paths[0]!r} was given")
    elif not paths and "inputs" in kind.model_fields and not {"output", "inputs", "embeddings"} & (flags | file).keys():
        raise StrideformerError("give at least one INPUT and then OUTPUT")
    elif paths:
        flags["inputs"], flags["output"] = paths[:-1], paths[-1]
    for field_name, value in flags.items():
        if typing.get_origin(kind.model_fields[field_name].annotation) is dict:
            flags[field_name] = dict(_key_value(field_name, option) for option in value)
    return load_settings(kind, file | flags)


def run_command(
    name: str, kind: type[BaseModel], run: Callable[[Any], Any], arguments: Sequence[str], resumes: bool = True
) -> int:
    """Run one job and answer with its exit code: 0 done, 1 failed or stopped but resumable, 2 wrong call.

    SIGTERM stops a job as Ctrl-C does: what it holds is released, and what is committed stays.
    """
    terminated = threading.Event()

    def say(how: str) -> None:
        goes_on = "; the same command with --resume goes on" if resumes and "resume" in kind.model_fields else ""
        print(f"{program(name)}: {how}{goes_on}", file=sys.stderr, flush=True)

    # A library's log that cannot be written, as on a full disk, is no news beside the job's own words.
    logging.raiseExceptions = False
    try:
        settings = parse(name, kind, arguments)
        with stopped_by_sigterm(terminated, lambda: say(TERMINATED)):
            run(settings)
    except StrideformerError as error:
        print(on_a_terminal(f"{program(name)}: {as_given(str(error))}"), file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except ModuleNotFoundError as error:
        print(f"{program(name)}: this needs {error.name}: {EXTRA}", file=sys.stderr)
        return 2
    except OSError as error:
        told = storage_error(error, str(error.filename or "a file"))
        print(on_a_terminal(f"{program(name)}: {told}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # without words of its own: Ray raises it anew
        say(TERMINATED if terminated.is_set() else "interrupted")
        return 1
    return 0


@contextmanager
def stopped_by_sigterm(terminated: threading.Event, last_words: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM set the event and raise KeyboardInterrupt in the main thread, as Ctrl-C does.

    What then takes longer than SECONDS_TO_STOP is given up, with the last words and exit code 1: where the whole
    cluster was told to stop, Ray waits in vain for its other processes.
    """

    def end() -> None:
        last_words()
        os._exit(1)

    timer = threading.Timer(SECONDS_TO_STOP, end)
    timer.daemon = True

    def stop(_signal: int, _frame: types.FrameType | None) -> None:
        if not terminated.is_set():
            terminated.set()
            timer.start()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the ``strideformer`` command."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: strideformer JOB [flags]; strideformer JOB --help says more\n")
        for name, kind in JOBS.items():
            print(f"  {name:10} {kind.__doc__}")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"strideformer {version('strideformer')}")
        return 0
    name = arguments[0]
    if name not in JOBS:
        print(f"strideformer: {name!r} is not a job: use {', '.join(JOBS)}", file=sys.stderr)
        return 2
    # A wrong call is answered before the job's imports (torch, Ray) have cost their seconds.
    return run_command(name, JOBS[name], lambda settings: import_module(f"jobs.{name}").run(settings), arguments[1:])


def _add_flag(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    flag = "--" + name.replace("_", "-")
    kind = _without_none(field.annotation)
    origin = typing.get_origin(kind)
    default = "" if field.default is None or field.is_required() or field.default_factory else f" [{field.default}]"
    if kind is bool:
        default = " [default: on]" if field.default else ""
    text = (field.description or "").replace("%", "%%") + default
    if kind is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
    elif origin is dict:
        parser.add_argument(flag, action="append", metavar="KEY=VALUE", help=text)
    elif origin is list:
        metavar = "N[,N]" if typing.get_args(kind) == (int,) else "NAME[,NAME]"
        parser.add_argument(flag, action="extend", type=_comma_separated, metavar=metavar, help=text)
    elif origin is typing.Literal:
        parser.add_argument(flag, choices=typing.get_args(kind), help=text)
    else:
        parser.add_argument(flag, metavar="N" if kind is int else "VALUE", help=text)


def _without_none(annotation: Any) -> Any:
    """``int`` of ``int | None``."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(annotation) if part is not type(None))
    return annotation


def _one_path(kind: type[BaseModel]) -> str | None:
    """The field that is the call's only path, of jobs that have no more than one."""
    return getattr(kind, "one_path", None)


def _paths_help(kind: type[BaseModel]) -> str:
    fields = kind.model_fields
    if one := _one_path(kind):
        return (fields[one].description or "").replace("%", "%%")
    shown = {"INPUT": "inputs", "OUTPUT": "output"}
    told = [f"{name}: {fields[field].description}" for name, field in shown.items() if field in fields]
    return " ".join(told).replace("%", "%%")


def _comma_separated(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _key_value(name: str, option: str) -> tuple[str, str]:
    key, sign, value = option.partition("=")
    if not sign or not key:
        raise StrideformerError(f"--{name.replace('_', '-')} {option!r} is not key=value")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
