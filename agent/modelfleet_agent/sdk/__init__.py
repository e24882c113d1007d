"""What applications use:

    from modelfleet_agent.sdk import Model

    digits = Model("digits")
    logits = digits(image)          # float32 [1, 32, 32] or [n, 1, 32, 32]

Needs numpy and a serve on this machine; no runtime. Errors are `CallerError` (the input is at fault) and
`WorldError` (model, serve or machine), each with a stable code.
"""

from modelfleet_core.errors import CallerError, WorldError

from ..control.application import Metadata
from .model import Answer, Model

__all__ = ["Answer", "CallerError", "Metadata", "Model", "WorldError"]
