"""From what a run saw to the document that the agent answers with (`schemas/measurement-1.json`)."""

from typing import Any, Dict, NamedTuple, Optional, Union

from edgesynth_agent.engines.base import Engine
from edgesynth_agent.figures import figures
from edgesynth_agent.protocol import Run, Schedule

__all__ = ["SCHEMA", "EngineFacts", "measurement_document"]

SCHEMA = "edgesynth.measurement/1"


class EngineFacts(NamedTuple):
    """What a record says of an engine, when the engine itself is no longer there."""

    backend: str
    version: str
    precision: str
    flags: Dict[str, Any]
    processor: str = "cpu"

    @classmethod
    def of(cls, engine: Engine) -> "EngineFacts":
        return cls(engine.backend, engine.version, engine.precision, dict(engine.flags), engine.processor)


def measurement_document(
    target: str,
    device: Dict[str, Any],
    engine: Union[Engine, EngineFacts],
    batch: int,
    seed: int,
    schedule: Schedule,
    run: Run,
    reference: Optional[Dict[str, Any]] = None,
) -> Dict[str, Any]:
    """One measurement, of the source that `device` is of. `reference` is what came of the comparison with reference
    outputs, where there were any."""
    flags = dict(engine.flags)
    flags.update(schedule._asdict(), warmup_s=run.warmup_s, inputs="normal noise", seed=seed)
    document: Dict[str, Any] = {
        "schema": SCHEMA,
        "target": target,
        # A trace of an agent that did not know simulated devices says nothing: there were none.
        "source": device.get("source", "measured"),
        "device": device,
        "engine": {
            "backend": engine.backend,
            "version": engine.version,
            "precision": engine.precision,
            "batch": batch,
            "flags": flags,
        },
    }
    document.update(figures(run, schedule, engine.processor), reference=reference)
    return document
