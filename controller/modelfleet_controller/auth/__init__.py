"""Who asks: operators by token, devices by signature; and what they may do."""
