"""Cards of methods, cohorts and metrics. Reading them imports neither torch nor scanpy."""

from stbench.catalogue.cards import (
    METHOD_NEEDS,
    METRIC_NEEDS,
    PRESETS,
    DatasetCard,
    Difference,
    MethodCard,
    MetricCard,
    SlideEntry,
)
from stbench.catalogue.code import Coded, changed_code, code_of
from stbench.catalogue.entries import (
    dataset_cards,
    find_dataset,
    find_metric,
    is_foreign,
    load_entry,
    method_cards,
    metric_cards,
    paper_cards,
    pretrained_sheet,
    problem_of,
    read_card,
    usual_controls,
)
from stbench.catalogue.plugins import Registered, installed, load_plugin, load_point, package_of

__all__ = [
    "METHOD_NEEDS",
    "METRIC_NEEDS",
    "PRESETS",
    "Coded",
    "DatasetCard",
    "Difference",
    "MethodCard",
    "MetricCard",
    "Registered",
    "SlideEntry",
    "changed_code",
    "code_of",
    "dataset_cards",
    "find_dataset",
    "find_metric",
    "installed",
    "is_foreign",
    "load_entry",
    "load_plugin",
    "load_point",
    "method_cards",
    "metric_cards",
    "package_of",
    "paper_cards",
    "pretrained_sheet",
    "problem_of",
    "read_card",
    "usual_controls",
]
