import os

import pytest

from jobs.corpus.listing import list_inputs
from jobs.corpus.storage import resolve
from strideformer.errors import StrideformerError

TREE = [
    "a.parquet",
    "b.jsonl.gz",
    "deep/c.csv",
    "deep/er/d.tsv.zst",
    "deep/er/[e].txt",
    "deep/f.md.bz2",
    "deep/_SUCCESS",
    "deep/.hidden.txt",
    "_strideformer/plan.parquet",
    ".git/x.txt",
]
FORMATS = {
    "a.parquet": ("parquet", "none"),
    "b.jsonl.gz": ("jsonl", "gzip"),
    "deep/c.csv": ("csv", "none"),
    "deep/er/d.tsv.zst": ("tsv", "zstd"),
    "deep/er/[e].txt": ("text", "none"),
    "deep/f.md.bz2": ("text", "bz2"),
}


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    if request.param == "local":
        for name in TREE:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * len(name))
        yield str(tmp_path)
        return
    url = f"memory://{tmp_path.name}"
    filesystem, path = resolve(url, {})
    for name in TREE:
        filesystem.handler.fs.pipe_file(f"{path}/{name}", b"x" * len(name))
    yield url
    filesystem.delete_dir(path)


def names(root, *patterns, file_format=None):
    files = list_inputs([f"{root}/{pattern}" for pattern in patterns], {}, file_format)
    prefix = resolve(root, {})[1]
    return [resolve(file.source, {})[1].removeprefix(f"{prefix}/") for file in files]


def test_a_folder_gives_everything_below_it_but_hidden_names(root):
    files = list_inputs([root], {})
    assert names(root, "") == sorted(FORMATS)
    found = [(file.format, file.compression) for file in files]
    assert found == [FORMATS[name] for name in sorted(FORMATS)]
    assert [file.size for file in files] == [len(name) for name in sorted(FORMATS)]
    assert all(file.modified.endswith("Z") and file.modified[:2] == "20" for file in files)


def test_a_hidden_folder_that_is_named_is_read(root):
    assert names(root, "_strideformer") == ["_strideformer/plan.parquet"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.parquet", ["a.parquet"]),
        ("?.parquet", ["a.parquet"]),
        ("[ab].*", ["a.parquet", "b.jsonl.gz"]),
        ("*/c.csv", ["deep/c.csv"]),
        ("deep/*.csv", ["deep/c.csv"]),
        ("deep/*", ["deep/c.csv", "deep/er/[e].txt", "deep/er/d.tsv.zst", "deep/f.md.bz2"]),
        ("**/*.txt", ["deep/er/[e].txt"]),
        ("**/c.csv", ["deep/c.csv"]),
        ("**/er/*", ["deep/er/[e].txt", "deep/er/d.tsv.zst"]),
        ("deep/**", ["deep/c.csv", "deep/er/[e].txt", "deep/er/d.tsv.zst", "deep/f.md.bz2"]),
        ("deep/**/*.csv", ["deep/c.csv"]),
        ("_*/plan.*", ["_strideformer/plan.parquet"]),
        ("deep/er/[e].txt", ["deep/er/[e].txt"]),
    ],
)
def test_globs(root, pattern, expected):
    assert names(root, pattern) == expected


def test_a_file_reached_twice_counts_once(root):
    assert names(root, "a.parquet", "*.parquet", "") == sorted(FORMATS)
    assert names(root, "a.parquet", "*.parquet") == ["a.parquet"]


def test_the_order_is_of_the_sources_and_not_of_the_inputs(root):
    assert names(root, "deep/c.csv", "a.parquet") == ["a.parquet", "deep/c.csv"]


def test_a_format_may_be_forced(root):
    files = list_inputs([f"{root}/deep/_SUCCESS", f"{root}/b.jsonl.gz"], {}, "text")
    assert [(file.format, file.compression) for file in files] == [("text", "gzip"), ("text", "none")]
    assert list_inputs([f"{root}/b.jsonl.gz"], {}, "auto")[0].format == "jsonl"
    with pytest.raises(StrideformerError, match="format 'xml' is not known"):
        list_inputs([root], {}, "xml")


def test_unknown_extensions_are_named(root):
    with pytest.raises(StrideformerError, match=r"deep/_SUCCESS.*--format"):
        list_inputs([f"{root}/deep/_SUCCESS"], {})


@pytest.mark.parametrize("name", ["data.xml", "data.parquet.gz", "data.gz", "data"])
def test_an_unknown_extension_in_a_folder_is_not_passed_over(tmp_path, name):
    (tmp_path / "a.txt").write_text("fine")
    (tmp_path / name).write_text("what is this")
    with pytest.raises(StrideformerError, match=name):
        list_inputs([str(tmp_path)], {})


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("nothing", "does not exist"), ("no*thing", "no file matches"), ("nothing/a.txt", "does not exist")],
)
def test_what_is_missing_is_named(root, pattern, words):
    with pytest.raises(StrideformerError, match=words) as caught:
        list_inputs([f"{root}/{pattern}"], {})
    assert f"{root}/{pattern}" in str(caught.value)


def test_a_name_that_is_not_utf8_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("fine")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("whose name is Latin-1")
    with pytest.raises(StrideformerError, match=r"caf\\udce9.txt' is not UTF-8: rename it"):
        list_inputs([str(tmp_path)], {})


def test_a_pipe_is_told_and_passed_over_beside_files(tmp_path):
    (tmp_path / "a.jsonl").write_text("fine")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(StrideformerError, match=r"pipe.jsonl is a pipe or a device.*: write it to a file first"):
        list_inputs([str(tmp_path / "pipe.jsonl")], {})
    assert names(str(tmp_path), "") == names(str(tmp_path), "*.jsonl") == ["a.jsonl"]


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "_tmp").mkdir()
    with pytest.raises(StrideformerError, match="holds no files"):
        list_inputs([str(tmp_path)], {})
