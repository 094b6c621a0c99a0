from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from stages.data.geometry import Geometry
from stages.student.network.labels import LabelVectors, assemble_labels, label_centres
from stages.student.network.model import label_map, patch_positions


@pytest.mark.parametrize("label_dim", [9, 16, 40])
@pytest.mark.parametrize("pictures", [1, 3])
def test_shapes(make_world: Callable[..., Any], label_dim: int, pictures: int) -> None:
    world = make_world(label_dim=label_dim)
    batch = world.batch(pictures)
    seen = world.student(batch.vision, world.labels)
    situation = world.student.situate_verbs(seen.memory, world.labels, batch.verb)
    assert seen.memory.shape == (pictures, 17, 16)
    assert seen.verb_logits.shape == (pictures, 6)
    assert situation.roles.shape == (pictures, 6, 16)
    assert situation.noun_logits.shape == situation.open_logits.shape == (pictures, 6, 7)
    assert situation.boxes.shape == (pictures, 6, 4)
    assert situation.box_logits.shape == (pictures, 6)
    assert ((situation.boxes > 0) & (situation.boxes < 1)).all()


def test_same_weights_serve_verbs_and_nouns_that_were_never_known(world: Any) -> None:
    """A vocabulary of another size; a verb in both gets the same logit, box and nouns in both."""
    world.student.eval()
    texts = assemble_labels(
        torch.cat([torch.randn(9, 16), world.texts.verb[2:3]]),
        torch.cat([torch.randn(4, 16), world.texts.role[2, :3]]),
        [*([[0, 1]] * 9), [4, 5, 6]],
        torch.cat([torch.randn(20, 16), world.texts.noun]),
    )
    labels, vision = world.student.label_vectors(texts), world.batch(2).vision
    theirs, ours = world.student(vision, labels), world.student(vision, world.labels)
    assert theirs.verb_logits.shape == (2, 10)
    torch.testing.assert_close(theirs.verb_logits[:, 9], ours.verb_logits[:, 2])
    there = world.student.situate_verbs(theirs.memory, labels, torch.tensor([9, 9]))
    here = world.student.situate_verbs(ours.memory, world.labels, torch.tensor([2, 2]))
    assert there.open_logits.shape == (2, 6, 27)
    torch.testing.assert_close(there.open_logits[:, :3, 20:], here.open_logits[:, :3])
    torch.testing.assert_close(there.boxes[:, :3], here.boxes[:, :3])


def test_roles_of_one_verb_are_told_apart_and_absent_roles_do_not_matter(world: Any) -> None:
    world.student.eval()
    memory = world.student(world.batch(2).vision, world.labels).memory
    verb, role = world.labels.verb[[2, 2]], world.labels.role[[2, 2]].clone()
    mask = world.labels.role_mask[[2, 2]]
    before = world.student.situate(memory, verb, role, mask, world.labels.noun)
    assert not torch.allclose(before.roles[:, 0], before.roles[:, 1])
    role[:, 3:] = 5.0
    after = world.student.situate(memory, verb, role, mask, world.labels.noun)
    torch.testing.assert_close(before.roles[:, :3], after.roles[:, :3])


def test_place_of_a_patch_matters(world: Any) -> None:
    world.student.eval()
    vision = torch.randn(1, 17, 12)
    turned = vision[:, [0, *range(16, 0, -1)]]
    there, here = (
        world.student.situate_verbs(
            world.student(tokens, world.labels).memory, world.labels, torch.tensor([1])
        )
        for tokens in (vision, turned)
    )
    assert not torch.allclose(there.boxes, here.boxes)


def test_verb_without_any_role_gives_no_nan(world: Any) -> None:
    memory = world.student(world.batch(1).vision, world.labels).memory
    nothing = torch.zeros(1, 6, dtype=torch.bool)
    labels = world.labels
    situation = world.student.situate(memory, labels.verb[:1], labels.role[:1], nothing, labels.noun)
    assert torch.isfinite(situation.boxes).all()


def test_verb_vector_reads_the_class_token_alone(world: Any) -> None:
    memory = torch.randn(2, 17, 16)
    changed = memory.clone()
    changed[:, 1:] += 1
    assert torch.equal(world.student.verb_vector(memory), world.student.verb_vector(changed))
    changed[:, 0] = -memory[:, 0]
    assert not torch.allclose(world.student.verb_vector(memory), world.student.verb_vector(changed))


def test_without_class_token_the_verb_vector_is_the_patches_mean(make_world: Callable[..., Any]) -> None:
    student = make_world(class_tokens=0).student
    memory = torch.randn(2, 16, 16)
    by_hand = normalize(memory.mean(dim=1) @ student.verb_projection.weight.T, dim=-1)
    torch.testing.assert_close(student.verb_vector(memory), by_hand)


def test_label_vectors_have_unit_length_and_nothing_to_train(world: Any) -> None:
    labels = world.student.label_vectors(world.texts)
    assert isinstance(labels, LabelVectors)
    torch.testing.assert_close(labels.verb.norm(dim=-1), torch.ones(6))
    torch.testing.assert_close(labels.role.norm(dim=-1), labels.role_mask.float())
    assert not labels.verb.requires_grad


def test_label_map_keeps_cosines_and_is_the_same_for_every_seed() -> None:
    texts = normalize(torch.randn(5, 12), dim=-1)
    torch.manual_seed(1)
    wider = texts @ label_map(12, 16)
    torch.testing.assert_close(wider @ wider.T, texts @ texts.T)
    torch.manual_seed(2)
    assert torch.equal(texts @ label_map(12, 16), wider)
    assert torch.equal(label_map(8, 8), torch.eye(8))
    narrower = label_map(40, 16)
    torch.testing.assert_close(narrower.T @ narrower, torch.eye(16))


def test_checkpoint_holds_the_label_map_and_nothing_per_verb(world: Any) -> None:
    state = world.student.state_dict()
    assert "label_map" in state
    assert not [name for name, tensor in state.items() if 6 in tensor.shape]  # 6 verbs, 6 roles


def test_positions_tell_every_patch_apart_and_leave_the_class_token_alone() -> None:
    geometry = Geometry(size=8, mode="stretch", rows=3, cols=5, class_tokens=1)
    positions = patch_positions(geometry, 16)
    assert positions.shape == (16, 16)
    assert not positions[0].any()
    assert (torch.cdist(positions, positions) + torch.eye(16) > 0.1).all()
    # Patches 1 and 2 lie in one row: the half that tells y is equal.
    assert torch.equal(positions[1, :8], positions[2, :8])


def test_vision_may_come_in_bfloat16(world: Any) -> None:
    world.student.eval()
    vision = world.batch(2).vision
    half = world.student(vision.bfloat16(), world.labels).verb_logits
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, world.student(vision, world.labels).verb_logits, atol=0.5, rtol=0)


def test_centred_labels_are_measured_from_the_centres(world: Any) -> None:
    student, texts = world.student, world.texts
    centres = label_centres(texts, world.candidates)
    student.label_centres.copy_(centres)
    labels = student.label_vectors(texts)
    torch.testing.assert_close(labels.verb, normalize(texts.verb - centres[0], dim=-1))
    torch.testing.assert_close(labels.noun, normalize(texts.noun - centres[2], dim=-1))
    assert not labels.role[~labels.role_mask].any(), "no role has no text, and so no centre to be taken off"


def test_bias_is_added_to_the_verbs_logits_alone(world: Any) -> None:
    world.student.eval()
    bias, vision = torch.arange(6.0), world.batch(2).vision
    raised = world.student.label_vectors(replace(world.texts, verb_bias=bias))
    before, after = world.student(vision, world.labels), world.student(vision, raised)
    torch.testing.assert_close(after.verb_logits, before.verb_logits + bias)
    assert torch.equal(after.verb, before.verb)
