"""What a training step and a sampling pass ask of a device, counted without one: kernels, waits, multiplications.

A method computes on torch's ``meta`` device, which knows shapes and no values: it takes the paths that a GPU would
take, and whatever asks for a value has to be answered by the one who counts, so none is missed. Counted as kernels are
operations that write memory, each one launch or more; views and allocations are none.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from stbench.methods.base import Context, LabelledSlide
from stbench.methods.trained import TrainedMethod
from stbench.training.together import PassBudget

DEVICE = "meta"
_aten = torch.ops.aten
_FREE = {
    *(_aten.detach, _aten.alias, _aten.lift_fresh, _aten.empty, _aten.empty_like, _aten.empty_strided),
    *(_aten.new_empty, _aten.new_empty_strided, _aten._local_scalar_dense),
}
_ASK = {
    *(_aten._local_scalar_dense, _aten.nonzero, _aten.masked_select, _aten.masked_scatter_backward, _aten.bincount),
    *(_aten.equal, _aten._unique2, _aten.unique_consecutive, _aten.unique_dim),
}
_INDEXED = {_aten.index, _aten.index_put, _aten.index_put_, _aten._unsafe_index, _aten._index_put_impl_}


@dataclass
class Counts:
    """What was asked of the device.

    Args:
        kernels: operations that write memory, by name.
        waits: places where the host waits for the device, ``file:line`` of the innermost line of stbench, or
            ``backward``: a value is read, an index depends on one, or a copy is made that is not queued.
        flops: multiplications and additions of matrix products and attention.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    flops: int = 0

    @property
    def n_kernels(self) -> int:
        """All of them."""
        return self.kernels.total()

    @property
    def n_waits(self) -> int:
        """All of them."""
        return self.waits.total()

    def less(self, other: Counts) -> Counts:
        """What is more here than there."""
        return Counts(self.kernels - other.kernels, self.waits - other.waits, self.flops - other.flops)


def training_step(
    method: TrainedMethod, slides: Sequence[LabelledSlide], genes: int, budget: PassBudget | None = None
) -> Counts:
    """One update, from the batch to the averaged weights, reading no loss.

    The optimiser is plain gradient descent in one kernel: AdamW's fused kernels, two, refuse a device of shapes.

    Args:
        method: not fitted; what it holds afterwards is of no use.
        slides: to train on.
        genes: G.
        budget: how many micro-steps share a pass, where they can; None lets each have its own.
    """
    with _without_values() as watch:
        trainer = method._trainer(slides, slides[:1], Context(_named(genes), device=DEVICE), budget)
        weights = trainer.module.parameters()
        trainer.stepper.optimizer = torch.optim.SGD(weights, lr=trainer.settings.lr, foreach=True)
        trainer._one_update()  # makes what is made once
        return _counted(watch, trainer._one_update)


def sampling_pass(
    method: TrainedMethod,
    slides: Sequence[LabelledSlide],
    genes: int,
    fewer: Mapping[str, Any],
    more: Mapping[str, Any],
) -> Counts:
    """What one more evaluation of the network adds to a draw of the first slide.

    Args:
        method: as for :func:`training_step`.
        slides: to learn statistics from, and to draw.
        genes: G.
        fewer: settings of the sampler.
        more: the same with one evaluation more.
    """
    with _without_values() as watch:
        method._trainer(slides, slides[:1], Context(_named(genes), device=DEVICE)).module.eval()
        found = []
        for settings in (fewer, more):
            method.settings = method.settings.model_copy(update=settings)
            found.append(_counted(watch, lambda: method.predict(slides[0].inputs, 1, 0)))
    return found[1].less(found[0])


def graph_breaks(method: TrainedMethod, slides: Sequence[LabelledSlide], context: Context) -> int:
    """How many times ``torch.compile`` leaves the graph of the network's forward pass in training.

    Args:
        method: not fitted.
        slides: to train on.
        context: of the training.
    """
    from torch import _dynamo as dynamo

    trainer = method._trainer(slides, slides[:1], context)
    seen: list[tuple[Any, Any]] = []
    hook = trainer.module.register_forward_pre_hook(lambda _, *given: seen.append(given), with_kwargs=True)
    trainer.objective.losses(trainer.module.train(), 0, torch.Generator().manual_seed(context.seed))
    hook.remove()
    dynamo.reset()
    args, keywords = seen[0]
    return int(dynamo.explain(trainer.module)(*args, **keywords).graph_break_count)


def _named(genes: int) -> tuple[str, ...]:
    return tuple(f"G{k}" for k in range(genes))


def _counted(watch: _Watch, job: Callable[[], object]) -> Counts:
    """Twice: the counter of multiplications takes operations apart."""
    watch.counts = Counts()
    job()
    found, watch.counts = watch.counts, Counts()
    with FlopCounterMode(display=False) as flops:
        job()
    return replace(found, flops=flops.get_total_flops())


@contextmanager
def _without_values() -> Iterator[_Watch]:
    """Methods compute on the device of shapes; autocast, which does not know it, is left out."""
    with patch.object(torch, "autocast", lambda *_, **__: nullcontext()), _Watch() as watch:
        yield watch


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what reaches the device, and answers what it cannot."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = Counts()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = any(map(_there, tree_leaves((args, kwargs))))
        if _waits(func, args, kwargs, given):
            self.counts.waits[_place()] += 1
        out = _answer(func, args, kwargs) if given else NotImplemented
        out = func(*args, **kwargs) if out is NotImplemented else out
        if (given or any(map(_there, tree_leaves(out)))) and not func.is_view and func.overloadpacket not in _FREE:
            self.counts.kernels[func.overloadpacket.__name__] += 1
        return out


def _there(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_meta


def _waits(func: Any, args: Any, kwargs: Mapping[str, Any], given: bool) -> bool:
    """Whether the host goes on only when the device has come so far."""
    packet = func.overloadpacket
    if packet is _aten._to_copy:
        return _crosses(args[0], kwargs.get("device")) and not (kwargs.get("non_blocking") and not given)
    if packet is _aten.copy_:
        queued = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        return args[0].device != args[1].device and not (queued and not args[1].is_meta)
    return given and (packet in _ASK or (packet in _INDEXED and _by_booleans(args)))


def _crosses(tensor: Tensor, device: Any) -> bool:
    return device is not None and torch.device(device).type != tensor.device.type


def _by_booleans(args: Any) -> bool:
    return any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1])


def _answer(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """What a device of shapes cannot say: a number is 1, a choice takes everything, what comes back is 1."""
    packet = func.overloadpacket
    if packet is _aten._local_scalar_dense:
        return torch.ones((), dtype=args[0].dtype).item()
    if packet is _aten.equal:
        return True
    if packet is _aten.nonzero:
        return args[0].new_empty(args[0].numel(), args[0].dim(), dtype=torch.int64)
    if packet is _aten.masked_select:
        return args[0].new_empty((args[0] + args[1]).numel())
    if packet is _aten.index and _by_booleans(args):
        every = tuple(index if index is None else torch.ones(index.shape, dtype=torch.bool) for index in args[1])
        return args[0].new_empty(torch.empty(args[0].shape)[every].shape)
    if packet is _aten.bincount:
        return args[0].new_empty(args[2] if len(args) > 2 else kwargs.get("minlength", 1), dtype=torch.int64)
    if packet is _aten._to_copy and _crosses(args[0], kwargs.get("device")):
        return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
    return NotImplemented


def _place() -> str:
    lines = [frame for frame in traceback.extract_stack() if "/stbench/" in frame.filename]
    inner = [frame for frame in lines if not frame.filename.endswith("proofs/counting.py")]
    if not inner:
        return "elsewhere"
    file = inner[-1].filename.rpartition("/stbench/")[2]
    return f"{file}:{inner[-1].lineno}"
