"""Joint node-edge diffusion and node-only diffusion as methods of the harness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from stbench.errors import DataError
from stbench.methods.base import Context, LabelledSlide, SlideInputs, draw_seed
from stbench.methods.graph_diffusion.losses import joint_errors, joint_terms, joint_total
from stbench.methods.graph_diffusion.network import GraphNetwork
from stbench.methods.graph_diffusion.settings import JointSettings, NodeSettings
from stbench.methods.graph_diffusion.state import averaged, mirrored, pack, unpack
from stbench.methods.nn.correlation import spot_correlation
from stbench.methods.nn.diffusion import training_noise
from stbench.methods.nn.micro_batches import MicroBatches, padded
from stbench.methods.nn.precondition import Network
from stbench.methods.nn.sent import sent
from stbench.methods.nn.window_method import WindowDiffusion, WindowObjective
from stbench.methods.nn.windows import WindowBatch
from stbench.training.memory import values_at_once

_LEAST_GENES = 3
_SPOTS_PER_BATCH = 128  # on a CPU; windows of a batch are of like size: padding grows with the square of the largest


class GraphDiffusion(WindowDiffusion):
    """What joint and node-only diffusion share: the network, and the oracle's edge condition."""

    settings: NodeSettings

    def build(self, **sizes: int) -> nn.Module:
        """The untrained network; sizes are ``n_genes`` and ``n_features``."""
        return GraphNetwork(self.settings, **sizes)

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        """No image features, or an oracle's edges without truth or with too few genes."""
        reason = super().refuse(train, test, context)
        if reason is not None or not self.settings.oracle_edges:
            return reason
        if context.n_genes < _LEAST_GENES:
            return _too_few(context.n_genes)
        blind = [slide for slide in (*(known.inputs for known in train), *test) if slide.oracle_expression is None]
        return (
            f"the true expression of slide {blind[0].slide_id} was not given; only oracles receive it"
            if blind
            else None
        )

    def conditioned(self, batch: WindowBatch) -> WindowBatch:
        """The batch with the true correlations among its edge conditions, if the settings ask for them."""
        if not self.settings.oracle_edges:
            return batch
        if batch.expression is None:
            raise DataError(
                f"slide {batch.slide_id}: expected the true expression, found none; give the method's card kind oracle"
            )
        true = spot_correlation(batch.expression, batch.mask)
        return replace(batch, edges=torch.cat([batch.edges, true.unsqueeze(-1)], dim=-1))

    @property
    def _spots_per_batch(self) -> int:
        device = next(self.module_.parameters()).device
        if device.type == "cpu":
            return _SPOTS_PER_BATCH
        return max(1, values_at_once(device) // (_SPOTS_PER_BATCH * self.settings.hidden_dim))  # of the edge states

    def _batches(self, inputs: SlideInputs) -> Iterator[WindowBatch]:
        return map(self.conditioned, super()._batches(inputs))


class NodeDiffusion(GraphDiffusion):
    """Node-only graph diffusion (arXiv:2605.18055, Section 3.3): expression alone is diffused, edges are conditions."""

    Settings = NodeSettings

    def bind(self, module: nn.Module, batch: WindowBatch) -> Network:
        """F(x, t) on (B, N, G) and (B,), the windows' features and edges given."""

        def network(x: Tensor, t: Tensor) -> Tensor:
            nodes, _ = module(x, None, t, batch.features, batch.edges, batch.mask)
            return nodes.float()

        return network

    def _objective(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> WindowObjective:
        return NodeObjective(self, train, validation, context)


class JointDiffusion(GraphDiffusion):
    """Joint node-edge diffusion (arXiv:2605.18055, Section 3.2).

    Expression and the correlations of spots over genes are diffused together and tied by a consistency loss (Eq. 3).
    Edges are diffused in their own units, whatever the parameterisation does to expression: EDM's sigma_data is 1 for
    both, the bound of a correlation. No statistic of the training edges enters.
    """

    Settings = JointSettings
    settings: JointSettings

    def bind(self, module: nn.Module, batch: WindowBatch) -> Network:
        """F(state, t) on the packed state (B, N, G + N) of spots and pairs."""

        def network(state: Tensor, t: Tensor) -> Tensor:
            nodes, edges = module(*unpack(state), t, batch.features, batch.edges, batch.mask)
            return pack(nodes, edges).float()

        return network

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        """Too few genes for a correlation of spots, or what :meth:`GraphDiffusion.refuse` says."""
        if context.n_genes < _LEAST_GENES:
            return _too_few(context.n_genes)
        return super().refuse(train, test, context)

    def _start(self, batch: WindowBatch, z: Tensor, seed: int, draws: Sequence[int]) -> Tensor:
        e = torch.zeros(*batch.mask.shape, batch.mask.shape[1])
        for row, (spots, draw) in enumerate(zip(batch.spots, draws, strict=True)):
            name = f"{batch.slide_id}/edges/{spots.min()}"  # windows do not overlap: one spot names them
            generator = torch.Generator().manual_seed(draw_seed(seed, name, draw))
            noise = torch.randn(len(spots), len(spots), generator=generator)
            e[row, : len(spots), : len(spots)] = self._symmetrized(noise)
        return pack(z, sent(e, z.device))

    def _symmetrized(self, noise: Tensor) -> Tensor:
        return mirrored(noise) if self.settings.edge_noise == "symmetric" else averaged(noise)

    def _objective(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> WindowObjective:
        return JointObjective(self, train, validation, context)


class NodeObjective(WindowObjective):
    """The node term of Eq. 15."""

    method: GraphDiffusion

    def terms(self, module: nn.Module, micro: MicroBatches, generator: torch.Generator) -> list[dict[str, Tensor]]:
        """``score``, the node term of Eq. 15, which is the total."""
        network = self.method.bind(module, self.method.conditioned(micro.joint))
        errors = self.method._p.loss(network, self.inward(micro.joint), *self.noise(micro, generator))
        return [{"total": fit, "score": fit} for fit in micro.spot_means(errors)]


class JointObjective(NodeObjective):
    """Eq. 3: node and edge terms of Eq. 15 plus the weighted consistency loss."""

    method: JointDiffusion

    def terms(self, module: nn.Module, micro: MicroBatches, generator: torch.Generator) -> list[dict[str, Tensor]]:
        """``score``, ``edge`` and ``consistency``, and their weighted sum (Eq. 3)."""
        batch, rules = self.method.conditioned(micro.joint), self.method.settings
        assert batch.expression is not None

        def implied(x: Tensor) -> Tensor:
            found = self._correlation(self.outward(x), batch.mask)
            return found if rules.correlation_gradient else found.detach()

        clean = pack(self.inward(batch), self._correlation(batch.expression, batch.mask))
        network = self.method.bind(module, batch)
        nodes, edges, gaps = joint_errors(network, self.method._p, clean, *self.noise(micro, generator), implied)
        found = []
        for (rows, n), own in zip(micro.places, micro.each, strict=True):
            errors = nodes[rows, :n], edges[rows, :n, :n], gaps[rows, :n, :n]
            real = None if own.rows is None else self._there(own.rows)
            terms = joint_terms(errors, batch.mask[rows, :n], real)
            found.append({"total": joint_total(terms, rules.edge_weight, rules.consistency_weight), **terms})
        return found

    def noise(self, micro: MicroBatches, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(B,) levels and unit noise of the packed state, drawn one micro-step after the other."""
        drawn = []
        for windows, size in (batch.shape for batch in micro.each):
            levels, z = training_noise(self.method._p, (windows, size, self.context.n_genes), generator)
            drawn.append((levels, z, torch.randn(windows, size, size, generator=generator)))
        sigma, nodes, edges = zip(*drawn, strict=True)
        state = pack(self._there(padded(nodes)), self._edge_noise(self._there(padded(edges, 2))))
        return self._there(torch.cat(sigma)), state

    def _correlation(self, expression: Tensor, mask: Tensor) -> Tensor:
        return spot_correlation(expression, mask, by_sum=self.method.settings.correlation == "official")

    def _edge_noise(self, noise: Tensor) -> Tensor:
        """(B, N, N) unit noise as the settings want it of pairs."""
        return mirrored(noise) if self.method.settings.edge_noise == "symmetric" else noise


def _too_few(n_genes: int) -> str:
    return f"a correlation of spots over {n_genes} genes is undefined or trivial; take at least {_LEAST_GENES} genes"
