"""The log of a training, on rank 0: a table, events for TensorBoard, and a picture.

log.csv      One row an epoch: training loss, held-out error, learning rate, gradient norm. It is written whole after each
             epoch, from the history that the checkpoint holds too: so a resumed training has no row twice, and none missing.
events/      The same numbers for TensorBoard, where that is asked for and installed.
curves.png   Training loss and held-out error over epochs.
"""

from __future__ import annotations

import csv
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from .files import write_bytes
from .plan import Progress

COLUMNS = ("loss", "held_out", "rate", "norm")


def rows(progress: Progress) -> list[dict[str, Any]]:
    """The history, an epoch a row; None where an epoch of an older program did not record a number."""
    columns = {name: getattr(progress, name) for name in COLUMNS}
    padded = {name: [None] * (progress.epoch - len(column)) + column for name, column in columns.items()}
    return [{"epoch": i + 1} | {name: column[i] for name, column in padded.items()} for i in range(progress.epoch)]


def write_log(progress: Progress, folder: Path, board: Board) -> None:
    """folder/log.csv, whole or as it was; and the last epoch on the board."""
    text, partial = StringIO(), folder / "log.csv.partial"
    table = csv.DictWriter(text, ("epoch", *COLUMNS), lineterminator="\n")
    table.writeheader()
    table.writerows(rows(progress))
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(partial, text.getvalue().encode())
    partial.replace(folder / "log.csv")
    board.add(progress)


class Board:
    """TensorBoard's events in folder/events; nothing where it is not ``wanted``, nor, said once, where it is not installed."""

    def __init__(self, folder: Path, wanted: bool) -> None:
        self.writer: Any = None
        if wanted and find_spec("tensorboard") is None:
            print("TensorBoard is not installed (pip install tensorboard); log.csv has the same numbers", flush=True)
        elif wanted:
            from tensorboard.summary import Writer

            self.writer = Writer(str(folder / "events"))

    def add(self, progress: Progress) -> None:
        """The last epoch."""
        if self.writer:
            row = rows(progress)[-1]
            for name in COLUMNS:
                self.writer.add_scalar(name, row[name], row["epoch"])
            self.writer.flush()


def curves(loss: list[float], held_out: list[float], best: int = 0) -> Any:
    """A figure of the training loss and the held-out error over epochs; ``best``: an epoch to mark, 0 for none."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, ax = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    epochs = range(1, len(loss) + 1)
    ax.plot(epochs, loss, color="#0b6fa4", linestyle="--", label="training loss")
    ax.plot(epochs, held_out, color="#0b6fa4", label="held-out error (relative L2)")
    if best:
        ax.plot(best, held_out[best - 1], "o", color="#0b6fa4", label="best so far")
    ax.set(xlabel="epoch", ylabel="relative error of saturation", ylim=(0, 1.05 * max(loss + held_out)))
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return figure


def draw(progress: Progress, path: Path) -> None:
    """The curves of a training as a picture; whole, or as it was."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, partial = curves(progress.loss, progress.held_out, progress.best), path.with_suffix(".partial")
    figure.savefig(partial, format="png", dpi=120)
    plt.close(figure)
    partial.replace(path)
