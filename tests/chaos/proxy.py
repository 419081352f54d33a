"""A proxy before the S3 server that fails on purpose: ``python -m tests.chaos.proxy LISTEN UPSTREAM ORDERS``.

ORDERS is a JSON file, read again whenever it changes: ``{"fault": NAME, "share": 0..1, "most": N}``; no file, no
fault. It passes requests on unchanged, so their signatures stay valid.

slow_down   503 SlowDown instead of an answer
reset       half an answer, then a TCP reset
truncate    half an answer, then an orderly end
stall       30 seconds of silence before the answer
forbid      403 AccessDenied instead of an answer
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
from pathlib import Path

from tests.chaos.processes import end_with_parent

STALL_SECONDS = 30.0
ERRORS = {"slow_down": (503, "Slow Down", "SlowDown"), "forbid": (403, "Forbidden", "AccessDenied")}


class Proxy:
    def __init__(self, upstream: int, orders: Path) -> None:
        self.upstream = upstream
        self.orders = orders
        self.changed = 0
        self.current: dict[str, object] = {}
        self.left = 0

    def fault(self) -> str:
        """The fault for this request; "" for none."""
        try:
            changed = self.orders.stat().st_mtime_ns
        except FileNotFoundError:
            self.changed = 0
            return ""
        if changed != self.changed:
            self.changed = changed
            self.current = json.loads(self.orders.read_text())
            self.left = int(str(self.current["most"]))
        if self.left <= 0 or random.random() >= float(str(self.current["share"])):
            return ""
        self.left -= 1
        return str(self.current["fault"])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one client's connection, one after the other."""
        try:
            while await self.one(reader, writer):
                pass
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method = head.split(b" ", 1)[0]
        fields = _fields(head)
        if fields.pop("expect", None):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()
            head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))
        body = await _body(reader, fields)
        fault = self.fault()
        if fault in ERRORS:
            status, words, code = ERRORS[fault]
            content = f"<Error><Code>{code}</Code><Message>{words}</Message></Error>".encode()
            lines = (
                f"HTTP/1.1 {status} {words}\r\nContent-Type: application/xml\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            writer.write(lines.encode() + (b"" if method == b"HEAD" else content))
            await writer.drain()
            return True
        if fault == "stall":
            await asyncio.sleep(STALL_SECONDS)
        answer = await self.ask(head + body, method)
        if fault == "reset":
            writer.write(answer[: len(answer) // 2])
            await writer.drain()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if fault == "truncate":
            writer.write(answer[: len(answer) // 2])
            await writer.drain()
            return False
        writer.write(answer)
        await writer.drain()
        return True

    async def ask(self, request: bytes, method: bytes) -> bytes:
        """The whole answer of the real server, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            writer.write(request)
            await writer.drain()
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ", 2)[1])
                if status != 100:
                    break
            empty = method == b"HEAD" or status in (204, 304)
            return head + (b"" if empty else await _body(reader, _fields(head)))
        finally:
            writer.close()


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    if fields.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(fields.get("content-length", "0")))
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        body += line + await reader.readexactly(size + 2 if size else 0)
        if not size:
            while line != b"\r\n":
                line = await reader.readuntil(b"\r\n")
                body += line
            return body


async def main(listen: int, upstream: int, orders: Path) -> None:
    server = await asyncio.start_server(Proxy(upstream, orders).serve, "127.0.0.1", listen, limit=1 << 20)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    end_with_parent()
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
