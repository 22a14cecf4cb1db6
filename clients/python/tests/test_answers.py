"""What a notebook makes of answers: pictures, tables, links, bars, and frames that know their law."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import math
import pickle
import re
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from sparsity_planner import (
    AsyncFamily,
    AsyncPlanner,
    Family,
    InputTypeError,
    InvalidInputError,
    Picture,
    Planner,
    PlannerError,
    ProblemError,
    UnexpectedAnswerError,
    _html,
    _progress,
    _rows,
    models,
)
from sparsity_planner._base import Model

RUN = {"nonzero_params": 2e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5}
DOCUMENT = Path(__file__).parents[3] / "openapi" / "openapi.json"
# What asks each operation of a family that is a question, or is about runs, laws and refits.
METHODS = {
    "create_runs": "log_runs",
    "list_uploads": "uploads",
    "get_upload": "upload",
    "list_runs": "runs",
    "get_run": "run",
    "update_run": "exclude_run",
    "update_run_by_external_id": "include_run",
    "delete_run": "delete_run",
    "delete_run_by_external_id": "delete_run",
    "get_family": "info",
    "update_family": "update",
    "delete_family": "delete",
    "list_family_events": "events",
    "create_refit": "refit",
    "list_refits": "refits",
    "list_laws": "laws",
    "get_law": "law",
    "create_law": "import_law",
    "update_active_law": "pin_law",
    "get_law_comparison": "compare",
    "get_fit_quality": "fit_quality",
    "get_prediction": "predict",
    "create_predictions": "predictions",
    "get_optimal_sparsity": "optimal_sparsity",
    "create_optimal_sparsities": "optimal_sparsities",
    "get_optimal_sparsity_history": "history",
    "get_loss_by_sparsity": "loss_by_sparsity",
    "get_gain": "gain",
    "get_effective_params": "effective_params",
    "get_data_multiplier": "data_multiplier",
    "get_contours": "contours",
    "create_plan": "plan",
    "create_suggestions": "suggest",
    "create_forecast": "forecast",
    "list_forecasts": "forecasts",
    "get_forecast": "find_forecast",
    "get_forecast_calibration": "calibration",
    "list_mappings": "mappings",
    "get_mapping": "mapping",
    "update_mapping": "save_mapping",
    "delete_mapping": "delete_mapping",
}
RUN_FIELDS = {"external_id", "nonzero_params", "sparsity", "data", "loss"}
# Parameters that no method takes by the name that they have in the document.
ELSEWHERE = {"width", "height", "theme", "bare", "axes", "x_range", "y_range", "mark", "limit", "cursor"}


def operations() -> dict[str, Any]:
    paths = json.loads(DOCUMENT.read_text())["paths"]
    return {
        operation["operationId"]: operation
        for path, methods in paths.items()
        if path.startswith("/v1/families/{family}")
        for operation in methods.values()
    }


@pytest.mark.parametrize("kind", [Family, AsyncFamily])
def test_every_question_has_a_method_with_its_parameters(kind: type) -> None:
    assert METHODS.keys() == operations().keys()
    for operation, method in METHODS.items():
        arguments = inspect.signature(getattr(kind, method)).parameters
        if any(one.kind is one.VAR_KEYWORD for one in arguments.values()):
            continue
        wanted = {one["name"] for one in operations()[operation]["parameters"] if one["in"] == "query"}
        assert wanted - ELSEWHERE <= arguments.keys(), method


def drawn(demo: Family) -> list[Any]:
    return [
        demo.gain([0.5, 0.75]),
        demo.fit_quality(),
        demo.loss_by_sparsity(1e8, 1e20, "sparse"),
        demo.contours("sparse", levels=[0, 0.5]),
        demo.optimal_sparsity(1e8, 1e20, "sparse"),
        demo.law(),
        next(demo.laws()),
    ]


def test_answers_are_drawn_as_they_were_asked(planner: Planner, tmp_path: Path) -> None:
    seen = set()
    for answer in drawn(planner.family("demo")):
        picture = answer.plot(width=600, height=400, theme="dark")
        assert isinstance(picture, Picture)
        svg = picture._repr_svg_()
        assert svg
        assert picture._repr_png_() is None
        root = ElementTree.fromstring(svg)
        assert (root.get("width"), root.get("height")) == ("600", "400")
        assert picture.save(tmp_path / "picture.svg").read_text() == svg
        seen.add(svg)
    # The law's picture is that of how well it meets its runs.
    assert len(seen) == 4
    answer = planner.family("demo").gain()
    picture = answer.plot(format="png")
    png = picture._repr_png_()
    assert png
    assert png.startswith(b"\x89PNG")
    assert picture._repr_svg_() is None
    assert answer.plot().save(tmp_path / "Gain.PNG").read_bytes() == png
    with pytest.raises(InvalidInputError, match=r"end the name with \.svg or \.png, not gain\.pdf"):
        answer.plot().save(tmp_path / "gain.pdf")
    with pytest.raises(ProblemError, match="width"):
        answer.plot(width=10)


def test_a_copy_is_drawn_and_one_from_a_file_says_why_not(planner: Planner) -> None:
    answer = planner.family("demo").gain()
    assert copy.deepcopy(answer) == answer
    assert copy.deepcopy(answer).plot().content == answer.plot().content
    back = pickle.loads(pickle.dumps(answer))
    assert back == answer
    assert hash(answer.law) == hash(back.law)
    with pytest.raises(InvalidInputError, match="ask again"):
        back.plot()


def test_all_runs_of_a_law_are_in_its_fit_quality(planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = planner.family("demo").fit_quality()
    monkeypatch.setattr("sparsity_planner._sync.PAGE", 20)
    assert planner.family("demo").fit_quality() == whole
    assert len(whole.items) == 48
    assert [one.external_id for one in planner.family("demo").fit_quality(outliers=True).items] == [
        one.external_id for one in whole.items if one.outlier
    ]


def test_a_history_has_the_answer_of_each_law(planner: Planner, family: Family) -> None:
    runs = [run.model_dump(include=RUN_FIELDS) for run in planner.family("demo").runs()]
    family.log_runs(runs[:40])
    for seed in range(2):
        family.refit(starts=2, bootstrap=0, holdout=[], seed=seed)
    family.log_runs(runs)
    family.refit(starts=2, bootstrap=0, holdout=[])
    found = list(family.history(1e8, 1e20, "sparse"))
    assert [item.law.version for item in found] == [3, 2, 1]
    for item in found:
        asked = family.optimal_sparsity(1e8, 1e20, "sparse", law_version=item.law.version)
        assert item.answer is not None
        assert item.answer.sparsity == asked.sparsity
    newest, middle, first = (item.changes for item in found)
    assert first is None
    assert middle is not None
    assert middle.runs is not None
    assert (middle.runs.added, [(one.option, one.before, one.after) for one in middle.options]) == (
        0,
        [("seed", 0, 1)],
    )
    assert newest is not None
    assert newest.runs is not None
    assert (newest.runs.added, newest.runs.removed, newest.runs.changed) == (8, 0, 0)


def test_the_rest_of_the_questions(planner: Planner, family: Family) -> None:
    demo = planner.family("demo")
    worth = demo.effective_params(nonzero_params=1e8, sparsity=0.75)
    assert worth.gain.value == pytest.approx(demo.gain([0.75]).points[0].gain)
    assert demo.effective_params(dense_params=1e8, pattern="2:4").pattern == "2:4"
    with pytest.raises(ProblemError):
        demo.data_multiplier(1e8, 0.75, 1e10)
    found = demo.compare(1, 1)
    assert {one.ratio for one in found.coefficients} == {1.0}
    t5 = planner.family("t5-c4").law()
    coefficients = t5.coefficients.model_dump()
    assert family.import_law(coefficients, "a test", runs=3).coefficients == t5.coefficients
    capacities = [{"name": "a", "sparsity": level, "value": a} for level, a in ((0, 62.0), (0.5, 55.0))]
    rest = {"b_n": 0.245, "a_d": 6.9e8, "b_d": 0.35, "c": 0.8}
    given = [*capacities, *({"name": name, "value": value} for name, value in rest.items())]
    levels = family.import_law(given, "a test", form="levels")
    assert levels.form == "levels"
    again = family.import_law(levels.own_coefficients or [], "a test", form="levels")
    assert again.own_coefficients == levels.own_coefficients
    # Nothing is known of how well it fits runs, and the word says so.
    assert (levels.trust.level, levels.trust.because) == ("weak", ["not_checked"])
    assert {warning.of for warning in levels.warnings} == {"law"}
    assert family.update(description="changed").description == "changed"
    kept = family.save_mapping("mine", map={"loss": "val"}, tag_columns=["seed"])
    assert family.mapping("mine") == kept == next(family.mappings())
    assert (
        family.log_runs(
            [{**RUN, "external_id": "a", "loss": 9.0, "val": 2.0, "seed": 4}], mapping="mine"
        ).created
        == 1
    )
    assert (family.run("a").loss, family.run("a").tags) == (2.0, {"seed": "4"})
    family.delete_mapping("mine")
    assert not list(family.mappings())
    registered = demo.forecast(f"big-{uuid.uuid4().hex}", 0.75, nonzero_params=5e7, data=3e10)
    assert demo.find_forecast(registered.id) == registered
    assert planner.health().status == "ok"
    name = f"profile-{uuid.uuid4().hex[:8]}"
    planner.create_hardware_profile(name, {"points": [[0.5, 0.8]]})
    assert planner.update_hardware_profile(name, source="a test").source == "a test"
    assert planner.hardware_profile(name).source == "a test"
    planner.delete_hardware_profile(name)
    with pytest.raises(ProblemError, match="not-found"):
        planner.hardware_profile(name)
    assert not list(planner.keys())
    assert next(planner.audit_events(family=family.name)).family == family.name


def words(html: str) -> str:
    """Return what a reader sees, and that it is well formed."""
    ElementTree.fromstring(html)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_an_answer_is_a_table_read_from_the_top(planner: Planner) -> None:
    answer = planner.family("demo").optimal_sparsity(1e8, 1e20, "sparse")
    assert answer.interval
    text = words(answer._repr_html_())
    parts = [
        "Optimal sparsity",
        "dashboard",
        f"sparsity {answer.sparsity:.6g} ({answer.interval.low:.6g} to {answer.interval.high:.6g}, 95 %)",
        f"loss {answer.loss:.6g} (",
        "gain",
        f"trust {answer.trust.level}",
        f"law version {answer.law.version}, fitted",
        "extrapolation nonzero params is",
        "warnings",
    ]
    places = [text.replace("nonzero_params", "nonzero params").find(part) for part in parts]
    assert -1 not in places, (parts, text)
    assert places == sorted(places)
    order = [name for name, _ in answer.__repr_args__()]
    assert order[:3] == ["sparsity", "interval", "loss"]
    assert order[-4:] == ["trust", "law", "extrapolation", "warnings"]
    assert repr(answer.interval).startswith("Interval(low=")


def test_everything_that_is_answered_shows_itself(planner: Planner, family: Family) -> None:
    demo = planner.family("demo")
    target = {"optimal_sparsity": {"nonzero_params": 5e7, "compute": 1e20, "flop_mode": "sparse"}}
    refit = planner.refit(demo.refit(without=["demo-01"], bootstrap=0, holdout=[]).id)
    answers: list[Model] = [
        *drawn(demo),
        demo.predict(5e7, 0.75, data=3e10),
        demo.effective_params(nonzero_params=1e8, sparsity=0.75),
        demo.compare(1, 1),
        demo.plan("sparse", compute=1e20),
        demo.suggest(target, 1e20, runs=2),
        demo.predictions([{"nonzero_params": 1e7, "sparsity": 0.5, "data": 1e10}]),
        demo.calibration(),
        demo.info(),
        refit,
        planner.family("t5-c4").law(),
        next(planner.hardware_profiles()),
        family.log_runs([{**RUN, "external_id": "a"}]),
        family.run("a"),
    ]
    for answer in answers:
        text = words(answer._repr_html_())
        assert "[" not in text.split("warnings")[0], text
        assert "None" not in text
    law = words(demo.law()._repr_html_())
    coefficients = demo.law().coefficients
    assert re.search(rf"value low high a_s|a s {coefficients.a_s:.6g}", law)
    assert (
        law.index(" a_s ") < law.index(" b_s ") < law.index(" c_s ") < law.index(" b_n ") < law.index(" a_d ")
    )


def test_what_others_wrote_is_text_and_no_markup(family: Family) -> None:
    family.log_run("<script>a</script>", **RUN, tags={"<b>": "<i>&"})  # type: ignore[arg-type]
    html = family.run("<script>a</script>")._repr_html_()
    assert "<script>" not in html
    assert "<i>" not in html
    assert "<script>a</script>" in words(html).replace("&lt;", "<").replace("&gt;", ">")


def test_long_lists_are_counted() -> None:
    rows = [{"a": float(i), "id": "x"} for i in range(_html.SHOWN_ROWS + 3)]
    text = words(_html._list(rows))
    assert "… and 3 more" in text
    assert "id" not in text


def test_runs_laws_and_refits_have_links(planner: Planner, family: Family, url: str) -> None:
    demo = planner.family("demo")
    refit = next(iter([demo.refit(wait=False, without=["demo-02"], bootstrap=0, holdout=[])]))
    assert refit.dashboard_url == f"{url}/?family=demo&view=laws&refit={refit.id}"
    assert planner.wait_for_refit(refit.id).dashboard_url == refit.dashboard_url
    run = family.log_run("sweep 3/a&b", **RUN)  # type: ignore[arg-type]
    assert run.dashboard_url == f"{url}/?family={family.name}&view=runs&q=sweep+3%2Fa%26b"
    assert family.exclude_run(run, "x").dashboard_url == run.dashboard_url
    assert demo.law().dashboard_url == f"{url}/?family=demo&view=laws"
    assert demo.dashboard_url == demo.info().dashboard_url == f"{url}/?family=demo"
    answer = demo.optimal_sparsity(1e8, 1e20, "sparse")
    assert answer.dashboard_url == f"{url}/?family=demo&n=100000000.0&c=1e%2B20&mode=sparse"
    assert demo.predict(1e8, 0.5, data=1e10).dashboard_url is None
    for link in (run.dashboard_url, answer.dashboard_url):
        assert link
        assert "<title>Sparsity planner" in planner._http.get(link).text


def test_bars_and_links_are_for_whoever_looks(
    planner: Planner, family: Family, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(planner.family("demo").runs())
    runs = [{**run.model_dump(include=set(RUN)), "external_id": run.external_id} for run in rows]
    # Tests are no notebook and no terminal.
    family.log_runs(runs)
    family.refit(bootstrap=0, holdout=[])
    assert capsys.readouterr() == ("", "")
    with Planner(url, progress=True) as shown:
        again = shown.family(family.name)
        again.log_runs(iter(runs), batch_size=10)
        run = again.log_run("one", **RUN)  # type: ignore[arg-type]
        seen: list[models.Refit] = []
        refit = again.refit(bootstrap=2000, holdout=[], progress=seen.append)
    assert seen[-1].state == "succeeded"
    out, err = capsys.readouterr()
    assert out == ""
    assert f"runs of {family.name}: {url}/?family={family.name}&view=runs\n" in err
    assert f"run one of {family.name}: {run.dashboard_url}\n" in err
    assert f"refit of {family.name}: {refit.dashboard_url}\n" in err
    assert refit.law
    assert f"law {refit.law.version} of {family.name}: {url}/?family={family.name}&view=laws\n" in err


def test_a_bar_counts_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_progress, "DELAY_SECONDS", 0)
    with _progress.bar(True, "queued", total=1.0) as bar:
        bar.reach(0.5, "resampling")
    assert "resampling:  50%" in capsys.readouterr().err
    with _progress.bar(True, "runs", total=3) as bar:
        assert list(bar.over("abc")) == ["a", "b", "c"]
    assert "3/3" in capsys.readouterr().err
    # Without tqdm there is none.
    monkeypatch.setattr(_progress, "find_spec", lambda _: None)
    with _progress.bar(True, "runs", total=3) as bar:
        assert list(bar.over("abc")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_both_clients_work_in_a_loop_that_runs_already(url: str) -> None:
    async def cell() -> tuple[models.OptimalSparsity, models.OptimalSparsity, str]:
        planner = AsyncPlanner(url)
        answer = await planner.family("demo").optimal_sparsity(1e8, 1e20, "sparse")
        picture = await answer.plot()
        with Planner(url) as blocking:
            same = blocking.family("demo").optimal_sparsity(1e8, 1e20, "sparse")
        await planner.aclose()
        return answer, same, picture._repr_svg_() or ""

    answer, same, svg = asyncio.run(cell())
    # The classes of both are one to whoever compares.
    assert type(answer) is not type(same)
    assert answer == same
    assert answer != same.law
    assert svg.startswith("<svg")


@pytest.mark.parametrize("arrow", [True, False])
def test_a_frame_keeps_its_columns_and_knows_its_law(
    planner: Planner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arrow: bool
) -> None:
    monkeypatch.setattr(_rows, "has_arrow", lambda: arrow)
    demo = planner.family("demo")
    runs = demo.runs_frame().set_index("external_id")
    runs["who"] = pd.Categorical(["ä"] * len(runs))
    runs.attrs["origin"] = "a test"
    runs = runs.sample(frac=1, random_state=1)
    found = demo.predictions(runs)
    assert found.index.equals(runs.index)
    pd.testing.assert_series_equal(found["loss_asked"], runs["loss"], check_names=False)
    pd.testing.assert_series_equal(found["who"], runs["who"])
    assert (found["loss"] / runs["loss"] - 1).abs().max() < 0.1
    law = demo.law()
    assert found.attrs["law"]["version"] == law.version
    assert found.attrs["law"]["id"] == str(law.id)
    assert found.attrs["origin"] == "a test"
    codes = {one["code"] for one in found.attrs["warnings"]}
    assert codes == {one.code for one in law.warnings}
    # Copies and files keep them: they are plain values.
    assert found.copy().attrs == found.attrs
    found.drop(columns=["tags"]).to_parquet(tmp_path / "answers.parquet")
    assert pd.read_parquet(tmp_path / "answers.parquet").attrs == found.attrs


WRONG = [math.nan, math.inf, -math.inf, None, pd.NA, Decimal("NaN"), Decimal("Infinity"), "many", True]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_question_with_no_number_is_its_row_s_fault(planner: Planner, wrong: Any) -> None:
    demo = planner.family("demo")
    frame = pd.DataFrame(
        {"nonzero_params": [1e7, wrong, 1e8], "compute": 1e20, "note": list("abc")}, index=["x", "y", "z"]
    )
    with pytest.raises(ProblemError) as caught:
        demo.optimal_sparsities(frame, "sparse")
    (error,) = caught.value.errors
    assert error.pointer == "/points/1/nonzero_params"
    assert "index 'y'" in error.detail
    assert (caught.value.kind, caught.value.status) == ("invalid", 422)

    found = demo.optimal_sparsities(frame, "sparse", on_error="skip")
    assert found["error"].isna().tolist() == [True, False, True]
    assert "index 'y'" in found["error"]["y"]
    assert found["sparsity"].isna().tolist() == [False, True, False]
    right = demo.optimal_sparsities(frame.loc[["x", "z"]].astype({"nonzero_params": float}), "sparse")
    assert found["sparsity"].dropna().tolist() == right["sparsity"].tolist()
    assert found["note"].tolist() == ["a", "b", "c"]


def test_narrow_numbers_and_others_that_are_missing(planner: Planner) -> None:
    demo = planner.family("demo")
    frame = pd.DataFrame(
        {"nonzero_params": np.array([1e7, np.nan, np.inf], dtype="float32"), "compute": 1e20}
    )
    found = demo.optimal_sparsities(frame, "sparse", on_error="skip")
    assert found["error"].isna().tolist() == [True, False, False]
    # A question has data or compute, and what it lacks is not given.
    mixed = pd.DataFrame(
        {
            "nonzero_params": 1e7,
            "sparsity": 0.5,
            "data": [3e10, np.nan, np.nan],
            "compute": [np.nan, 1e19, np.nan],
        }
    )
    found = demo.predictions(mixed, flop_mode="sparse", on_error="skip")
    assert found["loss"].isna().tolist() == [False, False, True]
    assert found["data"].isna().tolist() == [False, False, True]
    assert "the frame has NaN" in found["error"][2]
    everything = demo.predictions(mixed[2:], flop_mode="sparse", on_error="skip")
    assert everything["error"].notna().all()


def test_rows_that_the_service_refuses_are_skipped_part_by_part(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsity_planner._sync.POINTS_WITH_ERRORS", 3)
    demo = planner.family("demo")
    sizes = [1e7, -1, 1e8, 2e7, -2, -3, 3e7, 1e30]
    frame = pd.DataFrame({"nonzero_params": sizes, "compute": 1e20}, index=range(10, 18))
    found = demo.optimal_sparsities(frame, "sparse", on_error="skip")
    assert found["error"].notna().tolist() == [False, True, False, False, True, True, False, True]
    assert found["nonzero_params"].tolist() == sizes
    assert "not -3 (index 15)" in found["error"][15]
    with pytest.raises(ProblemError, match="flop_mode"):
        demo.optimal_sparsities(frame, "nothing-like-it", on_error="skip")


def test_an_upload_names_the_frame_s_rows(family: Family) -> None:
    frame = pd.DataFrame({**RUN, "external_id": list("abcd")}, index=[3, 5, 7, 9])
    frame["loss"] = [2.5, math.nan, math.inf, 2.5]
    with pytest.raises(ProblemError) as caught:
        family.log_runs(frame)
    assert [error.pointer for error in caught.value.errors] == ["/1/loss", "/2/loss"]
    assert "(index 5, the frame has NaN)" in caught.value.errors[0].detail
    assert "(index 7)" in caught.value.errors[1].detail
    skipped = family.log_runs(frame, on_error="skip", batch_size=2)
    assert skipped.created == 2
    assert [(one.row, one.field) for one in skipped.rejected] == [(1, "loss"), (2, "loss")]
    assert "(index 7)" in skipped.rejected[1].detail


def test_all_that_goes_wrong_is_a_planner_error(
    planner: Planner, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = planner.family("demo")
    frame = pd.DataFrame({"nonzero_params": [1e8]})
    mistakes: list[tuple[type[Exception], Any]] = [
        (ValueError, lambda: demo.plan("sparse", compute=math.inf)),
        (TypeError, lambda: demo.plan("sparse", compute=object())),  # type: ignore[arg-type]
        (ValueError, lambda: demo.optimal_sparsities(frame, "sparse")),
        (ValueError, lambda: demo.optimal_sparsities(frame[:0], "sparse")),
        (ValueError, lambda: demo.predictions([{"nonzero_params": 1e8}], on_error="skip")),  # type: ignore[call-overload]
        (ValueError, lambda: family.log_runs([RUN], batch_size=0)),
        (TypeError, lambda: family.log_runs(3)),  # type: ignore[arg-type]
        (TypeError, lambda: family.log_runs([{"loss": object()}])),
        (ValueError, lambda: family.log_runs(pd.DataFrame([[1, 2]], columns=["loss", "loss"]))),
        (PlannerError, lambda: demo.predict(math.nan, 0.5, data=1e10)),
        (PlannerError, lambda: planner.request("GET", "/nothing")),
    ]
    for kind, mistake in mistakes:
        with pytest.raises(kind) as caught:
            mistake()
        assert isinstance(caught.value, PlannerError)
    with pytest.raises(InvalidInputError, match="compute is inf"):
        demo.plan("sparse", compute=math.inf)
    with pytest.raises(InvalidInputError, match="no column compute, but nonzero_params"):
        demo.optimal_sparsities(frame, "sparse")
    with pytest.raises(InputTypeError, match="row 0: loss"):
        family.log_runs([{"loss": object()}])
    with pytest.raises(UnexpectedAnswerError, match="this is no Family"):
        planner._get("/v1/families", {}, models.Family)
    with pytest.raises(UnexpectedAnswerError, match="no JSON"):
        planner.request("GET", "/")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(PlannerError, match="frames need pandas"):
        demo.runs_frame()
