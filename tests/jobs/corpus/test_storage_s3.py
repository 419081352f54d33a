"""Storage on a real S3 server, through pyarrow's native client and through s3fs."""

import http.client
import http.server
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.fs
import pytest

from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.plan import make_plan
from jobs.corpus.read import read_shard
from jobs.corpus.storage import delete, list_names, read_bytes, resolve, write_atomically
from jobs.corpus.storage_errors import require_writable, storage_error
from strideformer.errors import StrideformerError


@pytest.fixture(params=["native", "s3fs"])
def options(request, s3_server):
    return {"backend": request.param}


def files_below(filesystem, folder):
    """Files, not the empty folders that the server remembers for a while."""
    selector = pyarrow.fs.FileSelector(folder, recursive=True, allow_not_found=True)
    entries = filesystem.get_file_info(selector)
    return sorted(entry.path.removeprefix(f"{folder}/") for entry in entries if entry.is_file and entry.size)


def put(url, content, options):
    filesystem, path = resolve(url, options)
    write_atomically(filesystem, path, pa.py_buffer(content), temporary_folder="unused")


@pytest.mark.parametrize("size", [10, 11 << 20])
def test_writes_whole_objects_small_and_of_many_parts(s3_bucket, options, size):
    content = bytes(range(256)) * (size // 256) + b"end"
    url = f"s3://{s3_bucket}/deep/er/part-0.parquet"
    put(url, b"before", options)
    put(url, content, options)
    filesystem, path = resolve(url, options)
    assert read_bytes(filesystem, path) == content
    assert list_names(*resolve(f"s3://{s3_bucket}/deep/er", options)) == {"part-0.parquet"}
    assert list_names(*resolve(f"s3://{s3_bucket}/nothing", options)) == set()


def test_deletes(s3_bucket, options):
    for name in ("a", "deep/b", "deep/er/c"):
        put(f"s3://{s3_bucket}/out/{name}", b"x", options)
    delete(*resolve(f"s3://{s3_bucket}/out/a", options))
    delete(*resolve(f"s3://{s3_bucket}/out/never", options))
    filesystem, _ = resolve(f"s3://{s3_bucket}/out", options)
    assert files_below(filesystem, f"{s3_bucket}/out") == ["deep/b", "deep/er/c"]


def test_lists_plans_and_reads_more_than_1000_objects_alike(s3_server, s3_bucket):
    names = [f"docs/{i % 7}/{i:04d}.txt" for i in range(1100)]
    filesystem = s3_server.filesystem()

    def upload(name):
        with filesystem.open_output_stream(f"{s3_bucket}/{name}") as stream:
            stream.write(f"text of {name}".encode())

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(upload, [*names, "docs/_hidden/x.txt", "docs/0/.x.txt"]))
    listings = {
        backend: list_inputs([f"s3://{s3_bucket}/docs"], {"backend": backend}) for backend in ("native", "s3fs")
    }
    assert listings["native"] == listings["s3fs"]
    assert [file.source for file in listings["native"]] == [f"s3://{s3_bucket}/{name}" for name in sorted(names)]
    assert all(file.modified for file in listings["native"])
    for backend in ("native", "s3fs"):
        matching = list_inputs([f"s3://{s3_bucket}/docs/[12]/*.txt"], {"backend": backend})
        assert len(matching) == sum(i % 7 in (1, 2) for i in range(1100))

    plan = make_plan(listings["native"], InputColumns(), {}, shard_rows=64)
    pieces = plan.filter(pa.compute.equal(plan["shard"], 3))
    shard = read_shard(pieces, InputColumns(), pa.schema([]), {})
    assert shard["source"].to_pylist() == pieces["source"].to_pylist()
    assert shard["_text"].to_pylist() == ["text of " + url.split("/", 3)[3] for url in shard["source"].to_pylist()]


@pytest.mark.parametrize("extension", ["jsonl", "jsonl.gz"])
def test_reads_ranges_of_an_object(s3_bucket, options, extension):
    lines = b"".join(b'{"text": "document %d"}\n' % i for i in range(500))
    if extension.endswith("gz"):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "gzip") as stream:
            stream.write(lines)
        lines = sink.getvalue().to_pybytes()
    put(f"s3://{s3_bucket}/a.{extension}", lines, options)
    files = list_inputs([f"s3://{s3_bucket}"], options)
    plan = make_plan(files, InputColumns(), options, shard_rows=120)
    texts = []
    for shard in plan["shard"].unique().to_pylist():
        pieces = plan.filter(pa.compute.equal(plan["shard"], shard))
        texts += read_shard(pieces, InputColumns(), pa.schema([]), options)["_text"].to_pylist()
    assert texts == [f"document {i}" for i in range(500)]


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_credentials_are_one_sentence(s3_bucket, options, monkeypatch, variable):
    put(f"s3://{s3_bucket}/a.txt", b"text", options)
    monkeypatch.setenv(variable, "wrong-wrong-wrong")
    for url in (f"s3://{s3_bucket}/a.txt", f"s3://{s3_bucket}/", f"s3://{s3_bucket}/*.txt"):
        with pytest.raises(StrideformerError, match=r"(credentials|access denied).*AWS_SECRET_ACCESS_KEY") as caught:
            list_inputs([url], options)
        assert url in str(caught.value)
        assert "wrong-wrong" not in str(caught.value)
    with pytest.raises(StrideformerError, match="AWS_SECRET_ACCESS_KEY"):
        require_writable(f"s3://{s3_bucket}/out", options, "_tmp")


def test_no_credentials_are_one_sentence(s3_bucket, options, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StrideformerError, match="AWS_SECRET_ACCESS_KEY"):
        list_inputs([f"s3://{s3_bucket}/"], options)


def test_a_missing_bucket_is_named_and_not_made(s3_server, options):
    for url in ("s3://no-such-bucket/a.txt", "s3://no-such-bucket/a/", "s3://no-such-bucket/*.txt"):
        with pytest.raises(StrideformerError, match=r"no-such-bucket.*bucket does not exist"):
            list_inputs([url], options)
    with pytest.raises(StrideformerError, match="bucket does not exist"):
        require_writable("s3://no-such-bucket/out", options, "_tmp")
    assert s3_server.filesystem().get_file_info("no-such-bucket").type == pyarrow.fs.FileType.NotFound


def test_missing_objects_are_named(s3_bucket, options):
    with pytest.raises(StrideformerError, match=f"s3://{s3_bucket}/nothing.txt does not exist"):
        list_inputs([f"s3://{s3_bucket}/nothing.txt"], options)


def test_an_unreachable_server_is_named_within_seconds(options, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(StrideformerError, match="cannot be reached"):
        list_inputs(["s3://bucket/a.txt"], options | ({"max_attempts": "2"} if options["backend"] == "native" else {}))
    assert time.monotonic() - started < 20


SECOND_PART = {"native": 20 << 20, "s3fs": 100 << 20}  # bytes past which there is one


class Proxy(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments):
        """The clients hang up on the parts that are under way when one fails."""


class FailingPart(http.server.BaseHTTPRequestHandler):
    """Passes requests on to the real server, but refuses the second part of an upload."""

    protocol_version = "HTTP/1.1"
    upstream = ""

    def forward(self):
        body = self.whole_body()
        if parse_qs(urlsplit(self.path).query).get("partNumber") == ["2"]:
            self.answer(403, b"<Error><Code>AccessDenied</Code></Error>", {})
            return
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        self.answer(answer.status, answer.read(), dict(answer.getheaders()))
        connection.close()

    def whole_body(self):
        """The body as it came, chunk lengths and trailers with it."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body, length = b"", None
        while length != 0:
            line = self.rfile.readline()
            length = int(line.partition(b";")[0], 16)
            body += line + (self.rfile.read(length + 2) if length else b"")
        while line := self.rfile.readline():
            body += line
            if line == b"\r\n":
                break
        return body

    def answer(self, status, body, headers):
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815 -- the names http.server calls

    def log_message(self, *_arguments):
        pass


@pytest.mark.parametrize("before", [None, b"an earlier object"])
def test_an_upload_that_fails_midway_leaves_no_truncated_object(s3_server, s3_bucket, options, monkeypatch, before):
    url = f"s3://{s3_bucket}/part-0.parquet"
    if before is not None:
        put(url, before, options)
    handler = type("Handler", (FailingPart,), {"upstream": s3_server.endpoint.removeprefix("http://")})
    proxy = Proxy(("127.0.0.1", 0), handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
            put(f"s3://{s3_bucket}/small", b"passes", options)
            with pytest.raises(Exception, match=r"(?i)denied") as caught:  # each client has its own
                put(url, b"x" * (SECOND_PART[options["backend"]] + 1), options)
            assert "denied" in str(storage_error(caught.value, url))
    finally:
        proxy.shutdown()
        proxy.server_close()
    direct = s3_server.filesystem()
    assert read_bytes(direct, f"{s3_bucket}/small") == b"passes"
    info = direct.get_file_info(f"{s3_bucket}/part-0.parquet")
    if info.type != pyarrow.fs.FileType.NotFound:
        assert read_bytes(direct, f"{s3_bucket}/part-0.parquet") == before
