"""Tables and a picture of what the rounds found."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from contest.rounds import Results
from contest.systems import BY_HAND, OURS, find
from contest.with_faiss import OWN

RECALLS = (0.90, 0.95, 0.99, 0.999)

WAYS = {"one": "one query at a time", "many": "up to 1,000 in one call"}


class Pace(NamedTuple):
    """The fastest that a system reaches a recall.

    Attributes:
        setting: with which parameters.
        speeds: queries per second, of each round.
        recall: what it reaches.
    """

    setting: str
    speeds: list[float]
    recall: float

    @property
    def speed(self) -> float:
        """The median."""
        return statistics.median(self.speeds)


def paces(results: Results, system: str, way: str) -> list[Pace]:
    """What is known of each setting, its own choice of parameters (:data:`OWN`) left out."""
    rounds = results.measured.get(system, {})
    out = []
    for setting, found in rounds.get(0, {}).items():
        if way in found and OWN not in json.loads(setting):
            speeds = [rounds[turn][setting][way]["speed"] for turn in sorted(rounds) if setting in rounds[turn]]
            out.append(Pace(setting, speeds, found[way]["recall"]))
    return out


def fastest(results: Results, system: str, way: str, recall: float) -> Pace | None:
    """The setting of highest median speed among those that reach a recall."""
    return max(
        (pace for pace in paces(results, system, way) if pace.recall >= recall), key=lambda p: p.speed, default=None
    )


def front(all_paces: Sequence[Pace]) -> list[Pace]:
    """Those that no other one beats in both, by ascending recall."""
    out: list[Pace] = []
    for pace in sorted(all_paces, key=lambda p: (-p.recall, -p.speed)):
        if not out or pace.speed > out[-1].speed:
            out.append(pace)
    return out[::-1]


def speed_table(results: Results, names: Sequence[str], way: str) -> list[dict[str, Any]]:
    """A row a system: thousand queries per second at each recall, median (least–most of the rounds)."""
    rows = []
    for name in names:
        built = results.built.get(name)
        if built is None or name in results.failed:
            why = results.failed.get(name, "not measured")
            rows.append({"system": f"{name}: {why}", **{f"{recall:g}": "–" for recall in RECALLS}})
            continue
        row: dict[str, Any] = {"system": name}
        chosen = {recall: fastest(results, name, way, recall) for recall in RECALLS}
        row |= {f"{recall:g}": _spread(pace.speeds if pace else []) for recall, pace in chosen.items()}
        if way == "one":
            row |= {
                "build s": built["build_seconds"],
                "MB": round(built["memory"] / 1e6),
                "peak MB": round(built["peak"] / 1e6),
                "what it is": f"{built['details']}; {built['package']}",
            }
        rows.append(row)
        alone = {recall: _alone(results, name, way, pace) for recall, pace in chosen.items()}
        if any(alone.values()):
            rows.append({"system": "– its structure alone", **{f"{r:g}": _spread(s) for r, s in alone.items()}})
    return rows


def _alone(results: Results, name: str, way: str, pace: Pace | None) -> list[float]:
    """How fast the structure alone answers at the setting that a pace has."""
    if pace is None:
        return []
    found = (turn.get(pace.setting, {}) for turn in results.measured[name].values())
    return [each[f"alone, {way}"]["speed"] for each in found if f"alone, {way}" in each]


def _spread(speeds: Sequence[float]) -> str:
    if not speeds:
        return "–"
    return f"{statistics.median(speeds) / 1000:.3g} ({min(speeds) / 1000:.3g}–{max(speeds) / 1000:.3g})"


def ratio_table(results: Results, names: Sequence[str]) -> list[dict[str, Any]]:
    """How many times faster our best structure is than others at each recall, one query at a time.

    Median (least–most) of the ratios round by round, each side with the setting that is best in the median.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(find(name).family, []).append(name)
    mine = groups.pop(OURS, [])
    groups = {"all others": [name for group in groups.values() for name in group], **groups}
    rows = []
    for family, members in groups.items():
        row: dict[str, Any] = {"ours against": family if family != BY_HAND else f"best {BY_HAND}"}
        for recall in RECALLS:
            row[f"{recall:g}"] = _ratio(_best(results, mine, recall), _best(results, members, recall))
        rows.append(row)
    own = own_choice(results, names)
    if own is not None:
        row = {"ours against": f"autofaiss with its own parameters (recall {own.recall:.4f})"}
        rows.append({**row, RATIO_OWN: _ratio(_best(results, mine, own.recall), own)})
    return rows


RATIO_OWN = "at that recall"


def own_choice(results: Results, names: Sequence[str]) -> Pace | None:
    """autofaiss with the parameters that it chose."""
    for name in names:
        for setting, found in results.measured.get(name, {}).get(0, {}).items():
            if OWN in json.loads(setting):
                rounds = results.measured[name]
                speeds = [turn[setting]["one"]["speed"] for turn in rounds.values() if setting in turn]
                return Pace(setting, speeds, found["one"]["recall"])
    return None


def _best(results: Results, names: Sequence[str], recall: float) -> Pace | None:
    found = (fastest(results, name, "one", recall) for name in names if name not in results.failed)
    return max((pace for pace in found if pace), key=lambda pace: pace.speed, default=None)


def _ratio(mine: Pace | None, theirs: Pace | None) -> str:
    if mine is None or theirs is None:
        return "–"
    ratios = sorted(a / b for a, b in zip(mine.speeds, theirs.speeds, strict=False))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"


STRONG = {OURS: "#c0143c", BY_HAND: "#1f5fa8"}
FAINT = (
    "#7a9a01", "#e08a00", "#7b4fa3", "#009e8e", "#a0522d", "#5f6b76", "#d16ba5", "#3aa6d0",
    "#9c8b00", "#1f7a3d", "#b8860b", "#6f6fd8", "#c0504d", "#4d4d4d", "#00a86b", "#a67bd1",
)  # fmt: skip


def plot(tasks: Mapping[str, tuple[Results, Sequence[str]]], file: Path) -> None:
    """Recall against queries per second, one query at a time: a panel a task, a line a library.

    Args:
        tasks: title → its results, and the systems to draw.
        file: where to; its ending says the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    figure, panels = plt.subplots(
        1, len(tasks), figsize=(5.2 * len(tasks) + 1.8, 5.4), squeeze=False, layout="constrained"
    )
    families = list(dict.fromkeys(find(name).family for _, names in tasks.values() for name in names))
    colours = dict(zip([f for f in families if f not in STRONG], FAINT, strict=False)) | STRONG
    markers = dict(zip(families, "osDv^<>pPX*hHd8" * 2, strict=False))
    lines = {}
    for panel, (title, (results, names)) in zip(panels[0], tasks.items(), strict=True):
        for family in families:
            points = [p for name in names if find(name).family == family for p in paces(results, name, "one")]
            line = [pace for pace in front(points) if pace.recall >= 0.8]
            if line:
                # recall 1 has no place on this scale; it stands at the end
                missing = [max(1 - pace.recall, 1e-4) for pace in line]
                lines[family] = panel.plot(
                    missing,
                    [pace.speed for pace in line],
                    color=colours[family],
                    marker=markers[family],
                    markersize=4.5 if family in STRONG else 3.5,
                    linewidth=2.6 if family in STRONG else 1.1,
                    zorder=3 if family in STRONG else 2,
                    label=family,
                )[0]
        panel.set(title=title, xscale="log", yscale="log", xlabel="recall@10", xlim=(0.2, 8e-5))
        panel.set_xticks([0.2, 0.1, 0.05, 0.01, 0.001, 1e-4], ["0.8", "0.9", "0.95", "0.99", "0.999", "≥ 0.9999"])
        panel.minorticks_off()
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
        panel.grid(color="#e4e7ea", linewidth=0.8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("queries per second, one at a time, one thread")
    figure.legend(lines.values(), lines.keys(), loc="outside right center", frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)
