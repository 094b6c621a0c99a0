"""What was reordered to be fast computes what its plain form computes, gradients included."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.data.geometry import Geometry
from stages.student.network.alignment import masked_mean_token, sample_boxes
from stages.student.network.decoder import DecoderLayer, TokenAttention
from stages.student.network.dropout import Dropout
from stages.student.network.masks import never_empty
from stages.student.network.token_input import TokenInput
from stages.student.objective.losses import noun_cross_entropy, noun_loss


def shaken(module: nn.Module) -> nn.Module:
    """In double precision, with no parameter left at a value that hides it."""
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def gradients(value: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    """Of a scalar in which every coordinate counts differently."""
    weights = torch.linspace(-1, 2, value.numel(), dtype=value.dtype).view_as(value)
    return torch.autograd.grad((value * weights).sum(), of)


def alike(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_token_input_is_norm_then_linear() -> None:
    ours = shaken(TokenInput(7, 5))
    assert isinstance(ours, TokenInput)
    tokens = torch.randn(3, 4, 7, dtype=torch.float64)
    plain = ours.linear(ours.norm(tokens))
    alike(ours(tokens), plain)
    parameters = tuple(ours.parameters())
    alike(gradients(ours(tokens), *parameters), gradients(plain, *parameters))


def test_token_input_keeps_bf16_tokens_as_they_are() -> None:
    ours, tokens = TokenInput(8, 5), torch.randn(3, 4, 8).bfloat16()
    assert ours.normalise(tokens).dtype == torch.float32, "without autocast nothing is rounded"
    with torch.autocast("cpu", torch.bfloat16):
        normal = ours.normalise(tokens)
        rounded = F.layer_norm(tokens.float(), (8,)).bfloat16()
        assert normal.equal(rounded)
        assert ours.normalise(tokens.float()).equal(rounded)
        assert ours(tokens).dtype == torch.bfloat16


def torch_attention(ours: TokenAttention, dim: int) -> nn.MultiheadAttention:
    plain = nn.MultiheadAttention(dim, ours.heads, batch_first=True).double()
    with torch.no_grad():
        plain.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        anything = torch.randn(dim, dtype=torch.float64)  # the keys' bias changes nothing
        plain.in_proj_bias.copy_(torch.cat([ours.query.bias, anything, ours.value.bias]))
        plain.out_proj.weight.copy_(ours.out.weight)
        plain.out_proj.bias.copy_(ours.out.bias)
    return plain


def test_token_attention_is_multihead_attention() -> None:
    ours = shaken(TokenAttention(12, 3, dropout=0.5)).eval()
    assert isinstance(ours, TokenAttention)
    asking = torch.randn(2, 4, 12, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(2, 9, 12, dtype=torch.float64, requires_grad=True)
    plain = torch_attention(ours, 12)
    expected, _ = plain(asking, memory, memory)
    found = ours(asking, memory)
    alike(found, expected)
    alike(gradients(found, asking, memory), gradients(expected, asking, memory))
    (packed,) = gradients(plain(asking, memory, memory)[0], plain.in_proj_weight)
    maps = (ours.query.weight, ours.key.weight, ours.value.weight)
    alike(torch.cat(gradients(ours(asking, memory), *maps)), packed)


def test_dropped_weights_take_their_share_of_the_values_bias_along() -> None:
    """With values of bias alone the answer is the sum of the weights that are left, times the bias."""
    ours = TokenAttention(4, 1, dropout=0.5)
    with torch.no_grad():
        ours.value.weight.zero_()
        ours.value.bias.fill_(1.0)
        ours.out.weight.copy_(torch.eye(4))
    answer = ours(torch.randn(64, 2, 4), torch.randn(64, 3, 4))
    assert answer.std() > 0.1
    assert answer.mean().item() == pytest.approx(1, abs=0.2)
    assert torch.allclose(ours.eval()(torch.randn(2, 2, 4), torch.randn(2, 3, 4)), torch.ones(2, 2, 4))


def test_decoder_layer_is_torch_s() -> None:
    ours = shaken(DecoderLayer(12, 3, 20, dropout=0.1)).eval()
    assert isinstance(ours, DecoderLayer)
    plain: Any = nn.TransformerDecoderLayer(12, 3, 20, activation="gelu", batch_first=True, norm_first=True)
    plain = plain.double().eval()
    plain.self_attn, plain.multihead_attn = ours.self_attention, torch_attention(ours.token_attention, 12)
    plain.norm1, plain.norm2, plain.norm3 = ours.norms
    plain.linear1, plain.linear2 = ours.feed_forward[0], ours.feed_forward[3]
    query, memory = (torch.randn(2, count, 12, dtype=torch.float64) for count in (4, 9))
    absent = torch.tensor([[False, False, True, True], [False] * 4])
    alike(ours(query, memory, absent), plain(query, memory, tgt_key_padding_mask=absent))


@pytest.mark.parametrize("rows_and_cols", [(4, 4), (2, 5), (1, 3)])
def test_sampling_is_grid_sample(rows_and_cols: tuple[int, int]) -> None:
    rows, cols = rows_and_cols
    geometry = Geometry(size=8, mode="stretch", rows=rows, cols=cols, class_tokens=0)
    patches = torch.randn(3, rows * cols, 5, requires_grad=True)
    boxes = torch.rand(3, 6, 4) * 1.4 - 0.2  # also beyond the frame, and inverted
    grid = 4
    low, high = boxes.clamp(0, 1)[..., :2], boxes.clamp(0, 1)[..., 2:]
    steps = (torch.arange(grid) + 0.5) / grid
    place = low[..., None, :] + steps[:, None] * (high - low)[..., None, :]  # [B, R, grid, 2]
    x = place[..., 0][:, :, None, :].expand(3, 6, grid, grid)
    y = place[..., 1][:, :, :, None].expand(3, 6, grid, grid)
    points = torch.stack([x, y], dim=-1).flatten(2, 3) * 2 - 1
    frame = patches.transpose(1, 2).reshape(3, 5, rows, cols)
    plain = F.grid_sample(frame, points, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
    found = sample_boxes(patches, boxes, geometry, grid)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients(found, patches), gradients(plain, patches), rtol=1e-4, atol=1e-4)


def test_aligned_vectors_are_means_of_attention_s_answers(world: Any) -> None:
    alignment: Any = world.alignment
    teacher = world.batch(3).teacher
    mask = teacher.text_mask.clone()
    mask[0, 0, 1:] = False
    mask[1, 0] = False  # no positive glimpse at all
    mask[2, 1, 2] = False
    text = alignment.text(teacher.text)  # every token projected
    patches = alignment.scene_prompt(alignment.vision(teacher.vision)[:, 1:])

    def heads(tokens: Tensor) -> Tensor:
        return tokens.view(*tokens.shape[:2], alignment.heads, -1).transpose(1, 2)

    answer = F.scaled_dot_product_attention(
        heads(alignment.query(patches)),
        heads(alignment.key(text[:, 0])),
        heads(text[:, 0]),
        attn_mask=never_empty(mask[:, 0])[:, None, None, :],
    )
    plain = F.normalize(answer.transpose(1, 2).flatten(2).mean(dim=1), dim=-1)
    negative = F.normalize(masked_mean_token(text[:, 1], mask[:, 1]), dim=-1)
    found = alignment(type(teacher)(**{**fields_of(teacher), "text_mask": mask}))
    torch.testing.assert_close(found.scene, plain)
    torch.testing.assert_close(found.scene_negative, negative)
    parameters = (alignment.scene_prompt.edges, alignment.query[1].weight, alignment.text.linear.weight)
    torch.testing.assert_close(gradients(found.scene, *parameters), gradients(plain, *parameters))


def fields_of(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_entropies_are_those_of_log_softmax(smoothing: float) -> None:
    logits = torch.randn(2, 3, 11, requires_grad=True)
    nouns = torch.randint(0, 11, (2, 3, 3))
    mask = torch.tensor([[True, True, False], [True, False, False]])
    logs = logits.log_softmax(dim=-1)
    each = [-(1 - smoothing) * logs.gather(-1, nouns[..., [a]])[..., 0] for a in range(3)]
    plain = (sum(each) - 3 * smoothing * logs.mean(dim=-1))[mask].mean()
    found = noun_loss(logits, nouns, mask, smoothing)
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(gradients(found, logits), gradients(plain, logits))
    one = noun_cross_entropy(logits, nouns[..., :1], smoothing)
    torch_s = F.cross_entropy(
        logits.flatten(0, 1), nouns[..., 0].flatten(), label_smoothing=smoothing, reduction="none"
    )
    torch.testing.assert_close(one.flatten(), torch_s)


def test_entropies_of_bf16_logits_are_not_rounded() -> None:
    logits = torch.randn(2, 3, 11).bfloat16()
    assert noun_cross_entropy(logits, torch.zeros(2, 3, 3, dtype=torch.long), 0.1).dtype == torch.float32


@pytest.mark.parametrize("rate", [0.0, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_its_share_and_the_mean(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(200, 333, dtype=dtype, requires_grad=True)
    drop = Dropout(rate)
    out = drop(x)
    kept = (out != 0).float()
    assert kept.mean().item() == pytest.approx(1 - rate, abs=5 / math.sqrt(x.numel()))
    assert out.float().mean().item() == pytest.approx(1, abs=0.02)
    assert len(out.unique()) == (1 if rate == 0 else 2)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out)
    pairs = (kept[:, :-1] * kept[:, 1:]).mean().item()
    assert pairs == pytest.approx((1 - rate) ** 2, abs=0.01), "neighbours are drawn apart from each other"
    assert torch.equal(drop.eval()(x), x)


def test_dropout_is_the_same_in_every_type_and_after_a_resume() -> None:
    x = torch.ones(7, 11)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = Dropout(0.4)(x)
    second = Dropout(0.4)(x)
    torch.set_rng_state(state)
    assert torch.equal(Dropout(0.4)(x.bfloat16()) != 0, first != 0)
    assert torch.equal(Dropout(0.4)(x), second)
