"""Training steps with torch, for `hardware.measure`."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from .errors import InvalidInputError
from .hardware import NotSupportedError, Shape, Work

# Of the scale of a trained model: losses stay finite.
INIT = 0.02

Tensor = Any
Linear = Callable[[Tensor, Tensor], Tensor]


class TorchMachine:
    """One device of torch."""

    def __init__(self, device: str | None = None, dtype: str | None = None) -> None:
        """Take the accelerator where there is one."""
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        try:
            self.device = torch.device(device) if device else accelerator or torch.device("cpu")
        except RuntimeError as error:
            raise InvalidInputError(f"device {device}: {_first_line(error)}") from error
        on_cpu = self.device.type == "cpu"
        self.dtype = getattr(torch, dtype or ("float32" if on_cpu else "bfloat16"), None)
        if not isinstance(self.dtype, torch.dtype) or not self.dtype.is_floating_point:
            raise InvalidInputError(f"dtype {dtype} is no type of floating-point numbers of torch")

    @property
    def name(self) -> str:
        """The device, for people."""
        if self.device.type == "cuda":
            return str(torch.cuda.get_device_name(self.device))
        kind = _processor() if self.device.type == "cpu" else str(self.device)
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        return kind + threads

    @property
    def software(self) -> str:
        """Versions, and the type of numbers."""
        numbers = str(self.dtype).removeprefix("torch.")
        return f"torch {torch.__version__}, Python {platform.python_version()}, {numbers}"

    def wait(self) -> None:
        """Wait for what was started on the device."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def step(self, work: Work) -> Callable[[], None]:
        """Make a model, and what trains it for one step."""
        make = torch.Generator().manual_seed(0)

        def matrix(rows: int, columns: int) -> Tensor:
            values = INIT * torch.randn(rows, columns, generator=make)
            return values.to(self.device, self.dtype).requires_grad_()

        try:
            return self._step(work, matrix)
        except (RuntimeError, NotImplementedError) as error:
            raise NotSupportedError(_first_line(error)) from error

    def _step(self, work: Work, matrix: Callable[[int, int], Tensor]) -> Callable[[], None]:
        shape = work.shape
        blocks = [_block(work, matrix) for _ in range(shape.layers)]
        parameters = [one for block in blocks for one in block.values()]
        inputs = torch.randn(
            shape.batch, shape.length, shape.width, generator=torch.Generator().manual_seed(1)
        )
        inputs = inputs.to(self.device, self.dtype)
        linears = self._linears(work, parameters)

        def step() -> None:
            try:
                values = inputs
                for block in blocks:
                    values = _forward(values, block, work, linears)
                values.square().mean().backward()
                for parameter in parameters:
                    parameter.grad = None
                self.wait()
            except (RuntimeError, NotImplementedError) as error:
                raise NotSupportedError(_first_line(error)) from error

        return step

    def _linears(self, work: Work, parameters: list[Tensor]) -> Linear:
        if work.kind == "masked":
            masks = {id(one): _mask(one, work.sparsity) for one in parameters}
            return lambda values, weight: functional.linear(values, weight * masks[id(weight)])
        if work.kind == "pattern":
            compress = _compressing(work, parameters[0])
            return lambda values, weight: SparseLinear.apply(values, weight, compress)
        plain: Linear = functional.linear
        return plain


def _block(work: Work, matrix: Callable[[int, int], Tensor]) -> dict[str, Tensor]:
    shape = work.shape
    block = {"qkv": matrix(3 * shape.width, shape.width), "out": matrix(shape.width, shape.width)}
    if work.kind != "experts":
        return block | {"up": matrix(shape.hidden, shape.width), "down": matrix(shape.width, shape.hidden)}
    hidden = shape.hidden // work.active
    for expert in range(work.experts):
        block[f"up{expert}"] = matrix(hidden, shape.width)
        block[f"down{expert}"] = matrix(shape.width, hidden)
    return block | {"router": matrix(work.experts, shape.width)}


def _forward(values: Tensor, block: dict[str, Tensor], work: Work, linear: Linear) -> Tensor:
    shape = work.shape
    normal = functional.layer_norm(values, (shape.width,))
    heads = linear(normal, block["qkv"]).view(shape.batch, shape.length, 3, shape.heads, -1)
    query, key, value = heads.permute(2, 0, 3, 1, 4)
    seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    seen = seen.transpose(1, 2).reshape(shape.batch, shape.length, shape.width)
    values = values + linear(seen, block["out"])
    normal = functional.layer_norm(values, (shape.width,))
    if work.kind == "experts":
        return values + _experts(normal.reshape(-1, shape.width), block, work).view_as(values)
    return values + linear(functional.gelu(linear(normal, block["up"])), block["down"])


def _experts(tokens: Tensor, block: dict[str, Tensor], work: Work) -> Tensor:
    """Send each token through its best experts, weighted by how good they are."""
    chances = functional.linear(tokens, block["router"]).softmax(dim=-1)
    weights, chosen = chances.topk(work.active, dim=-1)
    order = chosen.flatten().argsort(stable=True)
    counts = chosen.flatten().bincount(minlength=work.experts).tolist()
    places = order // work.active
    passed = []
    for expert, some in enumerate(tokens[places].split(counts)):
        hidden = functional.gelu(functional.linear(some, block[f"up{expert}"]))
        passed.append(functional.linear(hidden, block[f"down{expert}"]))
    weighted = torch.cat(passed) * weights.flatten()[order, None]
    return torch.zeros_like(tokens).index_add(0, places, weighted)


def _mask(weight: Tensor, sparsity: float) -> Tensor:
    """Keep the largest."""
    kept = max(1, round(weight.numel() * (1 - sparsity)))
    mask = torch.zeros(weight.numel(), device=weight.device, dtype=weight.dtype)
    mask[weight.detach().abs().flatten().topk(kept).indices] = 1
    return mask.view_as(weight)


class SparseLinear(torch.autograd.Function):
    """
    A linear layer whose matrix is compressed in every step.

    Forward and the gradient of the input use it, the gradient of the matrix is dense: every entry may come
    back, as in training from scratch.
    """

    @staticmethod
    def forward(context: Any, values: Tensor, weight: Tensor, compress: Callable[[Tensor], Tensor]) -> Tensor:
        """Multiply by the compressed matrix."""
        rows = values.reshape(-1, values.shape[-1])
        packed = compress(weight.detach())
        context.packed, context.rows = packed, rows
        return functional.linear(rows, packed).view(*values.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Multiply by its transpose."""
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (rows @ context.packed).view(*gradient.shape[:-1], -1), rows.t() @ context.rows, None


def _compressing(work: Work, sample: Tensor) -> Callable[[Tensor], Tensor]:
    """Return kernels of the pattern that give what its zeros should."""
    if work.pattern != "2:4":
        raise NotSupportedError(f"torch has no kernels for {work.pattern}, only for 2:4")
    if sample.device.type != "cuda":
        raise NotSupportedError(f"torch has no 2:4 kernels for {sample.device.type}")
    from torch.sparse import semi_structured

    reasons = []
    for kernels in ("CUSPARSELT", "CUTLASS"):
        kind = getattr(semi_structured, f"SparseSemiStructuredTensor{kernels}")
        try:
            check_kernels(kind.prune_dense_static_sort, sample.detach())
        except (RuntimeError, NotImplementedError, NotSupportedError) as error:
            reasons.append(f"{kernels}: {_first_line(error)}")
        else:
            return kind.prune_dense_static_sort  # type: ignore[no-any-return]
    raise NotSupportedError("; ".join(reasons))


def check_kernels(compress: Callable[[Tensor], Tensor], weight: Tensor) -> None:
    """Refuse kernels that are not 2:4, or whose products are not those of the matrix that they stand for."""
    packed = compress(weight)
    identity = torch.eye(weight.shape[1], device=weight.device, dtype=weight.dtype)
    dense = functional.linear(identity, packed).t()
    if bool(((dense != 0).view(weight.shape[0], -1, 4).sum(dim=-1) > 2).any()):
        raise NotSupportedError("more than 2 of 4 values are kept")
    if not torch.equal(dense, torch.where(dense != 0, weight, 0)):
        raise NotSupportedError("kept values are not those of the matrix")
    rows = torch.randn(64, weight.shape[0], device=weight.device, dtype=weight.dtype)
    # Sums of other order, in the type of the numbers.
    tolerance = 8 * torch.finfo(weight.dtype).eps * weight.shape[0] ** 0.5
    scale = float((rows.abs() @ dense.abs()).max())
    if float((rows @ packed - rows @ dense).abs().max()) > tolerance * scale:
        raise NotSupportedError("the transposed product is another matrix's")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        found = platform.processor() or platform.machine()
    return f"{found} ({os.cpu_count()} cores)"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


__all__ = ["Shape", "SparseLinear", "TorchMachine", "check_kernels"]
