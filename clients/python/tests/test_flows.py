"""From upload to answer against the real service."""

from __future__ import annotations

import asyncio
import math
import uuid
from contextlib import closing

import pandas as pd
import pytest

from sparsity_planner import (
    AsyncPlanner,
    Family,
    Planner,
    ProblemError,
    RefitFailedError,
    _rows,
    _tables,
    models,
)

RUN = {"nonzero_params": 2e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5}


def test_a_run_logged_twice_is_the_same_run(family: Family) -> None:
    first = family.log_run("a", nonzero_params=2e7, sparsity=0.5, data=2e10, loss=2.5, tags={"seed": 3})
    again = family.log_run("a", nonzero_params=2e7, sparsity=0.5, data=2e10, loss=2.5, tags={"seed": 3})
    corrected = family.log_run("a", total_params=4e7, sparsity=0.5, data=2e10, loss=2.4)
    assert [one.outcome for one in (first, again, corrected)] == ["created", "unchanged", "updated"]
    assert (first.id, first.tags) == (corrected.id, {"seed": "3"})
    (run,) = family.runs()
    assert (run.external_id, run.nonzero_params, run.loss) == ("a", 2e7, 2.4)
    assert (run.id, run.loss) == (corrected.id, corrected.loss)


def test_many_runs_go_in_batches_and_come_out_by_filters(family: Family) -> None:
    runs = [{**RUN, "external_id": f"r{i}", "loss": 2 + i / 100, "tags": {"half": i % 2}} for i in range(25)]
    stored = family.log_runs(iter(runs), batch_size=10)
    assert (stored.created, stored.errors) == (25, 0)
    assert family.log_runs(runs, batch_size=7).unchanged == 25
    odd = list(family.runs(tags={"half": "1"}, min_loss=2.1))
    assert {run.external_id for run in odd} == {f"r{i}" for i in range(11, 25, 2)}


def test_batches_that_are_answered_before_they_are_stored_end_alike(family: Family) -> None:
    runs = [{**RUN, "external_id": f"r{i}", "loss": 2 + i / 100} for i in range(25)]
    stored = family.log_runs(runs, batch_size=10, respond_async=True)
    assert (stored.created, stored.errors) == (25, 0)
    path = f"/v1/families/{family.name}/uploads"
    uploads = family.planner.request("GET", path)["items"]
    assert [upload["state"] for upload in uploads] == ["succeeded"] * 3
    assert [str(upload.id) for upload in family.uploads()] == [upload["id"] for upload in uploads]
    whole = family.upload(uploads[0]["id"])
    assert whole.result is not None
    assert whole.result.created == 5
    # What stands in the path is asked, too.
    assert family.planner.request("GET", f"{path}?limit=1")["items"] == uploads[:1]
    wrong = [*runs[:3], {**RUN, "external_id": "wrong", "sparsity": 2.0}]
    with pytest.raises(ProblemError) as caught:
        family.log_runs(wrong, batch_size=3, respond_async=True)
    assert (caught.value.kind, caught.value.status) == ("invalid", 422)
    assert [error.pointer for error in caught.value.errors] == ["/3/sparsity"]


def test_wrong_rows_are_named_over_all_batches(family: Family) -> None:
    runs = [{**RUN, "external_id": str(i), "sparsity": 2.0 if i == 4 else 0.5} for i in range(6)]
    with pytest.raises(ProblemError) as caught:
        family.log_runs(runs, batch_size=3)
    assert caught.value.kind == "invalid"
    assert caught.value.status == 422
    assert [error.pointer for error in caught.value.errors] == ["/4/sparsity"]
    assert "/4/sparsity" in str(caught.value)
    assert "the 3 rows before this batch are stored" in caught.value.detail

    skipped = family.log_runs(runs, batch_size=3, on_error="skip")
    assert (skipped.created, skipped.unchanged, skipped.errors) == (2, 3, 1)
    assert [(one.row, one.field) for one in skipped.rejected] == [(4, "sparsity")]


def test_a_large_batch_goes_compressed(family: Family) -> None:
    runs = [{**RUN, "external_id": f"{i:040}"} for i in range(1000)]
    _, _, headers = next(_tables.bodies(runs, 1000))
    assert headers["content-encoding"] == "gzip"
    assert family.log_runs(runs).created == 1000


def test_numbers_that_are_none_are_refused(family: Family) -> None:
    for loss in (math.nan, math.inf):
        with pytest.raises(ProblemError) as caught:
            family.log_run("a", nonzero_params=2e7, sparsity=0.5, data=2e10, loss=loss)
        assert [error.pointer for error in caught.value.errors] == ["/loss"]
    assert list(family.runs()) == []


def test_frames_go_in_and_come_out_the_same(planner: Planner, family: Family) -> None:
    frame = planner.family("demo").runs_frame()
    assert frame.shape == (48, len(_rows.RUN_COLUMNS))
    assert family.log_runs(frame).created == 48
    pd.testing.assert_frame_equal(family.runs_frame(), frame)


def test_a_frame_may_have_missing_values_tag_columns_and_ids_as_index(family: Family) -> None:
    frame = pd.DataFrame(
        {
            "nonzero_params": [2e7, None],
            "total_params": [None, 4e7],
            "sparsity": [0.5, 0.5],
            "data": [20_000_000_000, 20_000_000_000],
            "loss": [2.5, 2.25],
            "tags.sweep": pd.array([3, None], dtype="Int64"),
        },
        index=pd.Index(["a", "b"], name="external_id"),
    )
    assert family.log_runs(frame).created == 2
    back = family.runs_frame().set_index("external_id")
    assert list(back["nonzero_params"]) == [2e7, 2e7]
    assert back["tags"]["a"] == {"sweep": "3"}
    assert list(family.runs_frame(max_loss=2.3)["external_id"]) == ["b"]
    assert family.runs_frame(min_loss=100).empty


@pytest.mark.parametrize("name", ["a", "sweep 3/run-17?", "007", str(uuid.uuid4()), "ä%2F"])
def test_runs_are_found_left_out_and_deleted_by_any_of_their_names(family: Family, name: str) -> None:
    run = family.log_run(name, **RUN)  # type: ignore[arg-type]
    handles: list[str | uuid.UUID | models.Run] = [name, run.id, run]
    for handle in handles:
        assert family.run(handle).id == run.id
        assert family.exclude_run(handle, "diverged").exclusion_reason == "diverged"
        assert not list(family.runs(excluded=False))
        assert not family.include_run(handle).excluded
        family.delete_run(handle)
        with pytest.raises(ProblemError) as caught:
            family.run(handle)
        assert (caught.value.kind, caught.value.status) == ("not-found", 404)
        run = family.log_run(name, **RUN)  # type: ignore[arg-type]
        handles[1:] = [run.id, run]


def test_a_refit_is_followed_to_its_law(planner: Planner, family: Family) -> None:
    with pytest.raises(ProblemError, match="no law yet"):
        family.law()
    family.log_runs(planner.family("demo").runs_frame())
    seen: list[models.Refit] = []
    refit = family.refit(progress=seen.append, bootstrap=200, holdout=[])
    assert refit.state == "succeeded"
    assert seen[-1] == refit
    law = family.law()
    assert refit.law
    assert (law.version, law.source, law.runs) == (refit.law.version, "fit", 48)
    assert family.law(1) == law
    assert [one.version for one in family.laws()] == [1]
    assert family.pin_law(1).pinned
    assert not family.pin_law(None).pinned


def test_a_family_is_followed_to_its_end(planner: Planner, family: Family) -> None:
    with closing(family.events()) as events:
        first = next(events)
        assert isinstance(first, models.FamilyStanding)
        assert (first.family, first.active_law, first.runs.all) == (family.name, None, 0)
        assert first.dashboard_url == family.dashboard_url
        family.log_runs(planner.family("demo").runs_frame())
        asked = family.refit(wait=False, bootstrap=0, holdout=[])
        refit, standing = None, first
        while not (refit and refit.finished_at and standing.active_law):
            event = next(events)
            if isinstance(event, models.Refit):
                refit = event
            else:
                standing = event
        assert (refit.id, refit.state) == (asked.id, "succeeded")
        assert standing.runs.since_law == models.RunsSinceLaw(added=0, changed=0, removed=0)
        family.log_run("new", **RUN)  # type: ignore[arg-type]
        assert any(isinstance(e, models.FamilyStanding) and e.runs.since_law.added == 1 for e in events)  # type: ignore[union-attr]
        family.delete()
        assert all(isinstance(event, models.FamilyStanding | models.Refit) for event in events)


def test_a_family_is_followed_with_await(planner: Planner, family: Family) -> None:
    async def first() -> models.FamilyStanding | models.Refit:
        async with AsyncPlanner(planner.url) as waiting:
            async for event in waiting.family(family.name).events():
                return event
        raise AssertionError

    event = asyncio.run(first())
    assert isinstance(event, models.FamilyStanding)
    assert event.family == family.name


def test_a_what_if_leaves_the_active_law(planner: Planner, family: Family) -> None:
    family.log_runs(planner.family("demo").runs_frame())
    family.refit(bootstrap=100, holdout=[])
    before = family.law()
    refit = family.refit(bootstrap=100, holdout=[], without=["demo-01"])
    assert refit.law
    assert refit.options.without == ["demo-01"]
    law = family.law(refit.law.version)
    assert (law.what_if, law.active, law.runs) == (True, False, 47)
    assert family.law() == before


def test_a_refit_that_fails_raises(planner: Planner, family: Family) -> None:
    with pytest.raises(RefitFailedError, match="failed") as caught:
        family.refit()
    assert caught.value.refit.state == "failed"
    assert caught.value.refit.error
    queued = family.refit(wait=False)
    assert planner.refit(queued.id).id == queued.id
    assert planner.cancel_refit(queued.id).state in ("cancelled", "failed", "running")


def test_answers_are_typed_and_show_themselves(planner: Planner) -> None:
    answer = planner.family("demo").optimal_sparsity(1e8, 1e20, "sparse")
    assert answer.interval
    assert answer.interval.low <= answer.sparsity <= answer.interval.high
    assert answer.law.source == "fit"
    assert answer.extrapolation[0].variable == "nonzero_params"
    assert all(warning.code for warning in answer.warnings)
    text = repr(answer)
    assert f"sparsity={answer.sparsity:.6g}" in text
    assert "interval=Interval(" in text
    assert "pattern" not in text

    bare = planner.family("t5-c4").optimal_sparsity(1e8, 1e20, "dense", intervals=False, law_version=1)
    assert bare.interval is None
    assert {warning.code for warning in bare.warnings}


def test_a_prediction_takes_data_or_compute(planner: Planner) -> None:
    demo = planner.family("demo")
    by_data = demo.predict(5e7, 0.75, data=3e10)
    by_compute = demo.predict(5e7, 0.75, compute=1e19, flop_mode="sparse", intervals=False)
    assert by_data.prediction_interval
    assert by_data.prediction_interval.low < by_data.loss < by_data.prediction_interval.high
    assert by_compute.interval is None
    assert by_compute.data != by_data.data


@pytest.mark.parametrize("arrow", [True, False])
def test_many_points_are_a_frame_with_the_same_index(
    planner: Planner, monkeypatch: pytest.MonkeyPatch, arrow: bool
) -> None:
    monkeypatch.setattr(_rows, "has_arrow", lambda: arrow)
    demo = planner.family("demo")
    budgets = pd.DataFrame(
        {"nonzero_params": [1e7, 1e8], "compute": [1e18, 1e20], "note": "x"}, index=["small", "large"]
    )
    best = demo.optimal_sparsities(budgets, "sparse")
    one = demo.optimal_sparsity(1e8, 1e20, "sparse")
    assert one.interval
    assert list(best.index) == ["small", "large"]
    # Many are solved together, and a single question's interval comes from a table.
    assert best["sparsity"]["large"] == pytest.approx(one.sparsity, rel=1e-11)
    width = one.interval.high - one.interval.low
    assert best["sparsity_high"]["large"] == pytest.approx(one.interval.high, abs=0.01 * width)
    assert best["nonzero_params_beyond"].isna().tolist() == [True, False]
    assert best["interpolated"].dtype == bool

    models_of = pd.DataFrame({"nonzero_params": [1e7], "sparsity": [0.5], "data": [3e10]})
    losses = demo.predictions(models_of, intervals=False)
    assert losses["loss"][0] == demo.predict(1e7, 0.5, data=3e10).loss
    assert "loss_low" not in losses


@pytest.mark.parametrize("arrow", [True, False])
def test_points_of_a_frame_name_their_level(
    family: Family, monkeypatch: pytest.MonkeyPatch, arrow: bool
) -> None:
    monkeypatch.setattr(_rows, "has_arrow", lambda: arrow)
    capacities = [
        {"name": "a", "sparsity": 0.5, "level": level, "value": value}
        for level, value in ((None, 55.0), ("2:4", 58.0))
    ]
    rest = {"b_n": 0.245, "a_d": 6.9e8, "b_d": 0.35, "c": 0.8}
    given = [*capacities, *({"name": name, "value": value} for name, value in rest.items())]
    family.import_law(given, "a test", form="levels")
    points = pd.DataFrame({"nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10, "level": [None, "2:4"]})
    found = family.predictions(points)
    alone = [family.predict(1e8, 0.5, level=level, data=1e10).loss for level in (None, "2:4")]
    assert found["loss"].tolist() == alone
    assert alone[0] < alone[1]
    assert found["level"].equals(points["level"])
    points["level"] = ["1:4", None]
    with pytest.raises(ProblemError) as caught:
        family.predictions(points)
    assert [error.pointer for error in caught.value.errors] == ["/points/0/level"]


def test_arrow_and_json_give_the_same_frame(planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = planner.family("demo")
    sizes = pd.DataFrame({"nonzero_params": [1e7, 1e9], "compute": 1e20, "sparsity": 0.5, "data": 1e10})
    budgets, points = sizes[["nonzero_params", "compute"]], sizes[["nonzero_params", "sparsity", "data"]]
    of_arrow = demo.optimal_sparsities(budgets, "dense"), demo.predictions(points)
    monkeypatch.setattr(_rows, "has_arrow", lambda: False)
    of_json = demo.optimal_sparsities(budgets, "dense"), demo.predictions(points)
    for left, right in zip(of_arrow, of_json, strict=True):
        pd.testing.assert_frame_equal(left, right)


def test_a_list_of_points_gives_typed_results(planner: Planner) -> None:
    demo = planner.family("demo")
    point = {"nonzero_params": 1e8, "compute": 1e20}
    best = demo.optimal_sparsities([point, {**point, "flop_mode": "dense"}], "sparse")
    assert best.results[0].sparsity > best.results[1].sparsity
    (result,) = demo.predictions([{"nonzero_params": 1e7, "sparsity": 0.5, "data": 1e10}]).results
    assert result.loss > 0


def test_a_wrong_point_is_named_over_all_parts(planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsity_planner._sync.MAX_POINTS", 2)
    demo = planner.family("demo")
    budgets = pd.DataFrame({"nonzero_params": [1e7, 1e8, 1e9, 1e8], "compute": 1e20})
    assert demo.optimal_sparsities(budgets, "sparse")["nonzero_params"].tolist() == [1e7, 1e8, 1e9, 1e8]
    budgets.loc[3, "nonzero_params"] = -1
    with pytest.raises(ProblemError) as caught:
        demo.optimal_sparsities(budgets, "sparse")
    assert [error.pointer for error in caught.value.errors] == ["/points/3/nonzero_params"]
    with pytest.raises(ValueError, match="no rows"):
        demo.predictions(budgets[:0])


def test_plans_suggestions_and_contours(planner: Planner) -> None:
    demo = planner.family("demo")
    plan = demo.plan("sparse", compute=1e20, memory_bytes=2e8, sparsity=(0.0, 0.875), intervals=False)
    assert "memory_bytes" in plan.binding
    assert plan.optimum.memory_bytes <= 2e8 * (1 + 1e-9)
    with pytest.raises(ProblemError) as caught:
        demo.plan("sparse", target_loss=1e-3)
    assert caught.value.kind in ("infeasible", "invalid")

    target = {"optimal_sparsity": {"nonzero_params": 5e7, "compute": 1e20, "flop_mode": "sparse"}}
    suggestions = demo.suggest(target, 1e20, runs=2)
    assert 1 <= len(suggestions.suggestions) <= 2
    assert suggestions.expected_width_ratio < 1

    lines = demo.contours("sparse", levels=[0, 0.5], points=10, intervals=False).lines
    assert [line.sparsity for line in lines] == [0, 0.5]


def test_a_forecast_is_scored_by_its_run(planner: Planner, family: Family) -> None:
    family.log_runs(planner.family("demo").runs_frame())
    family.refit(bootstrap=100, holdout=[])
    registered = family.forecast("big", 0.75, nonzero_params=5e7, data=3e10, note="before")
    assert family.forecast("big", 0.75, nonzero_params=5e7, data=3e10, note="before").id == registered.id
    assert [one.external_id for one in family.forecasts("open")] == ["big"]
    family.log_run("big", nonzero_params=5e7, sparsity=0.75, data=3e10, loss=registered.loss)
    (scored,) = family.forecasts("scored")
    assert scored.score
    assert scored.score.inside_prediction_interval
    assert family.calibration().scored == 1


def test_families_and_profiles(planner: Planner) -> None:
    name = f"fam-{uuid.uuid4().hex[:8]}"
    created = planner.create_family(name, data_unit="images", description="for a test")
    assert created.info().data_unit == "images"
    with pytest.raises(ProblemError) as caught:
        planner.create_family(name)
    assert caught.value.kind == "family-exists"
    assert planner.create_family(name, exist_ok=True).info().data_unit == "images"
    assert {"t5-c4", "vit-jft", "demo", name} <= {one.name for one in planner.families()}
    created.delete()
    with pytest.raises(ProblemError) as caught:
        created.info()
    assert caught.value.kind == "not-found"

    profile = planner.create_hardware_profile(name, {"points": [[0.5, 0.8], [0.9, 0.4]]}, source="a test")
    assert profile.name in {one.name for one in planner.hardware_profiles()}
    assert planner.family("demo").optimal_sparsity(1e8, 1e20, name).sparsity >= 0
    assert planner.request("DELETE", f"/v1/hardware-profiles/{name}") is None
    assert planner.request("GET", "/healthz")["status"] == "ok"


def test_the_twin_that_awaits_does_the_same(planner: Planner, url: str) -> None:
    name = f"async-{uuid.uuid4().hex[:8]}"

    async def flow() -> tuple[models.OptimalSparsity, list[str], pd.DataFrame]:
        async with AsyncPlanner(url) as twin:
            mine = await twin.create_family(name, data_unit="tokens")
            frame = await twin.family("demo").runs_frame()
            assert (await mine.log_runs(frame, batch_size=20)).created == 48
            seen: list[models.Refit] = []
            refit = await mine.refit(progress=seen.append, bootstrap=100, holdout=[])
            assert seen[-1] == refit
            ids = [run.external_id async for run in mine.runs(min_sparsity=0.8)]
            budgets = pd.DataFrame({"nonzero_params": [1e8], "compute": [1e20]})
            best = await mine.optimal_sparsities(budgets, "sparse")
            return await mine.optimal_sparsity(1e8, 1e20, "sparse"), ids, best

    answer, ids, best = asyncio.run(flow())
    assert answer == planner.family(name).optimal_sparsity(1e8, 1e20, "sparse")
    assert len(ids) == 12
    assert best["sparsity"][0] == pytest.approx(answer.sparsity, rel=1e-11)


def test_budgets_and_bounds_in_every_currency(planner: Planner) -> None:
    planner.create_hardware_profile(
        f"machine-{uuid.uuid4().hex[:8]}",
        {"prunable_share": 0.9, "efficiency": 0.9},
        flops_per_second=1e15,
        utilisation=0.4,
        devices=64,
        price_per_hour=2.5,
    )
    name = next(one.name for one in planner.hardware_profiles() if one.name.startswith("machine-"))
    t5 = planner.family("t5-c4")
    days = t5.optimal_sparsity(1e9, flop_mode=name, days=1)
    assert days.budget.device_hours == pytest.approx(1536)
    assert days.budget.cost == pytest.approx(3840)
    assert t5.optimal_sparsity(1e9, flop_mode=name, cost=3840).sparsity == days.sparsity
    forecast = t5.forecast(f"run-{uuid.uuid4().hex}", 0.5, nonzero_params=1e9, flop_mode=name, cost=3840)
    assert (forecast.cost, forecast.days) == (3840, None)
    assert forecast.compute == pytest.approx(days.budget.compute)
    bound = t5.optimal_sparsity(1e9, 1e22, "sparse", max_sparsity=0.25)
    assert (bound.sparsity, bound.binding) == (0.25, ["max_sparsity"])
    frame = pd.DataFrame({"nonzero_params": [1e9, 1e9], "days": [1.0, 1.0], "max_sparsity": [None, 0.1]})
    answers = t5.optimal_sparsities(frame, name)
    assert list(answers["binding"]) == ["", "max_sparsity"]
    assert answers["device_hours"].tolist() == pytest.approx([1536, 1536])
    plan = t5.plan(name, cost=3840, max_total_params=1e9)
    assert plan.optimum.total_params <= 1e9 * (1 + 1e-9)


def test_experts_and_recipes(planner: Planner) -> None:
    name = f"moe-{uuid.uuid4().hex[:8]}"
    family = planner.create_family(
        name, zeros="experts", experts={"counts": [8, 64], "active": [1], "shared_share": 0.3}
    )
    info = family.info()
    assert info.zeros == "experts"
    assert info.experts is not None
    assert info.experts.counts == [8, 64]
    runs = [{"external_id": "a", "active_params": 1e6, "total_params": 8e6, "data": 1e9, "loss": 3.0}]
    assert family.log_runs(runs).created == 1
    (run,) = family.runs()
    assert (run.active_params, run.sparsity) == (1e6, 0.875)
    answer = planner.compare("t5-c4", "t5-c4", "sparse", a_sparsity=0, b_sparsity=0.5, points=3)
    assert answer.middle.multiple is not None
    assert answer.middle.multiple > 1
    assert len(answer.points) == 3
