"""Before anything is timed: do both sides compute the same?"""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM

from benchmarks.sides import Work
from favonius.models.load import load
from favonius.run import ModelSource
from favonius.trees.pack import pack
from favonius.trees.score import score

ROWS = 2


def max_abs_logp_diff(work: Work) -> float:
    """Largest difference of a scored token's log-prob in fp32, between the packed trees and transformers' own forward,
    which is what TRL calls; over the shortest rows."""
    rows = sorted(work.rows, key=lambda row: row.tree.run_tokens)[:ROWS]
    trees = [row.tree for row in rows]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.no_grad():
        ours = score(load(ModelSource("model", work.model, "gate"), "fp32"), pack(trees)).values_M.cpu()
        model = AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32).to(device).eval()
        theirs = []
        for sequence in (one for tree in trees for one in tree.sequences):
            ids = torch.tensor([sequence.ids], device=device)
            logps_TV = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            logps_T = logps_TV.gather(1, ids[0, 1:, None])[:, 0]
            theirs.append(logps_T[torch.tensor(sequence.scored[1:], device=device)].cpu())
    return float((ours - torch.cat(theirs)).abs().max())
