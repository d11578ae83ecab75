"""The learner's figures as a table for people, as Markdown for docs/speed.md, and as a picture.

    python -m benchmarks.learners.tables

writes what benchmarks/results/learner.json says into docs/speed.md; a test holds the two together.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.learners.catalogue import CASES, FLOORS, LEARNERS, OURS, STORES
from benchmarks.learners.targets import Figures, ratios
from benchmarks.report import RESULTS, ROOT, load
from robo_rl.training.durable import write_file

PAGE = ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def best_of_ours(found: Mapping[str, Any]) -> str | None:
    """Which of ours took least, in one case."""
    own = {name: median(found[name]["wall_ms"]) for name in OURS if name in found}
    return min(own, key=own.__getitem__) if own else None


def show(figures: Figures, console: Console, *, title: str) -> None:
    """Print one row for each case, one column for each learner, and the bytes of a transition."""
    cases = {case: found for case, found in figures.get("cases", {}).items() if found}
    names = [name for name in LEARNERS if any(name in found for found in cases.values())]
    if cases:
        table = Table(title=f"Milliseconds, medians of rounds; {title}")
        table.add_column("case")
        for name in names:
            table.add_column(name, justify="right")
        for case, found in cases.items():
            table.add_row(case, *(_cell(found.get(name)) for name in names))
        console.print(table)
    weighed = figures.get("bytes", {})
    if weighed:
        names = [name for name in LEARNERS if any(name in found for found in weighed.values())]
        table = Table(title="Bytes a transition that the process grew by")
        table.add_column("memory")
        for name in names:
            table.add_column(name, justify="right")
        for store, found in weighed.items():
            table.add_row(store, *(f"{found[name]:,.0f}" if name in found else "-" for name in names))
        console.print(table)


def markdown(results: Mapping[str, Any]) -> str:
    """The same for the docs: one table for each device and number of threads, then what is promised and what holds."""
    parts = []
    for place, figures in results["results"].items():
        cases = {case: found for case, found in figures.get("cases", {}).items() if found}
        names = [name for name in LEARNERS if any(name in found for found in cases.values())]
        if cases:
            parts += [f"Milliseconds, {place}:", ""]
            parts += _rows(
                ["", *names], [[case, *(_cell(found.get(n)) for n in names)] for case, found in cases.items()]
            )
        if weighed := figures.get("bytes"):
            names = [name for name in LEARNERS if any(name in found for found in weighed.values())]
            cells = [
                [store, *(f"{found[n]:,.0f}" if n in found else "-" for n in names)] for store, found in weighed.items()
            ]
            parts += [f"Bytes a transition, {place}:", "", *_rows(["", *names], cells)]
    signs = {True: "met", False: "**not met**", None: ""}
    judged = [
        [entry["what"], entry["wanted"], str(entry["measured"]), signs[entry["met"]]] for entry in results["targets"]
    ]
    if judged:
        parts += ["What is promised:", "", *_rows(["", "wanted", "measured", ""], judged)]
    return "\n".join(parts).strip()


def page(text: str, results: Mapping[str, Any] | None) -> str:
    """Return the text of docs/speed.md with the figures between its two marks."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    figures = "Not measured yet." if results is None else markdown(results)
    return f"{before}{BEGIN}\n{figures}\n{END}{after}"


def plot(figures: Figures, path: Path, *, title: str) -> None:
    """Draw how many times as long each peer takes as the fastest of ours: median, lowest and highest round."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars: list[tuple[str, str, list[float]]] = []
    for case in CASES:
        found = figures.get("cases", {}).get(case, {})
        if (best := best_of_ours(found)) is None:
            continue
        others = [name for name in LEARNERS if name in found and name not in OURS]
        bars += [(f"{case} ({best})", name, ratios(figures, case, best, name)) for name in others]
    figure = Figure(figsize=(10, 1.2 + 0.28 * max(len(bars), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    colours = {name: f"C{i % 10}" for i, name in enumerate(n for n in LEARNERS if n not in (*OURS, *FLOORS))}
    for place, (_, name, found) in enumerate(reversed(bars)):
        middle = median(found)
        axes.barh(place, middle, color=colours.get(name, "0.6"), height=0.7)
        axes.plot([found[0], found[-1]], [place, place], color="black", lw=1)
        axes.annotate(f" {middle:.2g}", (max(middle, found[-1]), place), va="center", fontsize=7)
    axes.set_yticks(range(len(bars)), [f"{case}: {name}" for case, name, _ in reversed(bars)], fontsize=7)
    axes.axvline(1.0, color="grey", lw=0.8, ls=":")
    axes.set(xscale="log", xlabel="times as long as ours (line: lowest to highest round)")
    axes.grid(axis="x", alpha=0.3)
    figure.suptitle(title)
    write_file(path, lambda file: figure.savefig(file, dpi=120))


def _cell(found: Mapping[str, Any] | None) -> str:
    return "-" if found is None else f"{median(found['wall_ms']):.4g}"


def _rows(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]


def main() -> int:
    """Write the figures into the page."""
    file = RESULTS / "learner.json"
    PAGE.write_text(page(PAGE.read_text(), load(file) if file.exists() else None))
    print(f"{PAGE}: {', '.join(CASES)}; {', '.join(STORES)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
