"""
Hardware profiles from one's own machine: what a training step costs there where a model has zeros.

`measure` times training steps, forward and backward, of a stack of transformer blocks: dense, with masks,
with 2:4 kernels where the device has some, and with experts. It needs torch, which is no dependency of this
package, or a `Machine` of one's own: whatever can make a step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .errors import InvalidInputError, MissingPackageError, PlannerError

if TYPE_CHECKING:
    from . import models
    from ._sync import Planner

__all__ = ["Machine", "Measurement", "NotSupportedError", "Shape", "Timing", "Work", "measure"]

# What the service takes as the cost of a step.
MOST_COST = 10.0
# Steps with masks that cost less than this share of a dense one have saved something.
NO_GAIN = 0.95
# Digits of a cost: steps of a busy machine scatter by more.
DIGITS = 4
MOST_SOURCE = 2000


class NotSupportedError(PlannerError):
    """A machine cannot do a kind of step; the message says why."""


@dataclass(frozen=True)
class Shape:
    """Transformer blocks, and what they see in a step: as those of the family's models."""

    width: int = 768
    """Of the residual stream; a multiple of `heads`."""
    hidden: int = 3072
    """Of the feed-forward layer."""
    layers: int = 4
    """Blocks. All are alike, so a few of a deep model measure it."""
    heads: int = 12
    batch: int = 8
    """Sequences in a step."""
    length: int = 512
    """Tokens of a sequence."""

    def __post_init__(self) -> None:
        """Refuse what is no shape."""
        for name, value in vars(self).items():
            if value < 1:
                raise InvalidInputError(f"{name} of a shape must be at least 1, not {value}")
        if self.width % self.heads:
            raise InvalidInputError(f"width {self.width} is no multiple of {self.heads} heads")

    @classmethod
    def of_params(cls, params: float, layers: int, *, batch: int = 8, length: int = 512) -> Shape:
        """
        Return the blocks of a model with so many parameters, zeros included, in so many layers.

        A layer of width w has 12 w^2 of them, w being a multiple of 64, and heads of 64. Four layers are
        timed, or all where there are fewer.
        """
        if not params > 0 or layers < 1:
            raise InvalidInputError(f"{params} parameters in {layers} layers are no model")
        heads = max(1, round(math.sqrt(params / layers / 12) / 64))
        width = 64 * heads
        return cls(width, 4 * width, min(layers, 4), heads, batch, length)

    @property
    def params(self) -> int:
        """Parameters of its matrices, zeros included."""
        return self.layers * (4 * self.width**2 + 2 * self.width * self.hidden)

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.batch * self.length


@dataclass(frozen=True)
class Work:
    """A kind of step."""

    kind: Literal["dense", "masked", "pattern", "experts"]
    shape: Shape
    sparsity: float = 0.0
    """Share of each matrix that a mask makes zero."""
    pattern: str | None = None
    """`n:m` of the kernels that are asked for."""
    experts: int = 1
    """Experts of each feed-forward layer, each of a size that `active` of them are the dense layer."""
    active: int = 1
    """Experts that a token passes."""

    def __str__(self) -> str:
        """Say it in a word or two."""
        if self.kind == "masked":
            return f"masks at {self.sparsity:g}"
        if self.kind == "pattern":
            return str(self.pattern)
        return f"{self.experts} experts" if self.kind == "experts" else "dense"


class Machine(Protocol):
    """What can make training steps. `measure` uses torch where none is given."""

    @property
    def name(self) -> str:
        """The device, for people."""

    @property
    def software(self) -> str:
        """Versions, and the type of numbers."""

    def step(self, work: Work) -> Callable[[], object]:
        """
        Make a model, and return what trains it for one step, forward and backward, and waits for its end.

        `NotSupportedError` says that there is no such kernel, here or from the first step.
        """


@dataclass(frozen=True)
class Timing:
    """What a kind of step cost."""

    work: Work
    seconds: float
    """Median of its steps."""
    dense_seconds: float
    """Median of the dense steps, each of which was timed before one of these."""
    cost: float
    """Median of the quotients of each pair."""
    low: float
    """Lower quartile of these."""
    high: float
    """Upper quartile of these."""


@dataclass(frozen=True)
class Measurement:
    """What was measured, and the profile that follows from it."""

    machine: str
    software: str
    date: date
    shape: Shape
    warmup: int
    repeats: int
    dense_seconds: float
    """Median of a dense step."""
    timings: tuple[Timing, ...]
    left_out: dict[str, str]
    """Kinds of steps that the machine cannot do, or that the service would not take, and why."""
    notes: tuple[str, ...]
    """What to know before using it."""
    profile: models.HardwareProfile | None = None
    """The profile that was posted, if any."""

    @property
    def flops_per_second(self) -> float:
        """Dense work that was done in a second: 6 FLOPs for each parameter and token."""
        return 6 * self.shape.params * self.shape.tokens / self.dense_seconds

    @property
    def source(self) -> str:
        """Where the numbers come from, in a paragraph."""
        shape = self.shape
        spread = ", ".join(f"{one.work} {one.low:.3g} to {one.high:.3g}" for one in self.timings)
        text = (
            f"Measured on {self.machine} with {self.software} on {self.date.isoformat()}: forward and "
            f"backward of {shape.layers} blocks of width {shape.width} and {shape.hidden}, {shape.batch} x "
            f"{shape.length} tokens, on one device, without optimiser or exchange between devices. Medians "
            f"of {self.repeats} steps after {self.warmup}, each beside a dense step; quartiles: "
            f"{spread or 'none'}."
        )
        return " ".join([text, *(f"{note}." for note in self.notes)])[:MOST_SOURCE]

    def request(self, name: str) -> dict[str, Any]:
        """Return the arguments of `create_hardware_profile`, with and without `await`."""
        of = {kind: [one for one in self.timings if one.work.kind == kind] for kind in KINDS}
        points = [[0.0, 1.0], *([one.work.sparsity, one.cost] for one in of["masked"])]
        return {
            "name": name,
            "cost": {"points": points},
            "patterns": [one.work.pattern for one in of["pattern"]],
            "pattern_costs": {one.work.pattern: one.cost for one in of["pattern"]},
            "expert_costs": {one.work.experts: one.cost for one in of["experts"]},
            "flops_per_second": self.flops_per_second,
            "source": self.source,
        }


KINDS = ("masked", "pattern", "experts")


def measure(
    name: str | None = None,
    *,
    planner: Planner | None = None,
    replace: bool = False,
    shape: Shape | None = None,
    sparsities: Sequence[float] = (0.5, 0.75, 0.9),
    patterns: Sequence[str] = ("2:4",),
    experts: Sequence[int] = (8, 16, 32, 64),
    active: int = 1,
    warmup: int = 3,
    repeats: int = 20,
    most_spread: float = 0.2,
    device: str | None = None,
    dtype: str | None = None,
    machine: Machine | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """
    Time training steps on this machine, and post a hardware profile of that `name` to a `planner`.

    Each timed step comes right after a dense one, so that what slows the machine down for a while slows both.
    With `replace` a profile of that name takes the new numbers; otherwise it is refused before anything is
    timed. `device` and `dtype` are torch's: the accelerator and `bfloat16`, or else `cpu` and `float32`.
    `experts` are numbers of experts of which a token passes `active`. Kinds of steps whose quartiles lie
    further apart than the share `most_spread` of their cost are left out: the machine was busy, or the shape
    is too small.

    For an `AsyncPlanner`: `await planner.create_hardware_profile(**measure().request(name))`.
    """
    shape = shape or Shape()
    works = _works(shape, sparsities, patterns, experts, active)
    if warmup < 0 or repeats < 2:
        raise InvalidInputError(f"warmup {warmup} must be at least 0, and repeats {repeats} at least 2")
    there = _existing(planner, name, replace)
    if machine is None:
        machine = _torch_machine(device, dtype)
    timings: list[Timing] = []
    dense_steps: list[float] = []
    left_out: dict[str, str] = {}
    dense = machine.step(Work("dense", shape))
    for work in works:
        try:
            pairs = _pairs(dense, machine.step(work), warmup, repeats, clock)
        except NotSupportedError as error:
            left_out[str(work)] = str(error)
            continue
        dense_steps += (before for before, _ in pairs)
        timing = _timing(work, pairs)
        if timing.high - timing.low > most_spread * timing.cost:
            apart = f"quartiles {timing.low:.3g} and {timing.high:.3g} of its cost lie too far apart"
            left_out[str(work)] = f"{apart}: the machine was busy, or the shape is too small"
        elif timing.cost > MOST_COST:
            left_out[str(work)] = (
                f"a step cost {timing.cost:.3g} of a dense one, and a profile takes {MOST_COST:g}"
            )
        else:
            timings.append(timing)
    if not dense_steps:
        dense_steps = [before for before, _ in _pairs(dense, lambda: None, warmup, repeats, clock)]
    measured = Measurement(
        machine=machine.name,
        software=machine.software,
        date=datetime.now(timezone.utc).date(),
        shape=shape,
        warmup=warmup,
        repeats=repeats,
        dense_seconds=median(dense_steps),
        timings=tuple(timings),
        left_out=left_out,
        notes=_notes(timings),
    )
    if planner is None or name is None:
        return measured
    request = measured.request(name)
    if there:
        profile = planner.update_hardware_profile(
            request.pop("name"),
            **{**request, "expert_costs": {str(n): cost for n, cost in request["expert_costs"].items()}},
        )
    else:
        profile = planner.create_hardware_profile(**request)
    return Measurement(**{**vars(measured), "profile": profile})


def _works(
    shape: Shape, sparsities: Sequence[float], patterns: Sequence[str], experts: Sequence[int], active: int
) -> list[Work]:
    for sparsity in sparsities:
        if not 0 < sparsity < 1:
            raise InvalidInputError(f"a sparsity of masks must be above 0 and below 1, not {sparsity}")
    if experts and (active < 1 or shape.hidden % active):
        needed = f"at least 1 and divide {shape.hidden}, the hidden width"
        raise InvalidInputError(f"active {active} must be {needed}")
    for count in experts:
        if count <= active or count < 2:
            raise InvalidInputError(
                f"{count} experts of which {active} are active leave none to be sparse by"
            )
    return [
        *(Work("masked", shape, sparsity=sparsity) for sparsity in sorted(set(sparsities))),
        *(Work("pattern", shape, pattern=pattern) for pattern in dict.fromkeys(patterns)),
        *(Work("experts", shape, experts=count, active=active) for count in sorted(set(experts))),
    ]


def _existing(planner: Planner | None, name: str | None, replace: bool) -> bool:
    if planner is None:
        return False
    if name is None:
        raise InvalidInputError("a profile that is to be posted needs a name")
    there = any(profile.name == name for profile in planner.hardware_profiles())
    if there and not replace:
        raise InvalidInputError(f"there is a hardware profile {name}: choose another name, or replace=True")
    return there


def _torch_machine(device: str | None, dtype: str | None) -> Machine:
    try:
        from ._torch_steps import TorchMachine
    except ImportError as error:
        raise MissingPackageError("measuring needs torch, or a machine of your own: install it") from error
    return TorchMachine(device, dtype)


def _pairs(
    dense: Callable[[], object],
    step: Callable[[], object],
    warmup: int,
    repeats: int,
    clock: Callable[[], float],
) -> list[tuple[float, float]]:
    for _ in range(warmup):
        dense()
        step()
    pairs = []
    for _ in range(repeats):
        start = clock()
        dense()
        middle = clock()
        step()
        pairs.append((middle - start, clock() - middle))
    return pairs


def _timing(work: Work, pairs: list[tuple[float, float]]) -> Timing:
    if min(before for before, _ in pairs) <= 0:
        raise InvalidInputError("the clock stood still during a dense step: take a larger shape")
    costs = [after / before for before, after in pairs]
    low, middle, high = quantiles(costs, n=4, method="inclusive")
    return Timing(
        work=work,
        seconds=median(after for _, after in pairs),
        dense_seconds=median(before for before, _ in pairs),
        cost=round(middle, DIGITS) or 10**-DIGITS,
        low=low,
        high=high,
    )


def _notes(timings: Sequence[Timing]) -> tuple[str, ...]:
    notes = []
    masked = [one for one in timings if one.work.kind == "masked"]
    if masked:
        best = min(masked, key=lambda one: one.cost)
        saved = "save nothing" if best.cost >= NO_GAIN else f"save {1 - best.cost:.0%} at most"
        masks = "The points are dense matrices with masks, whose zeros are multiplied like other numbers"
        notes.append(f"{masks}: they {saved}")
    if any(one.work.kind == "experts" for one in timings):
        notes.append("Experts are on one device, tokens sorted by expert, one product for each")
    return tuple(notes)
