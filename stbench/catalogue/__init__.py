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
from stbench.catalogue.entries import (
    GROUP,
    dataset_cards,
    find_dataset,
    find_metric,
    is_foreign,
    load_entry,
    method_cards,
    metric_cards,
    papers,
    problem_of,
    read_card,
    usual_controls,
)

__all__ = [
    "GROUP",
    "METHOD_NEEDS",
    "METRIC_NEEDS",
    "PRESETS",
    "DatasetCard",
    "Difference",
    "MethodCard",
    "MetricCard",
    "SlideEntry",
    "dataset_cards",
    "find_dataset",
    "find_metric",
    "is_foreign",
    "load_entry",
    "method_cards",
    "metric_cards",
    "papers",
    "problem_of",
    "read_card",
    "usual_controls",
]
