from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.data.geometry import Geometry
from stages.student.network.alignment import InstancePrompt, ScenePrompt, masked_mean_token, sample_boxes
from stages.student.reading.batch import TeacherTargets

GLIMPSE, NEGATIVE_GLIMPSE, GAZE, NEGATIVE_GAZE = range(4)


def teacher_of(world: Any, pictures: int = 3) -> TeacherTargets:
    teacher = world.batch(pictures).teacher
    assert isinstance(teacher, TeacherTargets)
    return teacher


def without(teacher: TeacherTargets, picture: int, kind: int) -> TeacherTargets:
    mask = teacher.text_mask.clone()
    mask[picture, kind] = False
    return replace(teacher, text_mask=mask)


def test_scene_prompt_reaches_border_rows_and_columns_only() -> None:
    prompt = ScenePrompt(rows=3, cols=4, border=1, dim=1)
    with torch.no_grad():
        prompt.edges.copy_(torch.tensor([[1.0], [10.0], [100.0], [1000.0]]))  # top, bottom, left, right
    added = prompt(torch.zeros(1, 12, 1)).view(3, 4)
    assert added.tolist() == [[101, 1, 1, 1001], [100, 0, 0, 1000], [110, 10, 10, 1010]]


def test_scene_border_of_two_covers_two_rows() -> None:
    prompt = ScenePrompt(rows=5, cols=5, border=2, dim=1)
    assert prompt.along[:, 0].view(5, 5).sum(dim=1).tolist() == [5, 5, 0, 0, 0]


def test_instance_prompt_is_laid_into_every_box_alike() -> None:
    prompt = InstancePrompt(grid=2, dim=3)
    added = prompt(torch.zeros(2, 6, 4, 3))
    assert torch.equal(added[0, 0], prompt.map)
    assert torch.equal(added[1, 5], prompt.map)


def test_sampled_points_lie_where_the_box_says() -> None:
    # Patch value = its centre's x and y, so that bilinear reading between centres gives coordinates back.
    geometry = Geometry(size=8, mode="stretch", rows=4, cols=8, class_tokens=1)
    x = (torch.arange(8) + 0.5) / 8
    y = (torch.arange(4) + 0.5) / 4
    patches = torch.stack([x.expand(4, 8), y[:, None].expand(4, 8)], dim=-1).flatten(0, 1)[None]
    boxes = torch.tensor([[[0.25, 0.25, 0.75, 0.5], [0.5, 0.5, 0.75, 0.75]]])
    points = sample_boxes(patches, boxes, geometry, grid=2)
    by_hand = [[0.375, 0.3125], [0.625, 0.3125], [0.375, 0.4375], [0.625, 0.4375]]
    torch.testing.assert_close(points[0, 0], torch.tensor(by_hand))
    torch.testing.assert_close(points[0, 1, 0], torch.tensor([0.5625, 0.5625]))


def test_boxes_of_one_picture_do_not_reach_another(world: Any) -> None:
    teacher = teacher_of(world)
    before = world.alignment(teacher).instance
    boxes = teacher.role_boxes.clone()
    boxes[1] = torch.tensor([0.0, 0.0, 0.1, 0.1])
    after = world.alignment(replace(teacher, role_boxes=boxes)).instance
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_teacher_s_class_token_is_no_patch(world: Any) -> None:
    teacher = teacher_of(world)
    vision = teacher.vision.clone()
    vision[:, 0] = torch.randn(3, 10)
    before, after = world.alignment(teacher), world.alignment(replace(teacher, vision=vision))
    assert torch.equal(before.scene, after.scene)
    assert torch.equal(before.instance, after.instance)


def test_masked_mean_by_hand() -> None:
    tokens = torch.tensor([[[3.0, 0.0], [3.0, 8.0], [99.0, 99.0]]])
    mask = torch.tensor([[True, True, False]])
    assert masked_mean_token(tokens, mask).tolist() == [[3, 4]]
    assert masked_mean_token(tokens, ~mask & mask).tolist() == [[0, 0]]


def test_aligned_vectors_have_unit_length_and_full_shapes(world: Any) -> None:
    aligned = world.alignment(teacher_of(world))
    assert aligned.scene.shape == aligned.scene_negative.shape == aligned.instance_negative.shape == (3, 16)
    assert aligned.instance.shape == (3, 6, 16)
    torch.testing.assert_close(aligned.scene.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(aligned.instance.norm(dim=-1), torch.ones(3, 6))


def test_scene_is_a_mean_of_the_positive_glimpse_s_real_tokens(world: Any) -> None:
    """A glimpse of one token leaves attention no choice: g is that token, projected."""
    teacher = teacher_of(world)
    mask = teacher.text_mask.clone()
    mask[:, GLIMPSE, 1:] = False
    aligned = world.alignment(replace(teacher, text_mask=mask))
    token = torch.nn.functional.normalize(world.alignment.text(teacher.text[:, GLIMPSE, 0]), dim=-1)
    torch.testing.assert_close(aligned.scene, token)


def test_negative_lies_in_the_space_of_the_scene(world: Any) -> None:
    """The same text as positive and as negative has a cosine near 1."""
    teacher = teacher_of(world)
    text = teacher.text.clone()
    text[:, NEGATIVE_GLIMPSE] = text[:, GLIMPSE] = text[:, GLIMPSE, :1]
    aligned = world.alignment(replace(teacher, text=text))
    torch.testing.assert_close((aligned.scene * aligned.scene_negative).sum(dim=-1), torch.ones(3))


@pytest.mark.parametrize("kind", range(4))
def test_missing_rationale_takes_out_its_own_targets_and_no_others(world: Any, kind: int) -> None:
    aligned = world.alignment(without(teacher_of(world), 1, kind))
    assert aligned.scene_valid[1].item() is (kind != GLIMPSE)
    assert aligned.scene_contrast[1].item() is (kind not in (GLIMPSE, NEGATIVE_GLIMPSE))
    assert aligned.instance_valid[1, 0].item() is (kind != GAZE)
    assert aligned.instance_contrast[1, 0].item() is (kind not in (GAZE, NEGATIVE_GAZE))
    assert aligned.scene_contrast[[0, 2]].all()
    assert torch.isfinite(aligned.scene).all()
    assert torch.isfinite(aligned.instance).all()


def test_padded_text_tokens_do_not_matter(world: Any) -> None:
    teacher = teacher_of(world)
    mask = teacher.text_mask.clone()
    mask[..., 2] = False
    noisy = teacher.text.clone()
    noisy[..., 2, :] = 1e4
    clean = world.alignment(replace(teacher, text_mask=mask))
    dirty = world.alignment(replace(teacher, text_mask=mask, text=noisy))
    for name in ("scene", "scene_negative", "instance", "instance_negative"):
        torch.testing.assert_close(getattr(clean, name), getattr(dirty, name))


def test_negatives_switched_off_contrast_nothing(make_world: Callable[..., Any]) -> None:
    world = make_world(negatives=False)
    aligned = world.alignment(teacher_of(world))
    assert not aligned.scene_contrast.any()
    assert not aligned.instance_contrast.any()
    assert aligned.scene_valid.all()


def test_prompts_switched_off_leave_no_prompt_parameter(make_world: Callable[..., Any]) -> None:
    world = make_world(prompts=False)
    assert not [name for name, _ in world.alignment.named_parameters() if "prompt" in name]
    assert world.alignment(teacher_of(world)).scene.shape == (3, 16)


def gradient(tensor: Tensor | None) -> float:
    assert tensor is not None, "no gradient at all"
    return tensor.abs().sum().item()


def test_scene_target_trains_the_scene_prompt_and_not_the_other(world: Any) -> None:
    aligned = world.alignment(teacher_of(world))
    (aligned.scene @ torch.randn(16)).sum().backward()
    assert gradient(world.alignment.scene_prompt.edges.grad) > 0
    assert (world.alignment.scene_prompt.edges.grad.abs().sum(dim=1) > 0).all()  # every edge
    assert world.alignment.instance_prompt.map.grad is None


def test_instance_target_trains_the_instance_prompt_and_not_the_other(world: Any) -> None:
    aligned = world.alignment(teacher_of(world))
    (aligned.instance @ torch.randn(16)).sum().backward()
    assert (world.alignment.instance_prompt.map.grad.abs().sum(dim=1) > 0).all()  # every cell
    assert world.alignment.scene_prompt.edges.grad is None


def test_tokens_may_come_in_bfloat16(world: Any) -> None:
    teacher = teacher_of(world)
    half = replace(teacher, vision=teacher.vision.bfloat16(), text=teacher.text.bfloat16())
    aligned = world.alignment(half)
    assert aligned.scene.dtype == torch.float32
    torch.testing.assert_close(aligned.scene, world.alignment(teacher).scene, atol=0.05, rtol=0)
