"""FLAG aligned with vectors of spots, and with vectors of genes in spots."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stbench.errors import DataError
from stbench.methods.base import Context
from stbench.methods.flag import Flag, method
from stbench.methods.flag.losses import spot_alignment
from stbench.methods.flag.settings import FlagSettings
from stbench.methods.registry import find_method
from stbench.proofs.parity.networks import load_network
from stbench.proofs.parity.reference import read_reference
from stbench.proofs.parity.steps import loss

GENES = ("A", "B", "C", "D", "E", "F")
PRESETS = find_method("flag").presets
WIDTH = 7


def settings(folder, align="spot", **changes):
    said = {**PRESETS["test"], "max_updates": 4, "validate_every": 2, "prior": f"file:{folder}", "align": align}
    return FlagSettings.model_validate({**said, **changes})


@pytest.fixture
def folder(cohort, tmp_path):
    """Vectors of the spots of the training slides; the first spots have none."""
    generator = np.random.default_rng(0)
    for slide in cohort[0]:
        n, stem = slide.inputs.n_spots, tmp_path / slide.inputs.slide_id
        np.save(f"{stem}_spot_embeddings.npy", generator.normal(size=(n, WIDTH)).astype(np.float16))
        np.save(f"{stem}_spot_mask.npy", np.arange(n) >= 5)
    return tmp_path


def trained(cohort, chosen):
    found = Flag(chosen)
    found.fit(cohort[0], cohort[1], Context(GENES))
    return found


def first_step(cohort, chosen):
    """Loss terms of the first micro-step, its windows and their projected tokens."""
    found = Flag(chosen)
    objective = found._trainer(cohort[0], cohort[1], Context(GENES)).objective
    seen = []
    found.module_.projector.register_forward_hook(lambda module, tokens, out: seen.append((tokens[0], out)))
    terms = objective.losses(found.module_, 0, torch.Generator().manual_seed(0))
    (tokens, projected), *_ = seen
    return terms, objective.micro_batch(0), tokens, projected, found.module_.projector


def of_file(folder, batch):
    """Vectors and mask of a batch's spots, straight from the files."""
    vectors, mask = (np.load(folder / f"{batch.slide_id}_spot_{part}.npy") for part in ("embeddings", "mask"))
    spots = np.concatenate(batch.spots)
    return torch.from_numpy(vectors[spots]).float(), torch.from_numpy(mask[spots])


@pytest.mark.parametrize("align", ["spot", "spot-l2"])
def test_spot_level_alignment_fits_predicts_and_loads(cohort, folder, align, tmp_path):
    found = trained(cohort, settings(folder, align))
    assert found.sizes_["prior_dim"] == WIDTH
    predicted = found.predict(cohort[2], 1, 0)
    found.save(tmp_path / "checkpoint.safetensors")
    np.testing.assert_array_equal(Flag.load(tmp_path / "checkpoint.safetensors").predict(cohort[2], 1, 0), predicted)
    other = trained(cohort, settings(folder, "gene", prior="none")).predict(cohort[2], 1, 0)
    assert not np.array_equal(other, predicted)


def test_the_released_variant_pools_projected_tokens(cohort, folder):
    terms, batch, _, projected, _ = first_step(cohort, settings(folder, "spot", align_weight=0.25))
    vectors, mask = of_file(folder, batch)
    pooled = projected.sum(dim=1) / len(GENES)
    cosine = (pooled * vectors).sum(-1) / (pooled.norm(dim=-1) * vectors.norm(dim=-1))
    torch.testing.assert_close(terms["align"], -cosine[mask].mean())
    torch.testing.assert_close(terms["total"], terms["score"] + 0.25 * terms["align"])
    assert not mask.all()


def test_the_papers_variant_projects_pooled_tokens(cohort, folder):
    terms, batch, tokens, projected, projector = first_step(cohort, settings(folder, "spot-l2"))
    vectors, mask = of_file(folder, batch)
    assert projected.shape == (len(mask), 1, WIDTH)
    torch.testing.assert_close(
        terms["align"], (projector(tokens.squeeze(1))[mask] - vectors[mask]).square().sum(-1).mean()
    )


def test_the_loss_of_a_run_is_that_of_the_released_code(pytestconfig, cohort, folder, monkeypatch):
    """On the stored tokens of the original the objective of ``align=spot`` gives the stored value."""
    reference = read_reference(pytestconfig.rootpath / "tests/parity/flag/loss_cell_alignment.safetensors")
    chosen = Flag(settings(folder, "spot"))
    objective = chosen._trainer(cohort[0], cohort[1], Context(GENES)).objective
    mask = torch.ones(reference.input("llm_cell_level_embeddings").shape[1])

    def by_objective(tokens, embeddings):
        return objective._alignment(tokens, embeddings, mask)

    monkeypatch.setattr("stbench.proofs.parity.steps.spot_alignment", by_objective)
    assert load_network(reference).module.projector is not None
    torch.testing.assert_close(loss(reference)["loss_cell_embed"].detach(), reference.outputs["loss_cell_embed"])


def test_masked_spots_do_not_count(cohort, folder):
    def with_others_at(rows):
        for path in folder.glob("*_spot_embeddings.npy"):
            vectors = np.load(path)
            vectors[rows] = 9 if rows.start else np.nan
            np.save(path, vectors)
        return first_step(cohort, settings(folder))[0]["align"]

    before = first_step(cohort, settings(folder))[0]["align"]
    assert with_others_at(slice(0, 5)) == before
    assert with_others_at(slice(5, None)) != before


@pytest.mark.parametrize("squared", [False, True])
def test_without_a_vector_the_loss_is_zero_and_still_has_a_gradient(squared):
    tokens = torch.ones(2, 3, 4, requires_grad=True)
    found = spot_alignment(tokens, torch.ones(2, 4), torch.zeros(2), squared=squared)
    found.backward()
    assert float(found.detach()) == 0
    assert not tokens.grad.any()


def test_a_mask_of_ones_is_no_mask():
    tokens, vectors = torch.randn(5, 3, 4), torch.randn(5, 4)
    assert torch.equal(spot_alignment(tokens, vectors), spot_alignment(tokens, vectors, torch.ones(5)))


def test_gene_vectors_per_spot_are_used(cohort, tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "genes.txt").write_text("\n".join(GENES))
    for slide in cohort[0]:
        vectors = generator.normal(size=(slide.inputs.n_spots, len(GENES), WIDTH)).astype(np.float16)
        np.save(tmp_path / f"{slide.inputs.slide_id}_gene_embeddings.npy", vectors)
    terms, batch, _, projected, _ = first_step(cohort, settings(tmp_path, "gene"))
    spots = np.concatenate(batch.spots)
    vectors = torch.from_numpy(np.load(tmp_path / f"{batch.slide_id}_gene_embeddings.npy")[spots]).float()
    torch.testing.assert_close(terms["align"], -torch.cosine_similarity(projected, vectors, dim=-1).mean())


def test_steps_read_from_memory_mapped_files(cohort, folder, monkeypatch):
    """Neither what is opened nor what a step takes holds a slide."""
    taken, original = [], method.PerSpotTable.of

    def of(self, slide_id, spots):
        vectors, mask = original(self, slide_id, spots)
        taken.append((self.vectors[slide_id], vectors, len(spots)))
        return vectors, mask

    monkeypatch.setattr(method.PerSpotTable, "of", of)
    trained(cohort, settings(folder, window_px=1000))
    for stored, vectors, n_spots in taken:
        assert isinstance(stored, np.memmap)
        assert len(vectors) == n_spots < len(stored)
    assert taken


def test_only_training_slides_need_vectors_and_each_of_them_does(cohort, folder):
    ids = [slide.inputs.slide_id for slide in [*cohort[0], *cohort[1]]]
    assert {path.name[:2] for path in folder.glob("*embeddings.npy")} == set(ids[:2])
    trained(cohort, settings(folder))
    (folder / f"{ids[1]}_spot_embeddings.npy").unlink()
    with pytest.raises(DataError, match=f"{ids[1]}_spot_embeddings"):
        trained(cohort, settings(folder))


def test_the_switch_is_checked_and_off_by_default(folder):
    assert {FlagSettings.model_validate(preset).align for preset in [{}, *PRESETS.values()]} == {"gene"}
    with pytest.raises(ValidationError, match="align spot needs vectors of spots: prior file:FOLDER"):
        settings(folder, prior="coexpression")
    assert settings(folder, prior="none").prior == "none"
