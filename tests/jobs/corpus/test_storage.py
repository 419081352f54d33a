import os
import pickle
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pytest

from jobs.corpus.storage import (
    delete,
    is_object_store,
    join,
    list_names,
    read_bytes,
    resolve,
    url_of,
    write_atomically,
)
from jobs.corpus.storage_errors import require_local_folder, require_writable, storage_error
from strideformer.errors import StrideformerError

CONTENT = pa.py_buffer(b"some bytes")


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://localhost{path}", "~/{name}", "{name}"])
def test_every_form_of_a_local_path_becomes_the_same_absolute_path(tmp_path, monkeypatch, form):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    filesystem, path = resolve(form.format(path=tmp_path / "a b?", name="a b?"), {})
    assert isinstance(filesystem, pyarrow.fs.LocalFileSystem)
    assert path == str(tmp_path / "a b?")


def test_a_file_url_is_decoded_and_a_plain_path_is_not(tmp_path):
    assert resolve(f"file://{tmp_path}/a%20b", {})[1] == f"{tmp_path}/a b"
    assert resolve(f"{tmp_path}/a%20b", {})[1] == f"{tmp_path}/a%20b"


def test_a_file_url_of_another_host_is_refused():
    with pytest.raises(StrideformerError, match="names the host 'server'"):
        resolve("file://server/share", {})


@pytest.mark.parametrize(
    "name", ["secret", "aws_secret_access_key", "key", "token", "password", "account_key", "sas_token", "credential"]
)
def test_secrets_are_no_options_and_are_not_repeated(name):
    with pytest.raises(StrideformerError, match="AWS_SECRET_ACCESS_KEY") as caught:
        resolve("s3://bucket/path", {name: "hunter2hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter2@bucket/path",
        "https://host/file.parquet?X-Amz-Signature=hunter2",
        "https://account.blob.core.windows.net/c/f.csv?sv=1&sig=hunter2",
        "https://hunter2@raw.githubusercontent.com/o/r/main/a.txt",
        "simplecache::https://hunter2@host/a.txt",
        "az://container/f.csv?sv=1&sig=hunter2",
    ],
)
def test_secrets_in_urls_are_refused_and_not_repeated(url):
    with pytest.raises(StrideformerError, match="password, key or signature") as caught:
        resolve(url, {})
    assert "hunter2" not in str(caught.value)


def test_a_question_mark_in_an_object_s_name_is_no_secret():
    assert resolve("s3://b/crawl/index.php?key=12.txt", {"endpoint_url": "http://localhost:1"})[1].endswith(
        "?key=12.txt"
    )


def test_an_endpoint_with_a_password_is_refused():
    with pytest.raises(StrideformerError, match="looks like a secret"):
        resolve("s3://bucket", {"endpoint_url": "http://user:hunter2@host"})


@pytest.mark.parametrize("url", ["/data/caf\udce9", "s3://bucket/caf\udce9"])
def test_a_path_that_is_not_utf_8_is_refused(url):
    with pytest.raises(StrideformerError, match=r"caf\\udce9' is not UTF-8: rename what is there"):
        resolve(url, {})


def test_unknown_schemes_and_backends_are_refused():
    with pytest.raises(StrideformerError, match="nosuch"):
        resolve("nosuch://bucket/path", {})
    with pytest.raises(StrideformerError, match="backend=boto"):
        resolve("s3://bucket/path", {"backend": "boto"})
    with pytest.raises(StrideformerError, match="profile"):
        resolve("s3://bucket/path", {"backend": "native", "profile": "mine"})


def test_s3_is_native_unless_an_option_or_the_backend_says_s3fs(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    native, path = resolve("s3://bucket/a/b", {"endpoint_url": "http://localhost:1", "region": "eu-west-1"})
    assert isinstance(native, pyarrow.fs.S3FileSystem)
    assert path == "bucket/a/b"
    for options in ({"backend": "s3fs"}, {"requester_pays": "true"}):
        filesystem, path = resolve("s3://bucket/a/b", options)
        assert isinstance(filesystem, pyarrow.fs.PyFileSystem)
        assert path == "bucket/a/b"
        assert is_object_store(filesystem)


@pytest.mark.parametrize("backend", ["native", "s3fs"])
def test_a_pickled_filesystem_holds_no_secret(monkeypatch, backend):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    filesystem, _ = resolve("s3://bucket/a", {"backend": backend})
    assert b"hunter2" not in pickle.dumps(filesystem)


def test_urls_are_made_again_from_paths(tmp_path):
    for url in ("s3://bucket/a/b", "memory://a/b", str(tmp_path / "b")):
        filesystem, path = resolve(url, {"region": "eu-west-1"} if url.startswith("s3") else {})
        again = url_of(filesystem, path, url)
        assert resolve(again, {"region": "eu-west-1"} if url.startswith("s3") else {})[1] == path
    assert join("s3://bucket/a/", "b", "c") == "s3://bucket/a/b/c"


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    if request.param == "local":
        yield resolve(str(tmp_path / "out"), {})
        return
    filesystem, path = resolve(f"memory://{tmp_path.name}", {})
    yield filesystem, path
    delete(filesystem, path)


def test_a_written_file_is_whole_and_may_be_written_again(folder):
    filesystem, root = folder
    for content in (CONTENT, pa.py_buffer(b"other")):
        write_atomically(filesystem, f"{root}/deep/part", content, temporary_folder=f"{root}/_tmp")
        assert read_bytes(filesystem, f"{root}/deep/part") == content.to_pybytes()
    assert list_names(filesystem, f"{root}/_tmp") == set()
    assert list_names(filesystem, f"{root}/deep") == {"part"}


def test_names_files_and_folders_but_not_empty_files(folder):
    filesystem, root = folder
    assert list_names(filesystem, root) == set()
    write_atomically(filesystem, f"{root}/part", CONTENT, temporary_folder=f"{root}/tmp")
    write_atomically(filesystem, f"{root}/deep/part2", CONTENT, temporary_folder=f"{root}/tmp")
    write_atomically(filesystem, f"{root}/unfinished", pa.py_buffer(b""), temporary_folder=f"{root}/tmp")
    assert list_names(filesystem, root) - {"tmp"} == {"part", "deep"}


def test_deletes_files_folders_and_what_is_not_there(folder):
    filesystem, root = folder
    for name in ("a", "deep/b", "deep/er/c", "other/d"):
        write_atomically(filesystem, f"{root}/{name}", CONTENT, temporary_folder=f"{root}/tmp")
    for name in ("a", "deep", "deep", "never"):
        delete(filesystem, f"{root}/{name}")
    delete(filesystem, f"{root}/tmp")
    assert list_names(filesystem, root) == {"other"}


def test_a_local_file_obeys_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(
            pyarrow.fs.LocalFileSystem(), str(tmp_path / "part"), CONTENT, temporary_folder=str(tmp_path / "tmp")
        )
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "part").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == 0o750


@pytest.mark.parametrize("kind", ["local", "other"])
def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch, kind):
    filesystem = pyarrow.fs.LocalFileSystem()
    if kind == "other":  # a file-like filesystem that is not this machine's disk, as hdfs
        filesystem = pyarrow.fs.SubTreeFileSystem("/", filesystem)
    path, temporary = tmp_path / "part", tmp_path / "tmp"
    write_atomically(filesystem, str(path), CONTENT, temporary_folder=str(temporary))
    if kind == "local":

        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(filesystem, str(path), pa.py_buffer(b"new"), temporary_folder=str(temporary))
    else:
        with pytest.raises(TypeError):
            write_atomically(filesystem, str(path), object(), temporary_folder=str(temporary))
    assert path.read_bytes() == CONTENT.to_pybytes()
    assert list(temporary.iterdir()) == []


def test_a_filelike_filesystem_gets_a_rename(tmp_path):
    filesystem = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    for content in (CONTENT, pa.py_buffer(b"other")):
        write_atomically(filesystem, "out/part", content, temporary_folder="out/tmp")
    assert (tmp_path / "out/part").read_bytes() == b"other"
    assert list((tmp_path / "out/tmp").iterdir()) == []


def test_an_output_that_cannot_be_written_is_refused_in_one_sentence(tmp_path):
    require_writable(str(tmp_path / "new"), {}, "_tmp")
    assert list_names(*resolve(str(tmp_path / "new/_tmp"), {})) == set()
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(StrideformerError, match=f"{tmp_path}/file"):
        require_writable(str(tmp_path / "file"), {}, "_tmp")


def test_errors_name_the_url_and_never_the_secret(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    error = storage_error(OSError("strange: hunter2hunter2\nsecond line"), "s3://bucket/a")
    assert str(error) == "s3://bucket/a: the storage failed: strange: ***"
    assert "does not exist" in str(storage_error(FileNotFoundError("x"), "/a"))
    assert "access denied" in str(storage_error(PermissionError("x"), str(Path("/a"))))
    already = StrideformerError("said")
    assert storage_error(already, "/a") is already


def test_a_local_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("a file")
    require_local_folder(tmp_path / "new" / "er")
    for folder in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(StrideformerError, match="is a file, or lies below one: choose another folder"):
            require_local_folder(folder)


def test_a_file_in_place_of_a_folder_is_told(tmp_path):
    error = NotADirectoryError(20, "Cannot list directory")
    assert str(storage_error(error, "out/part")) == "out/part is a file, or lies below one: give a folder"
    denied = PermissionError(13, "Permission denied")
    assert "check who may read and write it" in str(storage_error(denied, str(tmp_path)))
    assert "AWS_ACCESS_KEY_ID" in str(storage_error(denied, "s3://bucket"))
