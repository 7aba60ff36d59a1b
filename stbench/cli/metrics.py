"""`stbench metrics`."""

import typer

app = typer.Typer(help="What predictions are judged by.", rich_markup_mode=None)


@app.callback()
def metrics() -> None:
    """What predictions are judged by."""


@app.command("list")
def list_() -> None:
    """Every metric with its direction and range."""
    from stbench.catalogue import metric_cards
    from stbench.cli.console import say_table

    say_table(
        ["metric", "title", "better", "range", "what", "source"],
        [
            [
                name,
                card.title,
                {"none": "-"}.get(card.direction, card.direction),
                " .. ".join(str(end) for end in card.range),
                card.description,
                card.paper or "-",
            ]
            for name, card in metric_cards().items()
        ],
    )
