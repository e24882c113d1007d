"""Who the device is: its key, made here and never sent away, and the controller it belongs to."""
