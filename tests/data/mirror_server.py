"""A local HTTP server that serves files, and misbehaves as it is told to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(kw_only=True)
class Answer:
    """How one request is answered; the defaults are an honest server's.

    `drop_after` and `stall_after` are numbers of bytes of this answer; `length` and `start` are
    lies about the length and the range; `chunked` tells no length.
    """

    content: bytes
    code: int = 200
    ranges: bool = True
    drop_after: int | None = None
    stall_after: int | None = None
    length: int | None = None
    start: int | None = None
    tag: str | None = '"one"'
    kind: str = "application/octet-stream"
    chunked: bool = False
    to: str | None = None


@dataclass(kw_only=True)
class Mirror:
    """A running server: its URL, the answers to come by path, and the requests that came.

    The last answer of a path is given again and again.
    """

    url: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def serve(self, path: str, *answers: Answer) -> str:
        """Answer requests of a path in this way; its URL."""
        self.answers[path] = list(answers)
        return f"{self.url}{path}"


@contextmanager
def mirror() -> Iterator[Mirror]:
    """A server on the loopback, in threads of this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    state = Mirror(url=f"http://127.0.0.1:{server.server_address[1]}")

    class Bound(_Handler):
        mirror = state

    server.RequestHandlerClass = Bound
    server.daemon_threads = True
    server.handle_error = lambda *_who: None  # type: ignore[method-assign]  # clients may hang up
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        state.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    mirror: Mirror
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.mirror.requests.append((self.path, asked))
        answers = self.mirror.answers.get(self.path, [Answer(content=b"no", code=404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        changed = self.headers.get("If-Range") not in (None, answer.tag)
        begin = 0
        if asked is not None and answer.ranges and not changed and answer.code == 200:
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
        self._head(answer, begin)
        self._body(answer, answer.content[begin:])

    def _head(self, answer: Answer, begin: int) -> None:
        whole = len(answer.content)
        self.close_connection = True
        if begin >= whole > 0:
            answer.content, answer.code = b"", 416
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{whole}")
        elif begin:
            self.send_response(206)
            first = begin if answer.start is None else answer.start
            self.send_header("Content-Range", f"bytes {first}-{whole - 1}/{whole}")
        else:
            self.send_response(answer.code)
        if answer.to is not None:
            self.send_header("Location", answer.to)
        if answer.tag is not None:
            self.send_header("ETag", answer.tag)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Connection", "close")
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            length = len(answer.content) - begin if answer.code != 416 else 0
            self.send_header(
                "Content-Length", str(length if answer.length is None else answer.length)
            )
        self.end_headers()

    def _body(self, answer: Answer, rest: bytes) -> None:
        write: Callable[[bytes], Any] = self._chunk if answer.chunked else self.wfile.write
        if answer.stall_after is not None:
            write(rest[: answer.stall_after])
            self.wfile.flush()
            self.mirror.over.wait(5)
            return
        write(rest if answer.drop_after is None else rest[: answer.drop_after])
        if answer.chunked and answer.drop_after is None:
            self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def log_message(self, *_words: Any) -> None:
        pass
