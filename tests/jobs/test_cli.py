from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from jobs import cli
from jobs.evaluate_settings import EvaluateSettings
from jobs.settings import ClassifySettings, EmbedSettings
from jobs.settings_file import load_settings
from jobs.settings_table import settings_table
from jobs.train_settings import TrainSettings
from strideformer.errors import StrideformerError


def parse(*arguments: str) -> ClassifySettings:
    return cli.parse("classify", ClassifySettings, arguments)


def test_paths_and_flags() -> None:
    settings = parse("a", "b", "out", "--model", "m", "--keep-columns", "x,y:z", "--limit", "3", "--resume")
    assert settings.inputs == ["a", "b"]
    assert (settings.output, settings.model, settings.limit, settings.resume) == ("out", "m", 3, True)
    assert settings.keep_columns == ["x", "y:z"]
    budgets = [parse("a", "out", "--model", "m", "--token-budget", given).token_budget for given in ("auto", "4096")]
    assert budgets == [None, 4096]


def test_a_list_may_be_given_bit_by_bit() -> None:
    settings = parse("a", "out", "--model", "m", "--keep-columns", "x", "--keep-columns", "y,z", "--limit", "3")
    assert settings.keep_columns == ["x", "y", "z"]
    bounds = ("predictions", "--label-column", "l", "--length-buckets", "10", "--length-buckets", "20")
    evaluate = cli.parse("evaluate", EvaluateSettings, bounds)
    assert evaluate.length_buckets == [10, 20], "in place of the default"


def test_a_list_of_flags_takes_the_place_of_the_files(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("keep_columns: [a, b]\n")
    given = parse("in", "out", "--model", "m", "--config", str(file), "--keep-columns", "c", "--keep-columns", "d")
    assert given.keep_columns == ["c", "d"]


@pytest.mark.parametrize(
    ("line", "inputs", "embeddings"), [("inputs: [s3://b/in]", ["s3://b/in"], None), ("embeddings: store", [], "store")]
)
def test_the_only_path_is_the_output_where_the_file_has_the_rest(
    tmp_path: Path, line: str, inputs: list[str], embeddings: str | None
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"{line}\noutput: elsewhere\nmodel: m\n")
    settings = parse("out", "--config", str(file))
    assert (settings.inputs, settings.embeddings, settings.output) == (inputs, embeddings, "out")
    assert parse("in", "out", "--model", "m").inputs == ["in"]
    file.write_text("model: m\n")
    with pytest.raises(StrideformerError, match="give at least one INPUT and then OUTPUT"):
        parse("out", "--config", str(file))


def test_a_store_takes_the_place_of_the_inputs() -> None:
    settings = parse("out", "--embeddings", "store", "--model", "m", "--stride", "7")
    assert (settings.embeddings, settings.inputs, settings.output) == ("store", [], "out")


def test_an_unknown_device_is_refused_before_anything_is_looked_at() -> None:
    with pytest.raises(SystemExit, match="2"):
        parse("in", "out", "--model", "m", "--device", "gpu")
    with pytest.raises(StrideformerError, match=r"device: .*'auto', 'cpu' or 'cuda'"):
        load_settings(ClassifySettings, {"inputs": ["in"], "output": "out", "model": "m", "device": "gpu"})


@pytest.mark.parametrize(("given", "seconds"), [("none", None), ("inf", None), ("2.5", 2.5)])
def test_a_document_may_have_no_time_limit(given: str, seconds: float | None) -> None:
    assert parse("in", "out", "--model", "m", "--document-timeout", given).document_timeout == seconds


def test_paths_may_come_after_flags() -> None:
    assert parse("--model", "m", "a", "out").inputs == ["a"]


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("inputs: [s3://b/in]\noutput: out\nmodel: m\nstride: 7\nmax-length: 100\nencoders: 2\n")
    settings = parse("--config", str(file), "--stride", "9")
    assert (settings.stride, settings.max_length, settings.encoders, settings.text_column) == (
        9,
        100,
        "2",
        "text",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "--model", "m"], "give at least one INPUT and then OUTPUT"),
        ([], "give at least one INPUT and then OUTPUT"),
        (["in", "out"], "model: it is missing: give --model"),
        (["in", "out", "--model", "m", "--limit", "0"], "limit: .*greater than or equal to 1"),
        (["in", "out", "--model", "m", "--limit", "many"], "limit: .*integer"),
        (["in", "out", "--model", "m", "--encoders", "4:2"], "minimum above its maximum"),
        (["in", "out", "--model", "m", "--encoders", "some"], "not auto, a number, or min:max"),
        (["in", "out", "--model", "m", "--document-timeout", "1e11"], "document_timeout: .*less than or equal to"),
        (["in", "out", "--model", "m", "--resume", "--overwrite"], "contradict"),
        (["in", "out", "--model", "m", "--pair-column", "text"], "name two columns"),
        (["in", "out", "--model", "m", "--storage-option", "region"], "not key=value"),
        (["--model", "m"], "give at least one INPUT and then OUTPUT"),
        (["--model", "m", "--embeddings", "store"], "output: it is missing: give OUTPUT"),
        (["in", "out", "--model", "m", "--embeddings", "store"], "takes the place of INPUT: give one"),
        (["out", "--model", "m", "--embeddings", "store", "--text-column", "t"], "text_column is about texts"),
        (["in", "out", "--model", "m", "--early-exit", "1"], "early_exit: .*less than 1"),
        (["in", "out", "--model", "m", "--early-exit", "0.9", "--aggregators", "1"], "both models in one actor"),
        (["out", "--model", "m", "--early-exit", "0.9", "--embeddings", "store"], "spares the encoder"),
        (["--config", "/nowhere.yaml"], "cannot read the settings file /nowhere.yaml"),
    ],
)
def test_wrong_calls_say_what_is_wrong(arguments: list[str], message: str) -> None:
    with pytest.raises(StrideformerError, match=message):
        parse(*arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("inputs: [a]\noutput: o\nmodel: m\nstrides: 7\n", r"strides: there is no such setting \(known: inputs"),
        ("inputs: [a]\noutput: [o\nmodel: m\n", r"job.yaml, line 3, is not YAML: expected ',' or '\]'"),
        ("a list\n", "must hold one mapping of names to values"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(content)
    with pytest.raises(StrideformerError, match=message) as raised:
        parse("--config", str(file))
    assert "\n" not in str(raised.value)


def test_a_file_may_have_one_name_for_a_list_and_numbers_for_options(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("inputs: a\noutput: o\nmodel: m\nkeep_columns: label\nstorage_option: {anon: true, timeout: 60}\n")
    given = parse("--config", str(file))
    assert (given.inputs, given.keep_columns) == (["a"], ["label"])
    assert given.storage_option == {"anon": "true", "timeout": "60"}


def test_every_setting_has_a_flag_and_a_description() -> None:
    text = " ".join(cli.build_parser("classify", ClassifySettings).format_help().split())
    for name, field in ClassifySettings.model_fields.items():
        assert field.description, name
        if name not in ("inputs", "output", "predictions"):
            assert "--" + name.replace("_", "-") in text


def test_help_says_what_is_on_by_default() -> None:
    text = " ".join(cli.build_parser("train", TrainSettings).format_help().split())
    for name, field in TrainSettings.model_fields.items():
        if field.annotation is bool:
            flag = "--no-" + name.replace("_", "-")
            described = f"{field.description} [default: on]" if field.default else field.description
            assert f"{flag} {described}" in text
    assert text.count("[default: on]") == 3


def test_flags_are_frozen() -> None:
    """A flag that is renamed or removed breaks somebody's scripts: change this list knowingly."""
    assert sorted(ClassifySettings.model_fields) == sorted(
        "inputs output format text_column pair_column id_column keep_columns limit storage_option shard_rows "
        "shard_bytes encoders aggregators device dtype token_budget ray_address progress model max_length "
        "stride max_chunks document_timeout resume overwrite profile on_bad_file max_quarantined embeddings "
        "early_exit".split()
    )
    of_classify_alone = {"aggregators", "embeddings", "early_exit"}
    assert set(EmbedSettings.model_fields) == set(ClassifySettings.model_fields) - of_classify_alone | {"chunk_layers"}


def test_help_and_unknown_jobs_answer_fast_and_clearly() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "classify", "--help"], capture_output=True, text=True, timeout=60
    )
    assert help_text.returncode == 0
    assert "--resume" in help_text.stdout
    assert cli.main(["clasify"]) == 2


def test_the_version_may_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"strideformer {version('strideformer')}\n"


def test_where_only_the_library_is_installed_the_command_says_what_is_missing() -> None:
    program = "import sys; sys.modules['pydantic'] = None; from jobs.command import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "strideformer: the jobs need pydantic: pip install 'strideformer[jobs]'\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ModuleNotFoundError("No module named 'ray'", name="ray"), 2, "this needs ray: pip install"),
        (NotADirectoryError(20, "Not a directory", "/a/b"), 1, "/a/b is a file, or lies below one"),
        (PermissionError(13, "Permission denied", "/a/b"), 1, "/a/b: access denied: check who may read and write it"),
    ],
)
def test_what_this_machine_refuses_is_one_sentence(
    error: Exception, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_settings: object) -> None:
        raise error

    assert cli.run_command("evaluate", EvaluateSettings, refused, ["predictions", "--label-column", "truth"]) == code
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("kind", [StrideformerError, OSError])
def test_a_name_in_an_error_does_not_steer_the_terminal(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_: EvaluateSettings) -> None:
        raise kind("s3://bucket/\x1b]0;title\x07.parquet is no Parquet")

    cli.run_command("evaluate", EvaluateSettings, refused, ["predictions", "--label-column", "truth"])
    told = capsys.readouterr().err
    assert "s3://bucket/\u241b]0;title\u2407.parquet is no Parquet" in told
    assert told.count("\n") == 1


def test_the_table_in_the_readme_is_the_settings_model() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert settings_table(ClassifySettings) in readme, "run python -m jobs.settings_table and paste its output"


def test_a_job_that_cannot_be_resumed_does_not_speak_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_settings: object) -> None:
        raise KeyboardInterrupt

    arguments = ["predictions", "--label-column", "truth"]
    assert cli.run_command("evaluate", EvaluateSettings, interrupted, arguments) == 1
    assert capsys.readouterr().err == "strideformer evaluate: interrupted\n"


@pytest.mark.parametrize(("number", "words"), [("SIGTERM", "stopped by SIGTERM"), ("SIGINT", "interrupted")])
def test_a_signal_stops_a_job_with_a_sentence(number: str, words: str) -> None:
    program = (
        "import signal, sys\n"
        "from jobs import cli\n"
        "from jobs.settings import ClassifySettings\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def run(settings):\n"
        "    try:\n"
        f"        signal.raise_signal(signal.{number})\n"
        "    finally:\n"
        "        print('released')\n"
        "sys.exit(cli.run_command('classify', ClassifySettings, run, ['in', 'out', '--model', 'm']))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "released\n")
    assert result.stderr == f"strideformer classify: {words}; the same command with --resume goes on\n"


def test_what_does_not_stop_in_time_is_given_up_with_the_same_sentence() -> None:
    program = (
        "import signal, sys, time\n"
        "from jobs import cli\n"
        "from jobs.settings import ClassifySettings\n"
        "cli.SECONDS_TO_STOP = 0.5\n"
        "def run(settings):\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "    finally:\n"
        "        time.sleep(60)\n"
        "sys.exit(cli.run_command('classify', ClassifySettings, run, ['in', 'out', '--model', 'm']))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert result.returncode == 1
    assert result.stderr == "strideformer classify: stopped by SIGTERM; the same command with --resume goes on\n"
