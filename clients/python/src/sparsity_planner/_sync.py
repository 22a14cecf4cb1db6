"""The client that blocks. Made by `generate` from `_async.py`: change that."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload
from urllib.parse import quote
from uuid import UUID

import httpx
from typing_extensions import Self, Unpack

from . import _rows as rows
from . import models
from ._asked import (
    ARROW,
    EVENT_SECONDS,
    MAX_POINTS,
    PAGE,
    REPEATABLE,
    Bounds,
    Reading,
    RefitOptions,
    RefusedStreamError,
    RunFilters,
    bounds,
    naming_columns,
    query,
    reading_query,
)
from ._base import Model
from ._retry import Attempts
from ._tables import ArrowStream, bodies, encode, is_pandas, rows_of
from ._tracked import TrackedRuns
from .errors import ProblemError, RefitFailedError, UnreachableError

if TYPE_CHECKING:
    import pandas as pd

M = TypeVar("M", bound=Model)
# Header with the position of a write, which a read that is to see it sends back.
READ_AFTER = "x-read-after"


class Planner:
    """
    A sparsity planner at an address.

    Requests that are safe to repeat (all questions, and runs, which are known by their `external_id`)
    are repeated after errors of the connection and after 429, 502, 503 and 504. Use it as a context
    manager, or `close` it.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float | httpx.Timeout = 60.0,
        retries: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """
        Connect to nothing yet.

        `url` and `key` come from `SPARSITY_PLANNER_URL` and `SPARSITY_PLANNER_KEY` where they are left
        out. `timeout` is in seconds, for each wait on the network; `retries` is how often a request is
        sent again; `transport` replaces the network, for tests.
        """
        url = url or os.environ.get("SPARSITY_PLANNER_URL")
        key = key or os.environ.get("SPARSITY_PLANNER_KEY")
        if not url:
            raise ValueError("give a url, or set SPARSITY_PLANNER_URL")
        headers = {"user-agent": f"sparsity-planner-python/{version('sparsity-planner')}"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        self.url = url.rstrip("/")
        self._retries = retries
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout, transport=transport)

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
        for page in self._pages("/v1/families", {}, models.FamilyList):
            for item in page.items:
                yield item

    def hardware_profiles(self) -> Iterator[models.HardwareProfile]:
        """Yield all hardware profiles: the FLOP modes beside `dense` and `sparse`."""
        for page in self._pages("/v1/hardware-profiles", {}, models.HardwareProfileList):
            for item in page.items:
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

    def refit(self, id: UUID | str) -> models.Refit:
        """Return a refit as it stands."""
        return self._get(f"/v1/refits/{id}", {}, models.Refit)

    def cancel_refit(self, id: UUID | str) -> models.Refit:
        """Cancel a refit; one that has ended stays as it is."""
        response = self._send("DELETE", f"/v1/refits/{id}")
        return models.Refit.model_validate_json(response.content)

    def wait_for_refit(
        self, id: UUID | str, progress: Callable[[models.Refit], object] | None = None
    ) -> models.Refit:
        """
        Follow a refit to its end.

        `progress` is called with every change. Raises `RefitFailedError` where no law came of it.
        """
        attempts = self._attempts(repeatable=True)
        while True:
            try:
                with self._stream(f"/v1/refits/{id}/events") as response:
                    events = rows.Events()
                    for line in response.iter_lines():
                        data = events.feed(line)
                        if data is None:
                            continue
                        attempts = self._attempts(repeatable=True)
                        refit = models.Refit.model_validate_json(data)
                        if progress:
                            progress(refit)
                        if refit.state == "succeeded":
                            return refit
                        if refit.finished_at:
                            raise RefitFailedError(refit)
                # A service that stops ends the stream before the refit has ended.
                cut = httpx.RemoteProtocolError("the stream ended before the refit")
                wait = attempts.wait_after_error(cut)
                if wait is None:
                    raise UnreachableError(str(cut)) from cut
            except httpx.TransportError as error:
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
        return response.json() if response.content else None

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
        attempts = self._attempts(method in REPEATABLE if repeatable is None else repeatable)
        all_headers = {} if body is None else {"content-type": "application/json"}
        all_headers |= headers or {}
        while True:
            try:
                response = self._http.request(
                    method, path, params=query(params or {}), content=body, headers=all_headers
                )
            except httpx.TransportError as error:
                wait = attempts.wait_after_error(error)
                if wait is None:
                    raise UnreachableError(f"{self.url}: {error!r}") from error
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
        response = self._send("GET", path, params=params)
        return answer.model_validate_json(response.content)

    def _post(self, path: str, body: Mapping[str, Any], answer: type[M], *, repeatable: bool) -> M:
        response = self._send("POST", path, body=rows.encode(body), repeatable=repeatable)
        return answer.model_validate_json(response.content)

    def _pages(self, path: str, params: Mapping[str, Any], page: type[M]) -> Iterator[M]:
        cursor = None
        while True:
            found = self._get(path, {**params, "limit": PAGE, "cursor": cursor}, page)
            yield found
            cursor = getattr(found, "next_cursor", None)
            if cursor is None:
                return


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

    def info(self) -> models.Family:
        """Return its settings and its active law."""
        return self.planner._get(self._path, {}, models.Family)

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
    ) -> models.SubmissionResult:
        """
        Store a finished run, or correct it: `external_id` says which run it is.

        One of `nonzero_params` and `total_params`, which counts zeros too; `data` in the family's unit;
        `loss` is that of validation.
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
        return models.SubmissionResult.model_validate_json(response.content)

    def log_runs(
        self,
        runs: Iterable[Any] | ArrowStream | pd.DataFrame,
        *,
        on_error: Literal["stop", "skip"] = "stop",
        dry_run: bool = False,
        batch_size: int = 20_000,
        **reading: Unpack[Reading],
    ) -> models.SubmissionResult:
        """
        Store many runs: a frame of pandas or polars, Arrow data, or an iterable of mappings or data classes.

        Columns are the arguments of `log_run`, and a column `tags.NAME` is the tag NAME; None and NaN are no
        value. Of other columns `reading` says what they mean. What `trackers.read` gives is taken as it is.

        Each batch is all or nothing, unless `on_error="skip"` stores what is right and `rejected` names
        the rest. Rows are counted from 0 over all batches. To send the same again is safe. With `reading` or
        `dry_run`, which stores nothing and answers what would be stored, all rows are one batch.
        """
        tracked = runs if isinstance(runs, TrackedRuns) else None
        options = {**(tracked.reading if tracked else {}), **reading}
        params = {**reading_query(options), **({"on_error": "skip"} if on_error == "skip" else {})}
        if dry_run:
            params["dry_run"] = "true"
        explain = tracked.explain if tracked else None
        total = rows.nothing_sent()
        size = None if options or dry_run else batch_size
        names = naming_columns(options)
        for first, body, headers in bodies(rows_of(runs), size, keep_nan=tracked is not None, names=names):
            path = f"{self._path}/runs"
            try:
                response = self.planner._send(
                    "POST", path, params=params, body=body, headers=headers, repeatable=True
                )
            except ProblemError as problem:
                raise rows.shifted(problem, first, explain) from None
            batch = models.SubmissionResult.model_validate_json(response.content)
            total = rows.added(total, batch, first, explain)
        return tracked.reported(total) if tracked else total

    def runs(self, **filters: Unpack[RunFilters]) -> Iterator[models.Run]:
        """Yield the runs that pass all filters, the newest first."""
        for page in self.planner._pages(f"{self._path}/runs", filters, models.RunList):
            for item in page.items:
                yield item

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

    def exclude_run(self, id: UUID | str, reason: str) -> models.Run:
        """Leave a run out of later fits."""
        return self._update_run(id, {"excluded": True, "exclusion_reason": reason})

    def include_run(self, id: UUID | str) -> models.Run:
        """Take a run into later fits again."""
        return self._update_run(id, {"excluded": False})

    def _update_run(self, id: UUID | str, body: Mapping[str, Any]) -> models.Run:
        path = f"{self._path}/runs/{id}"
        response = self.planner._send("PATCH", path, body=rows.encode(body))
        return models.Run.model_validate_json(response.content)

    def delete_run(self, id: UUID | str) -> None:
        """Delete a run."""
        self.planner._send("DELETE", f"{self._path}/runs/{id}", gone_is_done=True)

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
        if not wait:
            return refit
        return self.planner.wait_for_refit(refit.id, progress)

    def law(self, version: int | None = None) -> models.Law:
        """Return the law of a version; the active one unless said otherwise."""
        if version is None:
            active = (self.info()).active_law
            if active is None:
                detail = f"the family {self.name} has no law yet: refit its runs"
                raise ProblemError("no-law", 409, detail)
            version = active.version
        return self.planner._get(f"{self._path}/laws/{version}", {}, models.Law)

    def laws(self) -> Iterator[models.Law]:
        """Yield all laws, the newest first."""
        for page in self.planner._pages(f"{self._path}/laws", {}, models.LawList):
            for item in page.items:
                yield item

    def pin_law(self, version: int | None) -> models.Family:
        """Let a version answer from now on; None: the newest fit."""
        body = rows.encode({"version": version})
        response = self.planner._send("PUT", f"{self._path}/active-law", body=body)
        return models.Family.model_validate_json(response.content)

    # Questions

    def predict(
        self,
        nonzero_params: float,
        sparsity: float,
        *,
        data: float | None = None,
        compute: float | None = None,
        device_hours: float | None = None,
        days: float | None = None,
        cost: float | None = None,
        flop_mode: str | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> models.Prediction:
        """
        Return the loss of a model trained on `data`, or on what `compute` FLOPs pay for.

        `device_hours`, `days` and `cost` stand in the place of `compute` where the hardware profile says
        what they are worth.
        """
        params = {
            "nonzero_params": nonzero_params,
            "sparsity": sparsity,
            "data": data,
            "compute": compute,
            "device_hours": device_hours,
            "days": days,
            "cost": cost,
            "flop_mode": flop_mode,
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
    ) -> models.OptimalSparsity:
        """
        Return the sparsity that makes the most of `compute` FLOPs at so many non-zero parameters.

        `flop_mode` is `dense`, `sparse`, or the name of a hardware profile, and has to be given.
        `device_hours`, `days` and `cost` stand in the place of `compute` where the profile says what they
        are worth. The bounds are on how sparse the model may be.
        """
        params = {
            "nonzero_params": nonzero_params,
            "compute": compute,
            "device_hours": device_hours,
            "days": days,
            "cost": cost,
            "flop_mode": flop_mode,
            "max_total_params": max_total_params,
            "memory_bytes": memory_bytes,
            "max_sparsity": max_sparsity,
            "storage": storage,
            "bits_per_param": bits_per_param,
            "law_version": law_version,
            "intervals": intervals,
        }
        path = f"{self._path}/optimal-sparsity"
        return self.planner._get(path, params, models.OptimalSparsity)

    @overload
    def predictions(
        self,
        points: pd.DataFrame,
        *,
        flop_mode: str | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> pd.DataFrame: ...

    @overload
    def predictions(
        self,
        points: Sequence[Mapping[str, Any]],
        *,
        flop_mode: str | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> models.Predictions: ...

    def predictions(
        self,
        points: pd.DataFrame | Sequence[Mapping[str, Any]],
        *,
        flop_mode: str | None = None,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> pd.DataFrame | models.Predictions:
        """
        Return the losses of many models: of a frame as a frame with its index, of a list typed.

        Columns are the arguments of `predict`. A frame may have any number of rows, a list 100,000.
        """
        path = f"{self._path}/predictions"
        options = rows.given(flop_mode=flop_mode, law_version=law_version, intervals=intervals)
        if not is_pandas(points):
            body = {"points": list(points), **options}
            return self.planner._post(path, body, models.Predictions, repeatable=True)
        names = (
            "nonzero_params",
            "sparsity",
            "data",
            "compute",
            "device_hours",
            "days",
            "cost",
            "flop_mode",
        )

        def frame(answer: bytes, index: pd.Index[Any]) -> pd.DataFrame:
            results = models.Predictions.model_validate_json(answer).results
            return rows.answers_frame([rows.prediction_row(one, intervals) for one in results], index)

        return self._answer_frame(path, points, names, options, frame)  # type: ignore[arg-type]

    @overload
    def optimal_sparsities(
        self,
        points: pd.DataFrame,
        flop_mode: str | None = None,
        *,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> pd.DataFrame: ...

    @overload
    def optimal_sparsities(
        self,
        points: Sequence[Mapping[str, Any]],
        flop_mode: str | None = None,
        *,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> models.OptimalSparsities: ...

    def optimal_sparsities(
        self,
        points: pd.DataFrame | Sequence[Mapping[str, Any]],
        flop_mode: str | None = None,
        *,
        law_version: int | None = None,
        intervals: bool = True,
    ) -> pd.DataFrame | models.OptimalSparsities:
        """
        Return the best sparsities of many budgets: of a frame as a frame with its index, of a list typed.

        Columns are the arguments of `optimal_sparsity`. A frame may have any number of rows, a list
        100,000.
        """
        path = f"{self._path}/optimal-sparsities"
        options = rows.given(flop_mode=flop_mode, law_version=law_version, intervals=intervals)
        if not is_pandas(points):
            body = {"points": list(points), **options}
            return self.planner._post(path, body, models.OptimalSparsities, repeatable=True)
        names = (
            "nonzero_params",
            "compute",
            "device_hours",
            "days",
            "cost",
            "flop_mode",
            "max_total_params",
            "memory_bytes",
            "max_sparsity",
        )

        def frame(answer: bytes, index: pd.Index[Any]) -> pd.DataFrame:
            results = models.OptimalSparsities.model_validate_json(answer).results
            return rows.answers_frame([rows.optimum_row(one, intervals) for one in results], index)

        return self._answer_frame(path, points, names, options, frame)  # type: ignore[arg-type]

    def _answer_frame(
        self,
        path: str,
        points: pd.DataFrame,
        names: Sequence[str],
        options: Mapping[str, Any],
        of_json: Callable[[bytes, pd.Index[Any]], pd.DataFrame],
    ) -> pd.DataFrame:
        """Ask in parts, as an Arrow stream where pyarrow is there."""
        import pandas as pd

        arrow = rows.has_arrow()
        if points.empty:
            raise ValueError("the frame has no rows")
        # One law for all parts, though another may become active in between.
        if "law_version" not in options and len(points) > MAX_POINTS:
            options = {**options, "law_version": (self.law()).version}
        parts = []
        for first in range(0, len(points), MAX_POINTS):
            part = points.iloc[first : first + MAX_POINTS]
            body = rows.encode({"points": rows.points(part, names), **options})
            headers = {"accept": ARROW if arrow else "application/json"}
            try:
                response = self.planner._send("POST", path, body=body, headers=headers, repeatable=True)
            except ProblemError as problem:
                raise rows.shifted_points(problem, first) from None
            read = rows.arrow_frame if arrow else of_json
            parts.append(read(response.content, part.index))
        return pd.concat(parts)

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
        patterns: Sequence[str] | None = None,
        frontier_points: int | None = None,
        law_version: int | None = None,
        intervals: bool | None = None,
    ) -> models.Plan:
        """
        Return the best size, sparsity and data for `compute` FLOPs, or the cheapest for `target_loss`.

        Bounds are pairs `(lowest, highest)`, of which either may be None.
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

        `target` names the answer: `{"optimal_sparsity": {...}}`, `{"prediction": {...}}` or
        `{"coefficient": "b_d"}`.
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
    ) -> models.Contours:
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
        return self.planner._get(f"{self._path}/contours", params, models.Contours)

    # Forecasts

    def forecast(
        self,
        external_id: str,
        sparsity: float,
        *,
        nonzero_params: float | None = None,
        total_params: float | None = None,
        data: float | None = None,
        compute: float | None = None,
        flop_mode: str | None = None,
        note: str | None = None,
        law_version: int | None = None,
    ) -> models.Forecast:
        """Register a prediction before training; the run with this `external_id` scores it."""
        body = rows.given(
            external_id=external_id,
            sparsity=sparsity,
            nonzero_params=nonzero_params,
            total_params=total_params,
            data=data,
            compute=compute,
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
        for page in self.planner._pages(path, {"state": state}, models.ForecastList):
            for item in page.items:
                yield item

    def calibration(self) -> models.ForecastCalibration:
        """Return how often forecasts came true."""
        path = f"{self._path}/forecasts/calibration"
        return self.planner._get(path, {}, models.ForecastCalibration)
