"""The conformance suite that every runtime plug-in has to pass; shipped, so that foreign plug-ins can run it.

A plug-in's test is a subclass of `RuntimeConformance` with two fixtures:

    class TestMyRuntime(RuntimeConformance):
        @pytest.fixture
        def runtime(self) -> Runtime:
            return plugin

        @pytest.fixture
        def case(self, tmp_path: Path) -> ConformanceCase:
            return ConformanceCase(folder, entry, contract, inputs, expected, tolerance)
"""

from .conformance import ConformanceCase, RuntimeConformance

__all__ = ["ConformanceCase", "RuntimeConformance"]
