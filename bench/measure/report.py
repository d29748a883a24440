"""Numbers to tables. A Result has rows (a list of values each, shown as median and range) and checks (a target and whether it
was met); the same text goes to the terminal and, as Markdown, into docs/BENCHMARKS.md between two marker lines."""
import dataclasses
import re
import statistics

MARKER = "<!-- bench/run --only {name} --write: what follows is generated -->"
END_MARKER = "<!-- end -->"

# unit -> (factor, decimals)
UNITS = {"ms": (1e3, 1), "s": (1, 3), "KiB": (1, 0), "/s": (1, 0), "µs": (1e6, 1), "%": (100, 1), "x": (1, 3), "": (1, 0)}


def shown(value, unit):
    factor, decimals = UNITS[unit]
    scaled = value * factor
    if unit in ("ms", "µs") and abs(scaled) < 10:
        decimals = 2
    return f"{scaled:,.{decimals}f}".replace(",", " ") + (f" {unit}" if unit else "")


@dataclasses.dataclass
class Row:
    what: str
    values: list                 # seconds for times, else in the unit itself
    unit: str
    ratio: object = None         # against another row: a number, or text

    @property
    def median(self):
        return statistics.median(self.values)

    def cells(self):
        span = f"{shown(min(self.values), self.unit)} – {shown(max(self.values), self.unit)}" if len(self.values) > 1 else ""
        ratio = "" if self.ratio is None else self.ratio if isinstance(self.ratio, str) else f"{self.ratio:.3f} ×"
        return [self.what, shown(self.median, self.unit), span, ratio]


@dataclasses.dataclass
class Check:
    target: str
    measured: str
    met: bool

    def line(self):
        return f"{self.target}: {self.measured}: " + ("met" if self.met else "NOT met")


@dataclasses.dataclass
class Result:
    rows: list = dataclasses.field(default_factory=list)
    checks: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)

    def add(self, what, values, unit, against=None):
        row = Row(what, list(values), unit)
        if against is not None:
            row.ratio = row.median / against.median
        self.rows.append(row)
        return row

    def check(self, target, measured, met):
        self.checks.append(Check(target, measured, bool(met)))

    def met(self):
        return all(c.met for c in self.checks)

    def text(self):
        """For a terminal."""
        table = [["", "median", "min – max", "ratio"]] + [r.cells() for r in self.rows]
        widths = [max(len(line[i]) for line in table) for i in range(4)]
        lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip()
                 for line in table]
        return "\n".join(lines + [f"  {note}" for note in self.notes] + [f"  {c.line()}" for c in self.checks])

    def markdown(self):
        lines = ["| | median | min – max | ratio |", "|---|--:|--:|--:|"]
        lines += ["| " + " | ".join(r.cells()) + " |" for r in self.rows]
        if self.checks:
            lines += ["", "| target | measured | verdict |", "|---|---|---|"]
            lines += [f"| {c.target} | {c.measured} | {'met' if c.met else '**NOT met**'} |" for c in self.checks]
        if self.notes:
            lines += [""] + [f"{note}  " for note in self.notes]
        return "\n".join(lines)


def write_into(text, name, markdown):
    """The document with the part of one measurement replaced; ValueError when it has no such part."""
    start = MARKER.format(name=name)
    pattern = re.compile(re.escape(start) + r"\n.*?" + re.escape(END_MARKER), re.S)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"there must be one line {start!r} with {END_MARKER!r} after it")
    return pattern.sub(lambda _: f"{start}\n{markdown}\n{END_MARKER}", text)
