"""The supervisor: looks after serve, drives every slot, and tells people where things stand."""
