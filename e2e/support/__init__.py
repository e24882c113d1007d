"""What every end-to-end test needs: `Process` starts real programs, `eventually` is the only polling loop."""

from e2e.support.polling import EventuallyTimeout, eventually
from e2e.support.process import Process, ProcessDied, Ready

__all__ = ["EventuallyTimeout", "Process", "ProcessDied", "Ready", "eventually"]
