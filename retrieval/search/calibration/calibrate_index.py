"""Calibrate an index: on one half of its labels to say how well that holds on the other, then on all of them.

docs/calibration.md has the method and its sources in one place.
"""

from __future__ import annotations

import numpy as np

from retrieval.base.given import seeded, whole
from retrieval.base.machine import versions
from retrieval.engines.by_place import or_place
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.measures.intervals import A_SAMPLE
from retrieval.search.calibration.cohort import Cohort, draw
from retrieval.search.calibration.evidence import Evidence
from retrieval.search.calibration.fitting import fit_to, judge
from retrieval.search.calibration.halves import Asking, Labelled
from retrieval.search.calibration.record import QUESTIONS, Calibration, Conditions, Judged

TWIN = 1 - 1e-6
"""Scores from here on are those of one vector, up to the last digits of a float."""


@or_place()
def calibrate(
    index: Index,
    *,
    about: str = "labels",
    queries: Asking | None = None,
    fmr: float = 0.01,
    miss: float = 0.05,
    k: int = 10,
    seed: int = 0,
) -> Calibration:
    """Find out what scores in an index say. The index is left as it is.

    Args:
        index: open, with labels; or its folder.
        about: what a match is: "labels", a picture of the query's label; "copies", the picture that the query is an
            altered copy of, for which the index needs no labels; "words", a picture of the label that a text names.
        queries: who asks; if None, the pictures of the index themselves, each of all others without its exact copies;
            about copies and words, altered copies of some of them and the names of the labels, by the index's encoder.
        fmr: false match rate: of the pairs of two labels, the share that the threshold may let through.
        miss: of the queries with a match in the index, the share that may be told there is none.
        k: hits that a query shows.
        seed: of everything that is drawn.

    Raises:
        RetrievalError: a rate or k makes no sense, or the labels cannot tell.
    """
    if not 0 < fmr < 1:
        raise RetrievalError(f"The false match rate is {fmr}; give a share between 0 and 1, such as 0.01.")
    if not 0 <= miss < 1:
        raise RetrievalError(f"The share of missed matches is {miss}; give one from 0 to below 1, such as 0.05.")
    k = whole(k, "k")
    if k < 1:
        raise RetrievalError(f"k is {k}; ask for at least 1 hit.")
    if about not in QUESTIONS:
        raise RetrievalError(f"Nothing can be calibrated about {about!r:.40}; choose {', '.join(QUESTIONS)}.")
    k = min(k, len(index))  # more hits there are not
    question = QUESTIONS[about]
    if queries is None and about != "labels":
        from retrieval.search.calibration import asking  # here, as it brings the encoder

        encoder = asking.encoder_of(index)
        words = about == "words"
        queries = asking.names_of_labels(index, encoder) if words else asking.altered_copies(index, encoder, seed)
    generator = seeded(seed)
    data = Labelled(index, queries, generator)
    cohort = Cohort(index, draw(index, generator))
    evidence = data.ask(k, cohort)
    held = data.held[data.rows]
    half, others = evidence.of(~held), evidence.of(held)
    fitted = fit_to(half, data.pairs(False, seed), fmr, miss, seed, question)
    judged = judge(
        fitted,
        others,
        data.pairs(True, seed),
        disjoint=data.disjoint,
        fitted_on=half,
        without_match=question.without,
        seed=seed,
    )
    final = fit_to(evidence, data.pairs(None, seed), fmr, miss, seed, question)
    return Calibration(
        about=about,
        map=final.map,
        evidence=final.evidence,
        false_match_rate=fmr,
        threshold=final.threshold,
        miss_rate=miss,
        no_match_below=final.no_match_below,
        has_match=final.has_match,
        no_match_under=final.no_match_under,
        cohort=tuple(cohort.ids.tolist()),
        judged=judged,
        measured=Conditions(
            queries="its own pictures" if queries is None else queries.name,
            asked=len(evidence),
            labels=len(np.unique(evidence.labels)),
            hits=int(evidence.known.sum()),
            without_match=question.without,
            k=k,
            seed=seed,
            encoder_hash=index.encoder_hash,
            generation=index.generation,
            items=len(index),
            last_id=int(index.ids()[-1]),
            log_loss=final.losses,
            versions=versions(),
        ),
        notes=tuple(_notes(data, evidence, judged)),
    )


def _notes(data: Labelled, evidence: Evidence, judged: Judged) -> list[str]:
    notes = []
    if judged.disjoint == "pictures":
        notes.append(
            f"Only {int(data.matchable.sum())} labels have pictures that match, too few to halve: what was judged "
            "shares its labels with what was fitted, and flatters it for new ones."
        )
    if judged.labels < A_SAMPLE:
        notes.append(
            f"The intervals of FMR and FNMR are drawn over {judged.labels} labels, and the others over queries: with "
            "so few labels all are too narrow for what other labels would give."
        )
    alarm = judged.by_evidence.false_alarm
    if alarm is not None and alarm.value > 0.5:
        notes.append(
            f"It can hardly be told whether there is a match: {100 * alarm.value:.0f} % of the queries without one are "
            "not told so; a higher --miss finds more of them and misses more matches."
        )
    unknown = int((np.isfinite(evidence.found.scores) & ~evidence.known).sum())
    if unknown:
        notes.append(f"{unknown:,} hits have no label and were left out.")
    if data.asking is not None and data.index.storage != "binary":
        twins = int((evidence.found.scores[:, 0] > TWIN).sum())
        if twins:
            notes.append(
                f"{twins:,} queries have the same vector as a picture of the index: copies in both flatter everything."
            )
    return notes
