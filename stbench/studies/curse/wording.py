"""What the page of the study says around its tables."""

from __future__ import annotations

import numpy as np

from stbench.catalogue import DatasetCard
from stbench.studies.curse.cohort import MAX_SLIDES, MIN_DETECTED, CohortResult
from stbench.studies.curse.gaussian import PITCH_PX, SIGMA_PX, GaussianResult
from stbench.studies.curse.settings import CurseSettings

LEAD = (
    "Appendix E of arXiv:2605.18055 argues that joint node-edge diffusion fails on large panels because the empirical "
    "correlation of two spots over G genes approaches its true value (squared error proportional to 1/G, Eq. 38), so "
    "that the score of the edges given the nodes becomes ever sharper (largest Fisher eigenvalue proportional to G, "
    "Eq. 46). Both are measured here. No network is trained."
)


def mark(card: DatasetCard) -> str:
    """What kind of counts a cohort has."""
    if card.semi_synthetic:
        return "semi-synthetic cohort, real counts"
    return "simulated counts" if card.simulated else "real counts"


def gaussian_intro(settings: CurseSettings, result: GaussianResult) -> str:
    """How the genes were simulated."""
    return (
        f"Genes drawn from N(0, A\\*) (Eq. 35) over {settings.spots} spots. A\\* is the paper's distance kernel (Eq. "
        f"58, {SIGMA_PX:g} px) on a square grid with a pitch of {PITCH_PX:g} px; its smallest eigenvalue is "
        f"{np.linalg.eigvalsh(result.truth)[0]:.3f}. {settings.panels} panels per size in each of {settings.repeats} "
        f"independent repeats, seed {settings.seed}. *Gram* is the estimator of the appendix (Eq. 36), *Pearson* the "
        "one the method uses (Eq. 33)."
    )


def gaussian_interval(settings: CurseSettings) -> str:
    """What the intervals of the simulated genes are."""
    return f"±: half the 95 % t interval over {settings.repeats} repeats. {SLOPES}"


SLOPES = (
    "*Slope*: of the least-squares line through all sizes on logarithmic scales; behind it the local slopes between "
    "neighbouring sizes. A curve *bends* where two of its local slopes differ, repeat by repeat or patient by patient, "
    "by more than the t interval of their difference (5 % over all pairs of slopes, Bonferroni). Its slope is then an "
    "average that other sizes would move, no exponent, and its interval is that of the average. Where no bend is seen "
    "the smallest difference of two local slopes stands that is excluded."
)

GAUSSIAN_NOTES = (
    "Pearson's variance falls with G - 1, not G, and Pearson edges of few genes are far from Gaussian: on small panels "
    "its local slopes are steeper than the theory's, and approach it on large ones.",
    "*Held out* errs towards too small a sharpness, *plug-in* towards too large a one, both by a factor that hardly "
    "depends on G.",
    "The appendix lets the noise of the diffusion multiply Sigma_A (Eq. 39). The process it describes elsewhere adds "
    "noise (Eq. 10, 14): the covariance is then Sigma_A + sigma^2 I and the sharpness 1 / (lambda_min + sigma^2), "
    "which stops growing at 1 / sigma^2, 10,000 at the smallest noise of the paper (0.01, Table 5). The loss as "
    "trained (Algorithm 1) weighs the squared score by sigma^2, and sigma^2 / (lambda_min + sigma^2) is below 1 for "
    "every G.",
)


def cohort_intro(settings: CurseSettings, result: CohortResult) -> str:
    """Which slides were read and what was compared."""
    slides = ", ".join(f"{name} ({n})" for name, n in result.slides.items())
    left_out = ", ".join(map(str, result.left_out))
    return (
        f"Pearson over genes of log1p(raw counts). Slides (spots): {slides}; the first of each patient, then the "
        f"second, up to {MAX_SLIDES} of the {result.n_slides} found. {settings.repeats} windows per slide, each "
        f"a random spot and its {settings.spots - 1} nearest (spots that show under {MIN_DETECTED:.0%} of the pool's "
        f"genes left out); {settings.panels} pairs of panels per window and size; seed {settings.seed}."
        + (f" Sizes left out as too large for the cohort: {left_out}." if left_out else "")
        + "\n\nA\\* of counts is unknown. Two disjoint panels of G genes, drawn at random from one pool, differ by "
        "E||A_1 - A_2||_F^2 = 2 Var, whatever A\\* is (exactly so for estimators linear in genes, such as Gram). "
        f"*Variance* is half of it, the counterpart of the error above.\n\n- *Random genes*: the pool is the "
        f"{result.pool} most highly ranked of {result.n_common} common genes (HMHVG, Eq. 17, ranked on these slides, "
        "without MT-, RPS and RPL).\n- *Top-ranked genes*: both panels come from the 2G most highly ranked, as a "
        "growing panel takes them.\n- *Top G to pool*: squared distance of the correlations over the G most highly "
        "ranked genes from those over the whole pool, as if the pool were A\\*, divided by 1 - G / pool (a part of the "
        "pool is near it by being part of it; drawn at random it would then follow the theory).\n"
        "- *Over Gaussian*: variance divided by that of Gaussian genes, (1 - r^2)^2 / (G - 1)."
    )


def cohort_interval(settings: CurseSettings, result: CohortResult) -> str:
    """What the intervals of the cohort are."""
    if result.unit == "patient":
        n = len(set(result.patients.values()))
        return (
            f"±: here half the 95 % t interval over {n} patients, slopes averaged over a patient's windows; below the "
            "sd over patients. Slopes and bends as above."
        )
    return (
        f"±: here half the 95 % t interval over {settings.repeats} repeats, below the sd over repeats. Without four "
        "known patients they say how well these slides were measured and nothing about other patients. "
        "Slopes and bends as above."
    )


def cohort_notes(settings: CurseSettings) -> tuple[str, ...]:
    """How to read the cohort's numbers, and where the theory does not apply."""
    return (
        "For *random genes* the -1 is a property of drawing genes at random, not of tissue: every set of genes gives "
        "it, however dependent, for an estimator linear in genes. Pearson is not, and comes near it as panels grow.",
        "The appendix assumes genes that are independent given A\\*, of one distribution, with mean 0. Counts meet "
        "none of it: co-expressed genes repeat each other, levels span orders of magnitude, and every gene has a "
        "mean that all spots share. An *over Gaussian* of 3 says that three genes are worth one Gaussian gene.",
        "Panels are not drawn at random, they grow by rank. *Top-ranked genes* and *top G to pool* show what that does "
        "to the slopes. At the largest size both orders draw from one pool and agree.",
        "The sharpness of top-ranked panels is left out: 2G genes have 2G - 1 degrees of freedom, too few on small "
        f"panels for the {settings.spots * (settings.spots - 1) // 2} edges of a window.",
        "A spot constant over its panel has correlation 0 with all others, as methods see it; *constant spots* is the "
        "share of spots in random panels.",
    )


EDGES_INTRO = (
    "All pairs of spots of a slide. Panel: the G most expressed genes of that slide; spots constant over it left out. "
    "*Released* is the sum-centred \"correlation\" of the paper's released code, *Pearson* the paper's definition. "
    "Means over slides of what is computed over the pairs of each slide."
)


def limits(result: CohortResult | None) -> list[str]:
    """What the study does not show."""
    lines = [
        "Not a test of the bound on the loss (Eq. 47-52): whether a network can follow a score this sharp is a "
        "question to training runs.",
        "Given all nodes of a panel its edges are known exactly. Sigma_A, here as in the appendix, is the scatter of "
        "edges between panels drawn anew, not the law of the edges given the nodes of one panel.",
        "Windows of few spots; more spots change the constants, and more edges make the smallest eigenvalue smaller.",
        "The simulated genes share nothing with tissue: their numbers are never to be compared with those of a cohort.",
    ]
    if result is None:
        return lines
    if result.card.simulated:
        lines.append(f"The counts of {result.card.name} are simulated: they say nothing about tissue.")
    if result.card.semi_synthetic:
        lines.append(f"{result.card.name} is semi-synthetic: its counts are real, its features, unused here, are not.")
    lines.append(
        "One section is one realisation: what is measured is the scatter between panels of genes, not between "
        "replicates of the tissue, and it contains the noise of counting."
    )
    return lines
