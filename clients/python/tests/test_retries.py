"""What is sent again and what is not, behind a proxy that fails as it is told."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from urllib.parse import urlsplit

import httpx
import pytest

from sparsity_planner import (
    AsyncPlanner,
    Family,
    InvalidInputError,
    Planner,
    ProblemError,
    UnreachableError,
    _retry,
)
from sparsity_planner._retry import Attempts


class Flaky(ThreadingHTTPServer):
    """
    A proxy that answers the next requests as `failures` say, and passes the others on.

    `lose` passes a request on and drops its answer; `drop` closes at once; a number is a status.
    """

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = urlsplit(behind).netloc
        self.failures: list[str | int] = []
        self.headers: dict[str, str] = {}
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Flaky
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.seen.append(f"{self.command} {self.path}")
        failure = self.server.failures.pop(0) if self.server.failures else None
        if failure == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if isinstance(failure, int):
            self.answer(failure, b"busy", {"content-type": "text/plain", **self.server.headers})
            return
        behind = http.client.HTTPConnection(self.server.behind)
        behind.request(self.command, self.path, body, dict(self.headers))
        found = behind.getresponse()
        content = found.read()
        behind.close()
        if failure == "lose":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif failure == "cut":
            self.send_response(found.status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            names = ("content-type", "content-encoding")
            passed = {name: found.headers[name] for name in names if name in found.headers}
            self.answer(found.status, content, passed)

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = handle_any

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def flaky(url: str) -> Iterator[Flaky]:
    proxy = Flaky(url)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    yield proxy
    proxy.shutdown()
    thread.join()
    proxy.server_close()


@pytest.fixture
def through(flaky: Flaky, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planner]:
    """A client whose waits are short."""
    monkeypatch.setattr(_retry, "FIRST_WAIT", 0.001)
    with Planner(flaky.url, retries=3) as planner:
        assert flaky.seen == ["GET /healthz"]
        flaky.seen.clear()
        yield planner


@pytest.mark.parametrize("failure", ["drop", "lose", "cut", 429, 502, 503, 504])
def test_runs_arrive_once_whatever_fails(
    flaky: Flaky, through: Planner, family: Family, failure: str | int
) -> None:
    flaky.failures = [failure, failure]
    stored = through.family(family.name).log_runs(
        {"external_id": str(i), "nonzero_params": 2e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5}
        for i in range(3)
    )
    assert len(flaky.seen) == 3
    assert stored.created + stored.unchanged == 3
    assert len(list(family.runs())) == 3


def test_questions_are_asked_again_until_the_retries_are_used_up(flaky: Flaky, through: Planner) -> None:
    flaky.failures = ["drop", 503, "cut"]
    assert through.family("demo").optimal_sparsity(1e8, 1e20, "sparse").sparsity > 0
    assert len(flaky.seen) == 4

    flaky.failures = [503] * 4
    with pytest.raises(ProblemError) as caught:
        through.family("demo").predict(1e8, 0.5, data=1e10)
    assert (caught.value.kind, caught.value.status, caught.value.detail) == ("http", 503, "busy")
    assert len(flaky.seen) == 8

    flaky.failures = ["drop"] * 4
    with pytest.raises(UnreachableError):
        through.family("demo").predict(1e8, 0.5, data=1e10)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 500])
def test_other_statuses_are_final(flaky: Flaky, through: Planner, status: int) -> None:
    flaky.failures = [status]
    with pytest.raises(ProblemError) as caught:
        through.family("demo").info()
    assert caught.value.status == status
    assert len(flaky.seen) == 1


@pytest.mark.parametrize("failure", ["drop", 502, 503])
def test_what_might_be_done_twice_is_not_sent_again(
    flaky: Flaky, through: Planner, failure: str | int
) -> None:
    flaky.failures = [failure]
    with pytest.raises((UnreachableError, ProblemError)):
        through.family("demo").refit(wait=False)
    assert flaky.seen == ["POST /v1/families/demo/refits"]


def test_a_delete_whose_answer_was_lost_is_done(flaky: Flaky, through: Planner, family: Family) -> None:
    flaky.failures = ["lose"]
    through.family(family.name).delete()
    assert len(flaky.seen) == 2
    with pytest.raises(ProblemError, match="not-found"):
        through.family(family.name).delete()


def test_a_family_is_made_once_where_one_may_exist(flaky: Flaky, through: Planner, family: Family) -> None:
    flaky.failures = ["lose"]
    again = through.create_family(f"{family.name}-b", exist_ok=True)
    assert len(flaky.seen) == 2
    again.delete()


def test_a_broken_stream_of_events_is_taken_up_again(
    flaky: Flaky, through: Planner, planner: Planner, family: Family
) -> None:
    family.log_runs(planner.family("demo").runs_frame())
    refit = family.refit(wait=False, bootstrap=100, holdout=[])
    flaky.failures = ["drop", 503, "cut"]
    assert through.wait_for_refit(refit.id).state == "succeeded"
    assert len(flaky.seen) == 4
    flaky.failures = [404]
    with pytest.raises(ProblemError):
        through.wait_for_refit(refit.id)
    flaky.failures = ["drop"] * 4
    with pytest.raises(UnreachableError):
        through.wait_for_refit(refit.id)
    flaky.failures = ["drop"] * 4
    with pytest.raises(UnreachableError):
        next(through.family(family.name).events())
    assert not flaky.failures
    flaky.failures = [403]
    with pytest.raises(ProblemError, match="403"):
        next(through.family(family.name).events())


def test_retry_after_is_waited_for_unless_it_is_long(flaky: Flaky, through: Planner) -> None:
    flaky.headers = {"retry-after": "3600"}
    flaky.failures = [503]
    with pytest.raises(ProblemError):
        through.family("demo").info()
    assert len(flaky.seen) == 1

    def answered(status: int, **headers: str) -> httpx.Response:
        return httpx.Response(status, headers={name.replace("_", "-"): one for name, one in headers.items()})

    attempts = Attempts(retries=2, repeatable=True)
    first = attempts.wait_after_response(answered(429, retry_after="7"))
    second = attempts.wait_after_response(answered(503, retry_after="soon"))
    assert first is not None
    assert second is not None
    assert first >= 7
    assert second < 7
    assert attempts.wait_after_response(answered(503)) is None


def test_waits_grow_and_differ() -> None:
    def waits() -> list[float]:
        attempts = Attempts(retries=6, repeatable=True)
        return [attempts.wait_after_error(httpx.ReadError("gone")) or 0.0 for _ in range(6)]

    found = waits()
    assert all(low * 0.9 < high for low, high in pairwise(found))
    assert found != waits()


def test_an_error_that_is_no_problem_document_is_told(flaky: Flaky, through: Planner) -> None:
    flaky.failures = [500]
    with pytest.raises(ProblemError, match=r"http \(500\): busy"):
        through.families().__next__()


def unused_url() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_where_nobody_is_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: float) -> None:
        pytest.fail("it was tried again")

    monkeypatch.setattr("time.sleep", never)
    url = unused_url()
    with pytest.raises(UnreachableError, match=rf"nobody answers at {url}: start a service with `sparsity"):
        Planner(url)
    with pytest.raises(UnreachableError, match="nobody answers at ftp"):
        Planner("ftp://127.0.0.1")
    with pytest.raises(InvalidInputError, match="is no address"):
        Planner("http://127.0.0.1:port")

    async def ask() -> None:
        async def never(_: float) -> None:
            pytest.fail("it was tried again")

        monkeypatch.setattr("asyncio.sleep", never)
        async with AsyncPlanner(url) as planner:
            with pytest.raises(UnreachableError, match="nobody answers at"):
                await planner.family("demo").info()

    asyncio.run(ask())


def test_the_address_is_said_by_the_environment_or_is_the_program_s(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    # Whether somebody listens there on this machine is not for a test to say.
    monkeypatch.setattr(Planner, "_greet", lambda _: None)
    assert Planner().url == "http://127.0.0.1:8080"
    monkeypatch.setenv("SPARSITY_PLANNER_URL", f"{url}/")
    assert Planner().url == url


def test_what_is_no_planner_is_said_to_be_none() -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever).start()
        with pytest.raises(UnreachableError, match="is no sparsity planner"):
            Planner(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def test_a_service_that_went_away_is_waited_for(flaky: Flaky, through: Planner) -> None:
    flaky.failures = ["drop", "drop"]
    assert through.family("demo").info().name == "demo"
    assert len(flaky.seen) == 3


def test_what_is_sent_is_what_the_api_takes(flaky: Flaky, through: Planner) -> None:
    through.family("demo").optimal_sparsity(1e8, 1e20, "sparse", intervals=False)
    assert flaky.seen == [
        "GET /v1/families/demo/optimal-sparsity"
        "?nonzero_params=100000000.0&compute=1e%2B20&flop_mode=sparse&intervals=false"
    ]
    with pytest.raises(ProblemError) as caught:
        through.family("no/such ?").info()
    assert flaky.seen[-1] == "GET /v1/families/no%2Fsuch%20%3F"
    assert json.dumps(caught.value.kind) in ('"not-found"', '"invalid"')


def test_what_is_read_after_a_write_asks_for_it() -> None:
    sent: list[str | None] = []
    # Positions of answers, in order; two replicas of the service may answer in another.
    positions = iter(["70", "30", None, None])

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("x-read-after"))
        position = next(positions)
        headers = {} if position is None else {"x-read-after": position}
        return httpx.Response(200, json={"items": [], "next_cursor": None}, headers=headers)

    with Planner("http://nowhere", transport=httpx.MockTransport(answer)) as planner:
        for _ in range(4):
            assert list(planner.families()) == []
    assert sent == [None, "70", "70", "70"]
