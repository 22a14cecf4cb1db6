"""The client that blocks. Made by `generate` from `_async.py`: change that."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager
from datetime import datetime
from html import escape
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload
from urllib.parse import quote
from uuid import UUID

import httpx
from pydantic import ValidationError
from typing_extensions import Self, Unpack

from . import _progress, models
from . import _rows as rows
from ._asked import (
    ARROW,
    DEFAULT_URL,
    EVENT_SECONDS,
    GREETING_SECONDS,
    MAX_POINTS,
    PAGE,
    POINTS_WITH_ERRORS,
    REPEATABLE,
    AnyRun,
    Bounds,
    PictureFormat,
    Question,
    Reading,
    RefitOptions,
    RefusedStreamError,
    RunFilters,
    Theme,
    bounds,
    naming_columns,
    page,
    picture_format,
    query,
    reading_query,
    run_path,
)
from ._base import Model
from ._retry import Attempts
from ._tables import ArrowStream, bodies, encode, explained, is_pandas, rows_of
from ._tracked import TrackedRuns
from .errors import (
    InvalidInputError,
    ProblemError,
    RefitFailedError,
    UnexpectedAnswerError,
    UnreachableError,
)

if TYPE_CHECKING:
    import pandas as pd

M = TypeVar("M", bound=Model)
# Header with the position of a write, which a read that is to see it sends back.
READ_AFTER = "x-read-after"

# Status of what was taken and is not done yet.
ACCEPTED = 202
# Seconds between two looks whether it is done: more and more.
SHORTEST_LOOK = 0.1
LONGEST_LOOK = 2.0


class Picture:
    """
    A picture that the service drew: a notebook shows it, `save` writes it.

    It shows what the law said when it was asked for.
    """

    def __init__(
        self, question: Question, options: Mapping[str, Any], format: PictureFormat, content: bytes
    ) -> None:
        """Keep what was drawn; `plot` of an answer does this."""
        self._question = question
        self._options = options
        self.format = format
        self.content = content

    def __repr__(self) -> str:
        """Show what it is of."""
        return f"<{self.format.upper()} of {self._question.path}, {len(self.content):,} bytes>"

    def _repr_svg_(self) -> str | None:
        """Show it in a notebook."""
        return self.content.decode() if self.format == "svg" else None

    def _repr_png_(self) -> bytes | None:
        """Show it in a notebook."""
        return self.content if self.format == "png" else None

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it to a file that ends with .svg or .png, and return the path."""
        path = Path(path)
        format = picture_format(path)
        content = self.content
        if format != self.format:
            content = self._question.planner._picture(self._question, self._options, format)
        path.write_bytes(content)
        return path


class Drawn(Model):
    """An answer that the service draws, too."""

    def plot(
        self,
        *,
        width: int | None = None,
        height: int | None = None,
        theme: Theme | None = None,
        format: PictureFormat = "svg",
    ) -> Picture:
        """
        Return its picture, which a notebook shows: docs/pictures.md says what is in it.

        `width` and `height` are in pixels, 800 and 540 unless said otherwise; `theme` is `light` or `dark`.
        """
        question = self._question
        if question is None:
            raise InvalidInputError("an answer that was read back from a file is not drawn: ask again")
        options = {"width": width, "height": height, "theme": theme}
        content = question.planner._picture(question, options, format)
        return Picture(question, options, format, content)


class Gains(Drawn, models.Gains):
    """What sparsity buys at an equal number of non-zero parameters."""


class FitQuality(Drawn, models.FitQuality):
    """All runs that a law was fitted on, with what it predicts of each; its picture shows at most 10,000."""


class LossBySparsity(Drawn, models.LossBySparsity):
    """Predicted loss by sparsity at one size and budget."""


class Contours(Drawn, models.Contours):
    """Lines of equal optimal sparsity in (N, C)."""


class OptimalSparsity(Drawn, models.OptimalSparsity):
    """The sparsity that makes the most of a training budget; its picture is the loss by sparsity."""


class Law(Drawn, models.Law):
    """A law, and what stands behind it; its picture is how well it meets its runs."""


class Planner:
    """
    A sparsity planner at an address.

    Requests that are safe to repeat (all questions, and runs, which are known by their `external_id`)
    are repeated after errors of the connection and after 429, 502, 503 and 504. Use it as a context
    manager, or `close` it.

    Where nobody is there, the first request says so at once.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float | httpx.Timeout = 60.0,
        retries: int = 4,
        progress: bool | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """
        Name a service.

        `url` and `key` come from `SPARSITY_PLANNER_URL` and `SPARSITY_PLANNER_KEY` where they are left
        out; without either the address is `http://127.0.0.1:8080`. `timeout` is in seconds, for each wait on
        the network; `retries` is how often a request is sent again. With `progress` refits and uploads show
        bars, where tqdm is installed, and links; unless it is said, notebooks and terminals do. `transport`
        replaces the network, for tests.
        """
        url = url or os.environ.get("SPARSITY_PLANNER_URL") or DEFAULT_URL
        key = key or os.environ.get("SPARSITY_PLANNER_KEY")
        headers = {"user-agent": f"sparsity-planner-python/{version('sparsity-planner')}"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        self.url = url.rstrip("/")
        self._retries = retries
        self._shows_progress = _progress.is_wanted(progress)
        try:
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=timeout, transport=transport
            )
        except httpx.InvalidURL as error:
            raise InvalidInputError(f"{url} is no address: {error}") from error
        self._greeted = transport is not None
        self._greet()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __repr__(self) -> str:
        """Show the address, not the key."""
        return f"{type(self).__name__}({self.url!r})"

    def _greet(self) -> None:
        """Say at once, rather than after all retries, that nobody is there."""
        if self._greeted:
            return
        try:
            response = self._http.get("/healthz", timeout=GREETING_SECONDS)
            if response.is_success and "status" not in _document(response):
                self.close()
                raise UnreachableError(f"what answers at {self.url} is no sparsity planner")
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            where = f"{self.url}, which is tried where no other address is said"
            raise UnreachableError(
                f"nobody answers at {where if self.url == DEFAULT_URL else self.url}: start a service with "
                "`sparsity-planner demo`, or say where one is, by Planner(URL) or SPARSITY_PLANNER_URL "
                f"({error})"
            ) from error
        except httpx.RequestError:
            # Somebody is there; requests have their retries.
            pass
        self._greeted = True

    def health(self) -> models.Health:
        """Return that the service is there, and its version."""
        return self._get("/healthz", {}, models.Health)

    def family(self, name: str) -> Family:
        """Return the family of this name, whether it exists or not; asks nothing."""
        return Family(self, name)

    def create_family(
        self,
        name: str,
        *,
        data_unit: str | None = None,
        description: str | None = None,
        flops_per_param: float | None = None,
        tokens_per_data_unit: float | None = None,
        pruning: Mapping[str, Any] | None = None,
        zeros: Literal["weights", "experts"] | None = None,
        experts: Mapping[str, Any] | None = None,
        objective: Mapping[str, Any] | None = None,
        exist_ok: bool = False,
    ) -> Family:
        """Create a family; with `exist_ok`, one that exists is taken as it is."""
        body = rows.given(
            name=name,
            data_unit=data_unit,
            description=description,
            flops_per_param=flops_per_param,
            tokens_per_data_unit=tokens_per_data_unit,
            pruning=pruning,
            zeros=zeros,
            experts=experts,
            objective=objective,
        )
        try:
            self._post("/v1/families", body, models.Family, repeatable=exist_ok)
        except ProblemError as problem:
            if not (exist_ok and problem.kind == "family-exists"):
                raise
        return self.family(name)

    def families(self) -> Iterator[models.Family]:
        """Yield all families, the newest first."""
        for found in self._pages("/v1/families", {}, models.FamilyList):
            for item in found.items:
                item._page = page(self.url, family=item.name)
                yield item

    def hardware_profiles(self) -> Iterator[models.HardwareProfile]:
        """Yield all hardware profiles: the FLOP modes beside `dense` and `sparse`."""
        for found in self._pages("/v1/hardware-profiles", {}, models.HardwareProfileList):
            for item in found.items:
                yield item

    def create_hardware_profile(
        self,
        name: str,
        cost: Mapping[str, Any],
        *,
        patterns: Sequence[str] | None = None,
        pattern_costs: Mapping[str, float] | None = None,
        expert_costs: Mapping[int, float] | None = None,
        storage: str | None = None,
        flops_per_second: float | None = None,
        utilisation: float | None = None,
        devices: int | None = None,
        price_per_hour: float | None = None,
        source: str | None = None,
    ) -> models.HardwareProfile:
        """Create a FLOP mode; `cost` is `{"prunable_share", "efficiency"}` or `{"points"}`."""
        body = rows.given(
            name=name,
            cost=cost,
            patterns=patterns,
            pattern_costs=pattern_costs,
            expert_costs=None if expert_costs is None else {str(n): c for n, c in expert_costs.items()},
            storage=storage,
            flops_per_second=flops_per_second,
            utilisation=utilisation,
            devices=devices,
            price_per_hour=price_per_hour,
            source=source,
        )
        path = "/v1/hardware-profiles"
        return self._post(path, body, models.HardwareProfile, repeatable=False)

    def compare(
        self,
        a: str,
        b: str,
        flop_mode: str,
        *,
        a_sparsity: float | None = None,
        b_sparsity: float | None = None,
        a_pattern: str | None = None,
        b_pattern: str | None = None,
        min_compute: float | None = None,
        max_compute: float | None = None,
        points: int | None = None,
        a_law_version: int | None = None,
        b_law_version: int | None = None,
        intervals: bool = True,
    ) -> models.RecipeComparison:
        """
        Return what the compute of the family `b` is worth in compute of `a`, at each compute.

        A `multiple` of 0.87 says that `a` reaches the loss of `b` with 0.87 of its compute.
        """
        params = {
            "a": a,
            "b": b,
            "flop_mode": flop_mode,
            "a_sparsity": a_sparsity,
            "b_sparsity": b_sparsity,
            "a_pattern": a_pattern,
            "b_pattern": b_pattern,
            "min_compute": min_compute,
            "max_compute": max_compute,
            "points": points,
            "a_law_version": a_law_version,
            "b_law_version": b_law_version,
            "intervals": intervals,
        }
        return self._get("/v1/compare", params, models.RecipeComparison)

    def hardware_profile(self, name: str) -> models.HardwareProfile:
        """Return a hardware profile."""
        return self._get(f"/v1/hardware-profiles/{quote(name, safe='')}", {}, models.HardwareProfile)

    def update_hardware_profile(self, name: str, **changes: Any) -> models.HardwareProfile:
        """Change fields of a hardware profile: the arguments of `create_hardware_profile`."""
        path = f"/v1/hardware-profiles/{quote(name, safe='')}"
        return self._change("PATCH", path, changes, models.HardwareProfile)

    def delete_hardware_profile(self, name: str) -> None:
        """Delete a hardware profile."""
        self._send("DELETE", f"/v1/hardware-profiles/{quote(name, safe='')}", gone_is_done=True)

    def caller(self) -> models.Caller:
        """Return who the service takes this client for: the name, scope and families of its key."""
        return self._get("/v1/caller", {}, models.Caller)

    def keys(self) -> Iterator[models.Key]:
        """Yield the API keys, the newest first, without what opens; for keys of scope `admin`."""
        for found in self._pages("/v1/keys", {}, models.KeyList):
            for item in found.items:
                yield item

    def create_key(
        self,
        name: str,
        scope: models.Scope,
        *,
        families: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> models.CreatedKey:
        """
        Create an API key; `key` of the answer is what opens, and is shown this once.

        The first key of a service closes it to whoever has none.
        """
        body = rows.given(name=name, scope=scope, families=families, expires_at=expires_at)
        return self._post("/v1/keys", body, models.CreatedKey, repeatable=False)

    def key(self, id: UUID | str) -> models.Key:
        """Return an API key, without what opens."""
        return self._get(f"/v1/keys/{id}", {}, models.Key)

    def revoke_key(self, id: UUID | str) -> models.Key:
        """Let a key open nothing from now on."""
        response = self._send("DELETE", f"/v1/keys/{id}")
        return _parsed(response, models.Key)

    def audit_events(
        self,
        *,
        actor: str | None = None,
        family: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> Iterator[models.AuditEvent]:
        """
        Yield who changed what, the last stored first; for keys of scope `admin`.

        `since` and `before` go by `stored_at`. Nothing comes to lie before an event that was seen: to follow
        the log, ask since a microsecond after the first event of the time before.
        """
        params = rows.given(
            actor=actor,
            family=family,
            **{"from": since and since.isoformat(), "to": before and before.isoformat()},
        )
        for found in self._pages("/v1/audit-events", params, models.AuditEventList):
            for item in found.items:
                yield item

    def refit(self, id: UUID | str) -> models.Refit:
        """Return a refit as it stands."""
        return self._of_refit(self._get(f"/v1/refits/{id}", {}, models.Refit))

    def cancel_refit(self, id: UUID | str) -> models.Refit:
        """Cancel a refit; one that has ended stays as it is."""
        response = self._send("DELETE", f"/v1/refits/{id}")
        return self._of_refit(_parsed(response, models.Refit))

    def _of_refit(self, refit: models.Refit) -> models.Refit:
        refit._page = page(self.url, family=refit.family, view="laws", refit=refit.id)
        return refit

    def wait_for_refit(
        self, id: UUID | str, progress: Callable[[models.Refit], object] | None = None
    ) -> models.Refit:
        """
        Follow a refit to its end.

        `progress` is called with every change. Raises `RefitFailedError` where no law came of it.
        """
        percent = "{desc}: {percentage:3.0f} %|{bar}| {elapsed}"
        with _progress.bar(self._shows_progress, "queued", total=1.0, bar_format=percent) as bar:

            def show(refit: models.Refit) -> None:
                bar.reach(refit.progress, refit.phase)
                if progress:
                    progress(refit)

            refit = self._follow(id, show)
        if refit.law:
            link = page(self.url, family=refit.family, view="laws")
            _progress.say(self._shows_progress, f"law {refit.law.version} of {refit.family}: {link}")
        return refit

    def _follow(self, id: UUID | str, progress: Callable[[models.Refit], object]) -> models.Refit:
        self._greet()
        with closing(self._events(f"/v1/refits/{id}/events")) as events:
            for _, data in events:
                refit = self._of_refit(_read(data, models.Refit))
                progress(refit)
                if refit.state == "succeeded":
                    return refit
                if refit.finished_at:
                    raise RefitFailedError(refit)
        raise AssertionError("a stream of events is asked for again until there is an error")

    def _events(self, path: str) -> Generator[tuple[str, str], None, None]:
        """
        Yield the events of a stream, each its type and its data.

        A stream that ends or breaks off, as where a service stops, is asked for again.
        """
        attempts = self._attempts(repeatable=True)
        while True:
            try:
                with self._stream(path) as response:
                    events = rows.Events()
                    for line in response.iter_lines():
                        event = events.feed(line)
                        if event is None:
                            continue
                        attempts = self._attempts(repeatable=True)
                        yield event
                cut = httpx.RemoteProtocolError("the stream of events ended")
                wait = attempts.wait_after_error(cut)
                if wait is None:
                    raise UnreachableError(str(cut)) from cut
            except httpx.RequestError as error:
                wait = attempts.wait_after_error(error)
                if wait is None:
                    raise UnreachableError(f"{self.url}: {error!r}") from error
            except RefusedStreamError as error:
                wait = attempts.wait_after_response(error.response)
                if wait is None:
                    raise ProblemError.from_response(error.response) from None
            time.sleep(wait)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: object = None,
        repeatable: bool | None = None,
    ) -> Any:
        """
        Do whatever else the API has: `request("GET", "/v1/keys")`; the answer as parsed JSON.

        A `POST` is repeated only if `repeatable` says that this is safe.
        """
        body = None if json is None else rows.encode(json)
        response = self._send(method, path, params=params, body=body, repeatable=repeatable)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise UnexpectedAnswerError(f"the answer to {method} {path} is no JSON: {error}") from error

    def _attempts(self, repeatable: bool) -> Attempts:
        return Attempts(retries=self._retries, repeatable=repeatable)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        gone_is_done: bool = False,
    ) -> httpx.Response:
        """
        Send, again where that is safe and may help; raise what is no success.

        With `gone_is_done`, what is not found the second time was deleted the first time, and the answer
        was lost.
        """
        self._greet()
        attempts = self._attempts(method in REPEATABLE if repeatable is None else repeatable)
        all_headers = {} if body is None else {"content-type": "application/json"}
        all_headers |= headers or {}
        # An empty one would take away what stands in the path.
        parameters = query(params) if params else None
        while True:
            try:
                response = self._http.request(
                    method, path, params=parameters, content=body, headers=all_headers
                )
            except httpx.RequestError as error:
                wait = attempts.wait_after_error(error)
                if wait is None:
                    raise UnreachableError(f"{self.url}: {error!r}") from error
            except httpx.InvalidURL as error:
                raise InvalidInputError(f"{path!r} is no path: {error}") from error
            else:
                if (position := response.headers.get(READ_AFTER, "")).isdecimal():
                    # Whatever is read from now on, by any replica of the service, is after this write.
                    last = int(self._http.headers.get(READ_AFTER, "0"))
                    self._http.headers[READ_AFTER] = str(max(last, int(position)))
                gone = gone_is_done and response.status_code == 404 and attempts.made > 1
                if response.is_success or gone:
                    return response
                wait = attempts.wait_after_response(response)
                if wait is None:
                    raise ProblemError.from_response(response)
            time.sleep(wait)

    @contextmanager
    def _stream(self, path: str) -> Iterator[httpx.Response]:
        """Open a stream; one that is refused for now is `RefusedStreamError`."""
        given = self._http.timeout
        timeout = httpx.Timeout(connect=given.connect, read=EVENT_SECONDS, write=given.write, pool=given.pool)
        with self._http.stream("GET", path, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise RefusedStreamError(response)
            yield response

    def _get(self, path: str, params: Mapping[str, Any], answer: type[M]) -> M:
        return _parsed(self._send("GET", path, params=params), answer)

    def _post(self, path: str, body: Mapping[str, Any], answer: type[M], *, repeatable: bool) -> M:
        response = self._send("POST", path, body=rows.encode(body), repeatable=repeatable)
        return _parsed(response, answer)

    def _change(self, method: str, path: str, body: Mapping[str, Any], answer: type[M]) -> M:
        return _parsed(self._send(method, path, body=rows.encode(body)), answer)

    def _drawn(self, path: str, params: Mapping[str, Any], answer: type[M]) -> M:
        """Ask what the service draws, too."""
        found = self._get(path, params, answer)
        found._question = Question(self, path, params)
        return found

    def _picture(self, question: Question, options: Mapping[str, Any], format: PictureFormat) -> bytes:
        kind = {"svg": "image/svg+xml", "png": "image/png"}[format]
        response = self._send(
            "GET", question.path, params={**question.params, **options}, headers={"accept": kind}
        )
        return response.content

    def _pages(
        self, path: str, params: Mapping[str, Any], page: type[M], limit: int | None = PAGE
    ) -> Iterator[M]:
        cursor = None
        while True:
            found = self._get(path, {**params, "limit": limit, "cursor": cursor}, page)
            yield found
            cursor = getattr(found, "next_cursor", None)
            if cursor is None:
                return


def _document(response: httpx.Response) -> Mapping[str, Any]:
    try:
        document = json.loads(response.content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _read(text: str | bytes, answer: type[M]) -> M:
    try:
        return answer.model_validate_json(text)
    except ValidationError as error:
        raise UnexpectedAnswerError(
            f"this is no {answer.__name__} as this version of the client knows it: {error}"
        ) from error


def _parsed(response: httpx.Response, answer: type[M]) -> M:
    return _read(response.content, answer)


class Family:
    """A model family: the runs that one law describes, and the answers of that law."""

    def __init__(self, planner: Planner, name: str) -> None:
        """Name a family; `Planner.family` does this."""
        self.planner = planner
        self.name = name
        self._path = f"/v1/families/{quote(name, safe='')}"

    def __repr__(self) -> str:
        """Show where it is."""
        return f"{self.planner!r}.family({self.name!r})"

    @property
    def dashboard_url(self) -> str:
        """Address of the dashboard's page about it."""
        return self._page()

    def _repr_html_(self) -> str:
        """Show a link to it."""
        link = escape(self._page())
        return f'family <a href="{link}" target="_blank" rel="noopener">{escape(self.name)}</a>'

    def _page(self, **params: object) -> str:
        return page(self.planner.url, family=self.name, **params)

    def info(self) -> models.Family:
        """Return its settings and its active law."""
        found = self.planner._get(self._path, {}, models.Family)
        return self._at(found)

    def _at(self, found: M, **params: object) -> M:
        """Note where the dashboard shows it."""
        found._page = self._page(**params)
        return found

    def events(self) -> Generator[models.FamilyStanding | models.Refit, None, None]:
        """
        Yield what happens to it, until it is deleted: how it stands, and its refits.

        How it stands comes at once, and again with every change of its runs, its laws and its settings;
        a refit with every change of its own, at first those that wait or run. A stream that breaks off is
        asked for again, and then says how the family stands by then.
        """
        self.planner._greet()
        with closing(self.planner._events(f"{self._path}/events")) as events:
            for kind, data in events:
                if kind == "family":
                    yield self._at(_read(data, models.FamilyStanding))
                elif kind == "refit":
                    yield self.planner._of_refit(_read(data, models.Refit))
                elif kind == "deleted":
                    return

    def update(
        self,
        *,
        description: str | None = None,
        data_unit: str | None = None,
        flops_per_param: float | None = None,
        tokens_per_data_unit: float | None = None,
        pruning: Mapping[str, float] | None = None,
        objective: Mapping[str, Any] | None = None,
    ) -> models.Family:
        """Change its settings: those that are given."""
        body = rows.given(
            description=description,
            data_unit=data_unit,
            flops_per_param=flops_per_param,
            tokens_per_data_unit=tokens_per_data_unit,
            pruning=pruning,
            objective=objective,
        )
        return self._at(self.planner._change("PATCH", self._path, body, models.Family))

    def delete(self) -> None:
        """Delete it with its runs and laws."""
        self.planner._send("DELETE", self._path, gone_is_done=True)

    # Runs

    def log_run(
        self,
        external_id: str,
        *,
        sparsity: float,
        data: float,
        loss: float,
        nonzero_params: float | None = None,
        total_params: float | None = None,
        start: Literal["scratch", "pretrained"] | None = None,
        pretraining_data: float | None = None,
        pattern: str | None = None,
        tags: Mapping[str, object] | None = None,
        exclusion_reason: str | None = None,
    ) -> rows.LoggedRun:
        """
        Store a finished run, or correct it: `external_id` says which run it is.

        One of `nonzero_params` and `total_params`, which counts zeros too; `data` in the family's unit;
        `loss` is that of validation. The answer is the run as it is stored, what became of it (`outcome`),
        and what is odd about it (`warnings`). Many runs are for `log_runs`: one request stores them all.
        """
        run = rows.given(
            external_id=external_id,
            sparsity=sparsity,
            data=data,
            loss=loss,
            nonzero_params=nonzero_params,
            total_params=total_params,
            start=start,
            pretraining_data=pretraining_data,
            pattern=pattern,
            tags=tags,
            exclusion_reason=exclusion_reason,
        )
        response = self.planner._send("POST", f"{self._path}/runs", body=encode(run), repeatable=True)
        logged = rows.logged(_parsed(response, models.SubmissionResult), self.run(external_id))
        self._at(logged, view="runs", q=external_id)
        _progress.say(
            self.planner._shows_progress, f"run {external_id} of {self.name}: {logged.dashboard_url}"
        )
        return logged

    def log_runs(
        self,
        runs: Iterable[Any] | ArrowStream | pd.DataFrame,
        *,
        on_error: Literal["stop", "skip"] = "stop",
        dry_run: bool = False,
        batch_size: int = 20_000,
        respond_async: bool = False,
        **reading: Unpack[Reading],
    ) -> models.SubmissionResult:
        """
        Store many runs: a frame of pandas or polars, Arrow data, or an iterable of mappings or data classes.

        Columns are the arguments of `log_run`, and a column `tags.NAME` is the tag NAME; None and NaN are no
        value. Of other columns `reading` says what they mean. What `trackers.read` gives is taken as it is.

        Each batch is all or nothing, unless `on_error="skip"` stores what is right and `rejected` names
        the rest. Rows are counted from 0 over all batches. To send the same again is safe. With `reading` or
        `dry_run`, which stores nothing and answers what would be stored, all rows are one batch.

        With `respond_async` the service answers when a batch has arrived, and is asked until it is stored:
        for large batches behind a proxy that does not wait that long for an answer.
        """
        tracked = runs if isinstance(runs, TrackedRuns) else None
        options = {**(tracked.reading if tracked else {}), **reading}
        params = {**reading_query(options), **({"on_error": "skip"} if on_error == "skip" else {})}
        if dry_run:
            params["dry_run"] = "true"
        explain = tracked.explain if tracked else explained(runs)
        total = rows.nothing_sent()
        size = None if options or dry_run else batch_size
        names = naming_columns(options)
        shown = self.planner._shows_progress
        many = len(runs) if isinstance(runs, Sized) else None
        with _progress.bar(shown, "runs", total=many, unit=" runs") as bar:
            counted = bar.over(rows_of(runs))
            for first, body, headers in bodies(counted, size, keep_nan=tracked is not None, names=names):
                path = f"{self._path}/runs"
                if respond_async:
                    headers = {**headers, "prefer": "respond-async"}
                try:
                    response = self.planner._send(
                        "POST", path, params=params, body=body, headers=headers, repeatable=True
                    )
                    batch = self._stored(response)
                except ProblemError as problem:
                    raise rows.shifted(problem, first, explain) from None
                total = rows.added(total, batch, first, explain)
        total = tracked.reported(total) if tracked else total
        _progress.say(shown and not dry_run, f"runs of {self.name}: {self._page(view='runs')}")
        return self._at(total, view="runs")

    def _stored(self, response: httpx.Response) -> models.SubmissionResult:
        """Return what became of a batch: at once, or where the service answered before, when it is stored."""
        if response.status_code != ACCEPTED:
            return _parsed(response, models.SubmissionResult)
        upload, wait = _parsed(response, models.Upload), SHORTEST_LOOK
        while True:
            if upload.result is not None:
                return upload.result
            if upload.error is not None:
                raise ProblemError.from_problem(upload.error)
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_LOOK)
            upload = self.upload(upload.id)

    def uploads(self) -> Iterator[models.Upload]:
        """Yield the uploads that were answered before they were stored, the newest first."""
        for found in self.planner._pages(f"{self._path}/uploads", {}, models.UploadList):
            for item in found.items:
                yield item

    def upload(self, id: UUID | str) -> models.Upload:
        """Return an upload that was answered before it was stored, with what became of it."""
        return self.planner._get(f"{self._path}/uploads/{id}", {}, models.Upload)

    def run(self, run: AnyRun) -> models.Run:
        """Return a run by its `external_id`, or by its id here, a `UUID`."""
        if isinstance(run, str):
            found = self.planner._get(f"{self._path}/runs", {"external_id": run}, models.RunList)
            if not found.items:
                raise ProblemError("not-found", 404, f"the family {self.name} has no run {run!r}")
            return self._at(found.items[0], view="runs", q=run)
        return self._of_run(self.planner._get(f"{self._path}/runs/{run_path(run)}", {}, models.Run))

    def _of_run(self, run: models.Run) -> models.Run:
        return self._at(run, view="runs", q=run.external_id)

    def runs(self, **filters: Unpack[RunFilters]) -> Iterator[models.Run]:
        """Yield the runs that pass all filters, the newest first."""
        for found in self.planner._pages(f"{self._path}/runs", filters, models.RunList):
            for item in found.items:
                yield self._of_run(item)

    def runs_frame(self, **filters: Unpack[RunFilters]) -> pd.DataFrame:
        """
        Return the runs that pass all filters as a frame, in the order of arrival.

        It is one snapshot of the database, and `log_runs` takes it back as it is.
        """
        response = self.planner._send(
            "GET",
            f"{self._path}/runs",
            params=filters,
            headers={"accept": "application/x-ndjson"},
        )
        return rows.runs_frame(response.content)

    def exclude_run(self, run: AnyRun, reason: str) -> models.Run:
        """Leave a run out of later fits; a text is its `external_id`."""
        return self._update_run(run, {"excluded": True, "exclusion_reason": reason})

    def include_run(self, run: AnyRun) -> models.Run:
        """Take a run into later fits again; a text is its `external_id`."""
        return self._update_run(run, {"excluded": False})

    def _update_run(self, run: AnyRun, body: Mapping[str, Any]) -> models.Run:
        path = f"{self._path}/runs/{run_path(run)}"
        return self._of_run(self.planner._change("PATCH", path, body, models.Run))

    def delete_run(self, run: AnyRun) -> None:
        """Delete a run; a text is its `external_id`."""
        self.planner._send("DELETE", f"{self._path}/runs/{run_path(run)}", gone_is_done=True)

    # How its tables are read

    def mappings(self) -> Iterator[models.Mapping]:
        """Yield the kept mappings: what the columns of its tables mean."""
        for found in self.planner._pages(f"{self._path}/mappings", {}, models.MappingList):
            for item in found.items:
                yield item

    def mapping(self, name: str) -> models.Mapping:
        """Return a kept mapping."""
        return self.planner._get(self._mapping_path(name), {}, models.Mapping)

    def save_mapping(self, name: str, **options: Any) -> models.Mapping:
        """Keep what columns mean, for `log_runs(table, mapping=name)`; docs/uploads.md has the options."""
        return self.planner._change("PUT", self._mapping_path(name), options, models.Mapping)

    def delete_mapping(self, name: str) -> None:
        """Delete a kept mapping."""
        self.planner._send("DELETE", self._mapping_path(name), gone_is_done=True)

    def _mapping_path(self, name: str) -> str:
        return f"{self._path}/mappings/{quote(name, safe='')}"

    # Laws

    def refit(
        self,
        *,
        wait: bool = True,
        progress: Callable[[models.Refit], object] | None = None,
        **options: Unpack[RefitOptions],
    ) -> models.Refit:
        """
        Fit the law to the runs; with `wait`, to its end, calling `progress` with every change.

        Raises `RefitFailedError` where no law came of it.
        """
        body = rows.given(**options)
        path = f"{self._path}/refits"
        refit = self.planner._post(path, body, models.Refit, repeatable=False)
        self.planner._of_refit(refit)
        _progress.say(self.planner._shows_progress, f"refit of {self.name}: {refit.dashboard_url}")
        if not wait:
            return refit
        return self.planner.wait_for_refit(refit.id, progress)

    def law(self, version: int | None = None) -> Law:
        """Return the law of a version; the active one unless said otherwise."""
        if version is None:
            active = (self.info()).active_law
            if active is None:
                detail = f"the family {self.name} has no law yet: refit its runs"
                raise ProblemError("no-law", 409, detail)
            version = active.version
        law = self.planner._get(f"{self._path}/laws/{version}", {}, Law)
        return self._of_law(law)

    def _of_law(self, law: Law) -> Law:
        question = Question(self.planner, f"{self._path}/fit-quality", {"law_version": law.version})
        law._question = question
        return self._at(law, view="laws")

    def refits(
        self,
        state: Literal["queued", "running", "succeeded", "failed", "cancelled"] | None = None,
    ) -> Iterator[models.Refit]:
        """Yield the refits that were asked for, the newest first: all, or those in a state."""
        params = rows.given(state=state)
        for found in self.planner._pages(f"{self._path}/refits", params, models.RefitList):
            for item in found.items:
                yield item

    def laws(self) -> Iterator[Law]:
        """Yield all laws, the newest first."""
        for found in self.planner._pages(f"{self._path}/laws", {}, models.LawList):
            for item in found.items:
                yield self._of_law(Law.model_construct(**item.__dict__))

    def import_law(
        self,
        coefficients: Mapping[str, float] | Iterable[Any],
        reference: str,
        *,
        form: Literal["sparse", "dense", "levels", "experts"] | None = None,
        runs: int | None = None,
        objective: float | None = None,
        fitted_at: datetime | None = None,
    ) -> Law:
        """
        Add a published law, by its coefficients in raw units and where they stand.

        Those of the forms `levels` and `experts` are a list, as `own_coefficients` of a law has them.
        """
        is_own = not isinstance(coefficients, Mapping)
        body = rows.given(
            coefficients=None if is_own else coefficients,
            own_coefficients=list(coefficients) if is_own else None,
            form=form,
            reference=reference,
            runs=runs,
            objective=objective,
            fitted_at=fitted_at,
        )
        law = self.planner._post(f"{self._path}/laws", body, Law, repeatable=False)
        return self._of_law(law)

    def pin_law(self, version: int | None) -> models.Family:
        """Let a version answer from now on; None: the newest fit."""
        path = f"{self._path}/active-law"
        return self._at(self.planner._change("PUT", path, {"version": version}, models.Family))

    def compare(self, a: int, b: int) -> models.LawComparison:
        """Return two laws side by side, by their versions: coefficients, optima, and their common runs."""
        path = f"{self._path}/laws/compare"
        found = self.planner._get(path, {"a": a, "b": b}, models.LawComparison)
        return self._at(found, view="laws", a=a, b=b)

    def fit_quality(self, *, outliers: bool | None = None, law_version: int | None = None) -> FitQuality:
        """Return the runs of a law, each with its residual and leverage; with `outliers` those far off it."""
        path = f"{self._path}/fit-quality"
        params = {"outliers": outliers, "law_version": law_version}
        found, items = None, []
        for part in self.planner._pages(path, params, FitQuality):
            found = found or part
            items += part.items
        assert found is not None  # There is at least one page.
        found = found.model_copy(update={"items": items, "next_cursor": None})
        found._question = Question(self.planner, path, params)
        return found

    # Questions

    def predict(
        self,
        nonzero_params: float,
        sparsity: float,
        *,
        level: str | None = None,
        data: float | None = None,
        compute: float | None = None,
        device_hours: float | None = None,
        days: float | None = None,
        cost: float | None = None,
        flop_mode: str | None = None,
        unique_data: float | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> models.Prediction:
        """
        Return the loss of a model trained on `data`, or on what `compute` FLOPs pay for.

        `level` names the pattern or recipe where a law of levels has several of the sparsity.

        `predictions`, which asks them all at once. `device_hours`, `days` and `cost` stand in the place of
        `compute` where the hardware profile says what they are worth.
        """
        params = {
            "nonzero_params": nonzero_params,
            "sparsity": sparsity,
            "level": level,
            "data": data,
            "compute": compute,
            "device_hours": device_hours,
            "days": days,
            "cost": cost,
            "flop_mode": flop_mode,
            "unique_data": unique_data,
            "law_version": law_version,
            "intervals": intervals,
        }
        return self.planner._get(f"{self._path}/prediction", params, models.Prediction)

    def optimal_sparsity(
        self,
        nonzero_params: float,
        compute: float | None = None,
        flop_mode: str | None = None,
        *,
        unique_data: float | None = None,
        device_hours: float | None = None,
        days: float | None = None,
        cost: float | None = None,
        max_total_params: float | None = None,
        memory_bytes: float | None = None,
        max_sparsity: float | None = None,
        storage: Literal["dense", "bitmask", "csr", "2:4"] | None = None,
        bits_per_param: int | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> OptimalSparsity:
        """
        Return the sparsity that makes the most of `compute` FLOPs at so many non-zero parameters.

        `flop_mode` is `dense`, `sparse`, or the name of a hardware profile, and has to be given.
        `device_hours`, `days` and `cost` stand in the place of `compute` where the profile says what they
        are worth. The bounds are on how sparse the model may be. With `unique_data`, what is trained on
        beyond so much data is seen again. Many budgets are for `optimal_sparsities`, which asks them all
        at once.
        """
        params = {
            "nonzero_params": nonzero_params,
            "compute": compute,
            "device_hours": device_hours,
            "days": days,
            "cost": cost,
            "flop_mode": flop_mode,
            "unique_data": unique_data,
            "max_total_params": max_total_params,
            "memory_bytes": memory_bytes,
            "max_sparsity": max_sparsity,
            "storage": storage,
            "bits_per_param": bits_per_param,
            "law_version": law_version,
            "intervals": intervals,
        }
        path = f"{self._path}/optimal-sparsity"
        found = self.planner._get(path, params, OptimalSparsity)
        found._question = Question(self.planner, f"{self._path}/loss-by-sparsity", params)
        return self._at(found, n=nonzero_params, c=compute, mode=flop_mode)

    def history(
        self,
        nonzero_params: float,
        compute: float | None = None,
        flop_mode: str | None = None,
        *,
        unique_data: float | None = None,
        device_hours: float | None = None,
        days: float | None = None,
        cost: float | None = None,
        max_total_params: float | None = None,
        memory_bytes: float | None = None,
        max_sparsity: float | None = None,
        storage: Literal["dense", "bitmask", "csr", "2:4"] | None = None,
        bits_per_param: int | None = None,
        intervals: bool = True,
    ) -> Iterator[models.OptimalSparsityByLaw]:
        """
        Yield what each law of the family answers to `optimal_sparsity`, the newest first.

        The arguments are those of `optimal_sparsity`. Each item has the law's `answer`, or the `problem` that
        it has with the question, and the `changes` of runs and options since the law before. What-ifs are
        left out. Laws are asked a page at a time, as they are iterated over.
        """
        params = {
            "nonzero_params": nonzero_params,
            "compute": compute,
            "device_hours": device_hours,
            "days": days,
            "cost": cost,
            "flop_mode": flop_mode,
            "unique_data": unique_data,
            "max_total_params": max_total_params,
            "memory_bytes": memory_bytes,
            "max_sparsity": max_sparsity,
            "storage": storage,
            "bits_per_param": bits_per_param,
            "intervals": intervals,
        }
        path = f"{self._path}/optimal-sparsity/history"
        # As many laws as the service asks at a time.
        for found in self.planner._pages(path, params, models.OptimalSparsityHistory, limit=None):
            for item in found.items:
                yield item

    def loss_by_sparsity(
        self,
        nonzero_params: float,
        compute: float | None = None,
        flop_mode: str | None = None,
        *,
        device_hours: float | None = None,
        days: float | None = None,
        cost: float | None = None,
        max_sparsity: float | None = None,
        points: int | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> LossBySparsity:
        """
        Return the loss at every sparsity for one size and budget, and the best.

        `flop_mode` has to be given; `device_hours`, `days` and `cost` stand in the place of `compute`
        where the hardware profile says what they are worth.
        """
        params = {
            "nonzero_params": nonzero_params,
            "compute": compute,
            "device_hours": device_hours,
            "days": days,
            "cost": cost,
            "flop_mode": flop_mode,
            "max_sparsity": max_sparsity,
            "points": points,
            "law_version": law_version,
            "intervals": intervals,
        }
        found = self.planner._drawn(f"{self._path}/loss-by-sparsity", params, LossBySparsity)
        return self._at(found, n=nonzero_params, c=compute, mode=flop_mode)

    def gain(
        self,
        sparsities: Sequence[float] | None = None,
        *,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> Gains:
        """Return how much larger the dense model is that a sparse one of as many non-zeros is worth."""
        params = {"sparsities": sparsities, "law_version": law_version, "intervals": intervals}
        return self.planner._drawn(f"{self._path}/gain", params, Gains)

    def effective_params(
        self,
        *,
        nonzero_params: float | None = None,
        dense_params: float | None = None,
        sparsity: float | None = None,
        pattern: str | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> models.EffectiveParams:
        """
        Return a sparse model and the dense one that is as good on the same data.

        One of the sizes `nonzero_params` and `dense_params`, and one of `sparsity` and `pattern`.
        """
        params = {
            "nonzero_params": nonzero_params,
            "dense_params": dense_params,
            "sparsity": sparsity,
            "pattern": pattern,
            "law_version": law_version,
            "intervals": intervals,
        }
        return self.planner._get(f"{self._path}/effective-params", params, models.EffectiveParams)

    def data_multiplier(
        self,
        nonzero_params: float,
        sparsity: float,
        data: float,
        *,
        pretraining_data: float | None = None,
        law_version: int | None = None,
    ) -> models.DataMultiplierAnswer:
        """Return how much data training from scratch needs for the loss of a pretrained start."""
        params = {
            "nonzero_params": nonzero_params,
            "sparsity": sparsity,
            "data": data,
            "pretraining_data": pretraining_data,
            "law_version": law_version,
        }
        path = f"{self._path}/data-multiplier"
        return self.planner._get(path, params, models.DataMultiplierAnswer)

    @overload
    def predictions(  # type: ignore[overload-overlap]
        self,
        points: pd.DataFrame,
        *,
        flop_mode: str | None = None,
        unique_data: float | None = None,
        law_version: int | None = None,
        intervals: bool = True,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> pd.DataFrame: ...

    @overload
    def predictions(
        self,
        points: Iterable[Any] | ArrowStream,
        *,
        flop_mode: str | None = None,
        unique_data: float | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> models.Predictions: ...

    def predictions(
        self,
        points: pd.DataFrame | Iterable[Any] | ArrowStream,
        *,
        flop_mode: str | None = None,
        unique_data: float | None = None,
        law_version: int | None = None,
        intervals: bool = True,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> pd.DataFrame | models.Predictions:
        """
        Return the losses of many models: of a pandas frame as a frame with its index, of all else typed.

        Columns of a frame are the arguments of `predict`; others come back as they are, and one that has the
        name of an answer's as `NAME_asked`. What is NaN in `data` or `compute` is not given. `attrs` has the
        `law` and the `warnings`. With `on_error="skip"` rows that cannot be answered are NaN, and a column
        `error` says why. A pandas frame may have any number of rows, what else `log_runs` takes 100,000.
        """
        path = f"{self._path}/predictions"
        options = rows.given(
            flop_mode=flop_mode, unique_data=unique_data, law_version=law_version, intervals=intervals
        )
        if not is_pandas(points):
            if on_error != "stop":
                raise InvalidInputError(
                    "on_error is for pandas frames: all else is answered as a whole or not at all"
                )
            body = {"points": rows.listed(points), **options}
            return self.planner._post(path, body, models.Predictions, repeatable=True)
        others = ("data", "compute", "device_hours", "days", "cost", "flop_mode", "level")
        asked = rows.Asked(points, ("nonzero_params", "sparsity"), others)

        def frame(answer: bytes) -> pd.DataFrame:
            found = _read(answer, models.Predictions)
            return rows.answers_frame([rows.prediction_row(one, intervals) for one in found.results], found)

        return self._answer_frame(path, asked, options, on_error, frame)

    @overload
    def optimal_sparsities(  # type: ignore[overload-overlap]
        self,
        points: pd.DataFrame,
        flop_mode: str | None = None,
        *,
        unique_data: float | None = None,
        law_version: int | None = None,
        intervals: bool = True,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> pd.DataFrame: ...

    @overload
    def optimal_sparsities(
        self,
        points: Iterable[Any] | ArrowStream,
        flop_mode: str | None = None,
        *,
        unique_data: float | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> models.OptimalSparsities: ...

    def optimal_sparsities(
        self,
        points: pd.DataFrame | Iterable[Any] | ArrowStream,
        flop_mode: str | None = None,
        *,
        unique_data: float | None = None,
        law_version: int | None = None,
        intervals: bool = True,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> pd.DataFrame | models.OptimalSparsities:
        """
        Return the best sparsities of many budgets: of a pandas frame as one with its index, else typed.

        Columns are the arguments of `optimal_sparsity`; for others, and for all else, see `predictions`.
        """
        path = f"{self._path}/optimal-sparsities"
        options = rows.given(
            flop_mode=flop_mode, unique_data=unique_data, law_version=law_version, intervals=intervals
        )
        if not is_pandas(points):
            if on_error != "stop":
                raise InvalidInputError(
                    "on_error is for pandas frames: all else is answered as a whole or not at all"
                )
            body = {"points": rows.listed(points), **options}
            return self.planner._post(path, body, models.OptimalSparsities, repeatable=True)
        needed, optional = rows.budget_columns(points)
        others = ("flop_mode", "max_total_params", "memory_bytes", "max_sparsity")
        asked = rows.Asked(points, ("nonzero_params", *needed), (*optional, *others))

        def frame(answer: bytes) -> pd.DataFrame:
            found = _read(answer, models.OptimalSparsities)
            return rows.answers_frame([rows.optimum_row(one, intervals) for one in found.results], found)

        return self._answer_frame(path, asked, options, on_error, frame)

    def _answer_frame(
        self,
        path: str,
        asked: rows.Asked,
        options: Mapping[str, Any],
        on_error: Literal["stop", "skip"],
        of_json: Callable[[bytes], pd.DataFrame],
    ) -> pd.DataFrame:
        """Ask in parts, as an Arrow stream where pyarrow is there; rows that are wrong again and again."""
        arrow = rows.has_arrow()
        headers = {"accept": ARROW if arrow else "application/json"}
        if asked.errors and on_error == "stop":
            raise asked.refused()
        # One law for all parts, though another may become active in between.
        if "law_version" not in options and len(asked.points) > MAX_POINTS:
            options = {**options, "law_version": (self.law()).version}
        most = MAX_POINTS if on_error == "stop" else min(MAX_POINTS, POINTS_WITH_ERRORS)
        while points := asked.next_part(most):
            body = rows.encode({"points": points, **options})
            try:
                response = self.planner._send("POST", path, body=body, headers=headers, repeatable=True)
            except ProblemError as problem:
                shifted = asked.shifted(problem)
                if on_error == "stop" or not asked.left_out(shifted):
                    raise shifted from None
                continue
            asked.answered((rows.arrow_frame if arrow else of_json)(response.content))
        return asked.frame(with_errors=on_error == "skip")

    def plan(
        self,
        flop_mode: str,
        *,
        compute: float | None = None,
        device_hours: float | None = None,
        days: float | None = None,
        cost: float | None = None,
        target_loss: float | None = None,
        max_total_params: float | None = None,
        max_sparsity: float | None = None,
        memory_bytes: float | None = None,
        storage: Literal["dense", "bitmask", "csr", "2:4"] | None = None,
        bits_per_param: int | None = None,
        inference_tokens: float | None = None,
        nonzero_params: Bounds | None = None,
        total_params: Bounds | None = None,
        sparsity: Bounds | None = None,
        data: Bounds | None = None,
        unique_data: float | None = None,
        patterns: Sequence[str] | None = None,
        frontier_points: int | None = None,
        law_version: int | None = None,
        intervals: bool | None = None,
    ) -> models.Plan:
        """
        Return the best size, sparsity and data for `compute` FLOPs, or the cheapest for `target_loss`.

        Bounds are pairs `(lowest, highest)`, of which either may be None. With `unique_data`, what is
        trained on beyond so much data is seen again.
        """
        body = rows.given(
            flop_mode=flop_mode,
            compute=compute,
            device_hours=device_hours,
            days=days,
            cost=cost,
            target_loss=target_loss,
            max_total_params=max_total_params,
            max_sparsity=max_sparsity,
            memory_bytes=memory_bytes,
            storage=storage,
            bits_per_param=bits_per_param,
            inference_tokens=inference_tokens,
            nonzero_params=bounds(nonzero_params),
            total_params=bounds(total_params),
            sparsity=bounds(sparsity),
            data=bounds(data),
            unique_data=unique_data,
            patterns=patterns,
            frontier_points=frontier_points,
            law_version=law_version,
            intervals=intervals,
        )
        return self.planner._post(f"{self._path}/plans", body, models.Plan, repeatable=True)

    def suggest(
        self,
        target: Mapping[str, Any],
        compute: float,
        *,
        runs: int | None = None,
        flop_mode: str | None = None,
        grid: Mapping[str, Any] | None = None,
        law_version: int | None = None,
    ) -> models.Suggestions:
        """
        Return the runs that narrow an answer most, for at most `compute` FLOPs together.

        `target` names the answer: `{"optimal_sparsity": {...}}`, `{"prediction": {...}}`,
        `{"coefficient": "b_d"}` or, of laws of experts and levels, `{"own_coefficient": {...}}`.
        """
        body = rows.given(
            target=target,
            compute=compute,
            runs=runs,
            flop_mode=flop_mode,
            grid=grid,
            law_version=law_version,
        )
        path = f"{self._path}/suggestions"
        return self.planner._post(path, body, models.Suggestions, repeatable=True)

    def contours(
        self,
        flop_mode: str,
        *,
        levels: Sequence[float] | None = None,
        min_nonzero_params: float | None = None,
        max_nonzero_params: float | None = None,
        points: int | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> Contours:
        """Return the lines of equal optimal sparsity over size and compute."""
        params = {
            "flop_mode": flop_mode,
            "levels": levels,
            "min_nonzero_params": min_nonzero_params,
            "max_nonzero_params": max_nonzero_params,
            "points": points,
            "law_version": law_version,
            "intervals": intervals,
        }
        return self.planner._drawn(f"{self._path}/contours", params, Contours)

    # Forecasts

    def forecast(
        self,
        external_id: str,
        sparsity: float,
        *,
        nonzero_params: float | None = None,
        total_params: float | None = None,
        level: str | None = None,
        data: float | None = None,
        compute: float | None = None,
        device_hours: float | None = None,
        days: float | None = None,
        cost: float | None = None,
        flop_mode: str | None = None,
        note: str | None = None,
        law_version: int | None = None,
    ) -> models.Forecast:
        """
        Register a prediction before training; the run with this `external_id` scores it.

        `level` names the pattern or recipe where a law of levels has several of the sparsity.
        """
        body = rows.given(
            external_id=external_id,
            sparsity=sparsity,
            level=level,
            nonzero_params=nonzero_params,
            total_params=total_params,
            data=data,
            compute=compute,
            device_hours=device_hours,
            days=days,
            cost=cost,
            flop_mode=flop_mode,
            note=note,
            law_version=law_version,
        )
        # The same forecast again is the same one.
        path = f"{self._path}/forecasts"
        return self.planner._post(path, body, models.Forecast, repeatable=True)

    def forecasts(self, state: Literal["open", "scored"] | None = None) -> Iterator[models.Forecast]:
        """Yield the forecasts, the newest first."""
        path = f"{self._path}/forecasts"
        for found in self.planner._pages(path, {"state": state}, models.ForecastList):
            for item in found.items:
                yield item

    def find_forecast(self, id: UUID | str) -> models.Forecast:
        """Return a forecast by its id."""
        return self.planner._get(f"{self._path}/forecasts/{id}", {}, models.Forecast)

    def calibration(self) -> models.ForecastCalibration:
        """Return how often forecasts came true."""
        path = f"{self._path}/forecasts/calibration"
        return self.planner._get(path, {}, models.ForecastCalibration)
