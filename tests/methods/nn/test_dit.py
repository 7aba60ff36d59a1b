"""The transformer over the genes of one spot; its numbers are compared in tests/evaluation/test_parity.py."""

import pytest
import torch

from stbench.methods.nn.dit import GeneTransformer

G, D = 6, 16


def new(seed=0, *, trained=True):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = GeneTransformer(G, D, layers=2, heads=4, mlp_ratio=2.0)
        if trained:  # modulations start at zero and would hide everything
            for parameter in transformer.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
    return transformer.eval()


@pytest.fixture
def spots():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, G, generator=generator), torch.randn(4, D, generator=generator)


def test_at_the_start_the_output_is_zero_and_blocks_are_identities(spots):
    transformer = new(trained=False)
    out, states = transformer(*spots)
    assert not out.any()
    assert all(torch.equal(state, transformer.tokens(spots[0])) for state in states)
    assert float(transformer.gene.detach().abs().max()) <= D**-0.5


@torch.no_grad()
def test_spots_do_not_talk_and_genes_do(spots):
    transformer, (x, c) = new(), spots
    out, _ = transformer(x, c)
    torch.testing.assert_close(transformer(x[1:2], c[1:2])[0], out[1:2])
    moved = x.clone()
    moved[0, 3] += 1
    changed = (transformer(moved, c)[0] - out).abs()
    assert not changed[1:].any()
    assert (changed[0] > 1e-4).all()


@torch.no_grad()
def test_genes_have_no_order_of_their_own(spots):
    transformer, (x, c) = new(), spots
    out, _ = transformer(x, c)
    order = torch.randperm(G, generator=torch.Generator().manual_seed(2))
    transformer.gene.copy_(transformer.gene[order].clone())
    torch.testing.assert_close(transformer(x[:, order], c)[0], out[:, order])


@torch.no_grad()
def test_the_condition_reaches_the_output(spots):
    transformer, (x, c) = new(), spots
    assert float((transformer(x, c + 1)[0] - transformer(x, c)[0]).abs().min()) > 1e-4


@torch.no_grad()
def test_attention_equals_its_definition(spots):
    block = new().blocks[0]
    h = torch.randn(4, G, D, generator=torch.Generator().manual_seed(3))
    q, k, v = block.qkv(h).chunk(3, dim=-1)
    heads = []
    for part in torch.arange(D).split(D // 4):
        scores = q[..., part] @ k[..., part].transpose(1, 2) / (D // 4) ** 0.5
        heads.append(scores.softmax(dim=-1) @ v[..., part])
    torch.testing.assert_close(block._attend(h), block.out(torch.cat(heads, dim=-1)))
