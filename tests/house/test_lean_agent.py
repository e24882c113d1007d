"""Supervisor and serve stay lean: no numpy, no runtime, however long the chain of imports.

Two looks at it: the import graph, which also sees imports inside functions, and a real interpreter that loads
the modules and is asked what it holds.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import grimp
import pytest

HEAVY = (
    "numpy",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "ai_edge_litert",
    "tflite_runtime",
    "modelfleet_runtimes",
)
# Asks which runtimes are installed, by their metadata; loads none.
LISTS_RUNTIMES = {"modelfleet_runtimes", "modelfleet_runtimes.registry", "modelfleet_runtimes.port"}
# What may be heavy: the worker is the process that runs a model, the SDK runs in the application's.
MAY_BE_HEAVY = ("modelfleet_agent.worker", "modelfleet_agent.sdk")
UNWANTED = (
    "numpy",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "ai_edge_litert",
    "tflite_runtime",
    "fastapi",
    "sqlalchemy",
    "rich",
)


@cache
def graph() -> grimp.ImportGraph:
    found = grimp.build_graph(
        "modelfleet_agent",
        "modelfleet_runtimes",
        "modelfleet_core",
        include_external_packages=True,
        exclude_type_checking_imports=True,
    )
    for name in found.modules:
        package = name.rpartition(".")[0]
        if package in found.modules:  # to import a module is to run its package's __init__ first
            found.add_import(importer=name, imported=package)
    return found


def lean_modules() -> list[str]:
    return sorted(
        name
        for name in graph().modules
        if name.partition(".")[0] == "modelfleet_agent"
        and not any(name == heavy or name.startswith(f"{heavy}.") for heavy in MAY_BE_HEAVY)
    )


@pytest.mark.parametrize("name", lean_modules())
def test_no_chain_of_imports_leads_to_arrays(name: str) -> None:
    chains = {
        heavy: graph().find_shortest_chain(name, heavy)
        for heavy in (*HEAVY, *(m for m in graph().modules if m.startswith("modelfleet_runtimes.")))
        if heavy in graph().modules and heavy not in LISTS_RUNTIMES
    }
    assert {heavy: " -> ".join(chain) for heavy, chain in chains.items() if chain} == {}


def test_an_interpreter_that_loads_them_holds_nothing_heavy() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {lean_modules()!r}:\n"
        "    if not name.endswith('__main__'): importlib.import_module(name)\n"
        f"print([name for name in {UNWANTED!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_look_is_not_blind() -> None:
    assert graph().find_shortest_chain("modelfleet_agent.worker", "numpy", as_packages=True)
