"""`stbench predict`."""

from __future__ import annotations

from stbench.cli.asks import asks
from stbench.evaluation.predict_request import ASKED, PredictRequest
from stbench.evaluation.request import default_cache


@asks(PredictRequest, only=ASKED)
def predict(request: PredictRequest) -> None:
    """Predict slides with a fitted model: no counts are needed, and none are looked at."""
    from stbench.cli.console import ConsoleReporter, say_table
    from stbench.evaluation.apply import open_model
    from stbench.evaluation.asked import choose_device
    from stbench.evaluation.predict import predict as predict_slides
    from stbench.evaluation.predict import wanted_by

    request.check()
    device = choose_device(request.device)
    model = open_model(request.model, weights=request.weights, device=device, cache_dir=default_cache())
    wanted = wanted_by(request, model)
    found = predict_slides(
        model, wanted, draws=request.draws, seed=request.seeds[0], keep_draws=request.keep_draws,
        reporter=ConsoleReporter(),
    )  # fmt: skip
    rows = [[one.name, str(found[one.name]), str(len(model.facts.genes)), str(one.out)] for one in wanted]
    say_table(["slide", "spots", "genes", "predictions"], rows)
