"""How the processes of a device talk: frames, tensors in them, and the supervisor's conversation with
serve."""
