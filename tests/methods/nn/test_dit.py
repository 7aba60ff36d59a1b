"""The transformer over the genes of one spot; its numbers are compared in tests/evaluation/test_parity.py."""

import pytest
import torch

from stbench.methods.nn.dit import RELEASED_NAMES, GeneTransformer, TimeEmbedding, released_name

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


def plain_block(block, h, c):
    parts = block.modulation(torch.nn.functional.silu(c)).unsqueeze(1).chunk(6, dim=-1)
    normed = (1 + parts[1]) * torch.nn.functional.layer_norm(h, (D,), eps=1e-6) + parts[0]
    q, k, v = block.qkv(normed).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
    h = h + parts[2] * block.out(mixed)
    normed = (1 + parts[4]) * torch.nn.functional.layer_norm(h, (D,), eps=1e-6) + parts[3]
    inner = torch.nn.functional.gelu(block.mlp_in(normed), approximate="tanh")
    return h + parts[5] * block.mlp_out(inner)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_block_that_keeps_little_is_the_plain_one(spots, autocast):
    transformer, (x, c) = new(), spots
    block, h = transformer.blocks[0], transformer.tokens(x).detach().requires_grad_()
    leaves, close = [h, c.requires_grad_(), *block.parameters()], 0.05 if autocast else 1e-4
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found, expected = block(h, c), plain_block(block, h, c)
    torch.testing.assert_close(found, expected, rtol=close, atol=close)
    for ours, theirs in zip(
        *(torch.autograd.grad(out.square().sum(), leaves) for out in (found, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=close, atol=close * float(theirs.abs().max()))


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
    torch.testing.assert_close(block._attend(block.qkv(h)), block.out(torch.cat(heads, dim=-1)))


@torch.no_grad()
def test_states_and_head_are_the_forward_pass_and_a_second_output_changes_nothing_of_the_first(spots):
    one, (x, c) = new(), spots
    out, states = one(x, c)
    torch.testing.assert_close(one.head(list(one.states(x, c))[-1], c)[..., 0], out)
    two = GeneTransformer(G, D, layers=2, heads=4, mlp_ratio=2.0, outputs=2).eval()
    two.load_state_dict({**one.state_dict(), "out.weight": torch.randn(2, D), "out.bias": torch.zeros(2)})
    two.out.weight[0], two.out.bias[0] = one.out.weight[0], one.out.bias[0]
    assert two.head(states[-1], c).shape == (4, G, 2)
    torch.testing.assert_close(two(x, c)[0], out)


def test_released_names_keep_block_numbers_and_take_the_longest_prefix():
    named = {"time.maps.2.bias": "time_embed.mlp.2.bias", "genes.gene": "gene_joint_embed.gene_name_ebd"}
    named |= {"genes.blocks.11.out.weight": "blocks.11.attn.proj.weight", "genes.out.bias": "final_layer.linear.bias"}
    named |= {"genes.modulation.bias": "final_layer.adaLN_modulation.1.bias"}
    assert {ours: released_name(ours, RELEASED_NAMES) for ours in named} == named


@torch.no_grad()
def test_the_time_embedding_tells_times_apart_at_any_scale():
    embedding = TimeEmbedding(D, 1000.0)
    near = embedding(torch.tensor([0.1, 0.101]))
    assert float((near[0] - near[1]).abs().max()) > 1e-3
    unscaled = TimeEmbedding(D, 1.0)
    unscaled.load_state_dict(embedding.state_dict())
    torch.testing.assert_close(unscaled(torch.tensor([100.0])), near[:1])
