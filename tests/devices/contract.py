"""What every oracle must do. A test class inherits this and says how to make one, and for which file."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesynth.devices import Oracle
from edgesynth.errors import ModelFileError
from edgesynth.records import Measurement
from tests.agent.models import save_conv


class OracleContract(ABC):
    @abstractmethod
    def make(self) -> Oracle: ...

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        return save_conv(tmp_path / "conv.onnx")

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls) -> Iterator[Oracle]:
        with cls().make() as oracle:
            yield oracle

    def test_answers_for_its_target(self, oracle: Oracle, model: Path) -> None:
        record = oracle.measure(model)
        assert isinstance(record, Measurement)
        assert record.target == oracle.target
        assert record.engine.batch == 1
        assert record.latency_ms is not None
        assert record.latency_ms.mean > 0
        # what is unknown has a reason
        assert record.energy_mj is not None or any("energy" in warning for warning in record.warnings)

    def test_answers_for_batches(self, oracle: Oracle, model: Path) -> None:
        assert oracle.measure(model, batch=4).engine.batch == 4

    def test_a_file_that_is_not_there_is_named(self, oracle: Oracle, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match=r"missing\.onnx"):
            oracle.measure(tmp_path / "missing.onnx")

    def test_answers_inside_its_with_block_only(self, model: Path) -> None:
        oracle = self.make()
        with pytest.raises(RuntimeError, match="outside"):
            oracle.measure(model)
        with oracle:
            pass
        with pytest.raises(RuntimeError, match="outside"):
            oracle.measure(model)

    def test_may_be_entered_again(self, model: Path) -> None:
        oracle = self.make()
        for _ in range(2):
            with oracle:
                oracle.measure(model)
