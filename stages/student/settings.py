"""What the student, its losses and its training obey."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.settings import Settings

SelectBy = Literal["mean", "top1.verb", "top1.value", "top1.value_all", "top1.grnd", "top1.grnd_all"]

Contrast = Literal["hinge", "infonce"]


class StudentSettings(Settings):
    """The sizes of the student and of the alignment with the teacher, and the switches of the method."""

    dim: int = Field(default=512, ge=8, multiple_of=4)
    """Width of every vector of the student; `heads` and `alignment_heads` must divide it."""
    heads: int = Field(default=8, ge=1)
    """Attention heads of the decoder layer."""
    feed_forward: int = Field(default=2048, ge=1)
    """Width of the decoder layer's feed-forward part."""
    input_dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of the student's vision features that a training step zeroes after the first projection."""
    decoder_dropout: float = Field(default=0.15, ge=0, lt=1)
    """Dropout inside the decoder layer."""
    head_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout inside the noun, box and box-exists heads."""
    head_hidden: int = Field(default=1024, ge=1)
    """Hidden width of the noun, box and box-exists heads."""
    as_released: bool = False
    """True computes what the authors' released code computes (see `released`), for comparison:
    `prompts`, `text_queries`, `learned_scale` and `alignment_heads` then have no effect, nor have
    `losses.role_distill`, `losses.anchor` and `losses.contrast`."""
    distill: bool = True
    """False trains the student on the annotations alone: no teacher bank is read, and `scene_distill`,
    `gaze_distill`, `prompts` and `negatives` have no effect."""
    scene_distill: bool = True
    """False leaves out everything that the glimpse rationales teach: the target of the verb vector with its
    negative, its anchor and the scene-aware prompt."""
    gaze_distill: bool = True
    """False leaves out everything that the gaze rationales teach: the targets of the role vectors with their
    negative, their anchor and the instance-perception prompt."""
    prompts: bool = True
    """False leaves the scene-aware and the instance-perception prompt out of the alignment."""
    negatives: bool = True
    """False ignores the negative rationales."""
    mined_negatives: int = Field(default=0, ge=0)
    """Further negatives of each picture: positive rationales of this many pictures of other verbs, those
    nearest among the store's vectors of rationales; read only where `losses.contrast` is `infonce`."""
    text_queries: bool = True
    """False asks for roles by a learned vector of the verb plus one of the role instead of by their text: a
    verb without training pictures then has an untrained query, and no other vocabulary can be asked about."""
    learned_scale: bool = True
    """False keeps the scale of verb and open-vocabulary logits at CLIP's first value, 1 / 0.07."""
    centre_labels: bool = False
    """True subtracts from every label text the mean text of its kind: of the training verbs, of their roles,
    of the nouns."""
    alignment_heads: int = Field(default=8, ge=1)
    """Attention heads between the teacher's patches and the rationale's tokens."""
    scene_border: int = Field(default=1, ge=1)
    """Patches from each edge of the teacher's grid that the scene-aware prompt is added to."""
    instance_grid: int = Field(default=4, ge=1)
    """The instance-perception prompt is a map of this many rows and columns, laid into each role's box."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        for name in ("heads", "alignment_heads"):
            heads = getattr(self, name)
            if self.dim % heads:
                raise ValueError(
                    f"{name} {heads} does not divide dim {self.dim}; each head takes an equal part"
                )
        return self


class LossSettings(Settings):
    """Weight of every term of the objective; 0 switches a term off. Defaults: the authors' released code."""

    verb: float = Field(default=1.0, ge=0)
    """Cross-entropy of the verb over the training verbs."""
    verb_smoothing: float = Field(default=0.3, ge=0, lt=1)
    """Share of the verb target spread evenly over the training verbs."""
    verb_distill: float = Field(default=2.0, ge=0)
    """L1 between the student's verb vector and the aligned scene vector."""
    verb_negative: float = Field(default=5.0, ge=0)
    """Cosine of the aligned scene vector with the negative glimpse, where it is positive."""
    noun: float = Field(default=1.0, ge=0)
    """Cross-entropy of the noun classifier, summed over the three annotators."""
    noun_smoothing: float = Field(default=0.2, ge=0, lt=1)
    """Share of the noun target spread evenly over the noun classes."""
    noun_open: float = Field(default=0.02, ge=0)
    """The same cross-entropy for the logits against the nouns' text."""
    role_distill: float = Field(default=2.0, ge=0)
    """L1 between the student's role vectors and the aligned instance vectors; the released code has no such
    term, so the weight is the verb's."""
    noun_negative: float = Field(default=1.0, ge=0)
    """Cosine of the aligned instance vectors with the negative gaze, where it is positive."""
    box_l1: float = Field(default=5.0, ge=0)
    """L1 between boxes, summed over centre x, centre y, width and height in shares of the frame."""
    box_giou: float = Field(default=5.0, ge=0)
    """One minus the generalised intersection over union of the boxes."""
    box_exists: float = Field(default=5.0, ge=0)
    """Binary cross-entropy of whether a role has a box."""
    contrast: Contrast = "hinge"
    """How the two negative terms are computed: `hinge`, the cosine with the picture's own negative rationale
    where it is positive; `infonce`, cross-entropy of the picture's own positive rationale among its negative,
    the positives of other verbs in the batch and `student.mined_negatives`."""
    temperature: float = Field(default=0.1, gt=0)
    """Cosines are divided by it in `infonce`; `hinge` has none."""
    anchor: float = Field(default=1.0, ge=0)
    """Cross-entropy of the aligned scene vector against the training verbs' text plus that of the aligned
    instance vectors against the nouns' text; not in the paper, see `stages.student.objective.objective`."""


class TrainSettings(Settings):
    """How the student is trained."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the training pictures."""
    batch_size: int = Field(default=64, ge=1)
    """Pictures per step, of all processes and all parts together."""
    accumulate: int = Field(default=1, ge=1)
    """Parts in which each process computes its pictures of a step, one after the other: less memory for the
    same step, but for the dropout's random numbers; not with `losses.contrast: infonce`."""
    compile: bool = False
    """True has torch.compile translate the step's computation first; it pays in long runs on a GPU. Figures
    may differ in the last digits."""
    wandb: str = ""
    """Project of Weights & Biases that the curves are sent to as well, by the installed `wandb` and its own
    login; "" sends nothing."""
    lr: float = Field(default=1e-4, gt=0)
    """Step size of AdamW."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay of AdamW."""
    clip: float = Field(default=0.1, ge=0)
    """Bound on the norm of all gradients together; 0 leaves them as they are."""
    seed: int = Field(default=0, ge=0)
    """Decides the first weights, the order of the pictures and the dropout."""
    mirror: bool = False
    """True shows about half of the pictures mirrored left to right, others in every epoch, boxes with them;
    needs the banks of `embed.mirrored`. Rationales that say left or right are not rewritten."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that read the banks ahead of the step; 0 reads ahead in threads of the training process,
    which is faster: nothing is copied from process to process."""
    checkpoint_every_steps: int = Field(default=500, ge=0)
    """Steps between two checkpoints within an epoch; 0 writes one at the end of each epoch only."""
    keep: int = Field(default=2, ge=1)
    """Newest checkpoints that stay on disk, beside the best one."""
    balance: float = Field(default=0.0, ge=0, le=1)
    """How far an epoch evens out the verbs: 0 takes every picture once; 1 takes equally many pictures of
    every verb, so that a rare verb's come several times; between, the share of a verb of n pictures grows
    with n to the power of 1 - balance. The number of steps stays the same."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Share that a running average of the weights keeps at each step; selection and checkpoint then use the
    average. 0 uses the weights themselves. The average is over the last 1 / (1 - ema) steps or so."""
    calibrate: float | None = Field(default=None, ge=0, lt=100)
    """Points of top-1 verb accuracy on the seen verbs of dev that may be given up for unseen verbs: their
    logits are raised by the largest number that costs no more (see `calibration`). 0 raises
    nothing; null takes 2, but no more than a twentieth of what is named rightly, and 0 where
    `student.as_released` is on, as the released code has none."""
    patience: int = Field(default=0, ge=0)
    """Training ends after this many epochs in a row without a better `select`; 0 always trains all epochs."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """`cpu`, `mps`, `cuda` or `cuda:1`; `auto` takes the first GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the large products in training; `auto` measures once, when a run begins, whether the
    device is faster in `bf16`, and a resume keeps what the run began with. Weights and losses are fp32."""
    select: SelectBy = "mean"
    """Figure on the seen verbs of the dev set that the best checkpoint is chosen by; `mean` is the mean of
    all fourteen."""
