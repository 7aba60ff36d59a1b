"""Pages of the manual that are made from cards, from the command line and from docstrings."""

import re

import typer

from stbench.catalogue import MethodCard, MetricCard, is_foreign, method_cards, metric_cards, paper_cards
from stbench.cli.main import PROGRAM, app
from stbench.pages.markdown import bullets, code, inline, quoted, table
from stbench.pages.method import differences, facts, settings, space
from stbench.pages.tables import Table

WIDTH = 84  # of a terminal; what fits beside the contents
API = {
    "Python: run and rank": ["stbench", "stbench.api:Runs", "stbench.errors", "stbench.reporting"],
    "Python: methods": [
        *("stbench.methods.base", "stbench.methods.trained", "stbench.training.loop", "stbench.training.settings"),
        *("stbench.training.scores", "stbench.data.normalize"),
    ],
    "Python: metrics": [
        *("stbench.metrics", "stbench.metrics.score:RULES", "stbench.metrics.leiden:LeidenAgreement"),
        "stbench.data.gene_sets",
    ],
    "Python: slides and readers": [
        f"stbench.data.{name}" for name in ("slide", "cohort", "readers.layout", "readers.counts", "image", "images")
    ],
    "Python: encoders and patches": ["stbench.features.encoder", "stbench.features.patches"],
    "Python: records and predictions": [
        *("stbench.evaluation.record:Record,TaskFacts,Summary,DrawSummary", "stbench.evaluation.apply:Model,apply"),
        "stbench.evaluation.model:ModelFacts,Seen,GeneWorth",
        *("stbench.evaluation.exposure:contamination,Exposure", "stbench.catalogue.pretrained:Finding"),
        "stbench.evaluation.public:is_public",
    ],
}
"""Title of a page to the modules on it; behind a colon the names that are shown, all public ones where none are."""
EXTENDED = {"stbench.methods.trained": "_prepare, _take, _conclude, _rules, _new_module"}
"""Modules to members with an underscore that subclasses implement or call."""

_OPTION = re.compile(r"(?<![`\w-])(--[a-z][\w-]*(?: [\w.-]+=[\w.:-]+)?)(?![^|\n`]*`)")  # typed, so code


def write(folder):
    """Write every page, leaving those that are as they were, and take away the others."""
    made = {folder / f"{name}.md": f"{text}\n" for name, text in pages().items()}
    for path in {*folder.rglob("*.md")} - made.keys():
        path.unlink()
    for path, text in made.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def pages():
    """Name of every page, without its ending, to its markdown."""
    methods = {f"methods/{name}": method_page(card) for name, card in method_cards().items() if not is_foreign(card)}
    papers = {f"papers/{name}": paper_page(paper) for name, paper in paper_cards().items()}
    api = {f"api-{place}": api_page(title, modules) for place, (title, modules) in enumerate(API.items())}
    return methods | papers | api | {"commands": commands_page(), "metrics": metrics_page(), "cards": cards_page()}


def method_page(card):
    """Everything that ``stbench methods show`` says."""
    said, notes = facts(card), [value for name, value in facts(card) if name == "note"]
    known = [[name, value] for name, value in said if name not in ("name", "note")]
    parts = [f"# {card.name}", table(Table(["", ""], known, words=(0, 1)))]
    if notes:
        parts += ["## Notes", bullets(notes)]
    if settings(card).rows:
        parts += ["## Settings", "A preset's column shows what it changes.", table(settings(card))]
    if card.search is not None:
        parts += [f"## What stbench tune tries, by {card.search.objective}", table(space(card.search))]
    if card.differences:
        parts += ["## Where paper and released code differ", table(differences(card))]
    return _OPTION.sub(r"`\1`", "\n\n".join(parts))


def metrics_page():
    """A row per metric."""
    head = ["metric", "title", "better", "range", "what", "source"]
    rows = [
        [quoted(name), one.title, one.direction, " .. ".join(map(str, one.range)), one.description, one.paper]
        for name, one in metric_cards().items()
    ]
    return "# Metrics\n\n" + table(Table(head, rows, words=range(len(head))))


def cards_page():
    """The fields of the cards that a plug-in writes."""
    parts = ["# Fields of cards"]
    for title, model in {"Of a method": MethodCard, "Of a metric": MetricCard}.items():
        rows = [[quoted(name), _default(field), field.description or ""] for name, field in model.model_fields.items()]
        parts += [f"## {title}", table(Table(["field", "default", "what"], rows, words=range(3)))]
    return "\n\n".join(parts)


def _default(field):
    return "required" if field.is_required() else quoted(repr(field.default))


def commands_page():
    """``--help`` of every command."""
    parts = ["# Commands"]
    for path, said in _helps(typer.main.get_command(app), PROGRAM, None):
        parts += [f"## {path}", code([said])]
    return "\n\n".join(parts)


def _helps(command, name, parent):
    settings = {**command.context_settings, "terminal_width": WIDTH}
    context = command.context_class(command, info_name=name, parent=parent, **settings)
    yield context.command_path, command.get_help(context)
    for below in command.list_commands(context) if hasattr(command, "commands") else ():
        yield from _helps(command.commands[below], below, context)


def api_page(title, modules):
    """Docstrings of some modules."""
    parts = [f"# {title}"]
    for place in modules:
        module, _, names = place.partition(":")
        private = f"\n   :private-members: {EXTENDED[module]}" if module in EXTENDED else ""
        parts += [f"## {module}", f"```{{eval-rst}}\n.. automodule:: {module}\n   :members: {names}{private}\n```"]
    return "\n\n".join(parts)


def paper_page(paper):
    """Every table as printed; those of ablations by their variants."""
    parts = [f"# {paper.source}", f"{inline(paper.title)}. {paper.licence}."]
    for one in paper.tables:
        columns = [_printed(column) for column in zip(*one.rows, strict=True)]
        words = [place for place, column in enumerate(zip(*one.rows, strict=True)) if isinstance(column[0], str)]
        parts += [f"## Table {one.table}: {one.title}", *([inline(one.note)] if one.note else [])]
        parts += [bullets([f"here otherwise: {said}" for said in one.differs])] if one.differs else []
        parts += [table(Table(one.columns, list(zip(*columns, strict=True)), words))]
    for one in paper.ablations:
        metrics = list(dict.fromkeys(metric for row in one.rows for metric in row.reported))
        columns = [_printed([row.reported.get(metric, "") for row in one.rows]) for metric in metrics]
        rows = [[row.label, *numbers] for row, *numbers in zip(one.rows, *columns, strict=True)]
        parts += [f"## Table {one.table}: {one.title}", table(Table(["variant", *metrics], rows))]
    return "\n\n".join(parts)


def _printed(column):
    """Cells of a column as text; numbers with as many decimals as the longest, as papers print them."""
    numbers = [one for cell in column for one in (cell if isinstance(cell, list | tuple) else [cell])]
    longest = max((len(str(one).partition(".")[2]) for one in numbers if isinstance(one, float)), default=0)
    places = 0 if any(isinstance(one, int) for one in numbers) else longest

    def said(one):
        return f"{one:.{places}f}" if places and isinstance(one, float) else str(one)

    return [" ± ".join(map(said, cell)) if isinstance(cell, list | tuple) else said(cell) for cell in column]
