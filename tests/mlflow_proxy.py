"""A proxy before an MLflow server, on loopback, that fails as it is told to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

SECONDS = 60.0
"""How long the server behind may take."""


class Proxy:
    """Where it listens, and what it does: it passes on, until `fault` is set.

    `refuse` closes every connection without a word; `500` answers so; `late` carries out what it is
    asked, and closes the connection without the answer. `asked` counts the requests that came.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self.uri = ""
        self.fault: str | None = None
        self.asked = 0


@contextmanager
def proxied(server: str) -> Iterator[Proxy]:
    """A proxy before the server at this address (host:port), in threads of this process."""
    proxy = Proxy(server)

    class Bound(_Handler):
        state = proxy

    with ThreadingHTTPServer(("127.0.0.1", 0), Bound) as listener:
        listener.daemon_threads = True
        proxy.uri = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Proxy
    protocol_version = "HTTP/1.0"

    def log_message(self, *_words: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        state = self.state
        state.asked += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = state.fault
        if fault == "refuse":
            return
        if fault == "500":
            self.send_error(500)
            return
        headers = {**dict(self.headers.items()), "Host": state.server}
        headers.pop("Connection", None)
        try:
            answer = requests.request(
                self.command,
                f"http://{state.server}{self.path}",
                data=body,
                headers=headers,
                timeout=SECONDS,
            )
        except requests.ConnectionError:
            return
        if fault == "late":
            return
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer
