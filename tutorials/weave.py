"""The weaver: runs a chapter under MPI and makes a page of it, with what every rank printed and rank 0 drew.

    mpiexec -n 4 python tutorials/weave.py tutorials/02_broadcast.py --out tutorials/out

Chapter      A Python script in percent format: ``# %%`` begins a cell of code, ``# %% [markdown]`` one of prose, in comments.
             It is also a plain script (``mpiexec -n 4 python 02_broadcast.py``), and opens in editors as a notebook.
Cells        Every rank runs every cell. Meanwhile ``MPI.COMM_WORLD`` is a guarded duplicate of itself, so a cell that
             fails on one rank ends on all of them, and cannot hang.
Text         What a cell prints is shown by rank, ``[2] I hold [1. 2. 3.]``; ranks that say the same share a line; without
             a prefix if only rank 0 speaks.
Pictures     The matplotlib figures that rank 0 has open at the end of a cell, as SVG; the same bytes in every run.
Page         NAME.md with its pictures beside it, and NAME.html, which holds all it needs: formulas are MathML.
Failure      The cell, the ranks and the error are printed once, no page is written, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import html
import io
import re
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from string import Template
from typing import Any

BAR = 'stretchy="false">&#x0007C;</mo>'  # |x|: browsers set it like an operator, with space around it
PICTURE_STYLE = {"svg.hashsalt": "refimpl", "font.family": "DejaVu Sans", "figure.dpi": 100}


# ---- the chapter -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One cell of a chapter: prose as Markdown, or code. ``line`` is its first line in the file."""

    line: int
    is_prose: bool
    text: str


def read_cells(source: str) -> list[Cell]:
    """The cells of a percent-format script; code before the first marker is a cell of its own."""
    cells, kind, start, lines = [], "", 1, source.splitlines()
    for number, text in enumerate([*lines, "# %%"], 1):
        marker = re.match(r"# %%(.*)", text)
        if not marker:
            continue
        body = lines[start - 1 : number - 1]
        is_prose = "[markdown]" in kind
        if is_prose:
            body = [re.sub(r"^# ?", "", line) for line in body]
        if any(line.strip() for line in body):
            cells.append(Cell(start, is_prose, "\n".join(body)))
        kind, start = marker.group(1), number + 1
    return cells


# ---- running it ------------------------------------------------------------------------------------------------------


class Runner:
    """Runs the cells of one chapter, one after the other in one namespace, on all ranks. Collective to make."""

    def __init__(self, chapter: Path) -> None:
        from refimpl import wire
        from refimpl.verify.board import Control
        from refimpl.verify.team import Team

        self.chapter, self.world = chapter, wire.world()
        self.control, self.team = Control(self.world), Team(self.world)
        self.pictures: list[tuple[str, bytes]] = []  # of the last cell, as (title, SVG); rank 0 only
        self.module = types.ModuleType("__main__")  # so that what a cell defines can be pickled
        self.module.__file__ = str(chapter)
        sys.modules["__main__"] = self.module

    def run(self, cell: Cell) -> list[str]:
        """What each rank printed; RankFailure on all ranks where the cell fails on any."""
        heard = io.StringIO()
        with contextlib.redirect_stdout(heard), guarded_world(self.team):
            self.together(lambda: self._execute(cell), f"{self.chapter.name}, the cell at line {cell.line}")
        return self.control.pool(heard.getvalue())

    def together(self, body: Callable[[], object], label: str) -> None:
        """Run ``body`` on every rank; RankFailure on all where it fails on any."""
        from refimpl.verify.verdict import together

        together(self.team, lambda team: body(), label)

    def _execute(self, cell: Cell) -> None:
        padding = "\n" * (cell.line - 1)  # errors then name the line of the file
        exec(compile(padding + cell.text, str(self.chapter), "exec"), self.module.__dict__)
        self.pictures = take_pictures() if self.world.rank == 0 else []


@contextlib.contextmanager
def guarded_world(team: Any) -> Iterator[None]:
    """``MPI.COMM_WORLD`` is ``team`` inside the block."""
    from mpi4py import MPI

    world, MPI.COMM_WORLD = MPI.COMM_WORLD, team
    try:
        yield
    finally:
        MPI.COMM_WORLD = world


def by_rank(said: Sequence[str]) -> str:
    """What the ranks printed as one text: all first lines, all second lines, .., each different one with who said it."""
    if not any(said[1:]):
        return said[0].rstrip()
    lines = []
    for row in zip_longest(*(text.rstrip().splitlines() for text in said)):
        ranks: dict[str, list[int]] = {}
        for rank, line in enumerate(row):
            if line is not None:
                ranks.setdefault(line, []).append(rank)
        lines += [f"[{who(speakers, len(said))}] {line}" for line, speakers in ranks.items()]
    return "\n".join(lines)


def who(ranks: Sequence[int], size: int) -> str:
    """``2``, ``0, 2``, ``1-3``, or ``all 4 ranks``."""
    first, last = ranks[0], ranks[-1]
    if len(ranks) == size:
        return f"all {size} ranks"
    return f"{first}-{last}" if len(ranks) == last - first + 1 > 2 else ", ".join(map(str, ranks))


def prepare_pictures() -> None:
    """Draw into files, in the same style everywhere."""
    import matplotlib

    matplotlib.rcdefaults()
    matplotlib.use("Agg")
    matplotlib.rcParams.update(PICTURE_STYLE)


def take_pictures() -> list[tuple[str, bytes]]:
    """The open figures as (title, SVG), closed."""
    if "matplotlib.pyplot" not in sys.modules:
        return []
    import matplotlib.pyplot as plt

    pictures = []
    for number in plt.get_fignums():
        figure, svg = plt.figure(number), io.BytesIO()
        figure.savefig(svg, format="svg", bbox_inches="tight", metadata={"Date": None})
        titles = [figure.get_suptitle(), *(ax.get_title() for ax in figure.axes)]
        pictures.append(("; ".join(title for title in titles if title) or "picture", svg.getvalue()))
    plt.close("all")
    return pictures


# ---- the page --------------------------------------------------------------------------------------------------------


class Page:
    """A woven chapter: Markdown, and its pictures by file name."""

    def __init__(self, name: str) -> None:
        self.name, self.parts = name, list[str]()
        self.pictures: dict[str, bytes] = {}

    def add_prose(self, text: str) -> None:
        self.parts.append(text.strip())

    def add_code(self, code: str, printed: str, pictures: Sequence[tuple[str, bytes]]) -> None:
        self.parts.append(f"```python\n{code.strip()}\n```")
        if printed:
            self.parts.append(f"```text\n{printed}\n```")
        for title, svg in pictures:
            file = f"{self.name}-{len(self.pictures) + 1}.svg"
            self.pictures[file] = svg
            self.parts.append(f"![{title.translate(str.maketrans('', '', '$[]'))}]({file})")

    @property
    def markdown(self) -> str:
        return "\n\n".join(self.parts) + "\n"

    def write(self, folder: Path) -> None:
        """NAME.md, its pictures, NAME.html. Raises OSError where the folder cannot be written."""
        folder.mkdir(parents=True, exist_ok=True)
        for file, svg in self.pictures.items():
            (folder / file).write_bytes(svg)
        (folder / f"{self.name}.md").write_text(self.markdown, encoding="utf-8")
        (folder / f"{self.name}.html").write_text(to_html(self.markdown, self.pictures), encoding="utf-8")


def to_html(markdown: str, pictures: dict[str, bytes]) -> str:
    """A page that needs no network and no other file: pictures inside, formulas as MathML, code in colours."""
    from latex2mathml.converter import convert
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from pygments.formatters import HtmlFormatter

    def formula(latex: str, options: dict[str, bool]) -> str:
        mathml = convert(latex, display="block" if options["display_mode"] else "inline")
        return mathml.replace(f"<mo {BAR}", f'<mo lspace="0" rspace="0" {BAR}')

    def image(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        data = base64.b64encode(pictures[tokens[index].attrs["src"]]).decode()
        return f'<img alt="{html.escape(tokens[index].content)}" src="data:image/svg+xml;base64,{data}">'

    reader = MarkdownIt("commonmark", {"highlight": highlighted}).enable("table")
    reader.use(dollarmath_plugin, renderer=formula, allow_space=False, allow_digits=False, double_inline=True)
    reader.add_render_rule("image", image)
    title = re.search(r"^# (.*)", markdown, re.M)
    page = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return page.substitute(
        title=html.escape(title.group(1) if title else "chapter"),
        colours=HtmlFormatter(style="friendly").get_style_defs(".code"),
        body=reader.render(markdown),
    )


def highlighted(text: str, language: str, _: Any) -> str:
    """A block of code, or of printed text whose lines begin with the rank."""
    if language == "python":
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        return f'<pre class="code">{highlight(text, PythonLexer(), HtmlFormatter(nowrap=True))}</pre>'
    marked = re.sub(r"^(\[(?:all )?\d[^\]]*\])", r'<span class="who">\1</span>', html.escape(text), flags=re.M)
    return f'<pre class="{html.escape(language) or "plain"}">{marked}</pre>'


# ---- the command -----------------------------------------------------------------------------------------------------


def weave(chapter: Path, out: Path) -> int:
    """Run the chapter and write its page into ``out``; 0, or 1 with the reason printed once. Collective."""
    from refimpl import wire
    from refimpl.verify.verdict import RankFailure

    world, page, doing = wire.world(), Page(chapter.stem), "cannot be read"
    try:
        cells = read_chapter(chapter, world)
        runner = Runner(chapter)
        runner.together(prepare_pictures, "matplotlib")
        for cell in cells:
            doing = f"the cell at line {cell.line} failed"
            if cell.is_prose:
                page.add_prose(cell.text)
            else:
                page.add_code(cell.text, by_rank(runner.run(cell)), runner.pictures)
        doing = "the page cannot be written"
        runner.together(lambda: page.write(out) if world.rank == 0 else None, doing)
    except (RankFailure, OSError) as failure:
        if world.rank == 0:
            print(f"{chapter}: {doing}\n{failure}", file=sys.stderr, flush=True)
        return 1
    if world.rank == 0:
        ranks = f"{world.size} rank{'s' if world.size > 1 else ''}"
        print(f"{out / chapter.stem}.html: {len(cells)} cells on {ranks}, {len(page.pictures)} pictures")
    return 0


def read_chapter(chapter: Path, world: Any) -> list[Cell]:
    """The cells of a file; OSError on all ranks where any cannot read it."""
    from refimpl import wire

    cells, problem = [], None
    try:
        cells = read_cells(chapter.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as failure:
        problem = OSError(str(failure))
    wire.vote(world, problem)
    return cells


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="weave.py",
        description="Run a chapter on all ranks and make a page of it: Markdown, and HTML that needs no network.",
        epilog="example: mpiexec -n 4 python tutorials/weave.py tutorials/02_broadcast.py --out tutorials/out",
    )
    parser.add_argument("chapter", type=Path, help="a Python script in percent format")
    parser.add_argument(
        "--out", type=Path, default=Path("tutorials/out"), help="folder of the page (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    return weave(options.chapter, options.out)


if __name__ == "__main__":
    sys.exit(main())
