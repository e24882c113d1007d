"""A decoder plug-in that is one function: it reads the parameters and gives the decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .parameters import Reader
from .port import BoxDecoder, Parameters, Tensors


@dataclass(frozen=True, slots=True)
class Kind:
    """A `DecoderPlugin`.

    Attributes:
        name: As manifests spell it.
        read: The decoder of a model with these inputs and outputs. Asks the reader for every parameter that
            there is, and calls its `done` at the end.
    """

    name: str
    read: Callable[[Reader, Tensors, Tensors], BoxDecoder]

    def settle(self, given: Parameters, inputs: Tensors, outputs: Tensors) -> Parameters:
        """See `DecoderPlugin.settle`."""
        reader = Reader(self.name, given)
        self.read(reader, inputs, outputs)
        return reader.settled

    def open(self, parameters: Parameters, inputs: Tensors, outputs: Tensors) -> BoxDecoder:
        """See `DecoderPlugin.open`."""
        return self.read(Reader(self.name, parameters), inputs, outputs)
