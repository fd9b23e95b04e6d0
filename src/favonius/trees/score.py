"""`score`: the only way that anything in the package gets a log-prob."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from favonius.errors import UserError
from favonius.trees.attention import NAME, AttentionPlan, TreePlan
from favonius.trees.head import token_logps
from favonius.trees.pack import Pack, TreeSpan, bucket, send


@dataclass(frozen=True)
class Logps:
    """Log-probs of the scored tokens of S sequences: M values and whose they are."""

    values_M: Tensor
    sequence_M: Tensor
    sequences: int

    def sums(self) -> Tensor:
        """log p(scored tokens) of each sequence, [S]."""
        return self.values_M.new_zeros(self.sequences).index_add(0, self.sequence_M, self.values_M)

    def lengths(self) -> Tensor:
        """Scored tokens of each sequence, [S]."""
        # bincount would wait for a GPU.
        return self.sequence_M.new_zeros(self.sequences).index_add(0, self.sequence_M, torch.ones_like(self.sequence_M))


def score(model: PreTrainedModel, batch: Pack) -> Logps:
    """Per-token log-probs of a pack's scored tokens under `model`, fp32, differentiable.

    `model` has favonius attention (`models.load`). Only scored positions meet the head.
    """
    device = model.device
    values_N = token_logps(
        predicting_states(model, batch),
        head_weight(model),
        send(batch.targets_N, device),
        getattr(model.config, "final_logit_softcapping", None),
    )
    return Logps(values_N[send(batch.prediction_M, device)], send(batch.sequence_M, device), batch.sequences)


def predicting_states(
    model: PreTrainedModel, batch: Pack, plan: Callable[[Sequence[TreeSpan]], AttentionPlan] = TreePlan
) -> Tensor:
    """The last hidden states of a pack that predict a scored token, [N, D], differentiable.

    On CUDA the row is padded here, at its end, to `bucket`; nothing needs to be cut off again, since no padding token
    is scored. `plan` makes the attention plan of the row's spans.
    """
    device = model.device
    if device.type == "cuda":
        batch = batch.padded(bucket(batch.tokens))
    hidden_TD = hidden_states(
        model, send(batch.ids_T, device)[None], send(batch.positions_T, device)[None], plan(batch.spans)
    )[0]
    return hidden_TD[send(batch.rows_N, device)]


def hidden_states(model: PreTrainedModel, ids_BT: Tensor, positions_BT: Tensor, attention_plan: object) -> Tensor:
    """Last hidden states [B, T, D], after the final norm, with attention as `attention_plan` decides."""
    if model.config._attn_implementation != NAME:
        raise ValueError(f"the model was loaded with {model.config._attn_implementation} attention, not {NAME}")
    backbone = getattr(model, model.base_model_prefix)
    output = backbone(input_ids=ids_BT, position_ids=positions_BT, use_cache=False, plan=attention_plan)
    return output.last_hidden_state  # type: ignore[no-any-return]


def head_weight(model: PreTrainedModel) -> Tensor:
    """The output embedding [V, D]; UserError where the architecture does more than multiply by it."""
    head = model.get_output_embeddings()
    scaled = [name for name in ("logit_scale", "logits_scaling") if getattr(model.config, name, None) not in (None, 1)]
    if head is None or getattr(head, "bias", None) is not None or scaled:
        raise UserError(f"the output head of {model.config.model_type} is not a plain product; it is not supported")
    return head.weight  # type: ignore[no-any-return]
