"""Profiles of a machine: what is timed, and what becomes of it."""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sparsity_planner import AsyncPlanner, InvalidInputError, MissingPackageError, Planner, hardware
from sparsity_planner.hardware import Measurement, NotSupportedError, Shape, Work, measure

TINY = Shape(width=32, hidden=64, layers=1, heads=4, batch=2, length=8)


class Arithmetic:
    """Two layers by NumPy, forward and backward; no kernels for patterns."""

    name = "a processor"
    software = f"numpy {np.__version__}, float64"

    def step(self, work: Work) -> Callable[[], object]:
        shape = work.shape
        make = np.random.default_rng(0)
        values = make.normal(size=(shape.tokens, shape.width))
        if work.kind == "pattern":
            raise NotSupportedError(f"no kernels for {work.pattern}")
        hidden = shape.hidden // work.active
        up = make.normal(size=(work.experts, shape.width, hidden))
        down = make.normal(size=(work.experts, hidden, shape.width))
        mask = make.random(up[0].shape) >= work.sparsity
        chosen = make.integers(work.experts, size=shape.tokens)

        def step() -> object:
            moved = []
            for expert in range(work.experts):
                rows = values[chosen == expert]
                first = up[expert] * mask if work.kind == "masked" else up[expert]
                between = np.maximum(rows @ first, 0)
                out = between @ down[expert]
                back = (out @ down[expert].T) * (between > 0)
                moved += [between.T @ out, rows.T @ back]
            return moved

        return step


class Clockwork:
    """Steps that take exactly as long as is said, by a clock that they move on."""

    name, software = "clockwork", "brass"

    def __init__(self, cost: Callable[[Work, int], float]) -> None:
        self.cost, self.now, self.made = cost, 0.0, list[Work]()

    def clock(self) -> float:
        return self.now

    def step(self, work: Work) -> Callable[[], object]:
        self.made.append(work)
        turns = itertools.count()

        def step() -> None:
            self.now += self.cost(work, next(turns))

        return step


def measured(cost: Callable[[Work, int], float], **options: object) -> Measurement:
    machine = Clockwork(cost)
    return measure(machine=machine, clock=machine.clock, shape=TINY, **options)  # type: ignore[arg-type]


def by_kind(work: Work, _turn: int) -> float:
    return {
        "dense": 0.25,
        "masked": 0.25,
        "pattern": 0.25 * 0.625,
        "experts": 0.25 * (1 + work.experts / 64),
    }[work.kind]


def test_costs_are_those_of_the_steps_relative_to_dense_ones() -> None:
    found = measured(by_kind, experts=(8, 64))
    assert [(str(one.work), one.cost, one.low, one.high) for one in found.timings] == [
        ("masks at 0.5", 1.0, 1.0, 1.0),
        ("masks at 0.75", 1.0, 1.0, 1.0),
        ("masks at 0.9", 1.0, 1.0, 1.0),
        ("2:4", 0.625, 0.625, 0.625),
        ("8 experts", 1.125, 1.125, 1.125),
        ("64 experts", 2.0, 2.0, 2.0),
    ]
    request = found.request("mine")
    assert request["cost"] == {"points": [[0.0, 1.0], [0.5, 1.0], [0.75, 1.0], [0.9, 1.0]]}
    assert (request["patterns"], request["pattern_costs"]) == (["2:4"], {"2:4": 0.625})
    assert request["expert_costs"] == {8: 1.125, 64: 2.0}
    assert request["flops_per_second"] == 6 * (4 * 32**2 + 2 * 32 * 64) * 16 / 0.25
    assert "they save nothing" in request["source"]
    assert found.date.isoformat() in request["source"]
    assert "clockwork with brass" in request["source"]


def test_the_first_steps_do_not_count_and_stray_ones_do_not_decide() -> None:
    def cost(work: Work, turn: int) -> float:
        if turn < 3:
            return 50.0
        # One in five is disturbed.
        return (1.0 if work.kind == "dense" else 0.5) + (7.0 if turn % 5 == 0 else 0.0)

    found = measured(cost, sparsities=(0.5,), patterns=(), experts=(), repeats=21)
    (timing,) = found.timings
    assert timing.cost == 0.5
    assert (timing.seconds, timing.dense_seconds) == (0.5, 1.0)


def test_what_slows_the_machine_down_for_a_while_slows_both() -> None:
    def cost(work: Work, turn: int) -> float:
        return (1.0 if work.kind == "dense" else 0.8) * (1 + turn)

    found = measured(cost, sparsities=(0.5,), patterns=(), experts=(), warmup=0)
    assert found.timings[0].cost == 0.8
    assert "save 20% at most" in found.notes[0]


def test_the_spread_is_that_of_the_steps() -> None:
    def cost(work: Work, turn: int) -> float:
        return 1.0 if work.kind == "dense" else 1.0 + 0.1 * (turn % 5)

    found = measured(cost, sparsities=(0.5,), patterns=(), experts=(), repeats=25, warmup=0)
    (timing,) = found.timings
    assert (timing.low, timing.cost, timing.high) == pytest.approx((1.1, 1.2, 1.3))
    assert "they save nothing" in found.notes[0]

    busy = measured(cost, patterns=(), experts=(), repeats=25, warmup=0, most_spread=0.1)
    assert busy.left_out["masks at 0.5"].startswith("quartiles 1.1 and 1.3 of its cost lie too far apart")
    assert busy.request("mine")["cost"] == {"points": [[0.0, 1.0]]}


def test_what_a_machine_cannot_do_is_left_out_with_the_reason() -> None:
    found = measure(machine=Arithmetic(), shape=TINY, experts=(2, 4), repeats=3, warmup=1, most_spread=1e9)
    assert found.left_out == {"2:4": "no kernels for 2:4"}
    assert [one.work.kind for one in found.timings] == ["masked"] * 3 + ["experts"] * 2
    assert all(one.low <= one.cost * 1.001 and one.high >= one.cost * 0.999 for one in found.timings)
    assert found.request("mine")["patterns"] == []
    dear = measured(lambda work, _: 11.0 if work.kind == "experts" else 1.0, experts=(8,))
    assert dear.left_out == {"8 experts": "a step cost 11 of a dense one, and a profile takes 10"}
    assert dear.request("mine")["expert_costs"] == {}


def test_a_dense_step_alone_says_how_fast_the_machine_is() -> None:
    found = measured(by_kind, sparsities=(), patterns=(), experts=())
    assert (found.timings, found.dense_seconds) == ((), 0.25)
    assert found.request("mine")["cost"] == {"points": [[0.0, 1.0]]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sparsities": (1.0,)}, "above 0 and below 1, not 1.0"),
        ({"experts": (1,)}, "1 experts of which 1 are active"),
        ({"experts": (8,), "active": 3}, "divide 64"),
        ({"repeats": 1}, "repeats 1 at least 2"),
        ({"warmup": -1}, "warmup -1"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        measured(by_kind, **options)


def test_a_clock_that_is_too_coarse_is_no_profile() -> None:
    with pytest.raises(InvalidInputError, match="the clock stood still"):
        measured(lambda *_: 0.0)


def test_shapes() -> None:
    # T5's encoder of the paper: 24 layers of width 768.
    shape = Shape.of_params(24 * 12 * 768**2, 24)
    assert (shape.width, shape.hidden, shape.heads, shape.layers) == (768, 3072, 12, 4)
    assert shape.params == 4 * 12 * 768**2
    for wrong in ({"width": 10, "heads": 3}, {"layers": 0}):
        with pytest.raises(InvalidInputError):
            Shape(**wrong)
    with pytest.raises(InvalidInputError):
        Shape.of_params(0, 4)


def test_a_profile_is_posted_and_answers(planner: Planner) -> None:
    name = f"own-{uuid.uuid4().hex[:8]}"
    machine = Clockwork(by_kind)
    options = {"machine": machine, "clock": machine.clock, "shape": TINY, "planner": planner}
    found = measure(name, **options)  # type: ignore[arg-type]
    assert found.profile is not None
    assert found.profile == planner.hardware_profile(name)
    assert found.profile.pattern_costs == {"2:4": 0.625}
    assert found.profile.expert_costs == {"8": 1.125, "16": 1.25, "32": 1.5, "64": 2.0}
    assert found.profile.flops_per_second == found.flops_per_second
    answer = planner.family("t5-c4").optimal_sparsity(1e8, flop_mode=name, device_hours=1e9)
    assert answer.pattern is not None
    # Taken: said before anything is timed.
    made = len(machine.made)
    with pytest.raises(InvalidInputError, match="replace=True"):
        measure(name, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="needs a name"):
        measure(**options)  # type: ignore[arg-type]
    assert len(machine.made) == made
    again = measure(name, replace=True, experts=(8,), **options)  # type: ignore[arg-type]
    assert again.profile is not None
    assert again.profile.expert_costs == {"8": 1.125}


async def posted(url: str, found: Measurement, name: str) -> object:
    async with AsyncPlanner(url) as twin:
        return await twin.create_hardware_profile(**found.request(name))


def test_it_can_be_posted_with_await(url: str, planner: Planner) -> None:
    name = f"own-{uuid.uuid4().hex[:8]}"
    assert asyncio.run(posted(url, measured(by_kind), name)) == planner.hardware_profile(name)


def test_without_torch_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "sparsity_planner._torch_steps", raising=False)
    with pytest.raises(MissingPackageError, match="torch"):
        measure()


def test_the_page_runs(planner: Planner, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs/hardware-profiles.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.setenv("SPARSITY_PLANNER_URL", url)
    machine = Clockwork(by_kind)
    # What needs torch is done by clockwork.
    options = {"machine": machine, "clock": machine.clock}
    monkeypatch.setattr(hardware, "measure", lambda *a, **k: measure(*a, **{**k, **options}))
    known: dict[str, object] = {"__name__": "page"}
    exec(compile(block, "hardware-profiles.md", "exec"), known)
    assert planner.hardware_profile("my-machine").pattern_costs == {"2:4": 0.625}


class TestWithTorch:
    """Where torch is installed, which the check does only where it is asked to: it is some gigabytes."""

    @pytest.fixture(autouse=True)
    def torch(self) -> None:
        pytest.importorskip("torch")

    def test_this_machine(self) -> None:
        start = time.perf_counter()
        found = measure(shape=TINY, experts=(2, 4), repeats=3, warmup=1, most_spread=1e9, device="cpu")
        assert time.perf_counter() - start < 60
        assert found.left_out == {"2:4": "torch has no 2:4 kernels for cpu"}
        assert len(found.timings) == 5
        assert found.software.startswith("torch ")
        assert all(one.seconds > 0 for one in found.timings)

    def test_one_expert_of_many_sees_what_it_should(self) -> None:
        import torch

        from sparsity_planner import _torch_steps

        work = Work("experts", TINY, experts=4, active=2)
        make = torch.Generator().manual_seed(0)
        block = _torch_steps._block(work, lambda m, n: torch.randn(m, n, generator=make))
        tokens = torch.randn(10, 32, generator=make)
        got = _torch_steps._experts(tokens, block, work)
        for token, out in zip(tokens, got, strict=True):
            weights, chosen = (block["router"] @ token).softmax(0).topk(2)
            wanted = torch.zeros(32)
            for weight, expert in zip(weights, chosen.tolist(), strict=True):
                hidden = torch.nn.functional.gelu(block[f"up{expert}"] @ token)
                wanted += weight * (block[f"down{expert}"] @ hidden)
            torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-4)

    def test_a_layer_of_a_pattern_has_the_gradients_of_its_zeros(self) -> None:
        import torch

        from sparsity_planner._torch_steps import SparseLinear, check_kernels

        def compress(weight: torch.Tensor) -> torch.Tensor:
            groups = weight.view(weight.shape[0], -1, 4)
            kept = torch.zeros_like(groups).scatter(-1, groups.abs().topk(2, dim=-1).indices, 1)
            return (groups * kept).view_as(weight)

        weight = torch.randn(12, 8, dtype=torch.float64, requires_grad=True)
        values = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
        out = SparseLinear.apply(values, weight, compress)
        packed = compress(weight.detach())
        torch.testing.assert_close(out, values @ packed.t())
        gradient = torch.randn_like(out)
        by_values, by_weight = torch.autograd.grad(out, (values, weight), gradient)
        torch.testing.assert_close(by_values, gradient @ packed)
        torch.testing.assert_close(by_weight, torch.einsum("abi,abj->ij", gradient, values.detach()))

        check_kernels(compress, weight.detach())
        wrong: list[Callable[[torch.Tensor], torch.Tensor]] = [lambda w: w, lambda w: 2 * compress(w)]
        for kernels in wrong:
            with pytest.raises(NotSupportedError):
                check_kernels(kernels, weight.detach())

    def test_devices_and_types_that_are_none_are_refused(self) -> None:
        for options in ({"device": "toaster"}, {"dtype": "int8"}, {"dtype": "spam"}):
            with pytest.raises(InvalidInputError):
                measure(shape=TINY, **options)  # type: ignore[arg-type]
