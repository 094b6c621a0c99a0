"""How the two noun heads are asked together.

Axes: N nouns; any axes before.
"""

from __future__ import annotations

from torch import Tensor


def noun_scores(closed: Tensor, opened: Tensor, share: float) -> Tensor:
    """Logits of the classifier and against the nouns' text, [..., N] each -> [..., N].

    Their log-probabilities with the weights 1 - share and share.
    """
    if not share:
        return closed
    return (1 - share) * closed.float().log_softmax(dim=-1) + share * opened.float().log_softmax(dim=-1)
