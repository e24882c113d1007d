"""What waits for the controller. Events are in the journal; reports are here, bounded, oldest dropped
first.
"""
