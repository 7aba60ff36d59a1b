"""The simulated cohort: an instrument with a known truth.

Patients have serial sections; domains and cell types follow smooth random fields; nuclei, fibres and holes are drawn
as H&E pixels; genes follow cells, visible programmes, and factors that no image shows.
"""

from stbench.data.simulator.ceiling import BestPossible, best_possible
from stbench.data.simulator.cohort import open_simulated, simulate_slide
from stbench.data.simulator.settings import SimulationSettings, paper_size

__all__ = ["BestPossible", "SimulationSettings", "best_possible", "open_simulated", "paper_size", "simulate_slide"]
