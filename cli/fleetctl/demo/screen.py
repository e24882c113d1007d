"""What the demo shows while it runs: a live line on a terminal, one line per change elsewhere.

Decides nothing and remembers only what it showed last.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from modelfleet_core.clock import Clock

from .report import ClassRow, Inferences, KillRow, RefusalRow, RolloutRow, SceneRow

PLAIN_WIDTH = 170


class Screen:
    """The demo's output. `console.is_terminal` decides between the live line and plain lines."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._begun = clock.monotonic()
        self._status: Status | None = None
        self._shown = ""

    def _line(self, text: str, style: str = "") -> None:
        seconds = self._clock.monotonic() - self._begun
        self._console.print(
            f"[dim]{seconds:5.0f} s[/dim]  {escape(text)}", style=style, highlight=False, soft_wrap=True
        )

    def scene(self, number: int, title: str) -> None:
        """A new scene begins; 0 = what comes after the last."""
        self.done()
        self._console.print()
        numbered = f"{number}. {title}" if number else title
        self._console.print(f"[bold]{escape(numbered)}[/bold]", highlight=False)

    def say(self, text: str) -> None:
        """Something happened."""
        self._line(text)

    def warn(self, text: str) -> None:
        """Something did not come out as said."""
        self._line(text, style="bold red")

    def doing(self, text: str, detail: str = "") -> None:
        """What is going on now; shown when it changes. A terminal shows `detail` instead, if there is one."""
        if self._console.is_terminal:
            text = detail or text
        if text == self._shown:
            return
        self._shown = text
        if not self._console.is_terminal:
            self._line(text)
        elif self._status is None:
            self._status = self._console.status(escape(text))
            self._status.start()
        else:
            self._status.update(escape(text))

    def done(self) -> None:
        """Nothing is going on; takes the live line away."""
        self._shown = ""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def output(self, line: str) -> None:
        """A line of a program that runs in view."""
        self._console.print(escape(line), highlight=False)

    def check(self, promise: str, ok: bool, seen: str) -> None:
        """A promise and whether it held."""
        mark, style = ("ok", "green") if ok else ("NOT AS SAID", "bold red")
        self._line(f"{mark}: {promise}" + (f" ({seen})" if seen else ""), style=style)

    def rollouts(self, rows: Sequence[RolloutRow]) -> None:
        """The closing table."""
        table = Table(title="What happened", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in ("release", "class", "stages", "outcome", "because of"):
            table.add_column(column, overflow="fold", no_wrap=column in ("class", "stages"))
        table.add_column("evidence", justify="right")
        table.add_column("devices", overflow="fold")
        for column in ("bytes sent", "served", "failed", "worst gap"):
            table.add_column(column, justify="right")
        seen: set[str] = set()
        for rollout in rows:
            name = f"{rollout.release} again" if rollout.release in seen else rollout.release
            seen.add(rollout.release)
            for index, row in enumerate(rollout.classes):
                devices = ", ".join(f"{count} {words(what)}" for what, count in sorted(row.devices.items()))
                table.add_row(
                    name if index == 0 else "",
                    row.device_class,
                    ">".join(row.stages),
                    words(row.outcome or "unfinished"),
                    words(row.gate or ""),
                    _evidence(row),
                    devices,
                    f"{rollout.bytes_sent:,}" if index == 0 else "",
                    f"{row.served:,}",
                    f"{row.failed + row.dropped}",
                    _gap(row),
                )
        self._console.print()
        self._console.print(table)
        for rollout in rows:
            for row in rollout.classes:
                if row.reason:
                    self._console.print(
                        f"  {escape(rollout.release)} {escape(row.reason)}",
                        highlight=False,
                        soft_wrap=True,
                    )

    def kills(self, rows: Sequence[KillRow]) -> None:
        """What was killed."""
        if rows:
            self._console.print()
        for row in rows:
            mark = "recovered" if row.recovered else "NOT RECOVERED"
            self._console.print(
                f"  kill -9 {escape(row.where)}: {mark}; {escape(row.said)}", highlight=False, soft_wrap=True
            )

    def refusals(self, rows: Sequence[RefusalRow]) -> None:
        """What was refused."""
        if rows:
            self._console.print()
        for row in rows:
            self._console.print(
                f"  {escape(row.what)} on {escape(row.where)}: {escape(row.code)} {escape(row.reason)}",
                highlight=False,
            )

    def closing(self, scenes: Sequence[SceneRow], inferences: Inferences, ok: bool, seconds: float) -> None:
        """The last lines."""
        self._console.print()
        self._console.print(
            f"  {inferences.served:,} inferences served, {inferences.failed} failed, "
            f"{inferences.dropped} dropped; {inferences.swaps} swaps, "
            f"worst gap {inferences.worst_swap_gap_ms:.1f} ms",
            highlight=False,
        )
        times = ", ".join(f"{row.number}: {row.seconds:.0f} s" for row in scenes)
        self._console.print(f"  scenes {times}", highlight=False)
        if ok:
            self._console.print(
                f"  [green]All came out as said, in {seconds:.0f} s.[/green]", highlight=False
            )
        else:
            bad = ", ".join(str(row.number) for row in scenes if not row.ok)
            self._console.print(
                f"  [bold red]Not as said: scene {bad or '?'} ({seconds:.0f} s).[/bold red]", highlight=False
            )


def words(text: str) -> str:
    """`rolled_back` as people write it."""
    return text.replace("_", " ")


def _evidence(row: ClassRow) -> str:
    """Golden is counted, not bet on: it has no odds (semantics section 2)."""
    return "" if row.evidence is None or row.gate == "golden" else f"{row.evidence:,.0f}:1"


def _gap(row: ClassRow) -> str:
    """Serve keeps the worst gap of all its swaps: where it did not rise, these ones were no worse."""
    if row.worst_swap_gap_ms is None:
        return ""
    return f"{'' if row.gap_rose else '<= '}{row.worst_swap_gap_ms:.1f} ms"
