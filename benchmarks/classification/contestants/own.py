"""edgesynth itself: of the networks that its run finished for a budget, the one that is best on validation images."""

from benchmarks.classification.contestants.base import Compressed, ContestantError
from benchmarks.classification.material import Material
from benchmarks.classification.run_of_edgesynth import inheritance
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace
from edgesynth.synthesis.storage import load_weights

__all__ = ["edgesynth"]


def edgesynth(material: Material, budget: int) -> Compressed:
    """Finished already, by edgesynth. Its test accuracy has no part in the choice."""
    left = inheritance(material)
    small = [network for network in left.networks[budget] if network.macs <= material.limit(budget)]
    if not small:
        raise ContestantError(f"none of its networks has at most {material.limit(budget):,} MACs")
    best = max(small, key=lambda network: network.val_metric)
    space = trace(material.prototype, material.example)
    module = materialise(space, best.genome, identity_ranking(space.groups))
    module.load_state_dict(load_weights(left.run / "networks" / best.name / "weights.safetensors"))
    return Compressed(
        module,
        round(left.spent["search"] + left.spent["shared"], 2),
        genome=best.genome,
        finished_cpu_s=left.spent[f"finishing macs{budget}"],
        details={
            "evaluations": left.evaluations,
            "name": best.name,
            "finished": [
                {"val_accuracy": n.val_metric, "macs": n.macs, "params": n.params, "scores": n.scores} for n in small
            ],
        },
    )
