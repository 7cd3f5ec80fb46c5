"""Any measure of the toolkit over any data set: one pass an image, results in a folder that survives being killed.

study = Study(model="toy", data="toy:200", methods=("clip", "clip_surgery"), measures=("maps", "layers", "blame"))
run_study(study, "out/toy")      # creates it, or goes on
summarise_study("out/toy")       # measure -> means with intervals over images
open_study("out/toy").table("maps", ["index", "text", "method", "flip_auc"])
"""

from analysis.studies import measures as _measures  # registers them
from analysis.studies.compare import Comparison, compare_studies
from analysis.studies.engine import Engine, run_part, usable_measures
from analysis.studies.measure import MEASURES, Measure, Needs, register
from analysis.studies.reader import StudyFolder, StudyState, open_study
from analysis.studies.run import Progress, run_study
from analysis.studies.study import Study
from analysis.studies.summary import summarise_study

__all__ = [
    "MEASURES",
    "Comparison",
    "Engine",
    "Measure",
    "Needs",
    "Progress",
    "Study",
    "StudyFolder",
    "StudyState",
    "compare_studies",
    "open_study",
    "register",
    "run_part",
    "run_study",
    "summarise_study",
    "usable_measures",
]

del _measures
