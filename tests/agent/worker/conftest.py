from __future__ import annotations

from tests.agent.serve.conftest import live_images, serve, variants

__all__ = ["live_images", "serve", "variants"]
